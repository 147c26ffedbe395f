"""Damaged lines and files, at random from a seed: ingest accounts for every line or raises DataError, nothing else."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ingest_inputs import NAMES, ROWS, Raw, amazon, ingest, kuaisar, lines, review, table

from gensr_model.errors import DataError

ROUNDS, LINES = 8, 150
PIECES = [b'"', b"'", b"\\", b",", b"[", b"]", b"{", b"}", b"(", b"\r", b"\n", b"\0", b"\xff", b"\xe7", b"\\ud83d"]
PIECES += [b"0x", b"1e400", b"nan", b"-", b"null", b"True", b"<!--", b"&#x110000;", b"\xef\xbb\xbf", b" ", b"9" * 40]
META = [
    repr({"asin": "A1", "title": 'It\'s "x" &amp; <b>y</b>', "categories": [["Music", "Rock"], ["Top"]]}),
    '{"asin": "A2", "title": "\\u00e9", "category": ["Music", "Rock"], "description": ["a", "b"]}',
    repr({"asin": "A3", "price": 1.5, "related": {"also_bought": ["A1"]}, "salesRank": {"Music": 7}}),
]
REVIEW = [review(), review(overall="4.0", reviewText='a "quoted" é', helpful=[0, 1])]


def damaged(draw: np.random.Generator, line: bytes) -> bytes:
    """The line with one to four places overwritten, cut, doubled or filled with a piece that means something."""
    for _ in range(draw.integers(1, 5)):
        a, b = np.sort(draw.integers(0, len(line) + 1, 2))
        b = min(b, a + 12)
        piece = PIECES[draw.integers(len(PIECES))]
        line = [
            line[:a] + piece + line[a:],
            line[:a] + piece + line[a + len(piece) :],
            line[:a] + line[b:],
            line[:b] + line[a:],
            line[:a] + draw.bytes(2) + line[a + 2 :],
        ][draw.integers(5)]
    return line


def many(draw: np.random.Generator, good: list[bytes]) -> bytes:
    """A good line, then damaged ones, two of three of them without the line ends that damage made."""
    bad = [damaged(draw, good[draw.integers(len(good))]) for _ in range(LINES)]
    joined = [line.replace(b"\n", b"") if draw.random() < 0.67 else line for line in bad]
    return lines(good[0], *joined)


def rows_in(content: bytes) -> int:
    """Lines that are not blank."""
    return sum(1 for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.rstrip(b"\r"))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_damaged_lines_of_amazon(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng([seed, 1])
    reviews, meta = (many(draw, [line.encode() for line in good]) for good in (REVIEW, META))
    raw = ingest(amazon(tmp_path / "source", reviews, meta), "amazon")
    assert raw.account("reviews_X_5.json")[0] == rows_in(reviews)
    assert raw.account("meta_X.json")[0] == rows_in(meta)
    check_rejects(raw)
    assert all(0 <= row["rating"] <= 5 and row["user"] and row["item"] for row in raw.rows("reviews"))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_damaged_lines_of_kuaisar(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng([seed, 2])
    content = {}
    for name in NAMES:
        header, line = table(ROWS[name]).splitlines()
        content[name] = lines(header) + many(draw, [line])
    raw = ingest(kuaisar(tmp_path / "source", **content), "kuaisar")
    for name, file in NAMES.items():
        assert raw.account(file)[0] == rows_in(content[name]) - 1, file
    check_rejects(raw)
    assert all(row["click"] in (0, 1) and row["user"] and row["item"] for row in raw.rows("rec"))


def check_rejects(raw: Raw) -> None:
    assert 0.3 < raw.manifest["rejected"] / raw.manifest["read"] < 1, "damage that hardly damages tests nothing"
    assert all(reason for _, _, reason in raw.rejects)
    for name in {file for file, _, _ in raw.rejects}:
        numbers = [line for file, line, _ in raw.rejects if file == name]
        assert numbers == sorted(set(numbers))


def plain(draw: np.random.Generator, content: bytes) -> bytes:
    return damaged(draw, content)


def packed(draw: np.random.Generator, content: bytes) -> bytes:
    return damaged(draw, gzip.compress(content, mtime=0))


@pytest.mark.parametrize("damage", [plain, packed])
def test_damaged_headers_and_damaged_gzip_files(
    tmp_path: Path, damage: Callable[[np.random.Generator, bytes], bytes]
) -> None:
    """One file of each folder, so short that the damage hits the header of the CSV or of the gzip file."""
    draw = np.random.default_rng(3)
    stopped = []
    for n in range(40):
        name = list(NAMES)[draw.integers(len(NAMES))]
        source = kuaisar(tmp_path / f"k{n}", **{name: damage(draw, table(ROWS[name]))})
        stopped += stops(source, "kuaisar", NAMES[name])
        content = [lines(REVIEW[0]), lines(META[0])]
        at = draw.integers(2)
        content[at] = damage(draw, content[at])
        source = amazon(tmp_path / f"a{n}", *content)
        stopped += stops(source, "amazon", ("reviews_X_5.json", "meta_X.json")[at])
    assert 20 < len(stopped) < 80, "all or none of them tests nothing"


def stops(source: Path, format: str, name: str) -> list[str]:
    """The message that ingest stops with, if it does: it begins with a path."""
    try:
        ingest(source, format)
    except DataError as error:
        message = str(error)
    else:
        return []
    # Another file than the damaged one is named where only their contents do not fit together.
    assert message.startswith(f"{source / name}: ") or "describes none of the" in message
    return [message]
