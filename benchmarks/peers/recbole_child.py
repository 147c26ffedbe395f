"""One RecBole model, trained and asked for scores: run by the Python of the peers' own environment, without gensr.

    python recbole_child.py FOLDER

``FOLDER/job.json`` has ``model``, ``items``, ``users``, ``max_history``, ``settings`` (RecBole's). ``train.parquet``
has a row per training sample (user, item, history); ``valid.parquet`` and ``test.parquet`` have user, history and
candidates, the positive first. Writes ``scores.parquet`` (scores, one list per test row) and ``result.json``. With
``time_epochs`` the job only trains, and ``result.json`` has the processor time; ``trimmed`` says how batches are made.

RecBole's code is as installed. What it gets from outside:

- Rows, not events: histories are the samples' own. Rows without history train no sequence model, as in RecBole.
- The early stop looks at NDCG@10 on the frozen valid lists. The best weights stay in memory, as its checkpoints are
  pickles. A model that scores pair by pair (DIN) validates on the first 1,000 lists.
- Rows of like length share a batch, which is cut to its longest: no score depends on the padding behind a history, and
  five sixths of a full batch are padding on short histories.
- BERT4Rec: RecBole masks within a row's history and never reads the row's item, so the item ends the history. At
  scoring it drops the first place of a history, so a padding stands there.
- Item-kNN: the similarities are RecBole's; the history is the sample's, which has the valid purchase, too.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.sampler import RepeatableSampler, Sampler
from recbole.utils import ModelType, get_model, get_trainer, init_seed

BATCH, PAIRS, PAIRWISE_VALID = 1_024, 20_000, 1_000
NAME, HISTORY, LENGTH = "peer", "item_id_list", "item_length"


def write_atomic(folder: Path, job: dict[str, Any], train: pd.DataFrame) -> None:
    """RecBole's own files; every item and user is named, so that candidates without training have an id."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("user", "item"):
        tokens = "\n".join(map(str, range(job[f"{name}s"])))
        (folder / f"{NAME}.{name}").write_text(f"{name}_id:token\n{tokens}\n", encoding="utf-8")
    rows = pd.DataFrame({"user_id:token": train.user, f"{HISTORY}:token_seq": train.history.map(joined)})
    rows["item_id:token"] = train.item
    rows.to_csv(folder / f"{NAME}.train.inter", sep="\t", index=False)


def joined(history: np.ndarray) -> str:
    return " ".join(map(str, history))


def padded(rows: list[Any], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, width) the latest entries of each row, padded on the right as in RecBole, and the lengths (N,).

    A length is at least 1.
    """
    made = torch.zeros(len(rows), width, dtype=torch.long)
    length = torch.ones(len(rows), dtype=torch.long)
    for n, row in enumerate(rows):
        row = row[-width:]
        made[n, : len(row)] = torch.as_tensor(row)
        length[n] = max(1, len(row))
    return made, length


class ByLength:
    """RecBole's loader with batches of rows of like length, drawn anew each epoch."""

    def __init__(self, loader: TrainDataLoader, rows: Interaction, model: Any) -> None:
        self.loader, self.rows, self.model = loader, rows, model

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Interaction]:
        order = torch.randperm(len(self.rows))
        parts = order[self.rows[LENGTH][order].argsort(stable=True)].split(self.loader.step)
        for place in torch.randperm(len(parts)):
            rows = cut(self.rows[parts[place]], self.model)
            yield self.loader._neg_sampling(self.loader.transform(self.loader._dataset, rows))


def cut(rows: Interaction, model: Any) -> Interaction:
    """The rows without the padding that they all have; DIN's mask is as wide as they are."""
    width = int(rows[LENGTH].max())
    if hasattr(model, "attention"):
        model.attention.mask_mat = torch.arange(width).view(1, -1)
    return Interaction({**rows.interaction, HISTORY: rows[HISTORY][:, :width]})


class Lists:
    """The frozen lists of a split, scored by a model."""

    def __init__(self, frame: pd.DataFrame, dataset: Dataset, model: Any, config: Config) -> None:
        item = np.array(dataset.token2id("item_id", [str(n) for n in range(dataset.item_num - 1)]))
        self.model, self.config = model, config
        self.candidates = torch.as_tensor(item[np.stack(frame.candidates.to_list())])  # (N, C)
        self.user = torch.as_tensor(np.array(dataset.token2id("user_id", [str(u) for u in frame.user])))
        self.met = [item[history] for history in frame.history]
        # BERT4Rec drops the first place, see above.
        lead = [0] if config["model"] == "BERT4Rec" else []
        width = config["MAX_ITEM_LIST_LENGTH"] - len(lead)
        self.history, self.length = padded([[*lead, *met[-width:]] for met in self.met], width + len(lead))

    def score(self, at_most: int | None = None) -> np.ndarray:
        """(N, C) scores; the first ``at_most`` rows only where the model scores pair by pair."""
        if self.config["model"] == "ItemKNN":
            return self._neighbours()
        self.model.eval()
        pairwise = "full_sort_predict" not in vars(type(self.model))
        rows = torch.arange(len(self.user) if not pairwise else min(at_most or len(self.user), len(self.user)))
        step = PAIRS // self.candidates.shape[1] if pairwise else BATCH
        order = self.length[rows].argsort(stable=True)
        scores = torch.empty(len(rows), self.candidates.shape[1])
        with torch.no_grad():
            for part in order.split(step):
                scores[part] = (self._pairs if pairwise else self._catalogue)(part)
        return scores.numpy()

    def _input(self, part: torch.Tensor, times: int = 1) -> Interaction:
        fields = {"user_id": self.user[part], HISTORY: self.history[part], LENGTH: self.length[part]}
        rows = cut(Interaction(fields), self.model)
        return Interaction({name: value.repeat_interleave(times, dim=0) for name, value in rows.interaction.items()})

    def _catalogue(self, rows: torch.Tensor) -> torch.Tensor:
        scores = self.model.full_sort_predict(self._input(rows)).view(len(rows), -1)
        return scores.gather(1, self.candidates[rows])

    def _pairs(self, rows: torch.Tensor) -> torch.Tensor:
        count = self.candidates.shape[1]
        given = self._input(rows, count)
        given.update(Interaction({"item_id": self.candidates[rows].reshape(-1)}))
        return self.model.predict(given).view(len(rows), count)

    def _neighbours(self) -> np.ndarray:
        similar = self.model.w.toarray()  # (I + 1, I + 1)
        pairs = zip(self.met, self.candidates.numpy(), strict=True)
        return np.stack([similar[np.ix_(np.unique(met), row)].sum(axis=0) for met, row in pairs])


def ndcg_at_10(scores: np.ndarray) -> float:
    """Of the positive in column 0; a tie counts as half a place, which is enough to stop by."""
    others, own = scores[:, 1:], scores[:, :1]
    rank = 1 + (others > own).sum(axis=1) + (others == own).sum(axis=1) / 2
    return float(np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean())


def trainer_of(config: Config, model: Any) -> Any:
    trainer: Any = get_trainer(config["MODEL_TYPE"], config["model"])

    class Stopped(trainer):
        """RecBole's trainer with the frozen valid lists as its judge."""

        best, state, other = -1.0, None, None
        curve: tuple[float, ...] = ()

        def _valid_epoch(self, valid_data: Lists, show_progress: bool = False) -> tuple[float, dict[str, float]]:
            value = ndcg_at_10(valid_data.score(PAIRWISE_VALID))
            self.curve = (*self.curve, round(value, 4))
            print(len(self.curve), round(value, 4), file=sys.stderr, flush=True)
            if value > self.best:
                self.best, self.state = value, copy.deepcopy(self.model.state_dict())
                self.other = self.model.other_parameter()
            return value, {"ndcg@10": value}

    return Stopped(config, model)


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    train, valid, test = (pq.read_table(folder / f"{s}.parquet").to_pandas() for s in ("train", "valid", "test"))
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    given = {
        "data_path": str(folder / "atomic"),
        "checkpoint_dir": str(folder / "saved"),
        "benchmark_filename": ["train"],
        "alias_of_item_id": [HISTORY],
        "load_col": {"inter": ["user_id", HISTORY, "item_id"], "user": ["user_id"], "item": ["item_id"]},
        "MAX_ITEM_LIST_LENGTH": job["max_history"],
        "show_progress": False,
        "use_gpu": False,
        "state": "warning",
        **job["settings"],
    }
    config = Config(model=job["model"], dataset=NAME, config_dict=given)
    init_seed(config["seed"], config["reproducibility"])
    sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    if sequential:
        train = train[train.history.map(len) > 0]
    else:
        config["alias_of_item_id"] = None
        config["load_col"] = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}
    if job["model"] == "BERT4Rec":
        train = train.assign(history=[np.append(h, i) for h, i in zip(train.history, train.item, strict=True)])
    train = train.assign(history=train.history.map(lambda history: history[-job["max_history"] :]))
    write_atomic(folder / "atomic" / NAME, job, train)
    dataset = (SequentialDataset if sequential else Dataset)(config)
    [built] = dataset.build()
    sampler = None
    if config["train_neg_sample_args"]["distribution"] != "none":
        sampler = RepeatableSampler("train", dataset) if sequential else Sampler("train", built)
        sampler = sampler.set_phase("train")
    loader = TrainDataLoader(config, built, sampler, shuffle=True)
    begun = time.perf_counter()
    model = get_model(job["model"])(config, built)
    trainer = trainer_of(config, model)
    rows = ByLength(loader, built.inter_feat, model) if sequential and job.get("trimmed", True) else loader
    if "time_epochs" in job:
        cpu = time.process_time()
        trainer.fit(rows, None, verbose=False, saved=False)
        result = {"cpu_seconds": time.process_time() - cpu, "train_rows": len(built.inter_feat)}
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return
    trainer.fit(rows, Lists(valid, dataset, model, config), verbose=False, saved=False)
    model.load_state_dict(trainer.state)
    model.load_other_parameter(trainer.other)
    trained = time.perf_counter() - begun
    begun = time.perf_counter()
    scores = Lists(test, dataset, model, config).score()
    column = pa.array(list(scores.astype(np.float32)), pa.list_(pa.float32()))
    pq.write_table(pa.table({"scores": column}), folder / "scores.parquet")
    result = {
        "versions": {name: version(name) for name in ("recbole", "torch", "numpy")},
        "seconds": round(trained, 1),
        "seconds_to_score": round(time.perf_counter() - begun, 1),
        "valid_ndcg_at_10": list(trainer.curve),
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_rows": len(built.inter_feat),
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
