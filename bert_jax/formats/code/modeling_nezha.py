"""NEZHA (Wei et al. 2019, arXiv 1909.00204) for the library transformers, which has no such model since 4.58.

    AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)

BERT without a position table: a sinusoid of the distance from query to key is added to every key and value.
"""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput
from transformers.models.bert.modeling_bert import BertForPreTrainingOutput


class NezhaConfig(PretrainedConfig):
    """BERT's configuration, and `max_relative_position`: distances beyond it are clipped; None for no clipping."""

    model_type = "nezha"

    def __init__(
        self,
        vocab_size=21128,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=512,
        max_relative_position=64,
        type_vocab_size=2,
        initializer_range=0.02,
        layer_norm_eps=1e-12,
        pad_token_id=0,
        **others,
    ):
        super().__init__(**others)
        self.pad_token_id = pad_token_id
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.max_relative_position = max_relative_position
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps


def relative_table(config, length, like):
    """The vector of each distance from −reach to reach, [2·reach+1, H], and its row for each pair, [L, L].

    Clipped models feed the distance plus `max_relative_position` to the sinusoid, as the released code does.
    """
    size = config.hidden_size // config.num_attention_heads
    shift = config.max_relative_position or 0
    reach = min(shift or length - 1, length - 1)
    distances = torch.arange(-reach, reach + 1, device=like.device)
    frequencies = 10000.0 ** (-torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angles = (distances + shift).float()[:, None] * frequencies
    table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(like.dtype)
    index = torch.arange(length, device=like.device)
    return table, (index[None, :] - index[:, None]).clamp(-reach, reach) + reach


class NezhaEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, token_type_ids):
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        return self.dropout(self.LayerNorm(x))


class NezhaSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x, bias, table, rows):
        """x [B, L, D], bias [B, 1, 1, L], table [R, H], rows [L, L] → [B, L, D] and probabilities [B, N, L, L]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        rows = rows.expand(*q.shape[:2], -1, -1)
        scores = q @ k.transpose(-1, -2) + (q @ table.T).gather(-1, rows)
        probabilities = self.dropout((scores * self.size**-0.5 + bias).softmax(-1))
        shares = probabilities.new_zeros(*rows.shape[:3], len(table)).scatter_add(-1, rows, probabilities)
        out = probabilities @ v + shares @ table
        return out.transpose(1, 2).flatten(2), probabilities


class NezhaOutput(nn.Module):
    """Dense, dropout, residual, LayerNorm."""

    def __init__(self, config, size):
        super().__init__()
        self.dense = nn.Linear(size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x, residual):
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class NezhaLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": NezhaSelfAttention(config), "output": NezhaOutput(config, config.hidden_size)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = NezhaOutput(config, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x, bias, table, rows):
        out, probabilities = self.attention["self"](x, bias, table, rows)
        x = self.attention["output"](out, x)
        return self.output(self.activation(self.intermediate["dense"](x)), x), probabilities


class NezhaEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(NezhaLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x, bias, table, rows):
        """The hidden states before and after each layer, and the probabilities of each."""
        states, attentions = [x], []
        for layer in self.layer:
            x, probabilities = layer(x, bias, table, rows)
            states.append(x)
            attentions.append(probabilities)
        return states, attentions


class NezhaPreTrainedModel(PreTrainedModel):
    config_class = NezhaConfig
    base_model_prefix = "nezha"

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


class NezhaModel(NezhaPreTrainedModel):
    def __init__(self, config, add_pooling_layer=True):
        super().__init__(config)
        self.embeddings = NezhaEmbeddings(config)
        self.encoder = NezhaEncoder(config)
        dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler = nn.ModuleDict({"dense": dense}) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, embeddings):
        self.embeddings.word_embeddings = embeddings

    def forward(
        self,
        input_ids,
        attention_mask=None,
        token_type_ids=None,
        output_hidden_states=False,
        output_attentions=False,
        **unused,
    ):
        """input_ids, attention_mask (0 is padding) and token_type_ids [B, L]."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = self.embeddings(input_ids, types)
        bias = (1 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        table, rows = relative_table(self.config, input_ids.shape[1], x)
        states, attentions = self.encoder(x, bias, table, rows)
        x = states[-1]
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else torch.tanh(self.pooler["dense"](x[:, 0])),
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class NezhaTransform(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.LayerNorm(self.activation(self.dense(x)))


class NezhaPredictions(nn.Module):
    """The output weights are the word embeddings."""

    def __init__(self, config):
        super().__init__()
        self.transform = NezhaTransform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x, words):
        return nn.functional.linear(self.transform(x), words, self.bias)


class NezhaForMaskedLM(NezhaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.nezha = NezhaModel(config, add_pooling_layer=False)
        self.cls = nn.ModuleDict({"predictions": NezhaPredictions(config)})
        self.post_init()

    def get_input_embeddings(self):
        return self.nezha.get_input_embeddings()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        out = self.nezha(input_ids, attention_mask, token_type_ids, **options)
        logits = self.cls["predictions"](out.last_hidden_state, self.get_input_embeddings().weight)
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions)


class NezhaForPreTraining(NezhaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.nezha = NezhaModel(config)
        pair = nn.Linear(config.hidden_size, 2)
        self.cls = nn.ModuleDict({"predictions": NezhaPredictions(config), "seq_relationship": pair})
        self.post_init()

    def get_input_embeddings(self):
        return self.nezha.get_input_embeddings()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **options):
        out = self.nezha(input_ids, attention_mask, token_type_ids, **options)
        return BertForPreTrainingOutput(
            prediction_logits=self.cls["predictions"](out.last_hidden_state, self.get_input_embeddings().weight),
            seq_relationship_logits=self.cls["seq_relationship"](out.pooler_output),
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )
