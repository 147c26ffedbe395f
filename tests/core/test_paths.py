"""Paths are names: what would be a pattern, a partition, an address or a variable elsewhere means nothing in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingest_inputs import amazon, lines, review
from mlflow.utils.file_utils import local_file_uri_to_path
from prepare_inputs import config, prepared, random_amazon, rows

from flows.local.installation import local
from gensr_model.errors import ConfigError
from tasks.core.sql_runner import connect, open_parquet
from tasks.core.state_dir import state_dir
from tasks.ingest.ingest import build_raw
from tasks.validate.audit import audit_by_itself
from tasks.validate.validate import validate_raw

ODD = ("My%20Project #1 [a]* {x,y}; 'q' \"$HOME\" a:b 空", "item=kindle", "user=1")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".parquet"}


def test_raw_tables_and_prepared_data_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    meta = lines(*(repr({"asin": asin, "title": title}) for asin, title in (("A1", "first"), ("A1", "again"))))
    made = []
    for place in (tmp_path / "plain", tmp_path.joinpath("a?b", *ODD)):
        place.mkdir(parents=True)
        source = amazon(place / "source", lines(review(), review(asin="A2")), meta)
        (place / "ingested").mkdir()
        build_raw(config(), source, place / "ingested")
        out = prepared(random_amazon(place / "raw", users=8), config(), "prepared")
        made.append((bytes_of(place / "ingested"), bytes_of(out)))
    assert made[0] == made[1]
    assert [row["title"] for row in rows(place / "ingested", "items")] == ["first"]
    assert not any(result.violations for result in audit_by_itself(out)[0])
    (place / "checks").mkdir()
    validate_raw(place / "raw", config(), place / "checks")
    assert (place / "checks" / "data_docs" / "index.html").is_file()


def test_a_path_is_no_pattern_that_another_file_fits(tmp_path: Path) -> None:
    for place, users in (("prep1", 8), ("prep[1]", 5)):
        (tmp_path / place).mkdir()
        random_amazon(tmp_path / place / "raw", users=users)
    with connect(config().prepare, tmp_path / "temp") as con:
        read = open_parquet(con, tmp_path / "prep[1]" / "raw" / "reviews.parquet").fetchall()
    assert len({user for user, *_ in read}) == 5


def test_the_servers_files_are_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path.joinpath(*ODD)))
    here = local()
    place = here.of_server(here.mlflow_server)["MLFLOW_ARTIFACTS_DESTINATION"]
    assert Path(local_file_uri_to_path(place)) == tmp_path.joinpath(*ODD, "mlflow", "artifacts")


@pytest.mark.parametrize("name", ["a?b", "a\\b"])
def test_a_state_folder_that_databases_cannot_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"the state folder .* has a .* in its path.*Set GENSR_HOME"):
        state_dir()
