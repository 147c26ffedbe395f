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
    publish.point_latest(names[0])
    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(publish.point_latest, name) for name in names * 3]
        seen = [(runs / "latest" / "0.md").read_text() for _ in range(200)]  # at no time is there none
        for each in written:
            each.result()
    assert set(seen) <= set(names)
    (content,) = {file.read_text() for file in (runs / "latest").iterdir()}
    assert content in names
    assert len(list((runs / "latest").iterdir())) == 5
    assert {p.name for p in runs.iterdir()} == {*names, "latest"}
