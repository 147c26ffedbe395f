"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gensr_model.runtime.files import read_tensors, write_json, write_table, write_tensors

Write = Callable[[Path, int], None]
WRITERS: dict[str, Write] = {
    "json": lambda path, number: write_json(path, {"n": number}),
    "tensors": lambda path, number: write_tensors(path, {"n": torch.tensor([number])}),
    "table": lambda path, number: write_table(path, pa.table({"n": [number]})),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_content_is_on_the_disk_before_it_takes_the_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a loss of power could leave the name with nothing behind it, and the file before it gone."""
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), replace(self, to)))
    write(tmp_path / "it", 1)
    assert calls == ["sync", "rename"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_where_writing_fails_the_file_before_stays_and_nothing_lies_beside_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it"
    write(path, 1)
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, 2)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["it"]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name, 3)
    assert (tmp_path / "json").read_text(encoding="utf-8") == '{\n "n": 3\n}\n'
    assert read_tensors(tmp_path / "tensors")["n"].tolist() == [3]
    assert pq.read_table(tmp_path / "table").to_pydict() == {"n": [3]}
