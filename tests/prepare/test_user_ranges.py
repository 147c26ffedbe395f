"""Ranges of users that are read and filtered apart give the prepared folder of one database."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cluster_here import use_cluster_here
from hypothesis import given
from hypothesis import strategies as st
from prepare_inputs import config, prepared, random_amazon
from shop_logs import shop

from gensr_model.config.data import GeneratedSource
from gensr_model.config.known_formats import Format
from gensr_model.data.synthetic import write_kuaisar
from tasks.ingest.ingest import build_raw
from tasks.prepare import user_ranges
from tasks.prepare.user_ranges import cuts_of


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def raw_of(format: Format, folder: Path) -> Path:
    if format == "amazon":
        return random_amazon(folder / "raw")
    if format == "kuaisar":
        write_kuaisar(folder / "files", GeneratedSource(users=60, items=150, events_per_user=25))
    else:
        shop(folder / "files", searches=0.5, users=40)
    (folder / "raw").mkdir()
    build_raw(config(format), folder / "files", folder / "raw")
    return folder / "raw"


@pytest.mark.parametrize("format", ["amazon", "kuaisar", "logs"])
def test_ranges_give_the_folder_of_one_database(
    format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = raw_of(format, tmp_path)
    further = {"kuaisar": {"protocols": ["uniform", "popularity", "shown"], "min_interactions": 2}}
    settings = config(format, **({"until": "2025-01-01", "min_interactions": 4} | further.get(format, {})))
    one = prepared(raw, settings, "one")
    cluster = use_cluster_here(monkeypatch, "tasks.prepare.prepare")
    monkeypatch.setattr(user_ranges, "_PIECE", 100)
    assert digests(prepared(raw, settings, "ranges")) == digests(one)
    assert cluster.pieces > 20


@given(st.lists(st.text(), max_size=30), st.integers(1, 9))
def test_cuts_leave_a_user_for_every_range(users: list[str], ranges: int) -> None:
    cuts = cuts_of(users, ranges)
    assert cuts == sorted(set(cuts))
    assert len(cuts) < max(1, min(ranges, len(set(users)))) or not users
    assert not users or min(users) not in cuts
