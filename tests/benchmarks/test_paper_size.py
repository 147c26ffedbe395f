"""The fit of an exponent, the goals, and which parts a second call measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper_size import lines, table
from benchmarks.paper_size.lines import Job, Line

NEEDS: dict[str, tuple[str, ...]] = {"data": (), "model": ("data",), "rank": ("data", "model")}


class Runner:
    """Runs toy jobs. Those in ``broken`` fail."""

    def __init__(self, file: Path) -> None:
        self.file, self.ran, self.made = file, list[str](), set[Job]()
        self.broken: set[str] = set()

    def __call__(self, *parts: str) -> list[Line]:
        wanted = lines.jobs(["toy"], [0.25], list(parts))
        return list(lines.measure(wanted, self.file, NEEDS, self.made.__contains__, self._run))

    def _run(self, job: Job) -> Line:
        self.ran.append(job.part)
        if job.part in self.broken:
            return job._asdict() | {"error": "it broke"}
        self.made.add(job)
        return job._asdict() | {"cpu_seconds": float(len(self.ran))}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "lines.jsonl")


def test_a_line_that_is_there_is_not_measured_again(runner: Runner) -> None:
    assert [line["part"] for line in runner("data", "model")] == ["data", "model"]
    assert [line["part"] for line in runner("data", "model", "rank")] == ["rank"]
    assert runner.ran == ["data", "model", "rank"]


def test_what_a_part_needs_runs_first_and_anew_where_its_output_is_gone(runner: Runner) -> None:
    assert [line["part"] for line in runner("model")] == ["data", "model"]
    runner.made.clear()
    assert [line["part"] for line in runner("rank")] == ["rank"]  # the others keep their lines
    assert runner.ran == ["data", "model", "data", "model", "rank"]
    assert lines.read(runner.file)[Job("toy", 0.25, "model")]["cpu_seconds"] == 2


def test_a_failure_is_a_line_that_stops_no_other_and_is_tried_again_by_the_next_call(runner: Runner) -> None:
    runner.broken = {"model"}
    assert [line.get("error") for line in runner("model", "rank", "data")] == [
        None, "it broke", "it needs model, which failed",
    ]  # fmt: skip
    assert runner.ran == ["data", "model"]
    runner.broken = set()
    assert [line["part"] for line in runner("model", "rank", "data")] == ["model", "rank"]
    assert not [line for line in lines.read(runner.file).values() if "error" in line]


def test_a_line_that_a_killed_run_left_incomplete_is_measured_again(runner: Runner) -> None:
    runner("data", "model")
    written = runner.file.read_text(encoding="utf-8")
    runner.file.write_text(written[:-5], encoding="utf-8")
    assert [line["part"] for line in runner("data", "model")] == ["model"]
    assert set(lines.read(runner.file)) == {Job("toy", 0.25, "data"), Job("toy", 0.25, "model")}


def test_the_index_is_served_once_a_share_whatever_the_data() -> None:
    assert lines.jobs(["a", "b"], [1, 0.5], ["prepare", "serve"]) == [
        Job("a", 0.5, "prepare"), Job("b", 0.5, "prepare"), Job("a", 1, "prepare"), Job("b", 1, "prepare"),
        Job("index", 0.5, "serve"), Job("index", 1, "serve"),
    ]  # fmt: skip


def test_an_exponent_is_that_of_all_sizes() -> None:
    assert table.fitted([100, 200, 400], [3, 12, 48]) == 2
    assert table.fitted([100, 200, 400, 800], [1, 1, 8, 8]) == pytest.approx(1.2)  # by hand; the ends alone give 1
    assert table.fitted([100, 200], [0, 5]) is None


def measured(part: str, seconds: list[float], peak: float = 1.0, **more: float) -> dict[Job, Line]:
    """Lines of a part at three shares with 100, 200 and 400 rows."""
    found: dict[Job, Line] = {}
    for share, n, spent in zip((0.25, 0.5, 1.0), (100, 200, 400), seconds, strict=True):
        found[Job("toy", share, "prepare")] = {"n": n, "cpu_seconds": 0.1, "peak_gb": 0.1}
        found[Job("toy", share, part)] = {"cpu_seconds": spent, "peak_gb": peak, "steps": {}, **more}
    return found


def test_the_goals_name_the_stages_that_miss_them() -> None:
    known = measured("slow", [1, 4, 16]) | measured("fast", [0.1, 0.4, 1.6]) | measured("big", [6, 6, 6], peak=13)
    memory, growth, whole = table.verdicts(table.rows(known))
    assert memory.startswith("Missed")
    assert "big" in memory
    assert "slow" not in memory
    assert growth.startswith("Missed")
    assert "slow" in growth
    assert "fast" not in growth
    assert whole.startswith("Missed")
    assert "slow" in whole


def test_no_goal_is_met_before_the_full_size_is_measured() -> None:
    known = {job: line for job, line in measured("part", [6, 6, 6]).items() if job.share < 1}
    (only,) = table.verdicts(table.rows(known))
    assert "no goal is judged" in only
    assert table.verdicts(table.rows(measured("part", [6, 6, 6])))[1].startswith("Met")


def test_a_step_that_failed_is_named_and_the_others_have_rows() -> None:
    job = Job("toy", 1.0, "score")
    steps = {"good": {"cpu_seconds": 7.0, "whole_s": 70.0}, "bad": {"error": "it broke"}}
    known: dict[Job, Line] = {
        Job("toy", 1.0, "prepare"): {"n": 9, "cpu_seconds": 1.0, "peak_gb": 1.0},
        job: {"cpu_seconds": 7.0, "peak_gb": 1.0, "steps": steps},
    }
    assert [(row.name, row.whole) for row in table.rows(known)] == [("prepare", (1.0,)), ("score: good", (70.0,))]
    assert table.failures(known) == ["toy at 1, score: bad: it broke"]
