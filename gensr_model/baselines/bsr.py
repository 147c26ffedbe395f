"""BSR (Penha et al., RecSys 2024): one token per item; next item and query → item are both generation.

Departures: a T5 from scratch with the words of the ``Lexicon`` instead of flan-t5-base. The softmax covers only items,
the only possible answers. An item token starts from a small random vector, as the paper gives it no content.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gensr_model.baselines.base import DotBaseline
from gensr_model.baselines.generator import PAD, Generator, attend_to_one_place, side_by_side, small_t5
from gensr_model.baselines.inputs import QUERY, REC, BaselineBatch, Domain
from gensr_model.config.base import TASKS, Task

TASK_WORDS = len(TASKS)  # tokens after padding, one for each task


class BSR(DotBaseline, Generator):
    """BSR: the logit of an item is the first decoder state · the vector of the item's token.

    Recommendation reads the latest items of the history, search the words of the query. A token for the task comes
    last. Tokens in order: padding, the tasks, the words of queries, the items.

    Args:
        latest: number of latest items that the model reads.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC, QUERY})
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    negatives: ClassVar[int | None] = 0

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, decoder_layers: int = 1, dropout: float = 0.1,
        latest: int = 20,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latest, self.item_loss = latest, "catalogue"
        self.first_word = 1 + TASK_WORDS
        self.first_item = self.first_word + domain.n_words
        self.t5 = small_t5(self.first_item + domain.n_items, dim, layers, decoder_layers, dropout)
        attend_to_one_place(self.t5)
        self.set_ids(torch.arange(self.first_item, self.first_item + domain.n_items).unsqueeze(1))

    @property
    def item_vectors(self) -> Tensor:
        return self.t5.shared.weight[self.first_item :]

    def prompt(self, batch: BaselineBatch) -> Tensor:
        history, searched = batch.rec_history, (batch.task == 1).unsqueeze(1)
        items = (history.item + self.first_item) * (history.mask & ~searched)
        words = (batch.query + self.first_word) * ((batch.query != 0) & searched)
        return side_by_side([items[:, -self.latest :], words, 1 + batch.task.unsqueeze(1)])

    def state(self, batch: BaselineBatch) -> Tensor:
        """(B, d) the first decoder state."""
        start = torch.full_like(batch.task, PAD).unsqueeze(1)
        return self.decoder_states(self.prompt(batch), start)[:, 0]
