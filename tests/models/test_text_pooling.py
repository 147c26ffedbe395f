"""Item vectors pooled from texts, against plain loops."""

import torch
from torch import nn

from gensr_model.data.text import ItemText
from gensr_model.models.text_pooling import pool_text


def test_pooled_text_is_the_mean_over_tokens() -> None:
    words = nn.Embedding(20, 5)
    bags = [[1, 2, 3], [], [4], [5, 5, 6, 7]]
    offsets = torch.tensor([0, 3, 3, 4, 8])
    text = ItemText(torch.tensor([token for bag in bags for token in bag]), offsets)
    items = torch.tensor([3, 1, 0])
    result = pool_text(words, text, items)
    for row, item in zip(result, items.tolist(), strict=True):
        bag = words.weight[bags[item]]
        torch.testing.assert_close(row, bag.mean(dim=0) if bags[item] else torch.zeros(5))


def test_pooled_text_follows_the_weights_of_its_tokens() -> None:
    words, weights = nn.Embedding(20, 5), torch.tensor([0.5, 0.25, 0.25, 1.0])
    text = ItemText(torch.tensor([1, 2, 3, 7]), torch.tensor([0, 3, 3, 4]), weights)
    result = pool_text(words, text, torch.tensor([2, 1, 0]))
    first = (words.weight[[1, 2, 3]] * weights[:3].unsqueeze(1)).sum(dim=0)
    torch.testing.assert_close(result, torch.stack([words.weight[7], torch.zeros(5), first]))
