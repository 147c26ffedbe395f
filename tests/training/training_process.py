"""Fine-tunes on the small dataset in a process of its own, and says each step before it takes it.

python training_process.py ROOT [LIMIT]: ROOT has prepared/ and cf/; writes steps/ and bundle/. With LIMIT no file may
grow beyond so many bytes, which is what a full disk does to a writer.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import TrainingError
from gensr_model.runtime.progress import NullReport
from gensr_model.training.finetune import finetune
from gensr_model.training.trainer import TrainingData

# So wide that two threads share a batch's gradients: of smaller ones a kill at two threads would say nothing.
CONFIG = {
    "preset": "laptop",
    "model": {
        "max_history": 10,
        "text": {"description_tokens": 4},
        "backbone": {"vocab_size": 120, "encoder_layers": 1},
        "departures": {"searches_in_text": {"enabled": True}, "item_embedding": True},
        "answer_loss": "yes_no",
    },
    "train": {"epochs": 8, "batch_size": 128, "checkpoint_every": 2, "valid_samples": 20, "patience": 8},
    "analysis": {"gradient_every": 3},
}
STEPS = 48


class Reporting(TrainingData):
    """Prints the number of each batch that is asked for."""

    def batch(self, number: int):  # type: ignore[no-untyped-def]
        print(f"step {number}", flush=True)
        return super().batch(number)


def main(root: Path, limit: int | None) -> None:
    import gensr_model.training.fitting as module

    module.TrainingData = Reporting  # type: ignore[misc]
    torch.set_num_threads(2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    out = root / "bundle"
    out.mkdir(exist_ok=True)
    dataset = PreparedDataset.open(root / "prepared")
    try:
        finetune(dataset, root / "cf", PipelineConfig.model_validate(CONFIG), root / "steps", out, NullReport())
    except TrainingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
