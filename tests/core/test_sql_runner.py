"""DuckDB within its bounds: what is too little is said by the field of the config that sets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gensr_model.config.data import PrepareConfig
from gensr_model.errors import ConfigError
from tasks.core.sql_runner import connect

LARGE = "select list(md5((i * j)::varchar)) as x from range(5000) as a(i), range(100) as b(j) group by i order by x"


def use(limit: str, read: str, temp: Path) -> None:
    with connect(PrepareConfig(memory_limit=limit, threads=1), temp) as con:
        if read == "made":
            con.execute(f"create table made as {LARGE}")
        elif read == "batches":
            list(con.sql(LARGE).to_arrow_reader(1_000))
        con.sql(LARGE).fetchall()


@pytest.mark.parametrize("limit", ["1KB", "5MB"])
@pytest.mark.parametrize("read", ["fetchall", "batches", "made"])
def test_too_little_memory_is_told_by_its_field(tmp_path: Path, limit: str, read: str) -> None:
    message = rf"^prepare\.memory_limit is {limit}, too little .*Raise"
    with pytest.raises(ConfigError, match=message) as error:
        use(limit, read, tmp_path)
    assert "Possible solutions" not in error.value.full_message
    assert "SET " not in error.value.full_message


def test_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DuckDB does not start with prepare settings .*'memory_limit': 'lots'"):
        use("lots", "fetchall", tmp_path)
