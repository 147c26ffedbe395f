"""Systems that join a table by their saved ranks, without training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.config.studies import SavedRanks
from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.reference import REFERENCES
from gensr_model.evaluation.saved_ranks import read_costs, read_saved_ranks, saved_labels

# Share of samples whose place may differ, because another machine or version rounds near-equal scores differently. With
# other candidates nearly all places would differ.
_ROUNDED = 0.01
# Trained, and of a text that the config may set otherwise: their ranks may differ over the same candidates.
_ASKED_LAST = ("lightgcn", "bm25")
Tables = dict[str, list[pa.Table]]  # system -> its ranks, one table a seed


def taken(files: tuple[SavedRanks, ...], asked: Collection[str]) -> list[dict[str, list[str]]]:
    """For each saved file, the systems that it gives to a run of ``asked``, with their labels in the file.

    A label is such as ``gensr/seed1``. Systems in ``asked`` are always trained, never read from a file. If one fails,
    its row shows the error. The function reads no ranks, so errors show before hours of training.

    Raises:
        ConfigError: a file does not exist, holds no ranks, or lacks a system that its entry names.
        DataError: two files hold a system, and neither entry sets ``again``.
    """
    given: list[dict[str, list[str]]] = []
    for entry in files:
        file, new = Path(entry.path), dict[str, list[str]]()
        if not file.is_file():
            raise ConfigError(
                f"rerank.saved_ranks: {file} does not exist, seen from {Path.cwd()}. Name files that "
                "`benchmarks.save_ranks` wrote by their absolute paths."
            )
        for label in _labels(file):
            name = label.partition("/")[0]
            if name not in asked and (not entry.systems or name in entry.systems):
                new.setdefault(name, []).append(label)
        missing = sorted(set(entry.systems) - new.keys() - set(asked))
        if missing:
            raise ConfigError(
                f"rerank.saved_ranks: {file} has no ranks of {', '.join(missing)}. Name only systems that "
                "the file holds."
            )
        twice = sorted({name for other in given for name in other} & new.keys() - set(REFERENCES))
        if twice and not entry.again:
            raise DataError(
                f"rerank.saved_ranks: {file} and an earlier file both hold {', '.join(twice)}, "
                "perhaps under other settings. Name the systems to read from each file, or set "
                "`again: true` for the later file where these are other seeds."
            )
        given.append(new)
    return given


def _labels(file: Path) -> list[str]:
    try:
        labels = saved_labels(file)
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"rerank.saved_ranks: {file} is no readable Parquet file: {error}. Name a file that "
            "`benchmarks.save_ranks` wrote."
        ) from error
    if not labels:
        raise ConfigError(f"rerank.saved_ranks: {file} holds no ranks. Name a file that `benchmarks.save_ranks` wrote.")
    return labels


def saved_systems(files: tuple[SavedRanks, ...], ranked: Tables, asked: Collection[str]) -> Tables:
    """The systems of saved files that are not in ``asked``.

    Raises as ``taken`` does. Raises DataError where a file's ranks have other samples or candidates: a reference must
    have the same ranks in the file as in this run, except for rounding. LightGCN, which is trained, and BM25, whose
    text the config may change, are compared only where no other reference is shared.
    """
    systems: Tables = {}
    for entry, new in zip(files, taken(files, asked), strict=True):
        file, saved = Path(entry.path), read_saved_ranks(Path(entry.path))
        shared = [name for name in REFERENCES if name in saved and name in ranked]
        if not shared:
            raise DataError(
                f"rerank.saved_ranks: {file} shares no reference ranker with this run, so nothing "
                "shows whether the candidates are equal. Add one of "
                f"{', '.join(n for n in REFERENCES if n in saved)} to rerank.systems."
            )
        for name in [name for name in shared if name not in _ASKED_LAST] or shared:
            if other := _differ(saved[name], ranked[name][0]):
                raise DataError(
                    f"rerank.saved_ranks: {name} has other ranks in {file} than in this run "
                    f"({other}), so the file has other samples or candidates. Leave the file out, or "
                    "rank its systems again."
                )
        for name, labels in new.items():
            tables = [saved[label] for label in labels]
            systems[name] = tables if name in REFERENCES else [*systems.get(name, []), *tables]
    return systems


def saved_costs(files: tuple[SavedRanks, ...], names: Collection[str]) -> dict[str, list[dict[str, float]]]:
    """The costs of these saved systems in the runs that trained them, one entry per seed.

    Empty where a file has none.
    """
    by_system: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for entry in files:
        costs = read_costs(Path(entry.path))
        for name in (label.partition("/")[0] for label in saved_labels(Path(entry.path))):
            if name in by_system and (not entry.systems or name in entry.systems):
                by_system[name].append(costs.get(name, {}))
    return by_system


def _differ(saved: pa.Table, here: pa.Table) -> str:
    """How two ranks tables differ by more than rounding. Empty where they do not."""
    a, b = (ranks.replace_schema_metadata(None).sort_by("sample_id").combine_chunks() for ranks in (saved, here))
    samples = ["sample_id", "task", "candidates"]
    if not a.select(samples).equals(b.select(samples)):
        return "not of the same samples"
    moved = pc.or_(pc.not_equal(a["greater"], b["greater"]), pc.not_equal(a["ties"], b["ties"]))
    other = pc.sum(moved).as_py() or 0
    return f"{other} of {len(a)} samples" if other > _ROUNDED * len(a) else ""
