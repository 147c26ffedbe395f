"""The configuration that goes through every stage in seconds, and what a run of it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

TINY: dict[str, Any] = {
    "name": "tiny",
    "preset": "laptop",  # the paper's model: no departure that another preset turns on
    "source": {"kind": "generated", "users": 150, "items": 150, "events_per_user": 10},
    "prepare": {"negatives": 20},
    "lightgcn": {"epochs": 2},
    "model": {
        "departures": {"folds": 2},
        "max_history": 8,
        "text": {"description_tokens": 8},
        "backbone": {"vocab_size": 500, "d_model": 32, "d_ff": 64, "heads": 2, "encoder_layers": 1},
    },
    "train": {"epochs": 1, "valid_samples": 40, "two_head_epochs": 1, "batch_size": 32},
    "evaluation": {"max_test_samples": 80},
    "analysis": {"mine_samples": 200, "mine_steps": 40, "mine_seeds": 1, "space_samples": 100, "theorem_trials": 2},
}
# Every study within the pipeline, as small as each can be.
STUDIES: dict[str, Any] = {
    "studies": {"rerank": True, "full_ranking": True, "ablation": True, "sweep": True},
    "rerank": {"systems": ["popularity", "bm25", "qem", "gensr"], "epochs": 1, "batch_size": 64, "tune": False},
    "full_ranking": {"epochs": 1, "valid_samples": 40},
    "ablation": {"variants": ["no_soft_filter"], "concurrency": 1},
    "sweep": {"tau": [0.05, 0.09], "beta": [0.01], "concurrency": 1},
}


class Finished(NamedTuple):
    """A finished run of ``gensr/full-pipeline``: its state folder, and what it returned."""

    home: Path
    summary: dict[str, Any]
