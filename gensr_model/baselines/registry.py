"""All rivals by name. To add one: a file with its ``Rival``, and a line here."""

from __future__ import annotations

from gensr_model.baselines.product_search import AEM, HEM, QEM, ZAM
from gensr_model.baselines.rival import Grid, System
from gensr_model.baselines.sasrec import SASRec

# Tuned for every system; the first value of each is the default. ``learning_rate``, ``weight_decay`` and ``batch_size``
# go to the trainer, other names to the model. A grid must have at least as many points as a tuning has trials.
LEARNING: Grid = {"learning_rate": (1e-3, 3e-3, 3e-4), "weight_decay": (0.01, 0.1)}


SYSTEMS: dict[str, System] = {
    "sasrec": System(SASRec, "SASRec", "recommendation", LEARNING | {"dropout": (0.5, 0.2)}),
    "qem": System(QEM, "QEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "hem": System(HEM, "HEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "aem": System(AEM, "AEM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
    "zam": System(ZAM, "ZAM", "search", LEARNING | {"word_weight": (1.0, 0.1)}),
}
