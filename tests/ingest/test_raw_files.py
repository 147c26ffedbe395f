"""Lines of plain and gzipped files: every one numbered, and damage an error that says where."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tasks.ingest.raw_files
from gensr_model.errors import DataError
from tasks.ingest.raw_files import Lines, file_digest, read_lines

TEXT = b"one\n\ntwo\r\n\r\nthree \xe7\xa9\xba\nlast without end"
EXPECTED = [(1, b"one"), (3, b"two"), (5, b"three \xe7\xa9\xba"), (6, b"last without end")]


def numbered(blocks: Iterator[Lines]) -> list[tuple[int, bytes]]:
    return [(int(n), line) for b in blocks for line, n in zip(b.lines, b.numbers, strict=True)]


def some_lines(count: int) -> bytes:
    """Lines that hardly compress, so that a cut file still holds many of them."""
    draw = np.random.default_rng(0)
    return b"".join(draw.bytes(40).hex().encode() + b"\n" for _ in range(count))


@pytest.fixture(params=[1, 3, 7, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that end in the middle of lines, of line ends and of characters."""
    monkeypatch.setattr(tasks.ingest.raw_files, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_numbers_of_lines_with_blank_ones_any_line_end_and_a_byte_order_mark(
    tmp_path: Path, packed: bool, mark: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(mark + TEXT) if packed else mark + TEXT)
    assert numbered(read_lines(path)) == EXPECTED


def test_gzip_is_known_by_its_bytes_and_may_have_several_members(tmp_path: Path) -> None:
    path = tmp_path / "unpacked.json.gz"
    path.write_bytes(TEXT)
    assert numbered(read_lines(path)) == EXPECTED
    path.write_bytes(gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:]))
    assert numbered(read_lines(path)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty (0 bytes)"),
        (gzip.compress(b"", mtime=0), "the file holds no lines"),
        (b" \t ", "the file holds no lines"),
        (
            gzip.compress(TEXT, mtime=0)[:5],
            "the gzip file is truncated: it ends in the middle of its data, after line 0",
        ),
    ],
)
def test_a_file_without_lines(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        numbered(read_lines(path))
    assert str(error.value).startswith(f"{path}: {message}")
    assert "Copy or download it again" in str(error.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (TEXT.decode().encode("utf-16"), "UTF-16"),
        ("\ufeff空".encode("utf-16-be"), "UTF-16"),
        (TEXT.decode().encode("utf-16-le"), "UTF-16"),
        (TEXT.decode().encode("utf-16-be"), "UTF-16"),
        (TEXT.decode().encode("utf-32"), "UTF-32"),
        (b"PK\x03\x04...", "a zip archive or a spreadsheet"),
        (b"\x28\xb5\x2f\xfd...", "packed by zstd"),
        (b"PAR1...", "a Parquet file"),
    ],
)
def test_a_file_that_is_no_utf_8_text(tmp_path: Path, content: bytes, what: str, packed: bool) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    todo = f"iconv -f {what} -t UTF-8 file.csv" if what.startswith("UTF") else "Unpack it"
    with pytest.raises(DataError, match=f"^{path}: the file is {what}, .* expected\\. .*{todo}"):
        numbered(read_lines(path))


def test_a_truncated_gzip_file_tells_the_last_line_that_came(tmp_path: Path) -> None:
    text = some_lines(5_000)
    packed = gzip.compress(text)
    path = tmp_path / "file.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"truncated.* after line (\d+)\. Copy") as error:
        numbered(read_lines(path))
    last = int(str(error.value).split("after line ")[1].split(".")[0])
    assert 1_800 < last < 2_600  # half of the file, less what the decompressor still held


@pytest.mark.parametrize("at", [0.5, -6])
def test_a_damaged_gzip_file(tmp_path: Path, at: float) -> None:
    """In the middle of the data, or in the checksum at the end."""
    packed = bytearray(gzip.compress(some_lines(5_000)))
    start = int(at * len(packed)) if at > 0 else len(packed) + int(at)
    packed[start : start + 4] = bytes(255 - byte for byte in packed[start : start + 4])
    path = tmp_path / "file.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"file\.gz: the gzip file is damaged after line \d+ \(.+\)\. Copy"):
        numbered(read_lines(path))


def test_a_file_that_is_one_endless_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.ingest.raw_files, "BLOCK", 16)
    monkeypatch.setattr(tasks.ingest.raw_files, "LONGEST_LINE", 100)
    path = tmp_path / "file"
    path.write_bytes(b"first\n" + b"x" * 200)
    with pytest.raises(DataError, match="line 2 is longer than 100 bytes"):
        numbered(read_lines(path))


def test_digest_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1
