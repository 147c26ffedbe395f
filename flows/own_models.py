"""The models whose comparison a run is about: GenSR, two heads and, where its analyses ask for it, UniSAR."""

from __future__ import annotations

from typing import NamedTuple

from flows.side_by_side import side_by_side
from gensr_model.config import PipelineConfig
from tasks.finetune import MODELS, finetune
from tasks.inputs import Data
from tasks.rivals import Trained, train_system
from tasks.tracking import Tracked

UNISAR = "unisar"


class _Model(NamedTuple):
    name: str


def train_models(run: Tracked, config: PipelineConfig, data: Data, unisar: bool) -> dict[str, Trained]:
    """Train each, ``config.concurrency`` at once, or find it trained; by name, GenSR first.

    Raises:
        TrainingError: some failed, when the others were finished; names each, and says why.
    """

    def train(model: _Model, share: int) -> Trained:
        if model.name == UNISAR:
            tune = bool(config.rerank.tune)
            return train_system(run, config, data.prepared, UNISAR, tune=tune, share=share)
        found = finetune(run, config, data.prepared, data.cf, option=model.name, alone=share)
        return Trained(found, None, {})

    names = (*MODELS, UNISAR) if unisar else MODELS
    found = side_by_side(train, [_Model(name) for name in names], config.concurrency)
    return dict(zip(names, found, strict=True))
