"""One ablation of several seeds, from ranks that were saved one seed at a time.

    python -m benchmarks.join_ablations NAME-ablation-seed{0,1}.parquet --to NAME-ablation-seed0-1.md

It trains nothing: the rows are those that ``ablation/paper`` makes of all these seeds in one run. Variants that one of
the files lacks are left out and named, and so is every setting in which the files differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.sides import arguments
from gensr_model.config.base import overlay
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.variants import VARIANTS
from gensr_model.evaluation.ablation import ablation_rows
from gensr_model.evaluation.saved_ranks import read_saved_ranks
from gensr_model.reporting.renderers import page
from gensr_model.reporting.run_facts import ABLATION, RunFacts
from gensr_model.reporting.study_sections import ablation
from tasks.core.dataset_format import dataset_format

# What chooses the samples and their candidates, and what the statistics are made with: the same in all files.
_SAME = ("format", "seed", "statistics.confidence", "statistics.bootstrap_samples", "ingest.earliest", "prepare.",
         "evaluation.protocol", "evaluation.max_test_samples")  # fmt: skip
# A saved file has its config as it was laid out on its day: where a setting stood then, and where it stands.
_MOVED = {
    "retrain.confidence": "statistics.confidence",
    "retrain.bootstrap_samples": "statistics.bootstrap_samples",
    "model.text.include_searches": "model.departures.searches_in_text.enabled",
    "model.text.searches_share": "model.departures.searches_in_text.share",
    "model.text.searches_tokens": "model.departures.searches_in_text.tokens",
    "model.text.searches_leave_one_out": "model.departures.searches_in_text.leave_one_out",
    "lightgcn.folds": "model.departures.folds",
    "model.interaction": "model.departures.interaction",
    "model.query_interaction": "model.departures.query_interaction",
    "model.cold_items": "model.departures.cold_items",
    "model.filter_identity": "model.departures.filter_identity",
    "model.item_embedding": "model.departures.item_embedding",
}
_NO_MATTER = ("prepare.threads", "prepare.memory_limit", "ablation.")  # seeds are named by themselves


class Saved(NamedTuple):
    """A saved ablation."""

    path: Path
    dataset: str  # digest of the raw files
    config: dict[str, Any]
    seeds: list[int]
    ranks: dict[str, list[pa.Table]]  # one table per seed, in the order of ``seeds``


def read(path: Path) -> Saved:
    """A file that ``benchmarks.save_ranks`` wrote of an ablation; SystemExit where it is none."""
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; expected one that benchmarks.save_ranks wrote of an ablation")
    facts = {name.decode(): json.loads(value) for name, value in (pq.read_schema(path).metadata or {}).items()}
    saved = read_saved_ranks(path)
    if "ablation" not in facts.get("config", {}) or not saved.keys() & (VARIANTS.keys() - {"gensr"}):
        raise SystemExit(f"{path}: not of an ablation; it has the ranks of {', '.join(saved) or 'nothing'}")
    config = _relocated(facts["config"])
    seeds = list(dict.fromkeys(config["ablation"]["seeds"]))
    ranks = {
        name: [saved[name if seed == seeds[0] else f"{name}-seed{seed}"] for seed in seeds]
        for name in VARIANTS
        if name in saved
    }
    return Saved(path, facts["dataset_digest"], config, seeds, ranks)


def _relocated(config: dict[str, Any]) -> dict[str, Any]:
    """The same settings, each where ``PipelineConfig`` has it."""
    for old, new in _MOVED.items():
        *sections, name = old.split(".")
        section = reduce(lambda tree, key: tree.get(key, {}), sections, config)
        if name in section:
            value = section.pop(name)
            for key in reversed(new.split(".")):
                value = {key: value}
            config = overlay(config, value)
    return config


def join(files: Sequence[Saved], users: pa.Table | None) -> str:
    """The Markdown page of all files together; SystemExit where they do not rank the same candidates.

    ``users`` as in `relative_change`: None where every sample of a task is of another user.
    """
    first = files[0]
    for other in files[1:]:
        if other.dataset != first.dataset:
            raise SystemExit(f"{other.path}: of other raw files than {first.path}")
        if apart := [name for name, *_ in differences(first, other) if name.startswith(_SAME)]:
            raise SystemExit(f"{other.path}: not comparable with {first.path}, they differ in {', '.join(apart)}")
    seeds = [seed for file in files for seed in file.seeds]
    if len(set(seeds)) < len(seeds):
        raise SystemExit(f"seeds {', '.join(map(str, seeds))}: one is there twice")
    shared = [name for name in first.ranks if all(name in file.ranks for file in files)]
    ranks = {name: [table for file in files for table in file.ranks[name]] for name in shared}
    config = PipelineConfig.model_validate({name: first.config[name] for name in ("seed", "statistics")})
    rows = ablation_rows(ranks, config, users)
    dumped = config.model_dump(mode="json")
    dumped["ablation"]["seeds"] = seeds
    section = ablation(RunFacts({"config": dumped}, studies={ABLATION: {ABLATION: rows}}))
    lines = [
        page(f"{first.config['name']}: ablation of {len(seeds)} seeds", [section] if section else []),
        "Intervals and p are over test users, each sample's N@5 a mean over the seeds; "
        "± is the standard deviation over seeds.",
        "",
        "Joined by `benchmarks.join_ablations` from:",
        "",
        *(f"- {line}" for file in files for line in _said(file, first, shared)),
    ]
    return "\n".join([*lines, ""])


def _said(file: Saved, first: Saved, shared: list[str]) -> Iterator[str]:
    seeds = ", ".join(map(str, file.seeds))
    lone = [name for name in file.ranks if name not in shared]
    left_out = f"; left out, as not in every file: {', '.join(lone)}" if lone else ""
    changed = [f"`{name}` {there} instead of {here}" for name, here, there in differences(first, file)]
    other = f"; other settings than in the first: {', '.join(changed)}" if changed else ""
    yield f"[{file.path.name}]({file.path.name}): seeds {seeds}{left_out}{other}"


def differences(a: Saved, b: Saved) -> list[tuple[str, str, str]]:
    """Dotted name and both values of every setting that differs; a setting that a file's version lacked is "absent"."""
    mine, theirs = dict(_flat(a.config)), dict(_flat(b.config))
    changed = []
    for name in sorted(mine.keys() | theirs.keys()):
        values = tuple(json.dumps(settings[name]) if name in settings else "absent" for settings in (mine, theirs))
        if values[0] != values[1] and not name.startswith(_NO_MATTER):
            changed.append((name, *values))
    return changed  # type: ignore[return-value]


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    else:
        yield name, tree


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_ranks", type=Path, nargs="+", help="files that benchmarks.save_ranks wrote of ablations")
    parser.add_argument("--prepared", type=Path, help="the prepared folder, where a user has several test samples")
    parser.add_argument("--to", type=Path, help="a Markdown file to write; the page is printed else")
    given = parser.parse_args()
    files = [read(path) for path in given.saved_ranks]
    users = None
    if given.prepared:
        users = pq.read_table(given.prepared / "samples_test.parquet", columns=["sample_id", "user_idx"])
    elif not all(dataset_format(file.config["format"]).facts.leave_one_out for file in files):
        raise SystemExit("a user of these data has several test samples: name the folder with --prepared")
    page = join(files, users)
    if given.to:
        given.to.write_text(page)
        print(given.to)
    else:
        print(page)


if __name__ == "__main__":
    main()
