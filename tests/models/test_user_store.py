"""What a bundle keeps of its users: latest histories in order, vectors, and nothing for whom it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_dataset import ITEMS, LENGTH, USERS, write_cf, write_dataset

from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import DataError
from gensr_model.models import user_store
from gensr_model.runtime.files import read_tensors


class Saved:
    """The small dataset; user 3 has no edge in the graph."""

    def __init__(self, root: Path) -> None:
        dataset, self.cf = write_dataset(root / "prepared"), write_cf(root / "cf")
        graph = dataset.table("graph")
        keep = pa.array(graph["user_idx"].to_numpy() != 3)
        pq.write_table(graph.filter(keep), root / "prepared" / "graph.parquet")
        self.dataset = PreparedDataset.open(root / "prepared")
        self.folder = root / "bundle"
        self.folder.mkdir()
        user_store.save(self.folder, self.dataset, self.cf, max_history=5)
        self.store = user_store.Store(self.folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(tmp_path_factory.mktemp("store"))


def test_every_user_is_found_with_the_latest_events_of_all_splits(saved: Saved) -> None:
    assert len(saved.store) == USERS
    events = saved.dataset.events
    for user in range(USERS):
        own = np.flatnonzero(events.user == user)[-5:]
        known = saved.store.user(f"u{user}")
        assert known is not None
        assert known.history.tolist() == events.item[own].tolist()
        assert known.behavior.tolist() == events.behavior[own].tolist()
        met = set(events.item[events.user == user].tolist())
        assert known.earlier.tolist() == sorted(met - set(known.history.tolist()))
    assert len(np.flatnonzero(events.user == 0)) == 2 * LENGTH > 5


def test_vectors_are_the_users_own_and_none_was_learned_without_an_edge(saved: Saved) -> None:
    table = read_tensors(saved.cf / "lightgcn.safetensors")
    for user in (0, 10, 2, USERS - 1):
        known = saved.store.user(f"u{user}")
        assert known is not None
        assert known.vector is not None
        torch.testing.assert_close(known.vector, table["user"][user], atol=1e-2, rtol=1e-2)
    without = saved.store.user("u3")
    assert without is not None
    assert without.vector is None
    torch.testing.assert_close(saved.store.item[:-1], table["item"][:-1], atol=1e-2, rtol=1e-2)
    assert not saved.store.item[ITEMS - 1].any()
    graph = saved.dataset.table("graph")
    assert saved.store.bought.tolist() == np.bincount(graph["item_idx"], minlength=ITEMS).tolist()


def test_many_users_are_read_at_once(saved: Saved) -> None:
    store = saved.store
    names = store.user_ids.to_pylist()
    assert names == sorted(f"u{user}" for user in range(USERS))
    asked = ["u3", "nobody", "u12", "u3"]
    rows = store.rows(pa.array(asked))
    histories, (owner, item) = store.histories(rows), store.earlier(rows)
    assert histories.mask.shape == (4, 5)
    assert store.lengths(rows).tolist() == histories.mask.sum(axis=1).tolist() == [5, 0, 5, 5]
    for place, user in enumerate(asked):
        known, mask = store.user(user), histories.mask[place]
        for many, one in (
            (histories.item[place][mask], known.history if known else []),
            (histories.behavior[place][mask], known.behavior if known else []),
            (item[owner == place], known.earlier if known else []),
        ):
            assert many.tolist() == list(one)


def test_a_bundle_of_an_earlier_version_has_only_histories(saved: Saved, tmp_path: Path) -> None:
    for path in saved.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table = pq.read_table(tmp_path / "users.parquet")
    pq.write_table(table.drop_columns(["earlier"]), tmp_path / "users.parquet")
    old, new = user_store.Store(tmp_path).user("u12"), saved.store.user("u12")
    assert old is not None
    assert new is not None
    assert old.history.tolist() == new.history.tolist()
    assert (len(old.earlier), len(new.earlier)) == (0, LENGTH - len(set(new.history.tolist())))


@pytest.mark.parametrize("stranger", ["", "u", "u00", "u70", "zz", "U0", "ü"])
def test_a_stranger_is_not_found(saved: Saved, stranger: str) -> None:
    assert saved.store.user(stranger) is None


def test_a_user_without_events_has_an_empty_history(tmp_path: Path) -> None:
    dataset, cf = write_dataset(tmp_path / "prepared"), write_cf(tmp_path / "cf")
    events = dataset.table("events")
    for gone in (0, 7, USERS - 1):
        events = events.filter(pa.array(events["user_idx"].to_numpy() != gone))
    pq.write_table(events, tmp_path / "prepared" / "events.parquet")
    user_store.save(tmp_path, PreparedDataset.open(tmp_path / "prepared"), cf, max_history=3)
    result = user_store.Store(tmp_path)
    lengths = {user: len(result.user(f"u{user}").history) for user in (0, 1, 7, 8, USERS - 1)}  # type: ignore[union-attr]
    assert lengths == {0: 0, 1: 3, 7: 0, 8: 3, USERS - 1: 0}
    rows = result.rows(pa.array(["u0", "u69"]))
    assert result.histories(rows).mask.shape == (2, 0)
    assert result.earlier(rows)[1].tolist() == []


def test_a_bundle_that_cannot_serve_says_what_it_lacks(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no users\.parquet and no retrieval\.safetensors.*Train the model"):
        user_store.Store(tmp_path)
    (tmp_path / "users.parquet").write_bytes((saved.folder / "users.parquet").read_bytes())
    with pytest.raises(DataError, match=r"no retrieval\.safetensors"):
        user_store.Store(tmp_path)
