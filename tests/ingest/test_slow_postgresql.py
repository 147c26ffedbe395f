"""Tables of PostgreSQL by queries, from a real server."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from postgresql_server import PASSWORD, postgresql_server, with_login

from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.errors import DataError
from tasks.ingest.ingest import build_raw, source_digest, source_files

pytestmark = pytest.mark.slow
SHOP = """
create table events (client int, thing numeric(20, 0), at timestamptz, said text, price numeric(6, 2), more jsonb);
insert into events values
    (2, 12345678901234567890, '2026-01-02 03:04:05.5+02', 'красный 100%', 1.50, '{"b": 1, "a": [1]}'),
    (1, 7, '2026-01-02 03:04:05+00', null, null, null);
create table items (id numeric(20, 0), name text, path text[], sold date, fine boolean, tags json, grid int[]);
insert into items values
    (7, 'Shoe', '{"Shoes > Red",NULL}', '2026-01-02', true, '[{"a": 1.5}]', '{{1,2},{3,4}}'),
    (12345678901234567890, 'Hat', null, null, false, null, null);
create function writes() returns int language sql as 'insert into items values (8) returning 1';
"""
EVENTS = """
select client as user_id, thing as item_id, at as timestamp, said as query, price, more
from events where 5 % 3 = 2"""
ITEMS = "select id as item_id, name as title, path as category, sold, fine, tags, grid from items"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        with psycopg.connect(with_login(url)) as con:
            con.execute(SHOP)
            con.execute("create user clerk password 'clerk'")
        yield url


@pytest.fixture
def config(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SHOP_DB", with_login(server).replace("postgresql", "postgres"))
    source = {"kind": "sql", "url": "env:SHOP_DB", "events": EVENTS, "items": ITEMS}

    def make(**changes: Any) -> PipelineConfig:
        return PipelineConfig.model_validate({"format": "logs", "source": source | changes, "prepare": {"threads": 1}})

    return make


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(folder / f"{table}.parquet").to_pylist()]


def test_every_type_of_value_comes_whole_and_ingest_reads_it(config: Any, tmp_path: Path) -> None:
    folder = source_files(config(), tmp_path)
    assert rows(folder, "events") == [
        ("1", "7", "2026-01-02T03:04:05+00:00", None, None, None),
        ("2", "12345678901234567890", "2026-01-02T01:04:05.500000+00:00", "красный 100%", "1.50", '{"a": [1], "b": 1}'),
    ]
    assert rows(folder, "items") == [
        ("12345678901234567890", "Hat", None, None, "false", None, None),
        ("7", "Shoe", ["Shoes > Red", None], "2026-01-02", "true", '[{"a": 1.5}]', ["[1, 2]", "[3, 4]"]),
    ]
    (tmp_path / "raw").mkdir()
    build_raw(config(), folder, tmp_path / "raw")
    found = pq.read_table(tmp_path / "raw" / "events.parquet", columns=["user", "item", "ts", "query"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("1", "7", 1_767_323_045_000, None),
        ("2", "12345678901234567890", 1_767_315_845_500, "красный 100%"),
    ]


def test_unchanged_rows_rebuild_nothing_and_a_new_one_does(config: Any, server: str, tmp_path: Path) -> None:
    before = source_digest(source_files(config(), tmp_path), config())
    with psycopg.connect(with_login(server)) as con:
        con.execute("update events set said = said")  # the rows lie in another order
        con.commit()
        assert source_digest(source_files(config(), tmp_path), config()) == before
        con.execute("insert into events values (3, 7, now())")
        assert source_digest(source_files(config(), tmp_path), config()) == before, "it is not committed"
        con.commit()
        assert source_digest(source_files(config(), tmp_path), config()) != before
        con.execute("delete from events where client = 3")


def test_a_large_result_is_held_by_the_server(config: Any, tmp_path: Path) -> None:
    """A million rows of 200 bytes: the client never holds them all."""
    large = """
        select n as user_id, n % 9 as item_id, n as timestamp, repeat('x', 150) as query
        from generate_series(1, 1000000) as n"""
    code = (
        "import resource, sys; from pathlib import Path; from gensr_model.config.pipeline import PipelineConfig\n"
        "from tasks.ingest.ingest import source_files; import tasks.ingest.sources.database\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "source_files(PipelineConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    given = with_changes(config(events=large), {"prepare": {"memory_limit": "128MB"}})
    done = subprocess.run(
        [sys.executable, "-c", code, given.model_dump_json(), str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    (folder,) = [path for path in (tmp_path / "downloads").iterdir() if path.is_dir()]
    assert pq.read_metadata(folder / "events.parquet").num_rows == 1_000_000
    assert int(done.stdout.split()[-1]) < 400_000, "KiB above what the program itself takes"


@pytest.mark.parametrize(
    "query",
    [
        "delete from events returning *",
        "with gone as (delete from events returning *) select * from gone",
        "select 1; delete from events",
        "select 1) as a; commit; delete from events; select * from (select 2",
        "select writes()",
        "select nextval('counter')",
    ],
)
def test_a_query_that_writes_is_refused_and_nothing_is_written(
    query: str, config: Any, server: str, tmp_path: Path
) -> None:
    with psycopg.connect(with_login(server), autocommit=True) as con:
        con.execute("create sequence if not exists counter")
        with pytest.raises(DataError, match=r"source\.events: the database refuses the query: .*one select"):
            source_files(config(events=query), tmp_path)
        counts = con.execute("select (select count(*) from events), (select count(*) from items)").fetchone()
    assert counts == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"events": "select * from orders"}, r'source\.events: .*relation "orders" does not exist'),
        ({"items": "select isbn from items"}, r'source\.items: .*column "isbn" does not exist'),
        ({"events": f"select * from ({EVENTS}) e where user_id = 9"}, r"source\.events: the query returns no rows"),
        ({"items": "select id, name as id from items"}, r"source\.items: several columns are called id"),
        ({"events": "select 1 / (client - 1) from events"}, r"source\.events: .*division by zero"),
    ],
)
def test_a_query_that_fails_is_one_error(changes: dict[str, str], message: str, config: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as refused:
        source_files(config(**changes), tmp_path)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("login", "message"),
    [
        (f"shop:{PASSWORD[:9]}", "the database cannot be opened: .*password authentication failed"),
        ("clerk:clerk", r"source\.events: .*permission denied for table events"),
    ],
)
def test_a_login_that_is_denied(
    login: str, message: str, config: Any, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB", server.replace("://", f"://{login}@"))
    with pytest.raises(DataError, match=message) as refused:
        source_files(config(), tmp_path)
    assert login.partition(":")[2] not in "".join(traceback.format_exception(refused.value)).replace("'clerk'", "")


def test_a_server_that_does_not_answer(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", with_login("postgresql://127.0.0.1:9/shop"))
    with pytest.raises(DataError, match=r"source.url \(env:SHOP_DB\): the database cannot be opened: .*refused"):
        source_files(config(), tmp_path)
