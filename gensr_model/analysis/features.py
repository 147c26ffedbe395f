"""X of the mutual information analysis: the input of every model, before any training (§6.4.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.text_pooling import TextBuffers, masked_mean, mean_tokens, pool_text

_WIDEST = 64  # wider blocks are projected: a critic with thousands of samples cannot use thousands of features
_BATCH = 512


class Features(NamedTuple):
    """Blocks of features, side by side."""

    values: npt.NDArray[np.float32]  # (N, D)
    blocks: tuple[int, ...]  # their widths, D in all


class Pairs(NamedTuple):
    """One candidate per sample: the positive or a negative, in turn."""

    samples: Samples
    candidates: IntArray  # (N, 2): positive, first frozen negative
    chosen: IntArray  # (N,) column of the sample's candidate


def balanced_pairs(samples: Samples, negatives: IntArray, per_positive: int = 1) -> Pairs:
    """One sample in ``1 + per_positive`` with its positive, and the others with a frozen negative.

    At 1:1 rare positives do not bound the answer's entropy, and H(Ŷ) can reach ln 2.
    """
    candidates = np.stack([samples.item, negatives[:, 0]], axis=1)
    chosen = (np.arange(len(samples)) % (1 + per_positive) > 0).astype(np.int64)
    return Pairs(samples, candidates, chosen)


@torch.inference_mode()
def input_features(
    dataset: PreparedDataset, pairs: Pairs, cf: CFTable, words: nn.Embedding, text: TextBuffers, max_history: int
) -> Features:
    """Features of the chosen candidates, the same for every analysed model.

    Blocks: mean history and candidate of each view, and the query's mean token vector, from the frozen LightGCN table
    and the backbone's initial embeddings; then the cosines between them. A cosine is a function of the blocks and adds
    no information. It saves the critic from learning products with few samples.
    """
    builder = BatchBuilder(dataset, max_history)
    wanted = pairs.candidates[np.arange(len(pairs.chosen)), pairs.chosen][:, None]
    parts = []
    for start in range(0, len(wanted), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(wanted)))
        batch = builder.build(pairs.samples.take(rows), wanted[rows])
        parts.append(_batch_features(batch, cf, words, text))
    blocks = [torch.cat(block) for block in zip(*parts, strict=True)]
    narrow = [_narrow(block, number) for number, block in enumerate(blocks)]
    return Features(torch.cat(narrow, dim=1).numpy(), tuple(block.shape[1] for block in narrow))


def _batch_features(batch: Batch, cf: CFTable, words: nn.Embedding, text: TextBuffers) -> list[Tensor]:
    blocks, cosines = [], []
    item_vectors = [cf(batch.items), pool_text(words, text.bags, batch.items)]  # each (M, d)
    for vectors in item_vectors:
        mask = batch.history_mask
        history = masked_mean(vectors[batch.history] * mask.unsqueeze(-1), mask)  # (B, d)
        candidate = vectors[batch.candidates[:, 0]]  # (B, d)
        blocks += [history, candidate]
        cosines.append(F.cosine_similarity(history, candidate))
    if bool((batch.query >= 0).any()):
        prompts = text.prompts(batch.query)
        query = mean_tokens(words, prompts.query, prompts.query_length)
        blocks.append(query)
        cosines.append(F.cosine_similarity(query, blocks[3]))
    return [*blocks, torch.stack(cosines, dim=1)]


def _narrow(block: Tensor, number: int) -> Tensor:
    """A block (N, d) of at most `_WIDEST` columns, by a fixed random projection, which roughly preserves distances."""
    if block.shape[1] <= _WIDEST:
        return block
    generator = torch.Generator().manual_seed(number)
    return block @ torch.randn(block.shape[1], _WIDEST, generator=generator) / _WIDEST**0.5
