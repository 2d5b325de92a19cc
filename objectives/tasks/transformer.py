"""A small causal transformer over tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

WIDTH, N_HEADS, N_BLOCKS = 64, 4, 2


class Block(nn.Module):
    """Attention to what came before, then a feed-forward layer, each around a shortcut.

    Layer norm comes first in both (arXiv:2002.04745), so that no warm-up is needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.feed_norm = nn.LayerNorm(WIDTH)
        self.feed = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, T, WIDTH) -> the same
        """Every position sees itself and those before it."""
        n, length, _ = x.shape
        heads = self.queries_keys_values(self.attention_norm(x))  # (B, T, 3 * WIDTH)
        q, k, v = heads.view(n, length, 3, N_HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, T, WIDTH / heads)
        x = x + self.mix(seen.transpose(1, 2).reshape(n, length, -1))
        fed: Tensor = self.feed(self.feed_norm(x))
        return x + fed


class Transformer(nn.Module):
    """Logits of the next token at every position."""

    def __init__(self, *, n_tokens: int, length: int) -> None:
        super().__init__()
        self.token = nn.Embedding(n_tokens, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(N_BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.logits = nn.Linear(WIDTH, n_tokens)

    def forward(self, x: Tensor) -> Tensor:  # (B, T) int64 -> (B, n_tokens, T)
        """The logits as cross-entropy takes them: classes second."""
        hidden = self.blocks(self.token(x) + self.position[: x.shape[1]])
        logits: Tensor = self.logits(self.norm(hidden))
        return logits.transpose(1, 2)
