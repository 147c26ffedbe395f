"""Departure AT (docs/reference/beyond_the_paper.md): weighted counts of training's searches, purchases and neighbors.

The counts for a training sample leave out its own pair of user and item, which would reveal the answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from gensr_model.data.batches import Batch
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.data.text import PromptTable
from gensr_model.models.text_pooling import TextBuffers

_ITEMS_TOGETHER = 4_096
_GAPS, _GAMMA = 20, 0.7  # the order of a user's items that lie farther apart than _GAPS does not count
# Initial weights of ``both`` and ``after``, and initial powers of n_h and n_i.
_KIND_WEIGHT, _POWER = (20.0, 40.0), (0.5, 0.3)
_FADES = 0.9  # initial weight of an event relative to the next one


class SparseRows(NamedTuple):
    """A sparse matrix (R, J) row by row, the columns of a row in rising order."""

    first: Tensor  # (R + 1,): the entries of row r are first[r] … first[r + 1] − 1
    key: Tensor  # (E,) r · J + column
    value: Tensor  # (E, V) floats

    @staticmethod
    def of(*matrices: sparse.csr_array) -> SparseRows:
        """The entries of the first matrix, each with its value in every matrix."""
        whole = matrices[0]
        whole.sort_indices()
        rows = np.repeat(np.arange(whole.shape[0]), np.diff(whole.indptr))
        values = np.stack([whole.data, *(np.asarray(other[rows, whole.indices]) for other in matrices[1:])], axis=1)
        parts = (whole.indptr.astype(np.int64), rows * whole.shape[1] + whole.indices, values.astype(np.float32))
        return SparseRows(*(torch.from_numpy(part) for part in parts))

    def entries(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """All entries of rows (n,), E' in all.

        Returns:
            (E',) the index of the row that owns each entry, and (E',) the place of each entry in ``key``.
        """
        start, length = self.first[rows], self.first[rows + 1] - self.first[rows]
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(length)
        before = (length.cumsum(0) - length)[owner]
        return owner, start[owner] + torch.arange(len(owner), device=rows.device) - before

    def at(self, keys: Tensor) -> Tensor:
        """(n, V) the values at keys (n,). 0 for a key that is not there."""
        place = torch.searchsorted(self.key, keys)
        exists = torch.cat([self.key, self.key.new_tensor([-1])])[place] == keys
        return F.pad(self.value, (0, 0, 0, 1))[place] * exists.unsqueeze(1)


TABLES = ("query_keys", "met_by", *(f"{table}_{part}" for table in ("searched", "near") for part in SparseRows._fields))


class KnownPairs(nn.Module):
    """An item's logit from counts: popularity, searches of the query that found it, nearness to the history.

    Nearness is log(1 + Σ_h w_h (a both(h, i) + b after(h, i)) / n_h^p n_i^q):

    - n: users of training who met an item.
    - both: users who met both items.
    - after: over users who met i after h, the sum of γ to the number of items between them.

    With b = 0 and p = q = ½ the sum is item-kNN's. All weights and powers are learned: w_h by behavior and recency of
    the event, the weights of popularity and nearness for each task.

    Args:
        tables: the result of ``count``, or tensors of the same shapes.
        max_history: largest number of events in a history.
    """

    def __init__(self, tables: dict[str, Tensor], max_history: int) -> None:
        super().__init__()
        for name, tensor in tables.items():
            self.register_buffer(name, tensor)
        self.count_weight = nn.Parameter(torch.ones(2))
        self.popularity_weight = nn.Parameter(torch.zeros(2))
        self.event_weight = nn.Parameter(_FADES ** torch.arange(max_history).repeat(2, 1))
        self.near_weight = nn.Parameter(torch.ones(2))
        self.log_kind_weight = nn.Parameter(torch.tensor(_KIND_WEIGHT).log())
        self.power = nn.Parameter(torch.tensor(_POWER))
        self.met_by: Tensor
        self.query_keys: Tensor
        self.row_of: Tensor  # (I,) the row of an item in training, −1 for an item that training did not have
        self.register_buffer("row_of", torch.arange(len(self.met_by)), persistent=False)

    def forward(self, batch: Batch, prompts: PromptTable, items: Tensor) -> Tensor:
        """(B, n) logits of the distinct items (n,) for a batch and the prompts of its queries."""
        width, count = len(self.met_by), len(items)
        # Columns of other items share one extra column, which is cut off at the end.
        place = torch.full((width + 1,), count, device=items.device)
        place[self.row_of[items]] = torch.arange(count, device=items.device)  # the last stands for −1
        place[-1] = count
        query = self._query_rows(prompts)
        asked = torch.nonzero(query >= 0).squeeze(1)
        owner, entry = self._searched.entries(query[asked])
        cells = asked[owner] * (count + 1) + place[self._searched.key[entry] % width]
        empty = self.met_by.new_zeros(len(batch.task) * (count + 1))
        searches = empty.index_add(0, cells, self._of_count(self._searched.value[entry, 0]))
        sample, event, weight, _ = self._events(batch)
        owner, entry = self._near.entries(event)
        column = self._near.key[entry] % width
        cells = sample[owner] * (count + 1) + place[column]
        near = self._near.value[entry] @ self.log_kind_weight.exp() * self._scale(column, 1)
        near = empty.index_add(0, cells, weight[owner] * near)
        known = torch.cat([self.met_by, self.met_by.new_zeros(1)])[self.row_of[items]]
        logits = searches.view(-1, count + 1) + self._of_near(batch, near.view(-1, count + 1))
        return logits[:, :count] + self.popularity_weight[batch.task].unsqueeze(1) * torch.log1p(known)

    def of_positive(self, batch: Batch, prompts: PromptTable, target: Tensor) -> Tensor:
        """(B,) logits of each sample's positive (B,), with counts as if the sample's user had never met it."""
        width, query = len(self.met_by), self._query_rows(prompts)
        others = self._searched.at(query * width + target)[:, 0] - 1
        logits = self._of_count(others.clamp(min=0)) * (query >= 0)
        logits = logits + self.popularity_weight[batch.task] * torch.log1p(self.met_by[target] - 1)
        sample, event, weight, between = self._events(batch)
        own = torch.stack([torch.ones_like(weight), _GAMMA**between], dim=1)
        near = (self._near.at(event * width + target[sample]) - own).clamp(min=0) @ self.log_kind_weight.exp()
        near = weight * near * self._scale(target[sample], 1, less=1)
        near = torch.zeros_like(logits).index_add(0, sample, near)
        return logits + self._of_near(batch, near.unsqueeze(1)).squeeze(1)

    def _of_near(self, batch: Batch, near: Tensor) -> Tensor:
        return self.near_weight[batch.task].unsqueeze(1) * torch.log1p(near.clamp(min=0))

    def _of_count(self, count: Tensor) -> Tensor:
        return self.count_weight[0] * torch.log1p(count) + self.count_weight[1] * (count > 0)

    def _events(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The batch's events of known items, (E,) each: sample, row of the item, w_h / n_h^p, and distinct items since.

        An item that the user met twice counts at its first time.
        """
        width = batch.history.shape[1]
        same = (batch.history.unsqueeze(2) == batch.history.unsqueeze(1)) & batch.history_mask.unsqueeze(1)
        first = same.int().argmax(dim=2)  # (B, H) first place of each event's item
        new = (first == torch.arange(width, device=first.device)) & batch.history_mask
        between = new.sum(dim=1, keepdim=True) - new.cumsum(dim=1).gather(1, first)
        sample, column = torch.nonzero(batch.history_mask, as_tuple=True)
        event = self.row_of[batch.items[batch.history[sample, column]]]
        sample, column, event = (part[event >= 0] for part in (sample, column, event))
        weight = self.event_weight[batch.behavior[sample, column], width - 1 - column]
        return sample, event, weight * self._scale(event, 0), between[sample, column].float()

    def _scale(self, rows: Tensor, power: int, less: int = 0) -> Tensor:
        return (self.met_by[rows] - less).clamp(min=1) ** -self.power[power]

    def _query_rows(self, prompts: PromptTable) -> Tensor:
        """(B,) training's row of each query. −1 without a query, and for a query that training lacks."""
        wanted = query_keys(prompts)
        place = torch.searchsorted(self.query_keys, wanted)
        exists = torch.cat([self.query_keys, wanted.new_zeros(1)])[place] == wanted
        return torch.where(exists & (prompts.query_length > 0), place, -1)

    @property
    def _searched(self) -> SparseRows:
        return SparseRows(*(self.get_buffer(f"searched_{name}") for name in SparseRows._fields))

    @property
    def _near(self) -> SparseRows:
        return SparseRows(*(self.get_buffer(f"near_{name}") for name in SparseRows._fields))

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: its item i is item ``rows[i]`` of training, or unknown (−1)."""
        self.row_of = self.row_of[rows.clamp(min=0)].masked_fill(rows < 0, -1)


def query_keys(prompts: PromptTable) -> Tensor:
    """(B,) a hash of each query's tokens, which matches equal queries of different lists."""
    key = torch.zeros_like(prompts.query_length)
    for place in range(prompts.query.shape[1]):
        inside = place < prompts.query_length
        key = torch.where(inside, key * 0x9E3779B97F4A7C1 + prompts.query[:, place] + 1, key)  # modulo 2^64
    return key


def count(dataset: PreparedDataset, text: TextBuffers, neighbors: int) -> dict[str, Tensor]:
    """The buffers of ``KnownPairs``: training's searches by query, users by item, and neighbors of each item.

    Each item has the ``neighbors`` items of the largest cosines, with the number of users who met both.
    """
    train, items = dataset.samples("train"), dataset.n_items
    searches = train.take(train.query >= 0)
    every = query_keys(text.prompts(torch.arange(dataset.n_queries))).numpy()
    keys, row = np.unique(every[searches.query], return_inverse=True)
    ones = np.ones(len(searches), np.float32)
    searched: sparse.csr_array = sparse.csr_array((ones, (row, searches.item)), shape=(len(keys), items))
    searched.sum_duplicates()
    user, item = _first_met(train, items)
    met: sparse.csr_array = sparse.csr_array((np.ones(len(user), np.float32), (user, item)), (dataset.n_users, items))
    met_by = np.bincount(item, minlength=items).astype(np.float32)
    near = _nearest(met, met_by, neighbors)
    tables = {"searched": SparseRows.of(searched), "near": SparseRows.of(near, _after(user, item, items))}
    parts = {f"{name}_{part}": tensor for name, table in tables.items() for part, tensor in table._asdict().items()}
    return {"query_keys": torch.from_numpy(keys), "met_by": torch.from_numpy(met_by), **parts}


def _first_met(train: Samples, items: int) -> tuple[IntArray, IntArray]:
    """Users and items of the distinct pairs (P,), by user and in the order in which the user first met them."""
    order = np.lexsort((train.history_end, train.user))
    _, first = np.unique((train.user * items + train.item)[order], return_index=True)
    rows = order[np.sort(first)]
    return train.user[rows], train.item[rows]


def _after(user: IntArray, item: IntArray, items: int) -> sparse.csr_array:
    """(I, I) ``after`` of the row's and the column's item, as ``KnownPairs`` defines it."""
    gaps = range(1, _GAPS + 1)
    same = [user[gap:] == user[:-gap] for gap in gaps]
    before = np.concatenate([item[:-gap][rows] for gap, rows in zip(gaps, same, strict=True)])
    after = np.concatenate([item[gap:][rows] for gap, rows in zip(gaps, same, strict=True)])
    weights = np.repeat(_GAMMA ** np.arange(_GAPS), [int(rows.sum()) for rows in same])
    return sparse.csr_array((weights, (before, after)), (items, items))


def _nearest(met: sparse.csr_array, met_by: npt.NDArray[np.float32], neighbors: int) -> sparse.csr_array:
    """(I, I) users who met both items, for the nearest columns of each row. Of equal ones the smaller item_idx is
    nearer.
    """
    by_item, parts = sparse.csr_array(met.T), []
    for start in range(0, by_item.shape[0], _ITEMS_TOGETHER):
        both = sparse.coo_array(by_item[start : start + _ITEMS_TOGETHER] @ met)
        other = both.row + start != both.col
        row, column, value = both.row[other], both.col[other], both.data[other]
        order = np.lexsort((column, -value / np.sqrt(met_by[column]), row))
        row, column, value = row[order], column[order], value[order]
        near = np.arange(len(row)) - np.searchsorted(row, row) < neighbors
        parts.append(sparse.csr_array((value[near], (row[near], column[near])), shape=both.shape))
    return sparse.csr_array(sparse.vstack(parts))
