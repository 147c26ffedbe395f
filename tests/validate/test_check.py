"""The check: its counts are those of the run that follows, and each warning goes once what it says is set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shop_logs import shop

from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.pipeline import with_changes as changed
from gensr_model.reporting.data_check import screen
from tasks.ingest.ingest import build_raw, source_files
from tasks.prepare.prepare import build_prepared
from tasks.validate.check import check_data, examine
from tasks.validate.validate import validate_raw

WORLD = {"kind": "generated", "users": 60, "items": 150, "events_per_user": 8}


def config_of(data_format: str, home: Path, **more: Any) -> PipelineConfig:
    source: Any = (
        WORLD if data_format != "logs" else str(shop(home / "shop", 0.4, users=70, items=70, each=14, days=20))
    )
    settings = {"negatives": 5, "threads": 1, "min_interactions": 2}
    return PipelineConfig.model_validate({"format": data_format, "source": source, "prepare": settings, **more})


def read(config: PipelineConfig, home: Path) -> Path:
    """The folder that ingest makes."""
    raw = home / f"raw-{len(list(home.iterdir()))}"
    raw.mkdir()
    build_raw(config, source_files(config, home), raw)
    return raw


def check(config: PipelineConfig, home: Path, raw: Path | None = None) -> dict[str, Any]:
    return examine(raw or read(config, home), check_data.view(config), home / "temp")


@pytest.mark.parametrize("data_format", ["amazon", "kuaisar", "logs"])
def test_counts_are_those_of_the_run_that_follows(data_format: str, tmp_path: Path) -> None:
    config = config_of(data_format, tmp_path)
    raw = read(config, tmp_path)
    found = json.loads(json.dumps(check(config, tmp_path, raw)))
    (tmp_path / "prepared").mkdir()
    build_prepared(raw, config, tmp_path / "prepared")
    manifest = json.loads((tmp_path / "prepared" / "manifest.json").read_text(encoding="utf-8"))
    made = manifest["counts"]
    assert found["problem"] is None
    assert {"filter", "samples", "read"} <= found["counts"].keys()
    assert found["counts"] == {name: made[name] for name in found["counts"]}
    assert found["split"].items() <= manifest["split"].items()
    assert (found["text"]["items"], found["queries"]["distinct"]) == (made["items"], made["queries"])
    for split in ("train", "valid", "test"):
        assert sum(day[split] for day in found["days"]) == made[f"samples_{split}"] > 0
    first = made["filter"]["steps"][0]
    assert (found["events"]["users"], found["events"]["items"]) == (first["users"], first["items"])
    assert found["events"]["recommendation"] + found["events"]["search"] == first["interactions"]


def test_the_screen_says_what_each_column_is_and_where_a_line_was_rejected(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    with (tmp_path / "shop" / "events.csv").open("a", encoding="utf-8") as file:
        file.write("u1,i2,yesterday,click,\n")
    found = check(config, tmp_path)
    lines = [" ".join(line.split()) for line in screen(found).splitlines()]
    for line in (
        "events user user_id usual name",
        "items item sku usual name",
        "events 980 1 text with ','",
        "1,051 lines read, 1,050 accepted, 1 rejected.",
        "click 981 an engagement; with a query a search",
        "unit of time s (found)",
        "time is not a number 1 events.csv, line 982",
        "queries 7, 1.4 words, at most 2",
        "scripts Latin 3, Han 1, Kana 1, Cyrillic 1, Devanagari 1",
    ):
        assert line in lines
    assert len(lines) < 60, "one screen"
    assert any(line.startswith("2023-12-0") for line in lines), "counts per day"


def test_a_column_under_another_name_is_named_until_it_is_mapped(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    events = tmp_path / "shop" / "events.csv"
    events.write_text(events.read_text("utf-8").replace("event_type,query", "kind,search_terms", 1), encoding="utf-8")
    told = " ".join(check(config, tmp_path)["warnings"])
    assert "Column search_terms of the events may be the query: then set logs.events.columns.query to it." in told
    assert "recommendation alone is trained" in told
    assert "set logs.events.columns.behavior" in told
    columns = {"behavior": "kind", "query": "search_terms"}
    told = " ".join(check(changed(config, {"logs": {"events": {"columns": columns}}}), tmp_path)["warnings"])
    assert "logs.events" not in told
    assert "alone is trained" not in told


def test_clicks_on_results_without_words_need_the_id_of_their_search(tmp_path: Path) -> None:
    config = changed(config_of("logs", tmp_path), {"logs": {"behaviors": {"click": "src"}}})
    (told,) = (line for line in check(config, tmp_path)["warnings"] if "are left out" in line)
    assert "another row has it, set logs.events.columns.query_id to the id of both rows, or set" in told
    assert "logs.queries" not in told


def test_rows_that_are_there_twice_are_told(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    shop_folder = tmp_path / "shop"
    assert not [told for told in check(config, tmp_path)["warnings"] if "once" in told or "earlier row" in told]
    (shop_folder / "events_copy.csv").write_bytes((shop_folder / "events.csv").read_bytes())
    with (shop_folder / "items.csv").open("a", encoding="utf-8") as file:
        file.write("i1,Another title,Home\n")
    told = " ".join(check(config, tmp_path)["warnings"])
    assert "of 1,960 engagements are those of another row once more" in told
    assert "repeat the id of an earlier row: 1." in told


def test_a_column_is_proposed_for_the_role_that_it_resembles(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path, logs={"events": {"columns": {"item": "sku"}}})
    events = tmp_path / "shop" / "events.csv"
    text = events.read_text("utf-8").replace("event_type,query", "item,search_hits", 1)
    events.write_text(text, encoding="utf-8")
    assert "Column item" not in " ".join(check(config, tmp_path)["warnings"]), "item is not like term"
    events.write_text(text.replace("item,search_hits", "searchhits,searchq", 1), encoding="utf-8")
    assert "Column searchq of the events may be the query" in " ".join(check(config, tmp_path)["warnings"])


def test_rows_without_a_type_are_counted_and_told_until_they_are_mapped(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    events = tmp_path / "shop" / "events.csv"
    events.write_text(events.read_text("utf-8").replace(",click,", ",,", 400), encoding="utf-8")
    found = check(config, tmp_path)
    shown = [" ".join(line.split()) for line in screen(found).splitlines()]
    assert {"click 580 an engagement; with a query a search", "(no type) 400 ignored"} <= set(shown)
    assert found["events"]["recommendation"] + found["events"]["search"] <= 580
    (told,) = [told for told in found["warnings"] if "no event type" in told]
    assert told.startswith("400 rows have no event type")
    assert 'set logs.behaviors to {"(no type)": rec}' in told
    found = check(changed(config, {"logs": {"behaviors": {"(no type)": "rec"}}}), tmp_path)
    assert found["events"]["recommendation"] + found["events"]["search"] > 900
    assert not [told for told in found["warnings"] if "no event type" in told]


def test_rows_of_every_meaning_are_on_the_screen_and_pass_the_expectations(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    events = tmp_path / "shop" / "events.csv"
    text = events.read_text("utf-8")
    for action in ("impression", "remove_from_cart"):
        text = text.replace(",click,", f",{action},", 30)
    events.write_text(text, encoding="utf-8")
    raw = read(config, tmp_path)
    lines = {" ".join(line.split()) for line in screen(check(config, tmp_path, raw)).splitlines()}
    assert {"impression 30 shown, not engaged", "remove_from_cart 30 ignored"} <= lines
    (tmp_path / "validated").mkdir()
    assert validate_raw(raw, config, tmp_path / "validated")["failed"] == 0


def test_a_type_that_no_row_has_and_a_part_without_rows_are_told(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path, logs={"behaviors": {"Clik": "rec", "CLICK": "rec"}})
    (tmp_path / "shop" / "events.2.csv").write_text("user_id,sku,timestamp\n", encoding="utf-8")
    (tmp_path / "shop" / "events.3.csv").touch()
    told = " ".join(check(config, tmp_path)["warnings"])
    assert "Without a row, and so left out: events.2.csv, events.3.csv." in told
    assert "logs.behaviors names the event type 'Clik', which no row has." in told
    assert "The nearest types that rows have: click." in told
    assert "'CLICK'" not in told


@pytest.mark.parametrize("least", [1, 9])
def test_logs_of_few_users_are_too_few_to_learn_from(least: int, tmp_path: Path) -> None:
    config = changed(config_of("logs", tmp_path), {"prepare": {"min_interactions": least}})
    config = changed(config, {"source": str(shop(tmp_path / "few", 0.4, users=30, each=5, days=20))})
    found = check(config, tmp_path)
    assert (found["problem"] is None) == (least == 1)
    if found["problem"]:
        said = "the filters leave no interaction. The data hold 150 engagements of 30 users, and no setting makes a run"
        assert found["problem"].startswith(said)
        assert found["problem"].endswith("by users with 9 or more each."), "lowering the filter would help nobody"
    assert found["warnings"][0].startswith("The data hold 150 engagements of 30 users, too few to learn from.")
    assert not [told for told in found["warnings"] if "lower prepare.min_interactions" in told]


def test_a_late_day_can_be_left_out_as_the_warning_says(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path)
    with (tmp_path / "shop" / "events.csv").open("a", encoding="utf-8") as file:
        file.write("u1,i2,1703000000,click,Bücher\nu2,i2,1703000001,click,\n")
    (late,) = [told for told in check(config, tmp_path)["warnings"] if "prepare.until" in told]
    assert late.startswith("From 2023-12-19 on there are 2 events")
    until = late.split('"')[1]
    found = check(changed(config, {"prepare": {"until": until}}), tmp_path)
    assert found["counts"]["left_out_by_until"] == 2
    assert not [told for told in found["warnings"] if "prepare.until" in told]


def test_days_that_grow_thin_are_left_out_at_once(tmp_path: Path) -> None:
    config = changed(config_of("logs", tmp_path), {"prepare": {"min_interactions": 1}})
    day = 1_700_000_000 + 20 * 86_400
    rows = [
        f"u{n % 70},i{n % 70},{day + d * 86_400 + n * 60},click,\n"
        for d, many in enumerate((8, 5, 1))
        for n in range(many)
    ]
    with (tmp_path / "shop" / "events.csv").open("a", encoding="utf-8") as file:
        file.writelines(rows)
    (late,) = [told for told in check(config, tmp_path)["warnings"] if "prepare.until" in told]
    found = check(changed(config, {"prepare": {"until": late.split('"')[1]}}), tmp_path)
    assert not [told for told in found["warnings"] if "prepare.until" in told]
    assert found["counts"]["left_out_by_until"] == 6, "the first row lies in a usual day"


def test_too_few_test_samples_name_the_split_that_has_more(tmp_path: Path) -> None:
    many = str(shop(tmp_path / "many", 0.4, users=200, each=14, days=20))
    config = changed(config_of("logs", tmp_path), {"source": many})

    def told() -> list[str]:
        return [each for each in check(config, tmp_path)["warnings"] if each.startswith("test has")]

    days = {int(each.split("days: ")[1].split("}")[0]) for each in told() if "{by: days, days: " in each}
    assert days, told()
    config = changed(config, {"logs": {"split": {"by": "days", "days": max(days)}}})
    assert not told()


def test_a_placeholder_for_users_and_items_without_text_are_named(tmp_path: Path) -> None:
    config = config_of("logs", tmp_path, logs={"split": {"by": "time_share"}})
    config = changed(config, {"source": str(shop(tmp_path / "large", 0.4, users=110, each=14))})
    folder = tmp_path / "large"
    (folder / "items.csv").write_text("sku,title\ni1,Lamp\n", encoding="utf-8")
    with (folder / "events.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"guest,i{n % 140},{1_700_000_000 + 60 * n},click,\n" for n in range(400))
    told = " ".join(check(config, tmp_path)["warnings"])
    assert "User 'guest' has 21% of all events" in told
    assert "items have no text" in told
    assert "The items table has a row for 1 of 140 items of the events." in told
