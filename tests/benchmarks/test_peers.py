"""What peers get, what comes of their scores, and a table that needs none of them."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_dataset import write_dataset

from benchmarks.peers import exchange
from benchmarks.peers.__main__ import PEERS, NoPeerError, environment, markdown, rows
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError, NaNScoreError
from gensr_model.evaluation.metrics import RANKS_SCHEMA, per_sample, ranks_table
from gensr_model.evaluation.reference import popularity
from gensr_model.evaluation.saved_ranks import widen

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("peers") / "prepared")


def ranks(first: list[float]) -> pa.Table:
    """Of samples a, b, …: the positive's score against others of .25, .5 and .75."""
    scores = np.array([[score, 0.25, 0.5, 0.75] for score in first])
    return ranks_table([chr(97 + n) for n in range(len(first))], ["recommendation"] * len(first), scores)


def test_a_peer_gets_the_recommendation_events_before_each_sample_and_the_frozen_lists(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    exchange.export(dataset, {"model": "SASRec"}, tmp_path)
    events = dataset.events
    for split in ("train", "test"):
        samples = dataset.samples(split)
        samples = samples.take(samples.task == 0)
        table = pq.read_table(tmp_path / f"{split}.parquet")
        assert table["user"].to_pylist() == samples.user.tolist()
        for n, history in enumerate(table["history"].to_pylist()):
            before = range(samples.history_start[n], samples.history_end[n])
            assert history == [events.item[e] for e in before if events.behavior[e] == 0]
    lists = np.array(table["candidates"].to_pylist())
    assert lists[:, 0].tolist() == samples.item.tolist()
    assert lists[:, 1:].tolist() == dataset.evaluated("test")[1][dataset.samples("test").task == 0].tolist()


def test_scores_become_ranks_by_our_tie_rule(dataset: PreparedDataset, tmp_path: Path) -> None:
    given = exchange.lists(dataset, "test")
    scores = np.tile(np.array([2, 3, 2, 1, 1, 1, 1, 1, 1, 1], np.float32), (len(given.items), 1))
    scores[1] = np.arange(10, 0, -1)
    pq.write_table(pa.table({"scores": list(scores)}), tmp_path / "scores.parquet")
    read = exchange.read_scores(tmp_path / "scores.parquet", given.items.shape)
    found = exchange.ranks_of(given, read)
    assert found.schema == RANKS_SCHEMA
    assert found["sample_id"].to_pylist() == given.samples.sample_id.tolist()
    assert found.select(["greater", "ties"]).slice(0, 2).to_pylist() == [
        {"greater": 1, "ties": 1},
        {"greater": 0, "ties": 0},
    ]
    with pytest.raises(DataError, match=r"scores\.parquet.*not \(3, 10\)"):
        exchange.read_scores(tmp_path / "scores.parquet", (3, 10))
    with pytest.raises(NaNScoreError):
        exchange.ranks_of(given, np.full_like(scores, np.nan))


def test_peers_are_saved_one_by_one_and_only_for_the_same_lists(dataset: PreparedDataset, tmp_path: Path) -> None:
    given, path = exchange.lists(dataset, "test"), tmp_path / "docs" / "peers.parquet"
    made = {name: exchange.ranks_of(given, given.items % n + 0.0) for name, n in (("sasrec", 7), ("din", 5))}
    for name, table in made.items():
        exchange.save(path, name, table, {"seconds": len(name)}, exchange.digest(given))
    saved = exchange.read(path, exchange.digest(given))
    assert saved.facts == {"sasrec": {"seconds": 6}, "din": {"seconds": 3}}
    for name, table in made.items():
        assert saved.ranks[name].sort_by("sample_id") == table.sort_by("sample_id")
    given.items[0, 1] += 1
    with pytest.raises(DataError, match=r"peers\.parquet: these peers ranked lists \w+, but the prepared data has \w+"):
        exchange.read(path, exchange.digest(given))


def test_our_ranks_on_other_lists_are_refused(dataset: PreparedDataset, tmp_path: Path) -> None:
    given = exchange.lists(dataset, "test")
    popular = popularity(dataset)(given.samples, given.items)
    sasrec = exchange.ranks_of(given, given.items + 0.0)
    paths = [tmp_path / f"mine-rerank-seed{seed}.parquet" for seed in range(2)]
    for path in paths:
        pq.write_table(widen({"popularity": exchange.ranks_of(given, popular), "sasrec": sasrec}), path)
    assert len(exchange.ours(paths, dataset)["sasrec"]) == 2
    pq.write_table(widen({"popularity": exchange.ranks_of(given, -popular), "sasrec": sasrec}), paths[1])
    with pytest.raises(DataError, match=r"seed1\.parquet: popularity has other ranks here"):
        exchange.ours(paths, dataset)


def test_the_table_tells_who_lies_below_and_who_was_skipped() -> None:
    best, worse = ranks([1.0] * 40), ranks([0.6, 1.0] * 20)
    saved = exchange.Saved({"sasrec": best, "din": worse}, {name: {"seconds": 1} for name in ("sasrec", "din")})
    ours = {"sasrec": [best, worse], "din": [best]}
    made = rows(["sasrec", "din", "gru4rec"], saved, ours, {"gru4rec": "no network"}, None)
    by_hand = (1 / np.log2(3) - 1) / 4  # half of the seeds have half of the positives second
    assert made[0]["difference"] == pytest.approx(by_hand, abs=1e-4)
    assert made[0]["low"] < made[0]["difference"] < made[0]["high"] < 0
    assert [row.get("below") for row in made] == [True, False, None]
    lines = markdown(made).splitlines()
    assert lines[2].startswith("| sasrec | 1.0000 | 0.9077 (2) | -0.0923 [")
    assert lines[2].endswith("| **yes** |")
    assert lines[3].endswith("| no |")
    assert lines[4] == "| gru4rec | skipped: no network | – | – | – |"


def test_an_environment_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed}/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("no-such-peer==1.0\n", encoding="utf-8")
    with pytest.raises(NoPeerError) as caught:
        environment(tmp_path / "venv", wanted)
    message = str(caught.value)
    assert message.startswith("requirements.txt cannot be installed: ")
    assert "no-such-peer==1.0" in message
    assert "\n" not in message
    assert not (tmp_path / "venv" / "requirements.sha256").exists()


def test_the_environment_of_gensr_is_not_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyvenv.cfg").write_text("mine", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(NoPeerError, match="is gensr's own environment"):
        environment(tmp_path, tmp_path / "requirements.txt")
    assert (tmp_path / "pyvenv.cfg").read_text(encoding="utf-8") == "mine"


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# nothing\n", encoding="utf-8")
    python = environment(tmp_path / "venv", wanted)
    assert python.is_file()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("installed again"))
    assert environment(tmp_path / "venv", wanted) == python


def test_the_peers_in_docs_are_those_saved() -> None:
    [path] = (DOCS / "results" / "peers").glob("*.parquet")
    saved = exchange.read(path, pq.read_schema(path).metadata[b"lists"].decode())
    assert saved.ranks.keys() == saved.facts.keys() <= PEERS.keys()
    page = (DOCS / "results" / "studies.md").read_text(encoding="utf-8")
    for table in saved.ranks.values():
        assert f" | {per_sample(table, 'ndcg_at_10').mean():.4f} | ".replace("0.", ".") in page
