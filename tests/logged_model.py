"""A model that was really logged to MLflow, for the tests of the registry and of the server."""

from __future__ import annotations

from pathlib import Path

import mlflow
from small_dataset import SMALL_CONFIG, write_cf, write_dataset

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.models import bundle as bundles
from gensr_model.models import user_store
from gensr_model.serving.service import Service
from tasks.core.stage import StageResult
from tasks.core.tracking import parent_run
from tasks.promote import model_registry


class Logged:
    """An untrained model's bundle, logged to MLflow on SQLite, and read back through pyfunc."""

    def __init__(self, root: Path) -> None:
        dataset, cf = write_dataset(root / "prepared"), write_cf(root / "cf")
        config = PipelineConfig.model_validate(SMALL_CONFIG)
        folders = {kind: root / "bundles" / kind for kind in ("gensr", "full_ranking")}
        for kind, folder in folders.items():
            folder.mkdir(parents=True)
            model, tokenizer = bundles.assemble(kind, dataset, cf, config)
            bundles.save(folder, kind, model, tokenizer, dataset, config)
            user_store.save(folder, dataset, cf, config.model.max_history)
        self.folder = folders["gensr"]
        self.bundle = StageResult("finetune", "k1", self.folder, {}, 0.0, False)
        self.full = StageResult("finetune-full", "f1", folders["full_ranking"], {}, 0.0, False)
        self.config = config
        self.service = Service.load(self.folder)
        self.ranker = self.service.ranker
        with parent_run(config, "gensr", "1" * 8) as self.run:
            self.uri = model_registry.log_model(self.run, self.bundle)
        self.model = mlflow.pyfunc.load_model(self.uri)
