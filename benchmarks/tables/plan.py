"""The trainings behind the results pages, in order.

A cell is one system on one data set, in one study, with one seed. References need no training, so one cell has them
all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gensr_model.baselines.generator import Generator
from gensr_model.baselines.registry import BASELINES, WRITES_WORDS
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.reporting.run_facts import FULL_TABLE, RERANK
from tasks.compare.full_table import TABLES

SCIENTIFIC, BEAUTY, KUAISAR = "amazon-scientific", "amazon-beauty", "generated-kuaisar"
REFERENCE_CELL = "references"
PAPERS_TEXT = "laptop"  # the preset in which GenSR and two heads are the paper's
NEAR_BEST = 0.03  # a system within this NDCG@10 of the best of a column gets further seeds
OURS = ("two_head", "gensr")
OUR_TRIAL_EPOCHS = 3  # an epoch of GenSR takes as long as ten of SASRec
STUDIES = {"rerank": RERANK, "full-ranking": FULL_TABLE}  # by the name of a cell's folder, the flow's


class Cell(NamedTuple):
    """One training, and its ranks."""

    dataset: str
    study: str
    system: str
    seed: int = 0
    preset: str = "best"

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems whose ranks the cell holds."""
        return tuple(REFERENCES) if self.system == REFERENCE_CELL else (self.system,)

    @property
    def setting(self) -> str:
        """The preset, where it differs from the default."""
        return "" if self.preset == "best" else self.preset

    @property
    def paths(self) -> dict[str, Path]:
        """The paths of the saved ranks by system, below the folder of all cells
        (``gensr_model/evaluation/cells.py``).
        """
        suffix = f"@{self.setting}" if self.setting else ""
        folder = Path(self.dataset, self.study)
        return {system: folder / f"{system}{suffix}-seed{self.seed}.parquet" for system in self.systems}

    @property
    def name(self) -> str:
        """The cell's name for people and lock files."""
        suffix = f"@{self.setting}" if self.setting else ""
        return f"{self.dataset} {self.study} {self.system}{suffix} seed {self.seed}"

    @property
    def chosen_in(self) -> Cell | None:
        """The cell that chose this cell's hyperparameters: the one with the first seed on the first data set.

        None for references, which have none.
        """
        if self.system == REFERENCE_CELL:
            return None
        return self._replace(dataset=SCIENTIFIC, seed=0)

    @property
    def tunes(self) -> bool:
        """Whether the cell chooses its hyperparameters, on the valid split."""
        return self == self.chosen_in


def systems_of(dataset: str, study: str) -> tuple[str, ...]:
    """The systems of a study's table on a data set, in the order of training: cheap and strong ones first."""
    trained = [name for name in TABLES[STUDIES[study]].every() if name not in REFERENCES]
    if dataset == KUAISAR:
        trained = [name for name in trained if name not in WRITES_WORDS]
    ours = [name for name in OURS if name in trained]
    generative = [n for n in trained if n in BASELINES and issubclass(BASELINES[n].model, Generator)]
    others = [name for name in trained if name not in (*ours, *generative)]
    return (REFERENCE_CELL, *others, *ours[::-1], *generative)


def cells(metrics: Mapping[Cell, Mapping[str, float]]) -> Iterator[Cell]:
    """Every cell, in order.

    Args:
        metrics: NDCG@10 by task of the finished cells. They decide which systems get further seeds.
    """
    for dataset in (SCIENTIFIC, BEAUTY, KUAISAR):
        for study in STUDIES:
            for system in systems_of(dataset, study):
                yield Cell(dataset, study, system)
        if dataset != KUAISAR:
            yield from (Cell(dataset, "rerank", system, preset=PAPERS_TEXT) for system in OURS)
    for study in STUDIES:
        named = systems_of(SCIENTIFIC, study)
        repeated = {*OURS, *_near_best(metrics, study)}
        for seed in (1, 2):
            yield from (Cell(SCIENTIFIC, study, system, seed) for system in named if system in repeated)


def _near_best(metrics: Mapping[Cell, Mapping[str, float]], study: str) -> Iterator[str]:
    """Systems within ``NEAR_BEST`` of the best of a column of amazon-scientific, as far as it is known."""
    rows = {cell.system: row for cell, row in metrics.items() if cell == Cell(SCIENTIFIC, study, cell.system)}
    for task in ("recommendation", "search"):
        column = {system: row[task] for system, row in rows.items() if task in row}
        best = max(column.values(), default=0.0)
        yield from (system for system, value in column.items() if value >= best - NEAR_BEST)


def config_of(cell: Cell, data: Path, chosen: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config of a cell's flow.

    Args:
        data: the folder that holds a folder of raw files for each real data set.
        chosen: hyperparameters of ``chosen_in``; None where the cell chooses them itself, or there are none.
    """
    config: dict[str, Any] = {
        "name": cell.dataset,
        "preset": cell.preset,
        "train": {"epochs": 30, "two_head_epochs": 30},  # a baseline's budget; early stop decides
        "full_ranking": {"epochs": 30},
        "rerank": {"systems": cell.systems, "seeds": (cell.seed,), "tune": cell.tunes, "concurrency": 2},
    }
    if cell.system in OURS:
        config["rerank"]["trial_epochs"] = OUR_TRIAL_EPOCHS
    if cell.dataset == KUAISAR:
        config |= {"format": "kuaisar", "source": {"kind": "generated"}}
        config["model"] = {"max_history": 20, "backbone": {"vocab_size": 2_000}}
    else:
        config |= {"format": "amazon", "source": {"kind": "folder", "path": str(data / cell.dataset)}}
    if chosen and cell.system in OURS:
        for field, value in chosen.items():
            section, name = field.split(".")
            config[section] = config.get(section, {}) | ({} if value is None else {name: value})
    elif chosen:
        config["rerank"]["points"] = {cell.system: dict(chosen)}
    return config


def is_finished(cell: Cell, folder: Path) -> bool:
    """Whether all ranks of the cell are saved."""
    return all((folder / path).is_file() for path in cell.paths.values())
