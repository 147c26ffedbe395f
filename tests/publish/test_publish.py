"""``runs/latest``: whole at any time, also where two runs end together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.publish import publish


def test_runs_that_end_together_leave_one_whole_latest(gensr_home: Path) -> None:
    runs = gensr_home / "runs"
    names = [f"run-{n}" for n in range(12)]
    for name in names:
        (runs / name).mkdir(parents=True)
        for part in range(5):
            (runs / name / f"{part}.md").write_text(name)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish.point_latest, names * 3))
    (content,) = {file.read_text() for file in (runs / "latest").iterdir()}
    assert content in names
    assert len(list((runs / "latest").iterdir())) == 5
    assert {p.name for p in runs.iterdir()} == {*names, "latest", "latest.lock"}
