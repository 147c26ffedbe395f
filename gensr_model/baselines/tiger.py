"""TIGER (Rajput et al., NeurIPS 2023): the next item as the four codes of its semantic id.

Departures: a T5 from scratch that is smaller than the paper's. The softmax covers only the codes that an item has at
the place, the only possible answers.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gensr_model.baselines.generator import Generator, random_codes, side_by_side, small_t5
from gensr_model.baselines.inputs import REC, USER, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.data.prepared import IntArray
from gensr_model.errors import ConfigError

LEVELS, CODES = 4, 256  # codes of an id, and the largest number of codes per level
_USERS = 2_000  # number of user tokens, which users share


class TIGER(Generator):
    """TIGER: reads a user token and the codes of the latest items. Each level has tokens of its own.

    The ids come from the stage ``semantic-ids``. Without it they are random, as a control.

    Args:
        latest: number of latest items that the model reads.
    """

    reads: ClassVar[frozenset[str]] = frozenset({USER, REC})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    negatives: ClassVar[int | None] = 0
    needs: ClassVar[tuple[str, ...]] = ("codes",)

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, decoder_layers: int = 2, dropout: float = 0.1,
        latest: int = 20,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latest, self.first_code = latest, 1 + _USERS
        self.t5 = small_t5(self.first_code + LEVELS * CODES, dim, layers, decoder_layers, dropout)
        self.set_ids(self._tokens(random_codes(domain.n_items, 64, LEVELS)))

    def receive(self, name: str, value: Tensor) -> None:
        """Take the codes (I, 4) of the items. Raises ConfigError for ids of another length."""
        assert name == "codes"
        if value.shape[1] != LEVELS:
            raise ConfigError(
                f"TIGER reads ids of {LEVELS} codes, but these have {value.shape[1]}. Set "
                f"semantic_ids.levels to {LEVELS - 1}."
            )
        self.ids.copy_(self._tokens(value.numpy()))

    def _tokens(self, codes: IntArray) -> Tensor:
        return torch.from_numpy(codes + np.arange(LEVELS) * CODES + self.first_code)

    def prompt(self, batch: BaselineBatch) -> Tensor:
        history = batch.rec_history
        items, mask = history.item[:, -self.latest :], history.mask[:, -self.latest :]
        codes = (self.ids[items] * mask.unsqueeze(-1)).flatten(1)  # (B, 4H)
        user = 1 + (batch.user * 2_654_435_761 % 2**32) % _USERS  # Knuth's multiplicative hash
        return side_by_side([user.unsqueeze(1), codes])
