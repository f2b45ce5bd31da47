"""What plugins/slopes.py adds to the scores, for PyTorch: an exported folder carries this file."""

import torch
from torch import nn


class Positions(nn.Module):
    """A slope for each head of a layer."""

    def __init__(self, config):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(config.num_attention_heads))

    def forward(self, q, k):
        """q, k [B, N, L, H] → what is added to the scaled scores, [N, L, L]."""
        places = torch.arange(k.shape[2], device=k.device)
        return -self.slope[:, None, None] * (places[None] - places[:, None]).abs()
