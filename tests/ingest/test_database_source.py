"""Tables of SQLite and DuckDB files by queries; PostgreSQL is in test_slow_postgresql.py."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from tasks.ingest.ingest import source_digest, source_files

EVENTS = """
select who as user_id, what as item_id, ts as timestamp, said as query from events
where said is distinct from '%' -- all"""
ITEMS = "with named as (select id as item_id, name as title from items) select * from named;"
ROWS = [("u2", 7, 1_700_000_001, "красный"), ("u1", 7, 1_700_000_000, None), ("u2", "x", 1_700_000_001.5, "%")]


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, str]:
    """The URL of the same shop by the kind of its file."""
    statements = (
        "create table events (who text, what {any}, ts {any}, said text)",
        "create table items (id int, name text, made timestamp)",
        "insert into items values (7, 'Shoe', '2026-01-02 03:04:05')",
    )
    lite, duck = sqlite3.connect(tmp_path / "a b.sqlite"), duckdb.connect(tmp_path / "shop.duckdb")
    for statement in statements:
        lite.execute(statement.format(any=""))
        duck.execute(statement.format(any="text"))
    for con in (lite, duck):
        con.executemany("insert into events values (?, ?, ?, ?)", ROWS)
    lite.commit()
    lite.close()
    duck.close()
    return {"sqlite": f"sqlite:///{tmp_path}/a b.sqlite", "duckdb": f"duckdb:///{tmp_path}/shop.duckdb"}


def config(url: str, **changes: Any) -> PipelineConfig:
    source = {
        "kind": "sql",
        "url": url,
        "events": EVENTS,
        "items": ITEMS,
    } | changes
    return PipelineConfig.model_validate({"format": "logs", "source": source, "prepare": {"threads": 1}})


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(folder / f"{table}.parquet").to_pylist()]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_the_rows_of_the_queries_in_one_order(kind: str, shop: dict[str, str], tmp_path: Path) -> None:
    given = config(shop[kind], users="select 'u1' as user_id")
    folder = source_files(given, tmp_path / "home")
    assert sorted(path.name for path in folder.iterdir()) == ["events.parquet", "items.parquet", "users.parquet"]
    assert rows(folder, "events") == [("u1", "7", "1700000000", None), ("u2", "7", "1700000001", "красный")]
    assert [str(value) for value in rows(folder, "items")[0]] == ["7", "Shoe"]
    assert rows(folder, "users") == [("u1",)]


def test_unchanged_rows_are_the_same_bytes_in_whatever_order_they_come(
    shop: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB", shop["sqlite"])
    monkeypatch.setattr("tasks.ingest.sources.database.ROWS", 1)  # so many batches, some without a query
    given = config("env:SHOP_DB")
    folder = source_files(given, tmp_path / "home")
    before, written = source_digest(folder, given), (folder / "events.parquet").stat().st_mtime_ns
    con = sqlite3.connect(tmp_path / "a b.sqlite")
    con.executescript("create table e as select * from events; delete from events; "
                      "insert into events select * from e order by rowid desc")  # fmt: skip
    assert source_digest(source_files(given, tmp_path / "home"), given) == before
    assert (folder / "events.parquet").stat().st_mtime_ns == written
    con.execute("insert into events values ('u3', 7, 1, null)")
    con.commit()
    con.close()
    assert source_digest(source_files(given, tmp_path / "home"), given) != before
    assert len(rows(folder, "events")) == 3


def test_files_are_called_as_the_config_calls_their_tables(shop: dict[str, str], tmp_path: Path) -> None:
    tree = config(shop["sqlite"]).model_dump() | {"logs": {"events": {"name": "ubi_events"}}}
    folder = source_files(PipelineConfig.model_validate(tree), tmp_path / "home")
    assert sorted(path.name for path in folder.iterdir()) == ["items.parquet", "ubi_events.parquet"]


WRITES = [
    "insert into events values ('u', 1, 1, null)",
    "insert into events values ('u', 1, 1, null) returning *",
    "select 1; delete from events",
    "select 1) as a; delete from events; select * from (select 2",
]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
@pytest.mark.parametrize("query", WRITES)
def test_a_query_that_writes_is_refused_and_nothing_is_written(
    kind: str, query: str, shop: dict[str, str], tmp_path: Path
) -> None:
    path = Path(shop[kind].partition(":///")[2])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"source.events: the database refuses the query: .*must be one select"):
        source_files(config(shop[kind], events=query), tmp_path / "home")
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"events": "select * from orders"}, r"source\.events: the database refuses the query: .*orders"),
        ({"items": "select isbn from items"}, r"source\.items: the database refuses the query: .*isbn"),
        ({"events": EVENTS.replace("said is", "1 = 0 and said is")}, r"source\.events: the query returns no rows"),
    ],
)
def test_a_query_that_gives_nothing_is_one_error(
    kind: str, changes: dict[str, str], message: str, shop: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        source_files(config(shop[kind], **changes), tmp_path / "home")
    assert len(str(refused.value).splitlines()) == 1
    assert not list((tmp_path / "home" / "downloads").glob("*.tmp-*")), "nothing stays of it"


def test_duckdb_reads_no_other_file(shop: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(DataError, match="Permission Error"):
        source_files(config(shop["duckdb"], events=f"select * from '{tmp_path}/secret.csv'"), tmp_path / "home")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("sqlite:////none/shop.db", DataError, "/none/shop.db is no file, seen from"),
        ("duckdb:///rubbish", DataError, r"the database cannot be opened: .*not a valid DuckDB"),
        ("sqlite:///rubbish", DataError, r"source.events: .*file is not a database"),
        ("env:NONE", ConfigError, "the environment variable NONE is not set"),
        ("env:OTHER", ConfigError, "the URL is of none of the databases"),
        ("env:WRONG", ConfigError, "this is no URL of a database"),
        ("env:DOWN", DataError, r"source.url \(env:DOWN\): the database cannot be opened: .*refused"),
    ],
)
def test_a_database_that_is_none_is_one_error_without_its_url(
    url: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 2000)
    monkeypatch.setenv("OTHER", "mysql://me:hunter2@host/db")
    monkeypatch.setenv("WRONG", "postgresql://me:x@host:hunter2/db")
    monkeypatch.setenv("DOWN", "postgres://me:hunter%402@127.0.0.1:9/db?sslpassword=hunter3")
    with pytest.raises(error, match=message) as refused:
        source_files(config(url), tmp_path / "home")
    assert "hunter" not in "".join(traceback.format_exception(refused.value))


def test_a_format_that_reads_other_files_is_told_before_the_database_is_asked(tmp_path: Path) -> None:
    tree = config("env:NONE").model_dump() | {"format": "amazon"}
    with pytest.raises(ConfigError, match=r"gives the files events.parquet, items.parquet.*Set format to logs"):
        source_files(PipelineConfig.model_validate(tree), tmp_path / "home")
