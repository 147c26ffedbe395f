"""RQ-VAE (Lee et al. 2022, as in TIGER): an autoencoder whose latent vector is a sum of code vectors."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gensr_model.config.model import SemanticIdsConfig
from gensr_model.semantic_ids.k_means import nearest, residual_codes, residual_k_means, revived


class Quantized(NamedTuple):
    """The result of residual quantization of vectors z (B, d)."""

    codes: Tensor  # (B, L)
    vector: Tensor  # (B, d) q: the sum of the chosen code vectors
    loss: Tensor  # (B,)


def quantize(z: Tensor, books: Tensor, beta: float) -> Quantized:
    """Residual quantization of z (B, d) by codebooks (L, K, d).

    With r_1 = z: c_l is the code nearest to r_l, and r_(l+1) = r_l − sg(e_l). The loss is the sum over levels of
    |sg(r_l) − e_l|² + beta |r_l − sg(e_l)|², summed over dimensions. A residual less the straight-through output would
    carry no gradient.
    """
    residual, vector, loss = z, torch.zeros_like(z), z.new_zeros(len(z))
    codes = []
    for book in books:
        code, _ = nearest(residual.detach(), book.detach())
        chosen = book[code]
        loss = loss + (residual.detach() - chosen).pow(2).sum(dim=1)
        loss = loss + beta * (residual - chosen.detach()).pow(2).sum(dim=1)
        residual = residual - chosen.detach()
        vector = vector + chosen
        codes.append(code)
    return Quantized(torch.stack(codes, dim=1), vector, loss)


class Losses(NamedTuple):
    """Means over a batch of terms that are summed over dimensions. A mean over dimensions would kill the codebooks."""

    reconstruction: Tensor
    quantization: Tensor


class RqVae(nn.Module):
    """Autoencoder that gives codes of vectors (B, inputs).

    ``started`` is a persistent buffer, so a loaded model does not start its codebooks again.
    """

    def __init__(self, inputs: int, config: SemanticIdsConfig) -> None:
        super().__init__()
        widths = [inputs, *config.hidden, config.dim]
        self.encoder, self.decoder = _mlp(widths), _mlp(widths[::-1])
        self.books = nn.Parameter(torch.zeros(config.levels, config.codes, config.dim))
        self.beta = config.beta
        self.started: Tensor
        self.register_buffer("started", torch.tensor(False))

    def forward(self, vectors: Tensor) -> Losses:
        """The losses of a batch. The gradient of the reconstruction passes q straight through to z."""
        z = self.encoder(vectors)
        quantized = quantize(z, self.books, self.beta)
        rebuilt = self.decoder(z + (quantized.vector - z).detach())
        return Losses((vectors - rebuilt).pow(2).sum(dim=1).mean(), quantized.loss.mean())

    @torch.no_grad()
    def start(self, vectors: Tensor, rng: np.random.Generator) -> None:
        """Set the codebooks by k-means on the encoded vectors of all items, level by level, once."""
        if not bool(self.started):
            levels, size, _ = self.books.shape
            self.books.copy_(residual_k_means(self.encoder(vectors), levels, size, rng))
            self.started.fill_(True)

    @torch.no_grad()
    def restart_dead_codes(self, vectors: Tensor, rng: np.random.Generator) -> int:
        """Restart codes without an item on residuals of items, level by level. Returns the number of such codes."""
        residual, restarted = self.encoder(vectors), 0
        for book in self.books:
            fresh, dead = revived(residual, book, rng)
            book.copy_(fresh)
            residual = residual - book[nearest(residual, book)[0]]
            restarted += dead
        return restarted

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> Tensor:
        """(I, L)."""
        return residual_codes(self.encoder(vectors), self.books)


def _mlp(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
