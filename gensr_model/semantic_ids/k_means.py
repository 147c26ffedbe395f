"""k-means on all items, and residual k-means: the control of RQ-VAE, and the start of its codebooks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_CHUNK = 2**16  # rows whose distances are in memory at once
_ROUNDS = 100


def nearest(vectors: Tensor, book: Tensor) -> tuple[Tensor, Tensor]:
    """Code (N,) of the nearest row of a codebook (K, d) for vectors (N, d), and its squared distance (N,)."""
    codes, distances = [], []
    for rows in vectors.split(_CHUNK):
        squared = rows.pow(2).sum(dim=1, keepdim=True) - 2 * rows @ book.T + book.pow(2).sum(dim=1)  # (n, K)
        least = squared.min(dim=1)
        codes.append(least.indices)
        distances.append(least.values.clamp(min=0))
    return torch.cat(codes), torch.cat(distances)


def seeded(vectors: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007): draw ``size`` vectors, each by its distance to those drawn before.

    (N, d) → (size, d). Where fewer vectors differ, some are drawn twice.
    """
    chosen = [vectors[int(rng.integers(len(vectors)))]]
    distance = nearest(vectors, chosen[0][None])[1]
    for _ in range(size - 1):
        chosen.append(vectors[_draw(distance, rng)])
        distance = torch.minimum(distance, nearest(vectors, chosen[-1][None])[1])
    return torch.stack(chosen)


def revived(vectors: Tensor, book: Tensor, rng: np.random.Generator) -> tuple[Tensor, int]:
    """Restart every dead code of a codebook (K, d) on a vector. A code is dead if it is nearest to no vector.

    The vectors are drawn as in k-means++. Returns the codebook and the number of dead codes.
    """
    codes, distance = nearest(vectors, book)
    dead = (torch.bincount(codes, minlength=len(book)) == 0).nonzero().flatten().tolist()
    book = book.clone()
    for code in dead:
        book[code] = vectors[_draw(distance, rng)]
        distance = torch.minimum(distance, nearest(vectors, book[code][None])[1])
    return book, len(dead)


def _draw(weight: Tensor, rng: np.random.Generator) -> int:
    """A row, drawn in proportion to its weight (N,). Any row where all weights are 0."""
    total = np.cumsum(weight.double().cpu().numpy())
    if total[-1] <= 0:
        return int(rng.integers(len(total)))
    return min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), len(total) - 1)


def k_means(vectors: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Centres (size, d) of the vectors (N, d) by Lloyd's rounds from k-means++, dead centres restarted."""
    book = seeded(vectors, size, rng)
    before = None
    for _ in range(_ROUNDS):
        book, _ = revived(vectors, book, rng)
        codes, _ = nearest(vectors, book)
        if before is not None and torch.equal(codes, before):
            break
        before = codes
        count = torch.bincount(codes, minlength=size).unsqueeze(1)
        mean = torch.zeros_like(book).index_add_(0, codes, vectors) / count.clamp(min=1)
        book = torch.where(count > 0, mean, book)
    return book


def residual_k_means(vectors: Tensor, levels: int, size: int, rng: np.random.Generator) -> Tensor:
    """Codebooks (levels, size, d): k-means of the vectors, then of the residuals that each level leaves."""
    books, residual = [], vectors
    for _ in range(levels):
        books.append(k_means(residual, size, rng))
        residual = residual - books[-1][nearest(residual, books[-1])[0]]
    return torch.stack(books)


def residual_codes(vectors: Tensor, books: Tensor, distinct: bool = False) -> Tensor:
    """Codes (N, levels) of vectors (N, d) by codebooks (levels, size, d). Each code is the nearest to the residual.

    Args:
        distinct: vectors with equal codes before the last level get different last codes, as in ``_distinct_codes``.
    """
    codes: list[Tensor] = []
    residual = vectors
    for level, book in enumerate(books, start=1):
        code, _ = nearest(residual, book)
        if distinct and level == len(books):
            code = _distinct_codes(
                torch.stack(codes, dim=1) if codes else code.new_zeros(len(code), 1), residual, code, book
            )
        codes.append(code)
        residual = residual - book[code]
    return torch.stack(codes, dim=1)


def _distinct_codes(prefix: Tensor, residual: Tensor, code: Tensor, book: Tensor) -> Tensor:
    """The last codes (N,), different within a prefix (N, levels − 1), at the least sum of squared distances.

    Where a prefix has more vectors than there are codes, they keep the nearest code, ``code`` (N,), so that a collapse
    stays visible. After LC-Rec (Zheng et al. 2024, uniform semantic mapping), which spreads them by Sinkhorn's
    algorithm.
    """
    _, bucket, sizes = np.unique(prefix.cpu().numpy(), axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(bucket.ravel(), kind="stable")
    code = code.clone()
    for rows in np.split(order, np.cumsum(sizes)[:-1]):
        place = torch.from_numpy(rows).to(code.device)
        if 1 < len(rows) <= len(book) and len(torch.unique(code[place])) < len(rows):
            cost = torch.cdist(residual[place].double(), book.double()).pow(2)
            code[place] = torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(code)
    return code
