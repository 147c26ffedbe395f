"""Fine-tunes without dropout, alone or under `accelerate launch`, and writes down what every step costs.

parallel_process.py ROOT KIND OUT: ROOT has prepared/ and cf/.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime import distributed
from gensr_model.runtime.progress import NullReport
from gensr_model.training import finetune, trainer

CONFIG: dict[str, Any] = {
    "preset": "laptop",
    "model": {
        "max_history": 5,
        "text": {"description_tokens": 4},
        "backbone": {"vocab_size": 120, "d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "encoder_layers": 1,
                     "dropout": 0.0},
        "view_heads": 2,
        "view_dropout": 0.0,
        "beta": 1.0,
    },
    # Odd batches, so that the processes' parts differ in size; the last batch of an epoch has 7 samples.
    "train": {"epochs": 2, "two_head_epochs": 2, "batch_size": 33, "accumulation": 2, "valid_samples": 20},
    "analysis": {"gradient_every": 4},
}  # fmt: skip
TRAIN = {"gensr": finetune.finetune, "listwise": finetune.finetune, "two_head": finetune.train_two_head}


def write_group(out: Path) -> None:
    """Whether the group of processes is still there when the interpreter ends."""
    (out / f"group-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(distributed.processes() > 1), "utf-8")


def main(root: Path, kind: str, out: Path) -> None:
    torch.set_num_threads(1)
    steps: list[dict[str, float]] = []
    real = trainer.train_step

    def step(*given: Any) -> dict[str, float]:
        steps.append(real(*given))
        return steps[-1]

    trainer.train_step = step
    out.mkdir(exist_ok=True)
    atexit.register(write_group, out)  # what is registered first runs last
    if kind == "listwise":
        CONFIG["model"]["answer_loss"] = kind
    dataset, config = PreparedDataset.open(root / "prepared"), PipelineConfig.model_validate(CONFIG)
    TRAIN[kind](dataset, root / "cf", config, out / "steps", out, NullReport())
    process = trainer.make_accelerator().process_index
    content = {"processes": distributed.processes(), "steps": steps}
    (out / f"curve-{process}.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
