"""The audits of impressions and of the candidates made from them find the fault that they are there for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_inputs import Rows, rows
from served_logs import config, prepared, write_world
from test_audit import FAULTS, change, set_field

from tasks.validate.audit import AUDITS, audit_by_itself

Fault = Callable[[Path], None]


def first(result: Rows, where: Callable[[dict[str, object]], bool]) -> int:
    return next(n for n, row in enumerate(result) if where(row))


def edit_impression(where: Callable[[dict[str, object]], bool], **fields: object) -> Fault:
    """The first impression that fits gets other values."""

    def edit(result: Rows) -> Rows:
        result[first(result, where)] |= fields
        return result

    return lambda folder: change(folder, "impressions", edit)


def edit_list(split: str, new: Callable[[Path, Rows, int], list[int]]) -> Fault:
    """The first list of the protocol shown with at least two items gets others."""

    def fault(folder: Path) -> None:
        def edit(result: Rows) -> Rows:
            at = first(result, lambda row: row["protocol"] == "shown" and len(row["item_idx"]) > 1)  # type: ignore[arg-type]
            result[at]["item_idx"] = new(folder, result, at)
            return result

        change(folder, f"candidates_{split}", edit)

    return fault


def never_shown(folder: Path, result: Rows, at: int) -> list[int]:
    """The list with an item in the first place that the user neither saw in it nor took."""
    (sample,) = (s for s in rows(folder, "samples_test") if s["sample_id"] == result[at]["sample_id"])
    met = {e["item_idx"] for e in rows(folder, "events") if e["user_idx"] == sample["user_idx"]}
    seen = {i["item_idx"] for i in rows(folder, "impressions") if i["user_idx"] == sample["user_idx"]}
    other = next(item for item in range(len(rows(folder, "items"))) if item not in met | seen)
    return [other, *result[at]["item_idx"][1:]]


def drop_list(folder: Path) -> None:
    change(folder, "candidates_test", lambda result: result[:-1])


SHOWN_FAULTS: dict[str, list[Fault]] = {
    "impression_without_event": [
        edit_impression(lambda row: row["source_row"] is not None, source_row=10**6),
        edit_impression(lambda row: row["source_row"] is not None, user_idx=10**6),
        edit_impression(lambda row: row["source_row"] is None, position=None),
        edit_impression(lambda row: row["behavior"] == "rec", query_idx=0),
    ],
    "impression_repeated": [
        lambda folder: change(folder, "impressions", lambda result: [result[0], *result]),
        edit_impression(lambda row: row["position"] == 1, position=0),
        edit_impression(lambda row: row["position"] == 1, ts=0),
    ],
    "candidate_not_shown": [
        edit_list("test", never_shown),
        edit_list("valid", lambda folder, result, at: result[at]["item_idx"][1:]),
        edit_list("valid", lambda folder, result, at: result[at]["item_idx"][::-1]),
        drop_list,
    ],
}
MORE = {
    "candidate_count": [edit_list("test", lambda *_: []), edit_list("test", lambda *_: [*range(100, 106)])],
    "candidate_misaligned": [lambda folder: change(folder, "candidates_test", lambda result: [*result, result[-1]])],
    "unresolved_id": [edit_impression(lambda row: row["source_row"] is None, item_idx=10**6)],
}
CASES = [
    pytest.param(name, fault, id=f"{name}-{n}")
    for name, faults in [*SHOWN_FAULTS.items(), *MORE.items()]
    for n, fault in enumerate(faults)
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown") / "served"
    write_world(folder)
    return prepared(folder, config())


def test_every_audit_has_a_planted_fault() -> None:
    assert list(AUDITS) == [*FAULTS, *SHOWN_FAULTS]
    assert AUDITS[22] == "candidate_not_shown"


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_planted_fault_is_found(good: Path, tmp_path: Path, name: str, fault: Fault) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(good, folder)
    fault(folder)
    assert {result.name: result.violations for result in audit_by_itself(folder)[0]}[name] > 0


def test_without_the_protocol_impressions_ask_for_no_list(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "uniform"
    shutil.copytree(good, folder)
    for split in ("valid", "test"):
        change(folder, f"candidates_{split}", lambda result: [row for row in result if row["protocol"] == "uniform"])
    manifest = folder / "manifest.json"
    text = manifest.read_text(encoding="utf-8").replace('"uniform",\n   "shown"', '"uniform"')
    manifest.write_text(text, encoding="utf-8")
    assert [result for result in audit_by_itself(folder)[0] if result.violations] == []


def test_lists_of_other_protocols_are_no_shorter(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(good, folder)
    set_field("candidates_test", "item_idx", lambda f, r, n: r[n]["item_idx"][:-1])(folder)
    assert [result.name for result in audit_by_itself(folder)[0] if result.violations] == ["candidate_count"]
