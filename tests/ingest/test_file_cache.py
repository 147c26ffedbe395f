"""Raw files that come day by day: parsed once, and the same tables as from everything at once."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gensr_model.config.data import GeneratedSource
from gensr_model.config.known_formats import Format
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon, write_kuaisar
from gensr_model.errors import DataError
from tasks.ingest import csv_blocks
from tasks.ingest.file_cache import REJECTS
from tasks.ingest.formats import amazon, amazon_meta
from tasks.ingest.ingest import build_raw, source_digest
from tasks.ingest.rejects import EXCERPT
from tasks.prepare.prepare import build_prepared

DAY_MS = 86_400_000
SOURCES: dict[Format, GeneratedSource] = {
    "amazon": GeneratedSource(users=120, items=150, events_per_user=10),
    "kuaisar": GeneratedSource(users=60, items=150, events_per_user=25),
}


def config(format: Format) -> PipelineConfig:
    settings = {"format": format, "prepare": {"negatives": 5, "min_interactions": 2, "threads": 1}}
    return PipelineConfig.model_validate(settings)


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob(pattern))}


def whole(format: Format, folder: Path) -> Path:
    (write_amazon if format == "amazon" else write_kuaisar)(folder, SOURCES[format])
    return folder


def by_day(format: Format, source: Path, folder: Path) -> list[Path]:
    """The files of ``source`` cut into labelled parts in ``folder``; returns those of the last label."""
    folder.mkdir()
    last = []
    for path in sorted(source.iterdir()):
        stem, end = path.name.split(".", 1)
        content = gzip.decompress(path.read_bytes()) if end.endswith("gz") else path.read_bytes()
        lines = content.splitlines(keepends=True)
        head = lines[:1] if format == "kuaisar" else []
        lines = lines[len(head) :]
        cut = len(lines) * 2 // 3
        for label, rows in (("day-1", lines[:cut]), ("day-2", lines[cut:])):
            part = folder / f"{stem}.{label}.{end.removesuffix('.gz')}"
            part.write_bytes(b"".join([*head, *rows]))
            last += [part] if label == "day-2" else []
    return last


def build(format: Format, source: Path, place: Path, cache: Path | None = None) -> tuple[Path, Path]:
    """(raw, prepared) of ``source`` in new folders of ``place``."""
    raw, prepared = place / "raw", place / "prepared"
    for folder in (raw, prepared):
        folder.mkdir(parents=True)
    build_raw(config(format), source, raw, cache)
    build_prepared(raw, config(format), prepared)
    return raw, prepared


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened to be parsed."""
    names: list[str] = []
    for module in (csv_blocks, amazon, amazon_meta):
        plain = module.read_lines

        def spy(path: Path, *span: object, plain: object = plain) -> object:
            names.append(path.name)
            return plain(path, *span)  # type: ignore[operator]

        monkeypatch.setattr(module, "read_lines", spy)
    return names


@pytest.mark.parametrize("format", ["amazon", "kuaisar"])
def test_a_new_day_is_parsed_alone_and_gives_what_everything_at_once_gives(
    format: Format, tmp_path: Path, opened: list[str]
) -> None:
    days = tmp_path / "days"
    new = by_day(format, whole(format, tmp_path / "whole"), days)
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    for path in new:
        shutil.move(path, waiting / path.name)
    cache = tmp_path / "cache"
    (tmp_path / "before").mkdir()
    build_raw(config(format), days, tmp_path / "before", cache)
    before = source_digest(days, config(format))
    old = set(opened)
    assert old == {path.name for path in days.iterdir()}

    for path in new:
        shutil.move(waiting / path.name, path)
    opened.clear()
    grown = build(format, days, tmp_path / "grown", cache)
    assert sorted(opened) == sorted(path.name for path in new)
    assert source_digest(days, config(format)) != before

    opened.clear()
    at_once = build(format, days, tmp_path / "at-once")
    assert set(opened) == old | {path.name for path in new}
    for one, other in zip(grown, at_once, strict=True):
        assert digests(one) == digests(other)


@pytest.mark.parametrize("format", ["amazon", "kuaisar"])
def test_parts_in_the_order_of_their_labels_are_the_file_that_they_were_cut_from(
    format: Format, tmp_path: Path
) -> None:
    source = whole(format, tmp_path / "whole")
    by_day(format, source, tmp_path / "days")
    _, one = build(format, source, tmp_path / "one")
    raw, parts = build(format, tmp_path / "days", tmp_path / "parts")
    assert digests(one, "*.parquet") == digests(parts, "*.parquet")
    assert len(json.loads((raw / "manifest.json").read_text(encoding="utf-8"))["files"]) == 2 * len(
        list(source.iterdir())
    )


def test_a_part_whose_content_or_settings_changed_is_parsed_again(tmp_path: Path, opened: list[str]) -> None:
    source = whole("kuaisar", tmp_path / "source")
    cache = tmp_path / "cache"

    def parsed(place: str, settings: PipelineConfig) -> list[str]:
        opened.clear()
        (tmp_path / place).mkdir()
        build_raw(settings, source, tmp_path / place, cache)
        return sorted(opened)

    everything = sorted(path.name for path in source.iterdir())
    assert parsed("first", config("kuaisar")) == everything
    assert parsed("again", config("kuaisar")) == []
    with (source / "social_network.csv").open("a", encoding="utf-8") as file:
        file.write("1,2\n")
    assert parsed("changed", config("kuaisar")) == ["social_network.csv"]
    (record,) = (path for path in cache.glob("*/part.json") if "rec_inter.csv" in path.read_text(encoding="utf-8"))
    rows = record.with_name("rows.parquet")
    rows.write_bytes(rows.read_bytes()[:-1])
    assert parsed("damaged", config("kuaisar")) == ["rec_inter.csv"]
    earlier = PipelineConfig.model_validate({"format": "kuaisar", "ingest": {"earliest": "2001-01-01"}})
    assert parsed("earlier", earlier) == everything


def test_rejected_lines_of_a_kept_part_are_told_again(tmp_path: Path) -> None:
    source = whole("kuaisar", tmp_path / "source")
    with (source / "rec_inter.csv").open("a", encoding="utf-8") as file:
        file.write("no number of fields " + 700 * "x" + "\n")
    for place in ("first", "again"):
        (tmp_path / place).mkdir()
        build_raw(config("kuaisar"), source, tmp_path / place, tmp_path / "saved_ranks")
    assert pq.read_table(tmp_path / "first" / "rejects.parquet").num_rows == 1
    assert digests(tmp_path / "first") == digests(tmp_path / "again")
    excerpts = [
        e for part in (tmp_path / "saved_ranks").rglob(REJECTS) for e in pq.read_table(part)["excerpt"].to_pylist()
    ]
    assert [len(excerpt) for excerpt in excerpts] == [EXCERPT]


def test_a_part_with_a_line_from_the_future_is_not_reused(tmp_path: Path, opened: list[str]) -> None:
    source = whole("kuaisar", tmp_path / "source")
    row = (source / "rec_inter.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    row[4] = str(int(time.time() * 1000) + 30 * DAY_MS)
    with (source / "rec_inter.csv").open("a", encoding="utf-8") as file:
        file.write(",".join(row) + "\n")
    for place in ("first", "again"):
        opened.clear()
        (tmp_path / place).mkdir()
        build_raw(config("kuaisar"), source, tmp_path / place, tmp_path / "saved_ranks")
    assert opened == ["rec_inter.csv"]


def test_an_item_that_a_later_part_repeats_keeps_its_first_row(tmp_path: Path) -> None:
    source = whole("kuaisar", tmp_path / "source")
    header, first, *_ = (source / "item_features.csv").read_text(encoding="utf-8").splitlines()
    later = first.replace(first.split('"')[1], "[99999]")
    (source / "item_features.later.csv").write_text(f"{header}\n{later}\n", encoding="utf-8")
    (tmp_path / "raw").mkdir()
    build_raw(config("kuaisar"), source, tmp_path / "raw")
    items = {row["item"]: row["title"] for row in pq.read_table(tmp_path / "raw" / "items.parquet").to_pylist()}
    assert len(items) == 150
    assert items[first.split(",")[0]] != "w99999"
    assert json.loads((tmp_path / "raw" / "manifest.json").read_text(encoding="utf-8"))["notes"]["repeated_items"] == 1


def test_a_part_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    source = whole("kuaisar", tmp_path / "source")
    shutil.copy(source / "rec_inter.csv", source / "rec_inter.csv.gz")
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=r"rec_inter\.csv and rec_inter\.csv\.gz are the same part"):
        build_raw(config("kuaisar"), source, tmp_path / "raw")
