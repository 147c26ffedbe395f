"""``prepare.same_time: include``: a history holds the earlier events of the sample's own instant, never its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prepare_inputs import amazon_raw, config, named_samples, prepared, random_amazon, rows
from pydantic import ValidationError

from flows.cli.config_tree import read_config
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from tasks.ingest.ingest import build_raw

REC, SRC = "recommendation", "search"
PATHS = {item: [["Books", f"Shelf {item}{item}"]] for item in "ABCDE"}


def test_the_last_three_purchases_of_one_day_by_hand(tmp_path: Path) -> None:
    """B, C and D of one day: the lines decide the split, and each sees the ones before it, with their searches."""
    purchases = [("u", "A", 0), ("u", "B", 1), ("u", "C", 1), ("u", "D", 1), ("v", "E", 0)]
    folder = prepared(amazon_raw(tmp_path / "raw", purchases, PATHS), config(same_time="include"))
    assert named_samples(folder, "train") == [
        (REC, "u", "A", None, 0),
        (REC, "u", "B", None, 2),
        (REC, "v", "E", None, 8),
        (SRC, "u", "A", "books shelf aa", 0),
        (SRC, "u", "B", "books shelf bb", 2),
        (SRC, "v", "E", "books shelf ee", 8),
    ]
    assert named_samples(folder, "valid") == [(REC, "u", "C", None, 4), (SRC, "u", "C", "books shelf cc", 4)]
    assert named_samples(folder, "test") == [(REC, "u", "D", None, 6), (SRC, "u", "D", "books shelf dd", 6)]


def test_only_the_ends_of_histories_differ_and_histories_hold_no_answer_and_no_later_split(tmp_path: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    strict, wide = (
        prepared(raw, config(negatives=10, same_time=rule), rule) for rule in ("exclude", "include")
    )  # fmt: skip
    split_of: dict[tuple[int, int, int], str] = {}
    longer = 0
    for split in ("train", "valid", "test"):
        before, after = rows(strict, f"samples_{split}"), rows(wide, f"samples_{split}")
        drop = lambda row: {name: value for name, value in row.items() if name != "history_end"}  # noqa: E731
        assert list(map(drop, before)) == list(map(drop, after))
        longer += sum(a["history_end"] > b["history_end"] for a, b in zip(after, before, strict=True))
        split_of |= {(s["user_idx"], s["item_idx"], s["ts"]): split for s in after}
    assert longer > 50
    for path in sorted(strict.glob("*.parquet")):
        if not path.name.startswith("samples"):
            assert path.read_bytes() == (wide / path.name).read_bytes(), path.name
    events = [(e["user_idx"], e["item_idx"], e["ts"]) for e in rows(wide, "events")]
    seen = {"train": {"train"}, "valid": {"train"}, "test": {"train", "valid"}}
    for split, allowed in seen.items():
        for sample in rows(wide, f"samples_{split}"):
            own = sample["user_idx"], sample["item_idx"], sample["ts"]
            history = [event for event in events[: sample["history_end"]] if event[0] == own[0]]
            assert own not in history
            assert {split_of[event] for event in history} <= allowed


def test_the_manifest_of_exclude_stays_as_it_was_before_there_was_a_choice(tmp_path: Path) -> None:
    raw = random_amazon(tmp_path / "raw")
    told = [
        json.loads((prepared(raw, config(**given), name) / "manifest.json").read_text(encoding="utf-8"))["config"]
        for name, given in (("a", {}), ("b", {"same_time": "exclude"}), ("c", {"same_time": "include"}))
    ]
    assert [each.get("same_time") for each in told] == [None, None, "include"]


def test_an_instant_whose_rows_were_shown_together_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'kuaisar' cannot tell .*shown together.*'exclude'"):
        config("kuaisar", same_time="include")


def test_a_format_that_states_no_order_is_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"format": "toy_format:FORMAT", "source": {"kind": "generated"}}
    (tmp_path / "raw").mkdir()
    with pytest.raises(ConfigError, match=r"'toy' cannot tell .*states no order.*'exclude'"):
        prepared(tmp_path / "raw", PipelineConfig.model_validate(settings | {"prepare": {"same_time": "include"}}))
    with pytest.raises(ConfigError, match=r"'toy' cannot tell"):  # by the command line, before anything is read
        read_config(json.dumps(settings | {"prepare": {"same_time": "include"}}))


def test_digital_music(real_data: Path, tmp_path: Path) -> None:
    """On real ties, no answer enters a history and every event is still a sample."""
    source = real_data / "amazon-digital-music"
    (tmp_path / "raw").mkdir()
    build_raw(config(min_interactions=5, negatives=99), source, tmp_path / "raw")
    folder = prepared(tmp_path / "raw", config(min_interactions=5, negatives=99, same_time="include"))
    events = rows(folder, "events")
    starts = {user: min(n for n, e in enumerate(events) if e["user_idx"] == user) for user in range(268)}
    ends = {(e["user_idx"], e["source_row"]): n for n, e in reversed(list(enumerate(events)))}
    rows_of = {(e["user_idx"], e["item_idx"], e["ts"]): e["source_row"] for e in events}
    samples = [sample for split in ("train", "valid", "test") for sample in rows(folder, f"samples_{split}")]
    assert len(samples) == 4960
    for s in samples:
        assert s["history_end"] == ends[s["user_idx"], rows_of[s["user_idx"], s["item_idx"], s["ts"]]]
    empty = sum(s["history_end"] == starts[s["user_idx"]] for s in samples)
    assert empty == 2 * 268  # each user's first purchase, in both tasks, and no other
