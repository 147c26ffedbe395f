"""What all analyses read, made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trained_world import World

from gensr_model.config.pipeline import PipelineConfig


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., PipelineConfig]) -> World:
    small = {"mine_samples": 200, "mine_steps": 60, "mine_seeds": 2, "gradient_every": 3, "space_samples": 300}
    rerank = {"epochs": 3, "batch_size": 64}
    return World(tmp_path_factory.mktemp("analyze"), tiny(analysis=small, rerank=rerank))
