"""The log of shown lists and clicks: what a killed service wrote is what ``format: logs`` reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ingest_inputs import Raw

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.serving.event_log import ACTIONS, EventLog
from tasks.ingest.formats.logs import BEHAVIORS
from tasks.ingest.ingest import build_raw

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
WRITER = """
import sys, threading
from gensr_model.serving.event_log import EventLog
log = EventLog(sys.argv[1], max_bytes=20_000)
said = threading.Lock()

def write(number):
    for n in range(100_000):
        query_id = log.shown(f"u{number}", "caf\\u00e9" if n % 2 else None, [f"i{n}", "i0"], "v1")
        log.event("click", query_id, f"i{n}", f"u{number}", 0)
        with said:
            print(query_id, flush=True)

for number in range(4):
    threading.Thread(target=write, args=(number,), daemon=True).start()
sys.stdin.read()
"""


def documents(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob(f"{kind}-*.jsonl")) for line in path.open(encoding="utf-8")]


def ingested(folder: Path) -> Raw:
    config = PipelineConfig.model_validate({"format": "logs", "logs": {"layout": "gensr-serve"}})
    out = folder.parent / "raw"
    out.mkdir()
    build_raw(config, folder, out)
    raw = Raw(out)
    assert raw.manifest["accepted"] + raw.manifest["rejected"] == raw.manifest["read"]
    return raw


def test_what_a_killed_service_wrote_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    service = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert service.stdout is not None
    logged = [service.stdout.readline().strip() for _ in range(400)]  # ids whose list and click were logged
    service.send_signal(signal.SIGKILL)
    logged += service.stdout.read().split("\n")[:-1]
    service.wait()
    for path in folder.iterdir():  # a crash of the machine could leave this of a line
        with path.open("ab") as file:
            file.write(b'{"application":"gensr","query_id":"half')
    log = EventLog(folder, max_bytes=20_000)
    last = log.shown(None, "  ", ["i1"], "v2")
    log.event("click", last, "i1", None)
    log.close()
    assert (log.written, log.lost, log.problem) == (2, 0, None)
    raw = ingested(folder)
    assert raw.rejects == []
    queries, events = raw.rows("queries"), raw.rows("events")
    assert {*logged, last} <= {row["query_id"] for row in queries}
    assert {*logged, last} <= {row["query_id"] for row in events}
    assert len({row["query_id"] for row in queries}) == len(queries) < len(logged) + 10
    assert all(row["user"] and row["items"] and row["ts"] > NOON - 10**9 for row in queries)
    assert {row["query"] for row in queries} == {None, "café"}
    assert all(path.stat().st_size <= 20_000 for path in folder.iterdir())
    assert {row["file"] for row in events} == {path.name for path in folder.glob("events-*")}
    assert len({row["file"] for row in events}) > 2


def test_documents_are_ubi(tmp_path: Path) -> None:
    log = EventLog(tmp_path, clock=lambda: NOON)
    search = log.shown("u1", " red shoe ", ["b", "a"], "7", session="s", attributes={"source": "retrieved"})
    log.event("add_to_cart", search, "a", "u1", 1, session="s")
    log.event("view", None, "b", None, session="s2")
    log.close()
    when = {"application": "gensr", "timestamp": "2026-11-30T12:00:00.000Z"}
    who = {"client_id": "u1", "user_id": "u1", "session_id": "s", "query_id": search}
    assert documents(tmp_path, "queries") == [
        {**when, **who, "user_query": "red shoe", "query_response_hit_ids": ["b", "a"],
         "query_attributes": {"version": "7", "source": "retrieved"}}
    ]  # fmt: skip
    thing = {"object_id": "a", "object_id_field": "item_id"}
    assert documents(tmp_path, "events") == [
        {**when, **who, "action_name": "add_to_cart",
         "event_attributes": {"object": thing, "position": {"ordinal": 1}}},
        {**when, "client_id": "s2", "session_id": "s2", "query_id": None, "action_name": "view",
         "event_attributes": {"object": thing | {"object_id": "b"}}},
    ]  # fmt: skip


def test_a_day_has_its_files_and_none_goes_back(tmp_path: Path) -> None:
    now = [NOON]
    log = EventLog(tmp_path, max_bytes=400, clock=lambda: now[0])
    for hours in (0, 0, 12, 11, 36):
        now[0] = NOON + hours * 3600
        log.shown("u", "q", ["i"], "1")
    log.close()
    names = {path.name: path.read_bytes().count(b"\n") for path in tmp_path.iterdir()}
    assert names == {
        "queries-2026-11-30.jsonl": 1,
        "queries-2026-11-30-002.jsonl": 1,
        "queries-2026-12-01.jsonl": 1,
        "queries-2026-12-01-002.jsonl": 1,
        "queries-2026-12-02.jsonl": 1,
    }


def test_a_whole_line_without_its_end_stays_and_other_files_are_not_touched(tmp_path: Path) -> None:
    half, whole, other = b'{"query_id":"a"}\n{"query', b'{"query_id":"a"}', b'{"id": "i"'
    names = ("queries-2026-11-28.jsonl", "queries-2026-11-29.jsonl", "items.jsonl")
    for name, content in zip(names, (half, whole, other), strict=True):
        (tmp_path / name).write_bytes(content)
    EventLog(tmp_path).close()
    mended = [(tmp_path / name).read_bytes() for name in names]
    assert mended == [b'{"query_id":"a"}\n', b'{"query_id":"a"}\n', other]


def test_two_logs_in_one_folder_write_to_files_of_their_own(tmp_path: Path) -> None:
    logs = [EventLog(tmp_path, clock=lambda: NOON) for _ in range(2)]
    for log in (*logs, *logs):
        log.shown("u", None, ["i"], "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "queries-2026-11-30-002.jsonl",
        "queries-2026-11-30.jsonl",
    ]
    for log in logs:
        log.close()
    assert len(documents(tmp_path, "queries")) == 4


def test_a_disk_error_is_said_once_counted_and_over_when_a_line_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.write_text("no folder", encoding="utf-8")
    log = EventLog(folder, clock=lambda: NOON)
    assert log.problem is not None
    assert log.problem.startswith(f"{folder}: shown lists and clicks are not written: ")
    query_id = log.shown("u", None, ["i"], "1")
    log.event("click", query_id, "i", "u")
    assert (log.written, log.lost) == (0, 2)
    folder.unlink()
    folder.mkdir()
    log.event("click", query_id, "i", "u")
    assert (log.written, log.lost, log.problem) == (1, 2, None)
    log.close()
    log.event("click", query_id, "i", "u")
    assert (log.written, log.lost) == (1, 3)
    assert "the log is closed" in (log.problem or "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = EventLog(tmp_path, clock=lambda: NOON), os.write
    log.shown("u", None, ["i"], "1")
    monkeypatch.setattr(os, "write", lambda fd, line: write(fd, line[:20]))
    log.shown("u", None, ["i"], "1")
    assert (log.written, log.lost) == (1, 1)
    assert "No space left" in (log.problem or "")
    monkeypatch.undo()
    log.shown("u", None, ["i"], "1")
    log.close()
    assert len(documents(tmp_path, "queries")) == 2


def test_lines_reach_the_disk_within_a_second_by_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(threading.current_thread().name), fsync(fd)))
    log = EventLog(tmp_path)
    for _ in range(50):
        log.shown("u", None, ["i"], "1")
    assert synced == []
    deadline = time.monotonic() + 20
    while not synced and time.monotonic() < deadline:
        time.sleep(0.05)
    assert synced == ["event-log"]
    log.close()


def test_bad_actions_are_refused_and_the_others_are_known_to_the_reading(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for given, message in (
        (("clack", "q", "i", "u"), "action is 'clack'"),
        (("click", "q", " ", "u"), "item is empty"),
        (("click", None, "i", None), "user, session and query_id are missing"),
    ):
        with pytest.raises(DataError, match=message):
            log.event(*given)
    log.close()
    assert log.written == 0
    assert {action.replace("_", " ") for action in ACTIONS} <= BEHAVIORS.keys()
