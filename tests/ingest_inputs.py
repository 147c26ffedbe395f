"""Source folders of a few lines, and what ingest makes of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.ingest import build_raw

SECONDS = 1_400_000_000  # 2014-05-13
MS = 1_684_700_000_000  # 2023-05-21
NAMES = {
    "rec": "rec_inter.csv",
    "src": "src_inter.csv",
    "items": "item_features.csv",
    "users": "user_features.csv",
    "social": "social_network.csv",
}
LEVELS = tuple(f"{level}_level_category_name_en" for level in ("first", "second", "third", "fourth"))
ROWS: dict[str, list[dict[str, Any]]] = {
    "rec": [{"user_id": 1, "item_id": 2, "timestamp": MS, "click": 1}],
    "src": [
        {
            "user_id": 1,
            "item_id": 2,
            "search_session_timestamp": MS,
            "keyword": "[20, 34]",
            "search_session_id": 7,
            "click_cnt": 1,
            "item_type": "VIDEO",
            "search_source": "SUG_SEARCH",
        }
    ],
    "items": [{"item_id": 2, "caption": "[1, 213]", "author_id": 5} | dict.fromkeys(LEVELS, "") | {LEVELS[0]: "Food"}],
    "users": [{"user_id": 1, "onehot_feat1": 3, "search_active_level": 4, "rec_active_level": 2}],
    "social": [{"user_id": 1, "user_follow_id": 9}],
}


class Raw:
    """A folder that ingest wrote: rows per table, the manifest, the rejects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.rejects = rejected_in(folder)

    def rows(self, table: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = pq.read_table(self.folder / f"{table}.parquet").to_pylist()
        return result

    def account(self, name: str) -> tuple[int, int, int]:
        """(read, accepted, rejected) of the input file ``name``."""
        (entry,) = [f for f in self.manifest["files"] if f["name"] == name]
        return entry["read"], entry["accepted"], entry["rejected"]


def rejected_in(out: Path) -> list[tuple[str, int, str]]:
    """(file, line, reason) of each rejected line."""
    result = pq.read_table(out / "rejects.parquet").to_pylist()
    return [(row["file"], row["line"], row["reason"]) for row in result]


def ingest(source: Path, format: str, max_reject_share: float = 1.0) -> Raw:
    """``build_raw`` of ``source`` into a sibling folder; checks that every line is accounted for."""
    out = source.parent / f"{source.name}-raw"
    out.mkdir()
    settings = {"format": format, "ingest": {"max_reject_share": max_reject_share}, "prepare": {"threads": 1}}
    build_raw(PipelineConfig.model_validate(settings), source, out)
    raw = Raw(out)
    for entry in raw.manifest["files"]:
        assert entry["accepted"] + entry["rejected"] == entry["read"]
        assert entry["rejected"] == sum(file == entry["name"] for file, _, _ in raw.rejects)
    for key in ("read", "accepted", "rejected"):
        assert raw.manifest[key] == sum(entry[key] for entry in raw.manifest["files"])
    return raw


def review(**fields: Any) -> str:
    """A line of the reviews file; a field of None is left out."""
    entry = {"reviewerID": "U1", "asin": "A1", "overall": 5.0, "unixReviewTime": SECONDS} | fields
    return json.dumps({key: value for key, value in entry.items() if value is not None})


def lines(*texts: str | bytes) -> bytes:
    """The texts, each with its line end."""
    return b"".join((t if isinstance(t, bytes) else t.encode()) + b"\n" for t in texts)


def amazon(
    folder: Path, reviews: bytes = lines(review()), meta: bytes = lines(repr({"asin": "A1"})), gz: bool = False
) -> Path:
    """A source folder with one reviews file and one meta file."""
    folder.mkdir()
    for name, content in (("reviews_X_5.json", reviews), ("meta_X.json", meta)):
        path = folder / (f"{name}.gz" if gz else name)
        path.write_bytes(gzip.compress(content, mtime=0) if gz else content)
    return folder


def table(rows: list[dict[str, Any]], columns: list[str] | None = None) -> bytes:
    """A CSV file of the rows, quoted where needed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def kuaisar(folder: Path, **files: bytes | list[dict[str, Any]]) -> Path:
    """A source folder of KuaiSAR's five files; ``files`` replaces some, as bytes or as rows over the ordinary row."""
    folder.mkdir()
    for name, file in NAMES.items():
        given = files.get(name, ROWS[name])
        content = given if isinstance(given, bytes) else table([ROWS[name][0] | row for row in given])
        (folder / file).write_bytes(content)
    return folder
