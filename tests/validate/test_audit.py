"""Every audit finds the fault that it is there for, and nothing on a good dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from called import gensr
from prepare_inputs import DAY, amazon_raw, config, kuaisar_raw, prepared, random_amazon, rows

from gensr_model.data.batches import NegativeSampler
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from tasks.core.source_files import SOURCES
from tasks.core.sql_runner import connect
from tasks.prepare.schemas import TABLES
from tasks.validate.audit import AUDITS, audit_by_itself, audit_rule, open_prepared

SETTINGS = config(negatives=10, protocols=("uniform", "popularity", "bm25"))
Row = dict[str, Any]
Fault = Callable[[Path], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = random_amazon(tmp_path_factory.mktemp("audit") / "raw")
    return prepared(raw, SETTINGS)


def change(folder: Path, table: str, edit: Callable[[list[Row]], list[Row]]) -> None:
    """Rewrite a table of ``folder`` after ``edit``."""
    edited = edit(rows(folder, table))
    pq.write_table(pa.Table.from_pylist(edited, TABLES[table]), folder / f"{table}.parquet")


def set_field(table: str, field: str, value: Callable[[Path, list[Row], int], Any], at: int = 0) -> Fault:
    """A fault: one field of row ``at`` becomes ``value(folder, rows, at)``."""

    def fault(folder: Path) -> None:
        def edit(result: list[Row]) -> list[Row]:
            result[at][field] = value(folder, result, at)
            return result

        change(folder, table, edit)

    return fault


def own_end(_: Path, result: list[Row], at: int) -> int:
    """A history that runs one event on, into the sample's own time."""
    return int(result[at]["history_end"]) + 1


def tie_end(folder: Path, result: list[Row], at: int) -> int:
    """A history that takes in all events of the sample's own time, as one cut by ``ts <=`` does."""
    own = result[at]["user_idx"], result[at]["ts"]
    return max(n for n, e in enumerate(rows(folder, "events")) if (e["user_idx"], e["ts"]) == own) + 1


def met_by_user(folder: Path, result: list[Row], at: int) -> list[int]:
    """A list whose last item is one that the sample's user met, and not the target."""
    sample = rows(folder, "samples_test")[at]
    met = {e["item_idx"] for e in rows(folder, "events") if e["user_idx"] == sample["user_idx"]}
    return [*result[at]["item_idx"][:-1], min(met - {sample["item_idx"]})]


def target_listed(folder: Path, result: list[Row], at: int) -> list[int]:
    return [*result[at]["item_idx"][:-1], rows(folder, "samples_test")[at]["item_idx"]]


def move_sample(folder: Path, task: str) -> None:
    """The last test sample of ``task`` goes to train, its twin stays."""
    test = rows(folder, "samples_test")
    moved = [s for s in test if s["task"] == task][-1]
    change(folder, "samples_train", lambda result: [*result, moved])
    change(folder, "samples_test", lambda result: [s for s in result if s != moved])
    change(folder, "candidates_test", lambda result: [c for c in result if c["sample_id"] != moved["sample_id"]])


def target_pair(folder: Path) -> Row:
    sample = rows(folder, "samples_valid")[0]
    return {"user_idx": sample["user_idx"], "item_idx": sample["item_idx"]}


def fresh_pair(folder: Path) -> Row:
    """The user and target of a held-out sample that the user did not meet in training."""
    trained = {(s["user_idx"], s["item_idx"]) for s in rows(folder, "samples_train")}
    held_out = ((s["user_idx"], s["item_idx"]) for s in rows(folder, "samples_test"))
    user, item = next(pair for pair in held_out if pair not in trained)
    return {"user_idx": user, "item_idx": item}


def swap(table: str, a: int, b: int) -> Fault:
    def edit(result: list[Row]) -> list[Row]:
        result[a], result[b] = result[b], result[a]
        return result

    return lambda folder: change(folder, table, edit)


FAULTS: dict[str, list[Fault]] = {
    "event_out_of_order": [swap("events", 0, 5)],
    "history_not_before_sample": [
        set_field("samples_test", "history_end", own_end),
        set_field("samples_train", "history_end", own_end, at=7),
        set_field("samples_test", "history_end", lambda *_: 0, at=3),  # another user's events
        set_field("samples_test", "history_end", lambda *_: 10**9),
    ],
    "history_misses_event": [set_field("samples_test", "history_end", lambda f, r, n: r[n]["history_end"] - 1)],
    "duplicate_event": [lambda folder: change(folder, "events", lambda result: [result[0], *result])],
    "query_of_wrong_behavior": [
        set_field("events", "query_idx", lambda f, r, n: 0 if r[n]["behavior"] == "rec" else None),
        set_field("samples_valid", "query_idx", lambda *_: 0),
    ],
    "sample_without_event": [
        lambda folder: change(folder, "samples_train", lambda result: result[1:]),
        set_field("samples_train", "ts", lambda f, r, n: r[n]["ts"] + 1),
    ],
    "target_in_history": [
        set_field("samples_test", "history_end", tie_end),
        set_field("samples_train", "history_end", tie_end, at=7),
    ],
    "candidate_repeated": [
        set_field("candidates_test", "item_idx", lambda f, r, n: [*r[n]["item_idx"][:-1], r[n]["item_idx"][0]])
    ],
    "candidate_met": [set_field("candidates_test", "item_idx", met_by_user)],
    "candidate_is_target": [set_field("candidates_test", "item_idx", target_listed)],
    "candidate_count": [
        set_field("candidates_valid", "item_idx", lambda f, r, n: r[n]["item_idx"][:-1]),
        set_field("candidates_valid", "item_idx", lambda *_: None),
    ],
    "candidate_misaligned": [
        swap("candidates_test", 0, 1),
        lambda folder: change(folder, "candidates_valid", lambda result: result[:-1]),
        set_field("candidates_test", "protocol", lambda *_: "popularity"),
        set_field("candidates_valid", "protocol", lambda *_: "alphabetical"),
    ],
    "unresolved_id": [
        set_field("candidates_test", "item_idx", lambda f, r, n: [*r[n]["item_idx"][:-1], 10**6]),
        set_field("events", "item_idx", lambda *_: -1),
        set_field("samples_train", "user_idx", lambda *_: 10**6),
        set_field("graph", "item_idx", lambda *_: 10**6),
        set_field("item_queries", "query_idx", lambda *_: 10**6),
    ],
    "index_not_row": [swap("items", 2, 3), swap("users", 0, 1), swap("queries", 0, 1)],
    "sample_in_two_splits": [
        lambda folder: change(folder, "samples_train", lambda result: [*result, rows(folder, "samples_test")[0]]),
        lambda folder: change(folder, "samples_valid", lambda result: [*result, {**result[0], "sample_id": "f" * 16}]),
    ],
    "twin_in_other_split": [
        lambda folder: move_sample(folder, "search"),
        lambda folder: move_sample(folder, "recommendation"),
    ],
    "split_against_time": [set_field("samples_test", "ts", lambda f, r, n: r[n]["ts"] - 100 * DAY)],
    "target_never_negative": [
        lambda folder: change(folder, "samples_train", lambda result: [*result, {**result[0], **fresh_pair(folder)}]),
        lambda folder: change(folder, "samples_train", lambda result: [*result, *rows(folder, "samples_valid")]),
    ],
    "graph_holds_target": [lambda folder: change(folder, "graph", lambda result: [*result, target_pair(folder)])],
    "graph_differs": [
        lambda folder: change(folder, "graph", lambda result: result[1:]),
        lambda folder: change(folder, "graph", lambda result: [result[0], *result]),
        set_field("graph", "user_idx", lambda f, r, n: (r[n]["user_idx"] + 1) % 40),
    ],
}
CASES = [
    pytest.param(name, fault, id=f"{name}-{n}") for name, faults in FAULTS.items() for n, fault in enumerate(faults)
]


def test_every_audit_has_a_planted_fault_and_says_what_it_looks_for() -> None:
    assert list(AUDITS)[: len(FAULTS)] == list(FAULTS)  # those of impressions are in test_audit_shown.py
    assert set(AUDITS) == {path.stem for path in (SOURCES / "sql" / "audit").glob("*.sql")}
    for name in AUDITS:
        assert len(audit_rule(name)) > 20, name


def test_good_amazon_has_no_violation(good: Path, tmp_path: Path) -> None:
    results = audit_by_itself(good)[0]
    assert [(r.name, r.violations) for r in results] == [(name, 0) for name in AUDITS]


def test_good_kuaisar_has_no_violation(tmp_path: Path) -> None:
    start = 1_600_000_000_000
    rec = [{"user": f"u{n % 9}", "item": f"i{n % 13}", "ts": start + (n % 50) * DAY // 10} for n in range(200)]
    src = [{"user": f"u{n % 9}", "item": f"i{n % 17}", "ts": start + (n % 50) * DAY // 10} for n in range(150)]
    many = {"user": "far", "ts": start - 9 * DAY}
    rare = [{**many, "item": f"x{n}"} for n in range(9)]
    settings = config("kuaisar", negatives=5, protocols=SETTINGS.prepare.protocols)
    folder = prepared(kuaisar_raw(tmp_path / "raw", [*rec, *rare], [*src, *rare], []), settings)
    results = audit_by_itself(folder)[0]
    assert [(r.name, r.violations) for r in results] == [(name, 0) for name in AUDITS]


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_planted_fault_is_found(good: Path, tmp_path: Path, name: str, fault: Fault) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(good, folder)
    fault(folder)
    result = {r.name: r for r in audit_by_itself(folder)[0]}
    assert result[name].violations > 0
    assert 0 < len(result[name].sample) <= 5


@pytest.fixture(scope="module")
def good_include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = random_amazon(tmp_path_factory.mktemp("include") / "raw")
    return prepared(raw, config(negatives=10, same_time="include"))


def tied(folder: Path, result: list[Row]) -> tuple[int, int, int]:
    """(row, start, end) of a sample that stands between other purchases of its day, whose events are start to end."""
    events = rows(folder, "events")
    for at, sample in enumerate(result):
        day = [n for n, e in enumerate(events) if (e["user_idx"], e["ts"]) == (sample["user_idx"], sample["ts"])]
        own = [n for n in day if events[n]["item_idx"] == sample["item_idx"]]
        if len(own) == 2 and day[0] < own[0] and own[1] < day[-1]:
            return at, day[0], day[-1] + 1
    raise AssertionError("no purchase has others of its day on both sides")


def set_tied_end(end: Callable[[int, int, int], int]) -> Fault:
    """A training sample's history ends at ``end(history_end, start of its day, end of its day)``."""

    def fault(folder: Path) -> None:
        def edit(result: list[Row]) -> list[Row]:
            at, start, stop = tied(folder, result)
            result[at]["history_end"] = end(result[at]["history_end"], start, stop)
            return result

        change(folder, "samples_train", edit)

    return fault


def trade_places(folder: Path) -> None:
    """A user's valid and test purchase of one day change splits: the order of a day's rows is broken, no time is."""
    days = {s["user_idx"]: s["ts"] for s in rows(folder, "samples_valid")}
    user = next(s["user_idx"] for s in rows(folder, "samples_test") if days[s["user_idx"]] == s["ts"])
    own = {split: [s for s in rows(folder, f"samples_{split}") if s["user_idx"] == user] for split in ("valid", "test")}
    for split, new in (("valid", own["test"]), ("test", own["valid"])):
        kept = [s for s in rows(folder, f"samples_{split}") if s["user_idx"] != user]
        pq.write_table(pa.Table.from_pylist([*kept, *new], TABLES["samples_test"]), folder / f"samples_{split}.parquet")


def keep(folder: Path) -> None:
    """No fault."""


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        pytest.param(keep, set(), id="good"),
        pytest.param(
            set_tied_end(lambda end, start, stop: end + 1),
            {"history_not_before_sample", "target_in_history"},
            id="twin",
        ),
        pytest.param(
            set_tied_end(lambda end, start, stop: stop), {"history_not_before_sample", "target_in_history"}, id="later"
        ),
        pytest.param(set_tied_end(lambda end, start, stop: start), {"history_misses_event"}, id="strict"),
    ],
)
def test_audits_hold_histories_to_the_rule_of_the_manifest(
    good_include: Path, tmp_path: Path, fault: Fault, broken: set[str]
) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(good_include, folder)
    fault(folder)
    assert {r.name for r in audit_by_itself(folder)[0] if r.violations} == broken
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["config"]["same_time"]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    strict = {r.name: r.violations for r in audit_by_itself(folder)[0]}
    assert strict["history_not_before_sample"] > 50, "the same histories under the strict rule"


def test_an_order_within_a_day_that_the_splits_break_is_found_with_include_alone(
    good: Path, good_include: Path, tmp_path: Path
) -> None:
    for source, violations in ((good, 0), (good_include, 1)):
        folder = tmp_path / str(violations)
        shutil.copytree(source, folder)
        trade_places(folder)
        assert {r.name: r.violations for r in audit_by_itself(folder)[0]}["split_against_time"] == violations


def test_a_missing_file_is_an_error(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incomplete"
    shutil.copytree(good, folder)
    (folder / "graph.parquet").unlink()
    with pytest.raises(DataError, match=r"graph\.parquet is missing"):
        audit_by_itself(folder)[0]


def test_the_sampler_leaves_out_what_the_audit_says_that_it_leaves_out(good: Path, tmp_path: Path) -> None:
    settings = SETTINGS.prepare
    with connect(settings, tmp_path / "temp") as con:
        open_prepared(con, good, settings)
        pairs = con.table("never_negative").fetchall()
    dataset = PreparedDataset.open(good)
    sampler = NegativeSampler(dataset, dataset.samples("train"))
    assert sampler.met.tolist() == sorted(user * dataset.n_items + item for user, item in pairs)


def test_the_command_prints_every_audit_and_figure_and_exits_by_violations(
    good: Path, tmp_path: Path, gensr_home: Path
) -> None:
    done = gensr("audit", good)
    assert done.exit_code == 0
    printed = done.stdout
    assert all(name in printed for name in AUDITS)
    assert f"{len(AUDITS)} audits, 0 broken" in printed
    assert all(name in printed for name in ("later_share", "only_by_categories", "answer_in_history"))

    folder = tmp_path / "faulty"
    shutil.copytree(good, folder)
    set_field("candidates_test", "item_idx", met_by_user)(folder)
    done = gensr("audit", folder)
    assert done.exit_code == 1
    printed = done.stdout
    assert f"{len(AUDITS)} audits, 1 broken" in printed
    assert rows(folder, "candidates_test")[0]["sample_id"] in printed

    done = gensr("audit", tmp_path)
    assert done.exit_code == 1
    assert "manifest.json is missing" in done.stderr.splitlines()[-1]
    for content in ("{}", "no JSON", '{"format": "amazon", "config": {"negatives": -1}}'):
        (folder / "manifest.json").write_text(content, encoding="utf-8")
        done = gensr("audit", folder)
        assert done.exit_code == 1
        assert "is no manifest of a dataset of this version" in done.stderr


def figures_of(folder: Path) -> dict[str, dict[str, float | None]]:
    return {figure.name: figure.values for figure in audit_by_itself(folder)[1]}


def test_figures_by_hand(tmp_path: Path) -> None:
    """u buys A, B, C and A again, v buys D; titles are "title X": of the paths, only the word of D's is in one."""
    purchases = [("u", "A", 0), ("u", "B", 1), ("u", "C", 2), ("u", "A", 3), ("v", "D", 9)]
    paths = {**{item: [["Top", f"Kind {item}{item}"]] for item in "ABC"}, "D": [["Title", "Title"]]}
    result = figures_of(prepared(amazon_raw(tmp_path / "raw", purchases, paths), config()))
    assert result["later_share"]["later_share"] == pytest.approx(1 / 3)  # of A, B, D only D is after u's last
    assert result["query_in_text"] == {
        "search_samples": 5,
        "with_categories": 1.0,
        "without_categories": pytest.approx(1 / 5),
        "only_by_categories": pytest.approx(4 / 5),
    }
    assert result["same_time"] == {"touched_train": 0.0, "touched_valid": 0.0, "touched_test": 0.0}
    held_out = {"held_out_samples": 4, "met_in_training": 2, "share": 0.5}  # A again, in both tasks
    assert result["repeated_targets"] == held_out
    assert result["position_cut"] == {
        "samples": 10,
        "history_not_earlier": 5,  # every search event stands behind its own purchase
        "answer_in_history": 5,
        "answer_in_history_share": 0.5,
    }


def test_ties_leak_beyond_twins_when_histories_are_cut_by_position(tmp_path: Path) -> None:
    """B and C of one day: C's two samples would see B's events, B's search event only its twin."""
    purchases = [("u", item, day) for item, day in (("A", 0), ("B", 1), ("C", 1), ("D", 2))]
    raw = amazon_raw(tmp_path / "raw", [*purchases, ("v", "E", 0)], {i: [["Top", f"Kind {i}{i}"]] for i in "ABCDE"})
    figures = figures_of(prepared(raw, config()))
    cut = figures["position_cut"]
    assert (cut["samples"], cut["history_not_earlier"], cut["answer_in_history"]) == (10, 6, 5)
    shares = {"touched_train": 0.0, "touched_valid": 1.0, "touched_test": 0.0}  # C's samples are u's valid ones
    assert figures["same_time"] == shares
    assert figures_of(prepared(raw, config(same_time="include"), "include"))["same_time"] == shares


def test_a_folder_named_as_a_pattern_is_the_one_that_is_audited(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "prep1")
    shutil.copytree(good, tmp_path / "prep[1]")
    change(tmp_path / "prep[1]", "candidates_test", lambda result: [row | {"item_idx": [0, 0]} for row in result])
    assert gensr("audit", tmp_path / "prep1").exit_code == 0
    assert gensr("audit", tmp_path / "prep[1]").exit_code == 1
