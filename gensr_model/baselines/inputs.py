"""The input contract: a model declares the fields that it reads, and gets only these.

A model that reads only ``rec_history`` never sees a search event; the purchase history of a search model is
``src_history``. Reading an undeclared field is an error, so a contract cannot be wrong without notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from gensr_model.baselines.words import Lexicon
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.data.text import ItemText
from gensr_model.errors import ConfigError, GensrError

# The fields that a model may declare. The first five are fields of a batch; item_text is Domain.item_text.
USER, QUERY, REC, SRC, MIXED, TEXT = "user", "query", "rec_history", "src_history", "history", "item_text"
FIELDS = frozenset({USER, QUERY, REC, SRC, MIXED, TEXT})
READS_WORDS = frozenset({QUERY, SRC, MIXED, TEXT})  # these need a vocabulary


class ContractError(GensrError, AttributeError):
    """A model reads a field that it has not declared."""


class _Declared:
    """A record with some of its fields. Reading another field raises ContractError."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise ContractError(
                f"{type(self).__name__}.{name} is missing, because the model's `reads` does not "
                f"declare it. Declare it; declared are {', '.join(sorted(self.__dict__))}."
            )

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def to(self, device: torch.device) -> Self:
        """The same record on a device."""
        moved = {
            k: v.to(device) if isinstance(v, _Declared) else v.to(device, non_blocking=True)
            for k, v in self.__dict__.items()
        }
        return type(self)(**moved)


class History(_Declared):
    """The latest events before the sample, oldest first, padded on the left where the mask is False."""

    item: Tensor  # (B, H) item_idx, 0 at padding
    mask: Tensor  # (B, H) bool
    behavior: Tensor  # (B, H) 0 recommendation, 1 search; only in ``history``
    query: Tensor  # (B, H, L) word ids, 0 at padding and for recommendation; not in ``rec_history``


class BaselineBatch(_Declared):
    """B samples with C candidates each, and the declared fields."""

    candidates: Tensor  # (B, C) item_idx; in training column 0 is the positive
    task: Tensor  # (B,) 0 recommendation, 1 search
    user: Tensor  # (B,) user_idx
    query: Tensor  # (B, L) word ids, padded on the left with 0; all 0 for recommendation
    rec_history: History  # only recommendation events
    src_history: History  # only search events: the bought or clicked item and the query
    history: History  # both, in order of time

    def take(self, rows: Tensor) -> BaselineBatch:
        """The samples at ``rows`` (indices or a mask)."""
        return BaselineBatch(**{name: _rows(value, rows) for name, value in self.__dict__.items()})


def _rows(value: Tensor | History, rows: Tensor) -> Tensor | History:
    if isinstance(value, Tensor):
        return value[rows]
    return History(**{name: tensor[rows] for name, tensor in value.__dict__.items()})


class Domain(NamedTuple):
    """The items, users and words that a model is built for."""

    n_items: int
    n_users: int
    n_words: int  # word ids, 0 is padding; 0 for a contract without words
    max_history: int
    item_text: ItemText | None = None  # word ids of the item texts; None where ``item_text`` is not declared


class Collator:
    """Builds batches by array indexing over the event columns.

    Args:
        contract: the FIELDS to fill.
        max_history: number of latest events in each history.
        lexicon: needed by a contract that reads words.
    Raises:
        ConfigError: the contract names an unknown field, or words without a lexicon.
    """

    def __init__(
        self, dataset: PreparedDataset, contract: frozenset[str], max_history: int, lexicon: Lexicon | None
    ) -> None:
        if contract - FIELDS:
            raise ConfigError(
                f"a model reads the unknown fields {sorted(contract - FIELDS)}. Choose from "
                f"{', '.join(sorted(FIELDS))}."
            )
        if lexicon is None and contract & READS_WORDS:
            raise ConfigError(
                f"a model reads {sorted(contract & READS_WORDS)}, which need a lexicon, but there is "
                "none. Pass a lexicon."
            )
        self.contract, self.max_history, self.lexicon = contract, max_history, lexicon
        self.events = dataset.events
        self.domain = Domain(
            dataset.n_items,
            dataset.n_users,
            lexicon.n_words if lexicon is not None and contract & READS_WORDS else 0,
            max_history,
            lexicon.item_text if lexicon is not None and TEXT in contract else None,
        )
        # Events of one behavior by number, and for each event how many of that behavior lie before it.
        self._of, self._before = [], []
        for behavior in (0, 1):
            chosen = self.events.behavior == behavior
            self._of.append(np.flatnonzero(chosen))
            self._before.append(np.concatenate([[0], np.cumsum(chosen)]))

    def lengths(self, samples: Samples) -> IntArray:
        """(N,) number of events of each sample in all declared histories, at most ``max_history`` in each."""
        total = np.zeros(len(samples), np.int64)
        for name in (REC, SRC, MIXED):
            if name in self.contract:
                start, end, _ = self._range(samples, name)
                total += np.minimum(end - start, self.max_history)
        return total

    def build(self, samples: Samples, candidates: IntArray) -> BaselineBatch:
        """A batch of ``samples`` (B) with ``candidates`` (B, C) item_idx."""
        fields: dict[str, Any] = {
            "candidates": torch.from_numpy(candidates.astype(np.int64)),
            "task": torch.from_numpy(samples.task.copy()),
        }
        if USER in self.contract:
            fields[USER] = torch.from_numpy(samples.user.copy())
        if QUERY in self.contract:
            fields[QUERY] = torch.from_numpy(self._words(samples.query))
        for name in (REC, SRC, MIXED):
            if name in self.contract:
                fields[name] = self._history(samples, name)
        return BaselineBatch(**fields)

    def _range(self, samples: Samples, name: str) -> tuple[IntArray, IntArray, IntArray | None]:
        """(B,) first and (B,) last place of each sample's events in the third result, or event numbers."""
        if name == MIXED:
            return samples.history_start, samples.history_end, None
        behavior = (REC, SRC).index(name)
        before = self._before[behavior]
        return before[samples.history_start], before[samples.history_end], self._of[behavior]

    def _history(self, samples: Samples, name: str) -> History:
        start, end, events = self._range(samples, name)
        width = max(1, min(self.max_history, int(np.max(end - start, initial=1))))
        place = end[:, None] - np.arange(width, 0, -1)  # (B, H)
        mask = place >= start[:, None]
        place = np.where(mask, place, 0)
        if events is not None and len(events):
            place = events[place]
        fields = {"item": np.where(mask, self.events.item[place], 0), "mask": mask}
        if name == MIXED:
            fields["behavior"] = np.where(mask, self.events.behavior[place], 0)
        if name != REC:
            fields["query"] = self._words(np.where(mask, self.events.query[place], -1))
        return History(**{key: torch.from_numpy(value) for key, value in fields.items()})

    def _words(self, query: IntArray) -> IntArray:
        """Word ids (..., L) of queries (...), -1 for none, cut to the longest."""
        assert self.lexicon is not None  # the contract was checked
        words = self.lexicon.queries[query]
        used = np.flatnonzero((words != 0).reshape(-1, words.shape[-1]).any(axis=0))
        first = int(used[0]) if len(used) else words.shape[-1] - 1
        return np.ascontiguousarray(words[..., first:])
