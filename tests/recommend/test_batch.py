"""A batch of answers: equal to the service's, resumed where it stopped, never made twice, in a folder and in SQLite."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from answer_batches import Made, all_users, folder_rows, sqlite_rows, write_users
from served_model import Folders, save_bundle
from starlette.testclient import TestClient

from gensr_model.errors import ConfigError, DataError
from gensr_model.serving.http.app import create_app
from gensr_model.serving.http.versions import Versions
from tasks.recommend.batch import sentence

PAGE = Path(__file__).resolve().parents[2] / "docs/how_to/nightly_recommendations.md"


@pytest.fixture(scope="module")
def gensr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("gensr"), "gensr")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("full"), "full_ranking")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("leave_out_met", [True, False])
def test_all_users_by_full_ranking_in_a_folder(gensr: Path, full: Path, home: Path, leave_out_met: bool) -> None:
    made = Made(gensr, full, shard_size=30, top_n=6, leave_out_met=leave_out_met)
    manifest = made.write()
    root = home / "recommendations"
    made.check(folder_rows(root, made.batch), all_users(gensr))
    assert manifest is not None
    assert manifest["recommendations"] == {"answers": 70, "rows": 420, "unknown": 0, "sources": {"full-ranking": 70}}
    assert (manifest["model"], manifest["version"], len(manifest["shards"])) == ("gensr-toy", "3", 3)
    for file in (root / "latest.json", root / made.batch.name / "manifest.json"):
        assert json.loads(file.read_text(encoding="utf-8")) == manifest
    assert made.destination.manifest() == manifest


def test_users_and_searches_of_files_by_retrieval_in_sqlite(gensr: Path, tmp_path: Path) -> None:
    users, pairs = ["u3", "nobody", "u12"], [("u3", "kitchen"), ("new", "garden red"), ("u3", "garage")]
    searches = tmp_path / "searches.csv"
    searches.write_text("user,query\n" + "".join(f"{user},{query}\n" for user, query in pairs), encoding="utf-8")
    files = {"users": write_users(tmp_path / "users.parquet", users), "queries": str(searches)}
    made = Made(gensr, **files, shard_size=2, output=f"sqlite:///{tmp_path}/out.db", table="recs")
    manifest = made.write()
    made.check(sqlite_rows(tmp_path / "out.db", "recs"), users, pairs)
    assert manifest is not None
    assert manifest["recommendations"] == {
        "answers": 3, "rows": 30, "unknown": 1, "sources": {"retrieved": 2, "popular": 1},
    }  # fmt: skip
    assert manifest["searches"]["unknown"] == 1
    assert sentence(manifest) == (
        "3 users (2 retrieved, 1 popular; 1 by unknown users) and 3 searches (3 retrieved; 1 by unknown users) "
        "answered by version 3 of gensr-toy"
    )
    assert made.destination.manifest() == manifest


def test_the_page_reads_what_a_batch_wrote(gensr: Path, full: Path, tmp_path: Path) -> None:
    blocks = dict(re.findall(r"^```(python|sql)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    for output in outputs(tmp_path):
        Made(gensr, full, output=output, top_n=3).write()
    names: dict[str, Any] = {}
    exec(blocks["python"].replace("/data/recommendations", str(tmp_path / "out")), names)
    own = [row for row in names["rows"].to_pylist() if row["user"] == "u12"]
    assert [row["rank"] for row in own] == [1, 2, 3]
    with sqlite3.connect(tmp_path / "out.db") as database:
        rows = database.execute(blocks["sql"].replace("U1", "u12")).fetchall()
    assert rows == [(row["item"], pytest.approx(row["score"])) for row in own]


@pytest.mark.parametrize("with_catalogue", [True, False])
def test_answers_are_those_of_gensr_serve(gensr: Path, full: Path, home: Path, with_catalogue: bool) -> None:
    catalogue = full if with_catalogue else None
    made = Made(gensr, catalogue, top_n=5)
    made.write()
    rows = folder_rows(home / "recommendations", made.batch)
    source = Folders({"3": (gensr, catalogue)}, "3")
    with TestClient(create_app(Versions(source, source.load("3"))), base_url="http://127.0.0.1") as client:
        for user in all_users(gensr):
            served = client.post("/v1/recommendations", json={"user": user, "top_n": 5}).json()
            own = [row for row in rows if row["user"] == user]
            assert [row["item"] for row in own] == [item["id"] for item in served["items"]]
            assert [row["score"] for row in own] == pytest.approx([i["score"] for i in served["items"]], abs=1e-5)
            assert {row["source"] for row in own} == {served["candidate_source"]}


def outputs(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "out"), f"sqlite:///{tmp_path}/out.db"]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_stopped_batch_goes_on_and_makes_no_shard_twice(gensr: Path, full: Path, tmp_path: Path, kind: int) -> None:
    output = outputs(tmp_path)[kind]
    made = Made(gensr, full, shard_size=20, top_n=3, output=output)
    assert made.write(limit=2) is None
    assert made.destination.manifest() is None
    if kind == 0:  # what a process leaves that was killed while it wrote
        (tmp_path / "out" / made.batch.name / "recommendations-00002.parquet.tmp-17").write_bytes(b"PAR1")
    before = made.destination.done()
    assert list(before) == ["recommendations-00000", "recommendations-00001"]
    again = Made(gensr, full, shard_size=20, top_n=3, output=output)
    assert again.batch == made.batch
    assert again.write() is not None
    rows = folder_rows(tmp_path / "out", made.batch) if kind == 0 else sqlite_rows(tmp_path / "out.db")
    assert len(rows) == 70 * 3
    made.check(rows, all_users(gensr))
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_another_version_file_or_setting_is_another_batch(gensr: Path, full: Path, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users.parquet", ["u1", "u2"])
    same = Made(gensr, full, users=users).batch.name
    assert Made(gensr, full, users=users, output=str(tmp_path / "other")).batch.name == same
    others = [
        Made(gensr, full).batch.name,
        Made(gensr, None, users=users).batch.name,
        Made(gensr, full, users=users, top_n=3).batch.name,
        Made(gensr, full, users=users, leave_out_met=False).batch.name,
        Made(gensr, full, users=write_users(tmp_path / "more.parquet", ["u1", "u2", "u3"])).batch.name,
    ]
    assert len({same, *others}) == 6


def test_deleted_files_are_made_again(gensr: Path, full: Path, tmp_path: Path) -> None:
    made = Made(gensr, full, shard_size=30, output=str(tmp_path / "out"))
    made.write()
    (tmp_path / "out" / made.batch.name / "recommendations-00001.parquet").unlink()
    assert made.destination.manifest() is None
    made.write()
    made.check(folder_rows(tmp_path / "out", made.batch), all_users(gensr))


def test_a_shorter_answer_of_the_same_version_leaves_no_lower_rank(gensr: Path, full: Path, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users.parquet", ["u1", "u2"])
    file, output = tmp_path / "out.db", f"sqlite:///{tmp_path}/out.db"
    Made(gensr, full, output=output, top_n=5).write()
    shorter = Made(gensr, full, users=users, output=output, top_n=2)
    shorter.write()
    rows = sqlite_rows(file)
    assert len(rows) == 68 * 5 + 2 * 2
    shorter.check([row for row in rows if row["user"] in ("u1", "u2")], ["u1", "u2"])


@pytest.mark.parametrize(
    ("output", "error", "said"),
    [
        (
            "duckdb:///x.db",
            ConfigError,
            r"recommend\.output \(duckdb:///x\.db\): answers cannot be written to duckdb://",
        ),
        ("env:NO_SUCH_OUT", ConfigError, r"recommend\.output: the environment variable NO_SUCH_OUT is not set"),
        ("env:WRONG_OUT", ConfigError, r"this is no URL of a database: expected postgresql://user"),
        ("sqlite:////no/such/folder/x.db", DataError, r"/no/such/folder is no folder"),
        ("{tmp}/file/below", DataError, r"recommend\.output: .*/file/below cannot be written: Not a directory\. Give"),
        ("sqlite:///{tmp}/other.db", DataError, r"recommend\.table: the table recommendations has no column query"),
        (
            "sqlite:///{tmp}/file",
            DataError,
            r"recommend\.output .*cannot be opened for writing: file is not a database",
        ),
        ("env:DOWN_OUT", DataError, r"recommend\.output \(env:DOWN_OUT, table .*\): the database cannot be opened"),
    ],
)
def test_a_destination_that_cannot_be_written_is_said_before_any_work(
    gensr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "file").write_text("x" * 5000, encoding="utf-8")
    con = sqlite3.connect(tmp_path / "other.db")
    con.execute("create table recommendations (user text)")
    con.close()
    monkeypatch.setenv("WRONG_OUT", "postgresql://shop:hunter2-9f@[::1/db")
    monkeypatch.setenv("DOWN_OUT", "postgresql://shop:hunter2-9f@127.0.0.1:1/db")
    with pytest.raises(error, match=said) as raised:
        Made(gensr, output=output.format(tmp=tmp_path)).destination.prepare()
    assert "hunter2" not in str(raised.value)


def test_a_parquet_file_has_the_columns_of_the_table(gensr: Path, full: Path, tmp_path: Path) -> None:
    made = Made(gensr, full, output=str(tmp_path / "out"))
    made.write()
    (file,) = (tmp_path / "out" / made.batch.name).glob("*.parquet")
    schema = pq.read_schema(file)
    assert schema.names == ["user", "query", "rank", "item", "score", "source", "version"]
    assert (schema.field("rank").type, schema.field("score").type) == (pa.int32(), pa.float64())
