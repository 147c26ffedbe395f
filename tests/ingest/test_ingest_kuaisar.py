"""KuaiSAR's CSV files: columns by name, one row per line, missing markers, and what is rejected and why."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path
from typing import Any

import pytest
from ingest_inputs import LEVELS, MS, NAMES, ROWS, ingest, kuaisar, lines, rejected_in, table

import tasks.ingest.raw_files
from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import write_kuaisar
from gensr_model.errors import DataError

REC_HEADER = "user_id,item_id,timestamp,click"
GOOD = f"1,2,{MS},1"


def test_every_table_of_five_files(tmp_path: Path) -> None:
    raw = ingest(kuaisar(tmp_path / "source"), "kuaisar", 0.0)
    place = {"file": "rec_inter.csv", "line": 2}
    assert raw.rows("rec") == [{"user": "1", "item": "2", "ts": MS, "click": 1} | place]
    src = {"user": "1", "item": "2", "ts": MS, "query": "w20 w34", "session": "7", "click_cnt": 1}
    src |= {"item_type": "VIDEO", "source": "SUG_SEARCH", "file": "src_inter.csv", "line": 2}
    assert raw.rows("src") == [src]
    assert raw.rows("items") == [{"item": "2", "title": "w1 w213", "category_names": ["Food"], "author": "5"}]
    levels = {"onehot_feat1": 3, "onehot_feat2": None, "search_active_level": 4, "rec_active_level": 2}
    assert raw.rows("users") == [{"user": "1"} | levels]
    assert raw.rows("social") == [{"user": "1", "followee": "9"}]
    assert raw.manifest["counts"] == dict.fromkeys(("items", "rec", "social", "src", "users"), 1) | {"rejects": 0}


@pytest.mark.parametrize("gz", [False, True])
def test_columns_in_any_order_among_others_with_a_byte_order_mark_and_windows_line_ends(
    tmp_path: Path, gz: bool
) -> None:
    plain = ingest(kuaisar(tmp_path / "plain"), "kuaisar")
    source = tmp_path / "turned" / "KuaiSAR_v2"  # one folder further down, as unpacked
    source.mkdir(parents=True)
    for name, file in NAMES.items():
        (row,) = ROWS[name]
        turned = table([row | {"time": "2023-05-22, noon", "like": 0}], ["time", *reversed(row), "like"])
        content = b"\xef\xbb\xbf" + turned.replace(b"\n", b"\r\n")
        (source / (f"{file}.gz" if gz else file)).write_bytes(gzip.compress(content) if gz else content)
    raw = ingest(source.parent, "kuaisar", 0.0)
    for name in NAMES:
        result = raw.rows(name)
        for row in result:
            row.pop("file", None)
        assert result == [{k: v for k, v in row.items() if k != "file"} for row in plain.rows(name)], name


def test_the_other_spelling_of_an_active_level(tmp_path: Path) -> None:
    users = lines("reco_active_level,user_id", "3,1")
    assert ingest(kuaisar(tmp_path / "source", users=users), "kuaisar").rows("users")[0]["rec_active_level"] == 3


def test_the_full_release_by_its_own_headers(tmp_path: Path) -> None:
    """KuaiSAR_v2 (zenodo.org/records/8181109) has other names, another order, no music, and empty in Chinese too."""
    small = ingest(kuaisar(tmp_path / "small"), "kuaisar")
    rec = (
        "search,search_photo_related,user_id,item_id,time,timestamp,playing_time,duration_ms,click,forward,like,follow"
    )
    src = "user_id,search_session_id,time,search_session_timestamp,keyword,search_session_source,item_id,item_type"
    levels = [f"{level}_level_category" for level in ("first", "second", "third", "fourth")]
    names = [f"{level}_{kind}" for level in levels for kind in ("id", "name", "name_en")]
    items = f"author_id,item_type,upload_time,upload_type,{','.join(names)},item_id,caption"
    shown = [f"0,0,{user},2,2023-05-22 04:13:20,{ms},1.0,2.0,1,0,0,0" for user, ms in ((1, MS), ("", MS), (1, "x"))]
    files = {
        "rec": lines(rec, *shown),
        "src": lines(f"{src},click_cnt", f'1,7,2023-05-22 04:13:20,{MS},"[20, 34]",SUG_SEARCH,2,VIDEO,1'),
        "items": lines(items, f'5,NORMAL,1970-1-1,x,3,美食,Food{",0,empty,empty" * 3},2,"[1, 213]"'),
        "users": lines("rec_active_level,search_active_level,onehot_feat1,user_id", "2,4,3,1"),
    }
    source = kuaisar(tmp_path / "full", **files)
    (source / "rec_inter.2023-06-01.csv").write_bytes(lines(rec, shown[0]))
    full = ingest(source, "kuaisar")
    first, later = full.rows("rec")
    assert {name: full.rows(name) for name in NAMES} == {name: small.rows(name) for name in NAMES} | {
        "rec": [first, later]
    }
    assert (first, later) == (small.rows("rec")[0], first | {"file": "rec_inter.2023-06-01.csv"})
    assert [line for _, line, _ in full.rejects] == [3, 4]


def test_missing_markers_of_items(tmp_path: Path) -> None:
    """An author of 0, a level named "空", "empty" or UNKNOWN, no caption, an upload in 1970: unknown, no error."""
    rows = [
        {"item_id": 1, "author_id": 0, "caption": "[]"},
        {"item_id": 2, LEVELS[1]: "empty", LEVELS[2]: "UNKNOWN", LEVELS[3]: "空", "caption": ""},
        {"item_id": 3, LEVELS[0]: "UNKNOWN", LEVELS[1]: "Food & Drink", "caption": "UNKNOWN"},
        {"item_id": "4.0", "caption": "空", "author_id": ""},
    ]
    items = table([ROWS["items"][0] | {"upload_time": "1970-01-01"} | row for row in rows])
    raw = ingest(kuaisar(tmp_path / "source", items=items), "kuaisar", 0.0)
    assert [(r["item"], r["title"], r["category_names"], r["author"]) for r in raw.rows("items")] == [
        ("1", None, ["Food"], None),
        ("2", None, ["Food"], "5"),
        ("3", None, ["Food & Drink"], "5"),
        ("4", None, ["Food"], None),
    ]


def test_very_long_quoted_fields(tmp_path: Path) -> None:
    """Beyond the 131,072 characters at which Python's csv stops unless told otherwise, in a block with a bad line."""
    words = list(range(60_000))
    caption = str(words)
    items = table([ROWS["items"][0] | {"item_id": n, "caption": caption} for n in (1, 2)]) + lines("3")
    raw = ingest(kuaisar(tmp_path / "source", items=items), "kuaisar")
    assert raw.rejects == [("item_features.csv", 4, "1 field where the header has 7")]
    assert [row["title"] for row in raw.rows("items")] == [" ".join(f"w{word}" for word in words)] * 2


def test_repeated_items_and_users_are_counted(tmp_path: Path) -> None:
    items = [{"item_id": 2, "caption": "[1]"}, {"item_id": 2, "caption": "[2]"}, {"item_id": "2.0"}]
    raw = ingest(kuaisar(tmp_path / "source", items=items, users=[{}, {"rec_active_level": 9}]), "kuaisar")
    assert [row["title"] for row in raw.rows("items")] == ["w1"]
    assert [row["rec_active_level"] for row in raw.rows("users")] == [2]
    described = {"items_in_events": 1, "items_without_meta": 0}
    assert raw.manifest["notes"] == {"repeated_items": 2, "repeated_users": 1} | described


BAD_ROWS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "rec": [
        ({"user_id": ""}, "no user_id"),
        *(({"user_id": missing}, "no user_id") for missing in ("nan", "NaN", "None", "NULL", "\\N", "<NA>")),
        ({"item_id": "nan"}, "no item_id"),
        ({"item_id": " "}, "no item_id"),
        ({"timestamp": ""}, "no timestamp"),
        ({"timestamp": "2023-05-22"}, "timestamp is not a number"),
        ({"timestamp": 0}, "timestamp is zero"),
        ({"timestamp": MS // 1000}, "timestamp in the wrong unit: seconds where milliseconds are expected"),
        ({"timestamp": MS * 1000}, "timestamp in the wrong unit: microseconds where milliseconds are expected"),
        ({"timestamp": int(time.time() * 1000) + 3 * 86_400_000}, "timestamp in the future"),
        ({"timestamp": 10**14 * 99}, "timestamp in the future"),
        ({"timestamp": -5}, "timestamp before ingest.earliest"),
        *(({"click": click}, "click is neither 0 nor 1") for click in ("", "x", 2, 0.4, "nan", -1)),
    ],
    "src": [
        ({"user_id": ""}, "no user_id"),
        ({"user_id": "null"}, "no user_id"),
        ({"item_id": "NaN"}, "no item_id"),
        ({"search_session_id": "nan"}, "no search_session_id"),
        ({"item_id": ""}, "no item_id"),
        ({"search_session_timestamp": ""}, "no search_session_timestamp"),
        ({"search_session_timestamp": "x"}, "search_session_timestamp is not a number"),
        ({"search_session_timestamp": 0}, "timestamp is zero"),
        (
            {"search_session_timestamp": MS // 1000},
            "timestamp in the wrong unit: seconds where milliseconds are expected",
        ),
        ({"search_session_timestamp": MS * 3}, "timestamp in the future"),
        ({"search_session_timestamp": 1}, "timestamp before ingest.earliest"),
        *(({"keyword": word}, "keyword is not a list of word ids") for word in ("", "red shoe", "[1, x]", "[1,")),
        *(({"click_cnt": count}, "click_cnt is not a count") for count in ("", "x", -1, 0.5, "nan", "1e300")),
    ],
    "items": [
        ({"item_id": ""}, "no item_id"),
        ({"item_id": "nan"}, "no item_id"),
        ({"caption": "red shoe"}, "caption is not a list of word ids"),
    ],
    "users": [({"user_id": ""}, "no user_id"), ({"user_id": "nan"}, "no user_id")],
    "social": [({"user_id": "nan"}, "no user_id"), ({"user_follow_id": ""}, "no user_follow_id")],
}


@pytest.mark.parametrize("name", list(BAD_ROWS))
def test_bad_rows_are_kept_with_file_line_and_reason(tmp_path: Path, name: str) -> None:
    bad = BAD_ROWS[name]
    raw = ingest(kuaisar(tmp_path / "source", **{name: [{}, *(row for row, _ in bad)]}), "kuaisar")
    assert raw.rejects == [(NAMES[name], n, reason) for n, (_, reason) in enumerate(bad, 3)]
    assert raw.account(NAMES[name]) == (len(bad) + 1, 1, len(bad))
    assert raw.manifest["counts"][name] == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3", "3 fields where the header has 4"),
        (b"1,2,3,4,5", "5 fields where the header has 4"),
        (b'1,"2,3,1', "not a CSV line: a quote is never closed"),
        (b'1,2,3,"4', "not a CSV line: a quote is never closed"),
        (b"1,2\xff,3,1", "not UTF-8"),
        (GOOD.encode() + b"\r" + GOOD.encode(), "not a CSV line: new-line character seen in unquoted field"),
    ],
)
def test_lines_that_are_no_row(tmp_path: Path, line: bytes, reason: str) -> None:
    """The rows beside them keep their own lines."""
    raw = ingest(
        kuaisar(tmp_path / "source", rec=lines(REC_HEADER, GOOD, line, "", GOOD.replace(",2,", ",3,"))), "kuaisar"
    )
    assert [(row["item"], row["line"]) for row in raw.rows("rec")] == [("2", 2), ("3", 5)]
    ((file, number, message),) = raw.rejects
    assert (file, number) == ("rec_inter.csv", 3)
    assert message.startswith(reason)


def test_a_line_is_read_alike_whatever_stands_beside_it(tmp_path: Path) -> None:
    """Arrow reads a clean block, Python's csv a block with a bad line; quotes and bytes must mean the same to both."""
    fields = ['"5"', '"5"6', '5"6', '"5""6"', '"5,6"', '""', '"5"6"7"']
    tested = [f'{field},2,{MS},1,"{field.strip(chr(34))}"'.encode() for field in fields] + [
        GOOD.encode() + b",\xff",
        GOOD.encode() + ",空".encode(),
    ]
    result = []
    for name, bad in (("clean", []), ("with a bad line", ["1,2"])):
        rec = lines(REC_HEADER + ",time", *tested, *bad)
        raw = ingest(kuaisar(tmp_path / name, rec=rec), "kuaisar")
        result.append((raw.rows("rec"), raw.rejects[: len(raw.rejects) - len(bad)]))
    assert result[0] == result[1]
    assert [row["user"] for row in result[0][0]] == ["5", "56", '5"6', '5"6', "5,6", '56"7"', "1"]
    assert [(n, reason) for _, n, reason in result[0][1]] == [(7, "no user_id"), (9, "not UTF-8")]


def test_rows_are_not_made_up_by_a_line_that_ends_twice_and_a_quote_that_spans_two(tmp_path: Path) -> None:
    """To a CSV reader these are three rows, as many as there are lines, and none of them is the line it stands for."""
    rec = lines(REC_HEADER, GOOD + "\r" + GOOD, '1,"2', f'3",{MS},1')
    with pytest.raises(DataError, match="3 of 3 rows"):
        ingest(kuaisar(tmp_path / "source", rec=rec), "kuaisar")


def test_blocks_that_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = lines("", "", REC_HEADER, *(f"1,{n},{MS},{n % 3}" for n in range(30)))
    source = kuaisar(tmp_path / "source", rec=rec)
    whole = ingest(source, "kuaisar")
    monkeypatch.setattr(tasks.ingest.raw_files, "BLOCK", 37)
    (tmp_path / "again").symlink_to(source)
    again = ingest(tmp_path / "again", "kuaisar")
    assert (
        again.rejects
        == whole.rejects
        == [("rec_inter.csv", n + 4, "click is neither 0 nor 1") for n in range(2, 30, 3)]
    )
    assert again.rows("rec") == whole.rows("rec")


@pytest.mark.parametrize("name", list(NAMES))
def test_a_missing_column(tmp_path: Path, name: str) -> None:
    """The first of each file: an id."""
    (row,) = ROWS[name]
    first, *rest = row
    source = kuaisar(tmp_path / "source", **{name: table([{key: row[key] for key in rest}])})
    with pytest.raises(DataError) as error:
        ingest(source, "kuaisar")
    message = f"the header (line 1) has no column {first}. It has: {', '.join(rest)}."
    assert str(error.value) == f"{source / NAMES[name]}: {message}"


@pytest.mark.parametrize(
    ("rec", "message"),
    [
        (b"", r"rec_inter\.csv: the file is empty \(0 bytes\)"),
        (b"\n\n", r"rec_inter\.csv: .* no row of data"),
        (REC_HEADER.encode(), r"rec_inter\.csv: .* no row of data"),
        (lines(REC_HEADER + ",click", GOOD + ",1"), r"header \(line 1\) names column click twice"),
        (lines("\n" + REC_HEADER.replace("click", "clicked"), GOOD), r"header \(line 2\) has no column click"),
        (lines(REC_HEADER, GOOD).replace(b"\n", b"\r"), r"header \(line 1\) cannot be read as CSV .*LF or CRLF"),
        (lines('"' + "x" * 200_000 + '"', GOOD), r"header \(line 1\) cannot be read as CSV"),
        (lines(REC_HEADER, GOOD).decode().encode("utf-16"), r"rec_inter\.csv: the file is UTF-16.*iconv -f UTF-16 "),
        (lines("用户," + REC_HEADER, GOOD).decode().encode("gbk"), r"header \(line 1\) is not UTF-8\. Save the file"),
    ],
)
def test_a_file_without_a_usable_header_or_row(tmp_path: Path, rec: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(kuaisar(tmp_path / "source", rec=rec), "kuaisar")


def test_both_spellings_of_a_column(tmp_path: Path) -> None:
    users = lines("user_id,rec_active_level,reco_active_level", "1,2,3")
    with pytest.raises(DataError, match=r"user_features\.csv.*names column rec_active_level twice"):
        ingest(kuaisar(tmp_path / "source", users=users), "kuaisar")


def test_the_social_network_may_be_absent_or_empty_but_not_bad(tmp_path: Path) -> None:
    for name, content in (("absent", None), ("empty", lines("user_id,user_follow_id"))):
        source = kuaisar(tmp_path / name)
        (source / NAMES["social"]).unlink()
        if content is not None:
            (source / NAMES["social"]).write_bytes(content)
        assert ingest(source, "kuaisar", 0.0).rows("social") == []
    bad = kuaisar(tmp_path / "bad", social=lines("user_id,user_follow_id", ",1", "2,"))
    with pytest.raises(DataError, match=r"social_network\.csv: 2 of 2 rows"):
        ingest(bad, "kuaisar", 0.01)


def test_a_day_without_rows_does_not_stop_the_run(tmp_path: Path) -> None:
    source = kuaisar(tmp_path / "source")
    days = ["rec_inter.2023-06-01.csv", "rec_inter.2023-06-02.csv"]
    for day, content in zip(days, (lines(REC_HEADER), b""), strict=True):
        (source / day).write_bytes(content)
    raw = ingest(source, "kuaisar", 0.0)
    assert len(raw.rows("rec")) == 1
    assert [entry["name"] for entry in raw.manifest["files"] if entry.get("empty")] == days


def test_too_many_bad_rows_stop_the_run_and_show_the_first_ten(tmp_path: Path) -> None:
    bad = ["1,2", f"1,,{MS},1"] * 11 + ["1,2"]  # the lines that are no row come out of the reader first
    source = kuaisar(tmp_path / "source", rec=lines(REC_HEADER, *[GOOD] * 88, *bad))
    with pytest.raises(DataError) as error:
        ingest(source, "kuaisar", 0.1)
    text = error.value.full_message
    assert text.startswith(f"{source / NAMES['rec']}: 23 of 111 rows (20.7%) cannot be used; at most 10.0% may be")
    shown = [line.split(": ")[0].strip() for line in text.splitlines() if line.startswith("  line ")]
    assert shown == [f"line {n}" for n in range(90, 110, 2)], "those of the most frequent reason"
    assert [n for _, n, _ in rejected_in(tmp_path / "source-raw")] == list(range(90, 113))


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_an_item_file_of_another_release(tmp_path: Path, share: float) -> None:
    """Nothing joins: an error. Something does: the share is noted, and validation looks at it."""
    source = kuaisar(tmp_path / "source", rec=[{}, {"item_id": 7}], items=[{"item_id": 7 if share else 99}])
    if share:
        notes = ingest(source, "kuaisar").manifest["notes"]
        assert (notes["items_in_events"], notes["items_without_meta"]) == (2, 1)
        return
    with pytest.raises(DataError, match=r"item_features\.csv: describes none of the 2 items .*there: 2, here: 99"):
        ingest(source, "kuaisar")


@pytest.mark.parametrize("keyword", ["red shoe", "红鞋"])
def test_real_words_are_told_to_need_another_format(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(DataError, match=r"(?s)src_inter\.csv: 1 of 1 .*anonymised numbers.*format logs"):
        ingest(kuaisar(tmp_path / "source", src=[{"keyword": keyword}]), "kuaisar")


@pytest.mark.parametrize(
    "name", ["rec_inter.2023.06.01.csv", "rec_inter_2023-06-01.csv", "rec_inter-20230601.csv", "rec_inter 2.csv"]
)
def test_day_parts_by_any_usual_name_are_read(tmp_path: Path, name: str) -> None:
    source = kuaisar(tmp_path / "source")
    (source / name).write_bytes(lines(REC_HEADER, GOOD.replace("1,2", "8,2")))
    assert [row["user"] for row in ingest(source, "kuaisar", 0.0).rows("rec")] == ["1", "8"]


@pytest.mark.parametrize(
    "name",
    [
        "rec_inter.csv.zip",
        "REC_INTER.CSV",
        "rec_inter_old.csv",
        "rec_interactions.csv",
        "src_inter.txt",
        "user_features",
    ],
)
def test_a_file_or_folder_that_begins_as_a_table_is_not_left_out_in_silence(tmp_path: Path, name: str) -> None:
    source = kuaisar(tmp_path / "source")
    (source / name / "part").mkdir(parents=True)
    with pytest.raises(DataError, match=rf"source: {re.escape(name)} would not be read"):
        ingest(source, "kuaisar")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no rec_inter\.csv, src_inter\.csv, item_features\.csv, user_features\.csv .*holds: nothing"),
        (["rec_inter.csv", "src_inter.csv.gz", "user_features.csv"], r"no item_features\.csv \("),
        (["meta_X.json.gz"], r"It looks like Amazon data: set format to amazon"),
        (["small/rec_inter.csv", "full/rec_inter.csv"], r"several copies of KuaiSAR: .*full.*small.*source\.path"),
    ],
)
def test_a_folder_without_the_files(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "source").mkdir()
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "source" / name).write_bytes(b"x\n")
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "source", "kuaisar")


def test_generated_files_are_read_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_kuaisar(source, GeneratedSource(users=150, items=150, events_per_user=10))
    raw = ingest(source, "kuaisar", 0.0)
    for file in NAMES.values():
        data_lines = (source / file).read_bytes().count(b"\n") - 1
        assert raw.account(file) == (data_lines, data_lines, 0)
        assert data_lines > 0
