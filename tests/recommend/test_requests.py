"""Files of users and of searches: who is answered, once each, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gensr_model.config.recommend import RecommendConfig
from gensr_model.errors import ConfigError, DataError
from tasks.recommend.requests import Requests, write_requests


def write(tmp_path: Path, **settings: Any) -> Requests:
    """The requests of a batch; the model knows the users u0 to u4."""
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    pq.write_table(pa.table({"raw_id": [f"u{n}" for n in range(5)]}), bundle / "users.parquet")
    return write_requests(RecommendConfig(**settings), bundle, tmp_path / "below", lambda digests: str(sorted(digests)))


def test_all_users_of_the_model_in_shards(tmp_path: Path) -> None:
    requests = write(tmp_path, shard_size=2)
    assert [str(shard) for shard in requests.shards] == [f"recommendations-0000{n}" for n in range(3)]
    assert [shard.read(requests.folder)["user"].to_pylist() for shard in requests.shards] == [
        ["u0", "u1"], ["u2", "u3"], ["u4"],
    ]  # fmt: skip
    assert requests.counts == {"recommendations": 5}


def test_users_and_pairs_of_files_are_answered_once_in_their_order(tmp_path: Path) -> None:
    users, pairs = tmp_path / "users.csv", tmp_path / "pairs.parquet"
    users.write_text('score,user\n1,007\n2,"a\nb"\n3,007\n4,NA\n', encoding="utf-8")
    pq.write_table(pa.table({"query": [" red ", "red", "blue", "red"], "user": [7, 7, 7, 8], "x": [0] * 4}), pairs)
    requests = write(tmp_path, users=str(users), queries=str(pairs), shard_size=9)
    recommended, searched = (shard.read(requests.folder) for shard in requests.shards)
    assert recommended.to_pydict() == {"user": ["007", "a\nb", "NA"]}
    assert searched.to_pydict() == {"user": ["7", "7", "8"], "query": ["red", "blue", "red"]}
    assert requests.counts == {"recommendations": 3, "searches": 3}
    only = write(tmp_path, users="none", queries=str(pairs))
    assert [shard.kind for shard in only.shards] == ["searches"]


def test_nobody_to_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recommend\.users is none and recommend\.queries is left out"):
        write(tmp_path, users="none")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u.csv", b"id,when\na,1\n", r"u\.csv has no column 'user', but id, when\. Name its columns user"),
        ("u.csv", b"user\n", r"has no rows\. Give at least one"),
        ("u.csv", b"", r"cannot be read: Empty CSV file\. Give a CSV in UTF-8 with a header, or a Parquet file"),
        ("u.csv", b"user,x\na,1\n ,2\n", r"has no user in row 2\. Give a value in every row"),
        ("u.csv", b"user\n\xff\xfe\n", "cannot be read"),
        ("u.parquet", b"user\n", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"recommend\.users: {tmp_path}/.*{said}"):
        write(tmp_path, users=str(tmp_path / name))


def test_a_missing_file_and_a_column_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"recommend\.queries: .*/gone\.csv is no file, seen from "):
        write(tmp_path, queries=str(tmp_path / "gone.csv"))
    pq.write_table(pa.table({"user": [1.5]}), tmp_path / "u.parquet")
    with pytest.raises(DataError, match=r"the column user of .* holds double\. Give text or whole numbers"):
        write(tmp_path, users=str(tmp_path / "u.parquet"))
    pq.write_table(pa.table({"user": ["a", "b"], "query": ["x", None]}), tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"has no query in row 2"):
        write(tmp_path, queries=str(tmp_path / "q.parquet"))
