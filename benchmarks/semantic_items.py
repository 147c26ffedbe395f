"""Semantic item vectors by `embedding_bag` over the distinct items of a batch, against embedding all tokens of every
occurrence, (B, H + C, tokens, d), and averaging."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import prepared, seconds, tell
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.text import ItemText, encode_items, train_tokenizer
from gensr_model.models.text_pooling import pool_text

BATCH, CANDIDATES, WIDTH = 64, 5, 64


def by_occurrence(words: nn.Embedding, text: ItemText, batch: Batch) -> Tensor:
    """(B, H + C, d): tokens padded to the longest text, embedded, masked and averaged at every place."""
    items = batch.items[torch.cat([batch.history, batch.candidates], dim=1)]
    start, length = text.offsets[items], text.offsets[items + 1] - text.offsets[items]
    place = torch.arange(int(length.max()))
    mask = place < length.unsqueeze(-1)
    tokens = text.tokens[(start.unsqueeze(-1) + place).clamp(max=len(text.tokens) - 1)]
    vectors = words(tokens) * mask.unsqueeze(-1)
    return vectors.sum(dim=2) / length.clamp(min=1).unsqueeze(-1)


def distinct(words: nn.Embedding, text: ItemText, batch: Batch) -> Tensor:
    """The same, each distinct item once."""
    return pool_text(words, text, batch.items)[torch.cat([batch.history, batch.candidates], dim=1)]


def main() -> None:
    dataset, config = prepared(users=1_000, items=800)
    tokenizer = train_tokenizer(dataset, config.model)
    text = encode_items(tokenizer, dataset.items, config.model.text)
    words = nn.Embedding(tokenizer.get_vocab_size(), WIDTH)
    samples = dataset.samples("train")
    rng = np.random.default_rng(0)
    samples = samples.take(rng.integers(len(samples), size=BATCH))
    lists = rng.integers(dataset.n_items, size=(BATCH, CANDIDATES))
    batch = BatchBuilder(dataset, config.model.max_history).build(samples, lists)

    def step(pool: object) -> Tensor:
        words.zero_grad()
        out: Tensor = pool(words, text, batch)  # type: ignore[operator]
        out.square().sum().backward()
        assert words.weight.grad is not None
        return words.weight.grad.clone()

    torch.testing.assert_close(distinct(words, text, batch), by_occurrence(words, text, batch))
    torch.testing.assert_close(step(distinct), step(by_occurrence), atol=1e-4, rtol=1e-3)
    ours, other = seconds(lambda: step(distinct)), seconds(lambda: step(by_occurrence))
    tell("semantic item vectors, forward and backward, against every token of every occurrence", ours, other)


if __name__ == "__main__":
    main()
