"""All rivals by name. To add one: a file with its ``Rival``, and a line here."""

from __future__ import annotations

from typing import Any, NamedTuple

from gensr_model.baselines.jsr import JSR
from gensr_model.baselines.product_search import AEM, HEM, QEM, ZAM
from gensr_model.baselines.rival import Rival
from gensr_model.baselines.sasrec import SASRec
from gensr_model.baselines.unified_ssr import UnifiedSSR
from gensr_model.baselines.unisar import UniSAR
from gensr_model.baselines.user import USER
from gensr_model.config import Task

Grid = dict[str, tuple[Any, ...]]
# Tuned for every system; the first value of each is the default. ``learning_rate``, ``weight_decay`` and ``batch_size``
# go to the trainer, other names to the model. A grid must have at least as many points as a tuning has trials.
LEARNING: Grid = {"learning_rate": (1e-3, 3e-3, 3e-4), "weight_decay": (0.01, 0.1)}


class System(NamedTuple):
    """A rival as the table has it."""

    model: type[Rival]
    title: str
    block: str  # of the paper's tables: recommendation, search, search-enhanced, joint
    grid: Grid  # what is tuned on valid

    @property
    def reads(self) -> frozenset[str]:
        """The input contract."""
        return self.model.reads

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.model.tasks


SYSTEMS: dict[str, System] = {
    "sasrec": System(SASRec, "SASRec", "recommendation", LEARNING | {"dropout": (0.5, 0.2)}),
    "qem": System(QEM, "QEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "hem": System(HEM, "HEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "aem": System(AEM, "AEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "zam": System(ZAM, "ZAM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "jsr": System(JSR, "JSR", "joint", LEARNING | {"word_weight": (1.0, 0.1)}),
    "user": System(USER, "USER", "joint", LEARNING | {"dropout": (0.1, 0.3)}),
    "unified_ssr": System(UnifiedSSR, "UnifiedSSR", "joint", LEARNING | {"dropout": (0.5, 0.2)}),
    "unisar": System(UniSAR, "UniSAR", "joint", LEARNING | {"search_weight": (0.1, 0.01, 1.0)}),
}
