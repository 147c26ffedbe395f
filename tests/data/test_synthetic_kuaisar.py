"""The generated KuaiSAR files: reproducible, with the published columns, quirks included."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import write_kuaisar

SOURCE = GeneratedSource(users=400, items=500, events_per_user=12)
LEVELS = ("first", "second", "third", "fourth")
COLUMNS = {
    "rec_inter": "user_id item_id duration_ms playing_time timestamp forward like follow search_item_related search "
    "click time",
    "src_inter": "keyword item_id click_cnt search_session_id item_type user_id search_session_timestamp "
    "search_source search_session_time",
    "item_features": "item_id caption author_id item_type upload_time upload_type music_id "
    + " ".join(f"{level}_level_category_{name}" for level in LEVELS for name in ("id", "name", "name_en")),
    "user_features": "user_id onehot_feat1 onehot_feat2 search_active_level reco_active_level",
    "social_network": "user_id user_follow_id",
}
SESSION = ["user_id", "search_session_id", "search_session_timestamp", "keyword", "search_source"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kuaisar")
    write_kuaisar(folder, SOURCE)
    return folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in COLUMNS}


@pytest.fixture(scope="module")
def rec(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return tables["rec_inter"]


@pytest.fixture(scope="module")
def src(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return tables["src_inter"]


@pytest.fixture(scope="module")
def items(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return tables["item_features"]


def test_the_same_seed_writes_the_same_bytes_and_another_one_others(folder: Path, tmp_path: Path) -> None:
    names = {f"{name}.csv" for name in COLUMNS}
    assert {p.name for p in folder.iterdir()} == names
    write_kuaisar(tmp_path / "again", SOURCE)
    write_kuaisar(tmp_path / "other", SOURCE.model_copy(update={"world_seed": 1}))
    for name in names:
        written = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == written
        assert (tmp_path / "other" / name).read_bytes() != written


def test_files_have_the_published_columns(tables: dict[str, pd.DataFrame]) -> None:
    for name, columns in COLUMNS.items():
        assert sorted(tables[name].columns) == sorted(columns.split()), name


def test_numbers_are_whole_and_flags_are_0_or_1(rec: pd.DataFrame, src: pd.DataFrame) -> None:
    assert {str(kind) for kind in rec.drop(columns="time").dtypes} == {"int64"}
    flags = rec[["forward", "like", "follow", "search_item_related", "search", "click"]]
    assert set(np.unique(flags)) == {0, 1}
    ids = src[["item_id", "click_cnt", "search_session_id", "user_id", "search_session_timestamp"]]
    assert {str(kind) for kind in ids.dtypes} == {"int64"}
    assert set(src["click_cnt"]) == {0, 1, 2}


def test_words_are_bracketed_lists_of_ids(folder: Path, src: pd.DataFrame, items: pd.DataFrame) -> None:
    words = re.compile(r"\[(\d+(, \d+)*)?\]")
    assert src["keyword"].map(words.fullmatch).all()
    assert items["caption"].map(words.fullmatch).all()
    assert (src["keyword"] != "[]").all()
    assert src["keyword"].str.count(",").max() > 0
    with (folder / "src_inter.csv").open(encoding="utf-8") as file:
        assert any(re.search(r'"\[\d+, \d+', line) for line in file)  # a comma makes the field a quoted one


@pytest.mark.parametrize(
    ("name", "ms", "text"),
    [("rec_inter", "timestamp", "time"), ("src_inter", "search_session_timestamp", "search_session_time")],
)
def test_the_clock_text_is_the_timestamp_in_beijing(
    tables: dict[str, pd.DataFrame], name: str, ms: str, text: str
) -> None:
    beijing = pd.to_datetime(tables[name][ms], unit="ms", utc=True).dt.tz_convert("Asia/Shanghai")
    assert (beijing.dt.strftime("%Y-%m-%d %H:%M:%S") == tables[name][text]).all()


def test_clicks_fall_on_the_ten_days(rec: pd.DataFrame, src: pd.DataFrame) -> None:
    clicked = src.loc[src["click_cnt"] > 0, "search_session_time"]
    days = set(pd.concat([rec["time"], clicked]).str[:10])
    assert days == {f"2023-05-{day}" for day in range(22, 32)}


def test_users_and_items_agree_across_files(tables: dict[str, pd.DataFrame]) -> None:
    rec, src, items, users, social = (tables[name] for name in COLUMNS)
    assert len(items) == items["item_id"].nunique() == SOURCE.items
    assert users["user_id"].tolist() == list(range(SOURCE.users))
    assert set(rec["item_id"]) | set(src.loc[src["item_type"] == "VIDEO", "item_id"]) <= set(items["item_id"])
    assert set(rec["user_id"]) | set(src["user_id"]) <= set(users["user_id"])
    assert set(social["user_id"]) | set(social["user_follow_id"]) <= set(users["user_id"])
    both = set(rec.loc[rec["click"] == 1, "user_id"]) & set(src.loc[src["click_cnt"] > 0, "user_id"])
    assert len(both) > 0.9 * SOURCE.users


def test_recommendations_are_half_clicked_and_delivered_together(rec: pd.DataFrame) -> None:
    assert rec["click"].mean() == pytest.approx(0.5, abs=0.03)
    together = rec.groupby(["user_id", "timestamp"])["click"].agg(["size", "sum"])
    assert (together["size"] > 1).mean() > 0.3
    assert (together["sum"] > 1).any()  # two clicks at one time: order is unknown


def test_six_sessions_in_ten_have_a_click_and_their_ids_recur(src: pd.DataFrame) -> None:
    clicked = src.groupby(SESSION)["click_cnt"].max() > 0
    assert clicked.mean() == pytest.approx(0.6, abs=0.04)
    per_id = clicked.reset_index().groupby("search_session_id").size()
    assert (per_id > 1).any()


def test_rows_of_a_session_may_disagree_on_a_click(src: pd.DataFrame) -> None:
    clicks = src.groupby([*SESSION, "item_id"])["click_cnt"].agg(["min", "max"])
    assert ((clicks["min"] == 0) & (clicks["max"] > 0)).sum() > 10


def test_results_that_are_no_video_are_shown_and_never_clicked(src: pd.DataFrame, items: pd.DataFrame) -> None:
    foreign = src[src["item_type"] != "VIDEO"]
    assert set(foreign["item_type"]) == {"USER", "LIVE", "MUSIC", "ADVERT"}
    assert (foreign["click_cnt"] == 0).all()
    assert not set(foreign["item_id"]) & set(items["item_id"])


def test_missing_categories_are_written_as_published(items: pd.DataFrame) -> None:
    above = pd.Series(False, index=items.index)
    for level in LEVELS:
        number, name, english = (items[f"{level}_level_category_{part}"] for part in ("id", "name", "name_en"))
        missing = number == 0
        assert missing.any()
        assert missing[above].all()  # nothing stands below a missing level
        assert (name[missing] == "空").all()
        assert set(english[missing]) == {"UNKNOWN", "empty"}
        assert not (name[~missing] == "空").any()
        assert items[~missing].groupby(f"{level}_level_category_id")[english.name].nunique().le(1).all()
        above = missing


def test_items_have_pads_empty_captions_and_very_long_ones(items: pd.DataFrame) -> None:
    assert (items["author_id"] == 0).any()
    assert (items["upload_time"] == "1970-1-1").any()
    length = items["caption"].str.count(r"\d+")
    assert (length == 0).any()
    assert (length >= 400).any()
    assert length.median() < 10
