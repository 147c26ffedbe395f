"""Systems that were ranked in an earlier run and join a table by their kept ranks, without being trained again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gensr_model.errors import ConfigError, DataError
from gensr_model.evaluation.kept import read_kept
from gensr_model.evaluation.reference import REFERENCES

Tables = dict[str, list[pa.Table]]  # system -> its ranks, one table a seed


def check_files(files: tuple[str, ...]) -> None:
    """ConfigError for a file that is not there: known before hours of training."""
    for file in map(Path, files):
        if not file.is_file():
            raise ConfigError(
                f"rerank.kept: {file} does not exist, seen from {Path.cwd()}; name files that `benchmarks.keep` wrote "
                "by their absolute paths"
            )


def kept_systems(files: tuple[str, ...], ranked: Tables) -> Tables:
    """The systems of kept files (``docs/results/*.parquet``) that were not ranked in this run.

    Raises DataError where a file's ranks are not of the same samples and candidates: a reference, which is never
    random, must have the same ranks in the file as in this run.
    """
    check_files(files)
    found: Tables = {}
    for file in map(Path, files):
        kept = read_kept(file)
        shared = [name for name in REFERENCES if name in kept and name in ranked]
        if not shared:
            raise DataError(
                f"rerank.kept: {file} shares no reference ranker with this run, so nothing tells whether the "
                f"candidates are the same. Add one of {', '.join(n for n in REFERENCES if n in kept)} to rerank.systems"
            )
        for name in shared:
            if not _sorted(kept[name]).equals(_sorted(ranked[name][0])):
                raise DataError(
                    f"rerank.kept: {name} has other ranks in {file} than in this run, so the file is of other samples "
                    "or candidates and cannot stand in the same table"
                )
        new: Tables = {}
        for label, ranks in kept.items():
            name = label.partition("/")[0]  # gensr/seed1
            if name not in ranked:
                new.setdefault(name, []).append(ranks)
        twice = sorted(found.keys() & new.keys() - set(REFERENCES))
        if twice:
            raise DataError(
                f"rerank.kept: {file} and a file before it both hold {', '.join(twice)}, perhaps under other settings; "
                "name one of the files"
            )
        found |= new
    return found


def _sorted(ranks: pa.Table) -> pa.Table:
    return ranks.replace_schema_metadata(None).sort_by("sample_id").combine_chunks()
