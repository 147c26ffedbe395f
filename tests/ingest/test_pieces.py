"""Files and spans of files that are parsed apart give the bytes of a reading in one go."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from cluster_here import use_cluster_here
from shop_logs import shop
from test_file_cache import SOURCES, config, digests, whole

from gensr_model.config.known_formats import Format
from gensr_model.errors import DataError
from tasks.ingest import raw_files
from tasks.ingest.ingest import build_raw
from tasks.ingest.raw_files import WHOLE, line_ends, read_lines, spans_of

BLOCK = 40_000


def texts(path: Path, span: raw_files.Span = WHOLE) -> list[tuple[list[bytes], list[int]]]:
    return [(block.lines, block.numbers.tolist()) for block in read_lines(path, span)]


@pytest.mark.parametrize("end", [b"\n", b"", b"\n\n\r\n"])
@pytest.mark.parametrize("block", [7, 10, 64])
def test_spans_hold_the_blocks_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, end: bytes
) -> None:
    monkeypatch.setattr(raw_files, "BLOCK", block)
    monkeypatch.setattr(raw_files, "SPAN", 2)
    monkeypatch.setattr(raw_files, "PIECE", 5)
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbffirst\n\n" + b"\n".join(b"%d" % (n**5) for n in range(60)) + end)
    spans = spans_of(path)
    assert len(spans) > 1
    done = 0
    blocks = []
    for span in spans:
        blocks += texts(path, span._replace(lines=done))
        done += line_ends(path, span)
    assert blocks == texts(path)
    assert done == path.read_bytes().count(b"\n")


def source_of(format: Format, folder: Path) -> Path:
    if format == "logs":
        return shop(folder / "shop", searches=0.5)
    for path in whole(format, folder / "files").iterdir():
        if path.suffix == ".gz":  # packed files are not cut
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    return folder / "files"


@pytest.mark.parametrize("format", ["amazon", "kuaisar", "logs"])
def test_pieces_give_the_raw_tables_of_one_process(
    format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(SOURCES) | {"logs"} == {"amazon", "kuaisar", "logs"}
    monkeypatch.setattr(raw_files, "BLOCK", BLOCK)
    monkeypatch.setattr(raw_files, "SPAN", 1)
    monkeypatch.setattr("tasks.ingest.formats.amazon_meta.ordered_map", map)  # else it starts processes
    source = source_of(format, tmp_path)
    if format == "kuaisar":
        with (source / "rec_inter.csv").open("a", encoding="utf-8") as file:
            file.write("no number of fields\n")
    for name in ("one", "pieces"):
        (tmp_path / name).mkdir()
    build_raw(config(format), source, tmp_path / "one")
    cluster = use_cluster_here(monkeypatch, "tasks.ingest.ingest")
    build_raw(config(format), source, tmp_path / "pieces")
    assert cluster.pieces > (2 if format == "logs" else 8)
    assert digests(tmp_path / "one") == digests(tmp_path / "pieces")
    assert not list((tmp_path / "pieces").glob("*/"))


def test_a_file_that_cannot_be_used_has_the_error_and_the_rejects_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = whole("kuaisar", tmp_path / "source")
    (source / "rec_inter.2.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-8")
    (source / "rec_inter.3.csv").touch()
    errors = []
    for name in ("one", "pieces"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="has no column timestamp") as error:
            build_raw(config("kuaisar"), source, tmp_path / name)
        errors.append(str(error.value))
        use_cluster_here(monkeypatch, "tasks.ingest.ingest")
    assert errors[0] == errors[1]
