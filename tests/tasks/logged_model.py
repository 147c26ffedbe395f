"""A model that was really logged to MLflow, for the tests of the registry and of the server."""

from __future__ import annotations

from pathlib import Path

import mlflow
from small_dataset import write_cf, write_dataset

from gensr_model.config import PipelineConfig
from gensr_model.serving import store
from gensr_model.serving.service import Service
from gensr_model.training import bundle as bundles
from tasks import registry
from tasks.stage import StageResult
from tasks.tracking import parent_run


class Logged:
    """An untrained model's bundle, logged to MLflow on SQLite, and read back through pyfunc."""

    def __init__(self, root: Path) -> None:
        dataset, cf = write_dataset(root / "prepared"), write_cf(root / "cf")
        backbone = {"vocab_size": 120, "d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "encoder_layers": 1}
        config = PipelineConfig.model_validate(
            {"model": {"max_history": 5, "view_heads": 2, "backbone": backbone}}
        )
        self.folder = root / "bundle"
        self.folder.mkdir()
        model, tokenizer = bundles.assemble("gensr", dataset, cf, config)
        bundles.save(self.folder, "gensr", model, tokenizer, dataset, config)
        store.save(self.folder, dataset, cf, config.model.max_history)
        self.bundle = StageResult("finetune", "k1", self.folder, {}, 0.0, False)
        self.service = Service.load(self.folder)
        self.ranker = self.service.ranker
        with parent_run(config, "gensr", "1" * 8) as self.run:
            self.uri = registry.log_model(self.run, self.bundle)
        self.model = mlflow.pyfunc.load_model(self.uri)
