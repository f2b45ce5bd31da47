"""The layers of modeling_bert_jax.py, and what they compute with."""

import torch
from torch import nn
from transformers.activations import ACT2FN

OwnPositions = None  # a folder whose positions are none of ours imports them here


def sinusoids(positions, size, base):
    """positions [...] → the sines and the cosines of their angles, [..., size / 2] each."""
    frequencies = base ** (-torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size)
    angles = positions.float()[..., None] * frequencies
    return angles.sin(), angles.cos()


def rotate(x, sines, cosines):
    """Turns the pairs (2m, 2m + 1) of x [B, N, L, H] by the angles of [L, H / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosines - odd * sines, odd * cosines + even * sines], -1).flatten(-2)


def relative_table(length, size, clip, device):
    """The vector of each distance from −reach to reach, [2·reach+1, H], and its row for each pair, [L, L].

    With clipping at `clip` the sinusoid is fed the distance plus `clip`, as in NEZHA's code.
    """
    reach = min(clip or length - 1, length - 1)
    sines, cosines = sinusoids(torch.arange(-reach, reach + 1, device=device) + clip, size, 10000.0)
    index = torch.arange(length, device=device)
    return torch.stack([sines, cosines], -1).flatten(1), (index[None] - index[:, None]).clamp(-reach, reach) + reach


def dense(config, inputs, outputs):
    return nn.Linear(inputs, outputs, bias=config.biases)


def layer_norm(config, size):
    return nn.LayerNorm(size, eps=config.layer_norm_eps, bias=config.biases)


class BertJaxAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.heads, self.size = config.num_attention_heads, width // config.num_attention_heads
        self.query, self.key, self.value, self.output = (dense(config, width, width) for _ in range(4))
        self.norm = layer_norm(config, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.position = None if OwnPositions is None else OwnPositions(config)

    def forward(self, x, bias, angles, relative):
        """x [B, L, D], bias [B, 1, 1 or L, L] → [B, L, D] and probabilities [B, N, L, L]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        scores = q @ k.transpose(-1, -2)
        own = 0 if self.position is None else self.position(q, k)
        if relative is not None:
            table, rows = relative[0], relative[1].expand(*q.shape[:2], -1, -1)
            scores = scores + (q @ table.T).gather(-1, rows)
        probabilities = self.dropout((scores * self.size**-0.5 + own + bias).softmax(-1))
        out = probabilities @ v
        if relative is not None:
            shares = probabilities.new_zeros(*rows.shape[:3], len(table))
            out = out + shares.scatter_add(-1, rows, probabilities) @ table
        return self.output(out.transpose(1, 2).flatten(2)), probabilities


class BertJaxMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, units = config.hidden_size, config.intermediate_size
        self.up = dense(config, width, units)
        self.gate = dense(config, width, units) if config.gated else None
        self.down = dense(config, units, width)
        self.norm = layer_norm(config, width)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x):
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))
