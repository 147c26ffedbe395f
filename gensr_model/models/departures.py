"""GenSR's departures from the paper (``model.departures``). docs/reference/beyond_the_paper.md explains each.

A departure that is off is ``Unchanged``, so the equations in gensr.py and views.py read as printed. fold_tables.py has
departure AL: tables trained without a fold of the purchases.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.data.batches import Batch
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.models.item_vectors import ReadBatch
from gensr_model.models.text_pooling import Tokens, mean_tokens, pool_text, pool_tokens, tokens_of


class Unchanged(nn.Module):
    """The paper's model: vectors pass unchanged."""

    def forward(self, vectors: Tensor, *_: object) -> Tensor:
        """(...) → the same."""
        return vectors

    def select(self, rows: Tensor) -> None:
        """Do nothing: there are no parameters per item."""


# --- AM, AN: products --------------------------------------------------------------------------------------------


class HistoryProduct(nn.Module):
    """AM: adds W (h ⊙ c), the product of history and candidate, to the history's placeholder."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, width, bias=False)

    def forward(self, slot: Tensor, history: Tensor, candidate: Tensor) -> Tensor:
        """(B, C, d_model), and (B, C, d) twice → (B, C, d_model)."""
        product: Tensor = self.weight(history * candidate)
        return slot + product


class QueryProduct(nn.Module):
    """AN: adds W (q ⊙ s), the product of query and candidate, to the candidate's text placeholder.

    q is the mean of the query's token vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width, width, bias=False)

    def forward(self, slot: Tensor, candidate: Tensor, words: nn.Embedding, prompts: PromptTable) -> Tensor:
        """(B, C, d_model), the same, the backbone's token vectors, prompts of B rows → (B, C, d_model)."""
        query = mean_tokens(words, prompts.query, prompts.query_length)  # (B, d_model)
        product: Tensor = self.weight(query.unsqueeze(1) * candidate)
        return slot + product


# --- AP: where the soft filter starts ----------------------------------------------------------------------------


def start_as_identity(attention: nn.MultiheadAttention) -> None:
    """AP: W_Q, W_K, W_V and the output projection become identities, in place.

    From the first step on, events that are like the candidate weigh most, and the output lies in the space of the
    items.
    """
    for weight in (*attention.in_proj_weight.data.chunk(3), attention.out_proj.weight):
        nn.init.eye_(weight)


# --- AJ: a vector per item ---------------------------------------------------------------------------------------


class ItemEmbedding(nn.Module):
    """AJ: adds a vector per item. It starts at zero and stays there for items without training samples.

    Args:
        items: I, the number of items in training.
        dim: d.
    """

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(items, dim))

    def forward(self, vectors: Tensor, items: Tensor, cold: Tensor | None = None) -> Tensor:
        """(M, d) of item ids (M,) → (M, d); nothing is added where ``cold`` (M,) is True."""
        learned = F.embedding(items, self.table)
        return vectors + (learned if cold is None else learned * ~cold.unsqueeze(-1))

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: item i takes row ``rows[i]``, or zeros where that is -1."""
        chosen = self.table.data[rows.clamp(min=0)] * (rows >= 0).unsqueeze(1)
        self.table = nn.Parameter(chosen, requires_grad=self.table.requires_grad)


# --- AK, AO: how training reads a batch --------------------------------------------------------------------------


class TrainingReading(nn.Module):
    """How training reads a batch. AO makes some items cold; AK drops words from the text of a search's positive."""

    def __init__(self, cold_items: float) -> None:
        super().__init__()
        self.cold_items = cold_items

    def forward(self, batch: Batch, text: ItemText) -> ReadBatch:
        """The batch as the model reads it: unchanged in evaluation, and in training where both departures are off.

        Cold items are drawn before positives are copied, so an item is cold in the whole batch or nowhere in it.
        """
        if not self.training:
            return ReadBatch(batch)
        cold = drawn_cold(self.cold_items, batch.items)
        if text.lone_query is None:
            return ReadBatch(batch, cold)
        if cold is not None:
            cold = torch.cat([cold, cold[batch.candidates[:, 0]]])
        return ReadBatch(batch.own_positives(), cold, batch.query)


def drawn_cold(share: float, items: Tensor) -> Tensor | None:
    """(M,) which items of a training batch are read as new items that nobody has met. None where the share is 0."""
    return torch.rand(len(items), device=items.device) < share if share > 0 else None


def pool_read_text(embedding: nn.Embedding | nn.Linear, text: ItemText, read: ReadBatch) -> Tensor:
    """``pool_text`` of a batch's items, (M, d_model), without the words that ``read`` drops from their texts."""
    if text.weights is None or (read.cold is None and read.left_out is None):
        return pool_text(embedding, text, read.batch.items)
    tokens = tokens_of(text, read.batch.items)
    weights = text.weights[tokens.place]
    if read.left_out is not None:
        weights = _without_lone_words(text, tokens, weights, read.left_out)
    if read.cold is not None and text.cold_weights is not None:
        is_cold = read.cold.repeat_interleave(tokens.length)  # (T',)
        weights = torch.where(is_cold, text.cold_weights[tokens.place], weights)
    return pool_tokens(embedding, text, tokens, weights)


def _without_lone_words(text: ItemText, tokens: Tokens, weights: Tensor, query: Tensor) -> Tensor:
    """(T',) token weights without tokens that only ``query`` (m,) contributed to the last m items. −1 is no query.

    The other searches take over the weight of the whole field. Where none is left, the other fields take it.
    """
    assert text.cold_weights is not None and text.lone_query is not None  # noqa: PT018  # for the type checker
    length = tokens.length[-len(query) :]
    others = len(weights) - int(length.sum())  # tokens of the items before
    place, weights_of_last = tokens.place[others:], weights[others:]
    cold, lone = text.cold_weights[place], text.lone_query[place]
    bag = torch.arange(len(length), device=length.device).repeat_interleave(length, output_size=len(place))
    field = weights_of_last.masked_fill(cold > 0, 0.0)
    left = field.masked_fill((lone == query[bag]) & (lone >= 0), 0.0)
    whole, rest = (weights.new_zeros(len(length)).index_add(0, bag, part)[bag] for part in (field, left))
    changed = torch.where(rest > 0, weights_of_last - field + left * whole / rest, cold)
    return torch.cat([weights[:others], changed])
