"""FMLP-Rec (Zhou et al. 2022): learnable filters in the frequency domain in place of self-attention."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.inputs import REC, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.models.losses import ItemLoss


class Filter(nn.Module):
    """x → irFFT(W ∘ rFFT(x)) over time, one complex weight per frequency and channel (§4.1.2)."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.length = length
        # Real and imaginary part; a complex parameter would not go into safetensors.
        self.weight = nn.Parameter(torch.randn(length // 2 + 1, dim, 2) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) → (B, N, d): the circular convolution with irFFT(W)."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.weight)
        return torch.fft.irfft(spectrum, n=self.length, dim=1, norm="ortho")


class Block(nn.Module):
    """Filter, then a feed-forward net four times as wide; each with a skip connection, dropout and layer norm."""

    def __init__(self, length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.filter = Filter(length, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d), (B, N) → (B, N, d), zero at padding."""
        x = self.norms[0](x + self.dropout(self.filter(x))) * mask.unsqueeze(-1)
        output: Tensor = self.norms[1](x + self.dropout(self.feed(x))) * mask.unsqueeze(-1)
        return output


class FMLPRec(DotBaseline):
    """FMLP-Rec: the score of an item is the last state of a history of fixed length · item.

    Departures: cross-entropy over the catalogue in place of the pairwise loss (``bpr``). Padding is set to zero before
    every block, so that no padding passes through the filter.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    fixed_length: ClassVar[bool] = True

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, dropout: float = 0.5, loss: ItemLoss = "catalogue"
    ) -> None:
        super().__init__(loss)
        self.length = domain.max_history
        self.items = L.ItemEmbedding(domain.n_items, dim)
        self.events = L.HistoryEmbedding(dim, self.length, dropout)
        self.blocks = nn.ModuleList(Block(self.length, dim, dropout) for _ in range(layers))

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the last state. Zeros for an empty history, so that all items score alike."""
        history = batch.rec_history
        more = self.length - history.mask.shape[1]
        mask = F.pad(history.mask, (more, 0))  # (B, N)
        x = self.events(F.pad(self.items.embed_history(history), (0, 0, more, 0)), mask)
        for block in self.blocks:
            x = block(x, mask)
        last: Tensor = x[:, -1]
        return last
