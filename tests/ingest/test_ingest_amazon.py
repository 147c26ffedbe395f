"""Amazon's reviews and meta, of both releases: what is read, what is rejected and why, and when the run stops."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from ingest_inputs import MS, SECONDS, Raw, amazon, ingest, lines, rejected_in, review

from gensr_model.errors import DataError

REVIEWS, META = "reviews_X_5.json", "meta_X.json"
DAY = 86_400


def items(tmp_path: Path, *entries: Any) -> list[dict[str, Any]]:
    """Rows of items of meta entries; a text is a line as it is, anything else is written as a Python literal."""
    meta = lines(repr({"asin": "A1"}), *(e if isinstance(e, str) else repr(e) for e in entries))
    return ingest(amazon(tmp_path / "source", meta=meta), "amazon").rows("items")[1:]


@pytest.mark.parametrize("gz", [False, True])
def test_the_2014_release(tmp_path: Path, gz: bool) -> None:
    reviews = lines(
        review(reviewerName='Reader "of" things', helpful=[0, 1], reviewText="It's\nfine.", summary="é"),
        review(reviewerID=" U2 ", asin="A2", overall=1, unixReviewTime=SECONDS + DAY),
    )
    entry = {"asin": "A1", "title": 'It\'s "x"', "brand": "B", "price": 1.5, "salesRank": {"Music": 3}}
    entry |= {"description": "About it", "categories": [["Music", "Rock"], ["Music"], []]}
    raw = ingest(amazon(tmp_path / "source", reviews, lines(repr(entry)), gz), "amazon", 0.0)
    end = ".gz" if gz else ""
    assert raw.rows("reviews") == [
        {"user": u, "item": i, "ts": ts * 1000, "rating": r, "file": REVIEWS + end, "line": n}
        for u, i, ts, r, n in (("U1", "A1", SECONDS, 5.0, 1), ("U2", "A2", SECONDS + DAY, 1.0, 2))
    ]
    assert raw.rows("items") == [
        {
            "item": "A1",
            "title": 'It\'s "x"',
            "brand": "B",
            "description": "About it",
            "categories": [["Music", "Rock"], ["Music"]],
        }
    ]
    assert raw.manifest["counts"] == {"items": 1, "rejects": 0, "reviews": 2}
    assert raw.manifest["notes"] == {"repeated_items": 0, "items_in_events": 2, "items_without_meta": 1}


def test_the_2018_release(tmp_path: Path) -> None:
    """Real JSON: ratings and times may be texts, the category is one flat path, the description a list."""
    reviews = lines(review(overall="4.0", unixReviewTime=str(SECONDS), verified=True, style={"Format:": " CD"}))
    entry = {
        "asin": "A1",
        "title": "T",
        "category": ["Music &amp; More", "Rock"],
        "description": ["One.", "<b>Two</b>"],
    }
    bare = {"asin": "A2", "title": None, "category": [], "description": [], "brand": ""}
    raw = ingest(amazon(tmp_path / "source", reviews, lines(json.dumps(entry), json.dumps(bare))), "amazon", 0.0)
    assert (raw.rows("reviews")[0]["rating"], raw.rows("reviews")[0]["ts"]) == (4.0, SECONDS * 1000)
    first, second = raw.rows("items")
    assert (first["categories"], first["description"]) == ([["Music & More", "Rock"]], "One. Two")
    assert second == {"item": "A2", "title": None, "brand": None, "description": None, "categories": []}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Health &amp; Beauty", "Health & Beauty"),
        ("A &amp;amp; B &quot;C&quot; &#39;d&#39;", "A & B \"C\" 'd'"),
        ("<p>One<br/>two</p><!-- no -->\tthree\n", "One two three"),
        ("size < 10 and > 5", "size < 10 and > 5"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        (" \n ", None),
        ("", None),
        (None, None),
        (12, "12"),
        ("caf\xe9 \u7a7a \U0001f600", "caf\xe9 \u7a7a \U0001f600"),
        ("half \ud83d a pair", "half ? a pair"),
        *((missing, None) for missing in (float("nan"), float("inf"), "NaN", " nan ", "null", "None", "\\N", "<NA>")),
        ("Nan's bread, none better", "Nan's bread, none better"),
        ("<script>var a = 1 < 2;</script>Lamp", "Lamp"),
        ('A <STYLE type="text/css">b { c: d }\n</style >Lamp<script src="x"/> on', "A Lamp on"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;Lamp", "Lamp"),
        ("Lamp <script>never closed", "Lamp"),
        ("<!doctype html><?xml version='1'?><!-- never closed", None),
        ("<header>Lamp</header> a scripted stylebook", "Lamp a scripted stylebook"),
        ("var aPageStart = (new Date()).getTime(); Lamp", None),
    ],
)
def test_texts_are_cleaned(tmp_path: Path, text: Any, clean: str | None) -> None:
    result = items(tmp_path, json.dumps({"asin": "A2", "title": text, "brand": text, "category": ["Top", text]}))
    expected = ["Top"] if clean is None else ["Top", clean]
    assert result == [{"item": "A2", "title": clean, "brand": clean, "description": None, "categories": [expected]}]


def test_the_first_line_of_an_item_stands_and_the_others_are_counted(tmp_path: Path) -> None:
    meta = lines(*(repr({"asin": "A1", "title": t}) for t in ("first", "second", "third")))
    raw = ingest(amazon(tmp_path / "source", meta=meta), "amazon")
    assert [row["title"] for row in raw.rows("items")] == ["first"]
    assert raw.account(META) == (3, 3, 0)
    assert raw.manifest["notes"]["repeated_items"] == 2


BAD_REVIEWS = [
    ("{'reviewerID': 'U1'}", "not a JSON object"),
    ("[1]", "not a JSON object"),
    (review()[:-1], "not a JSON object"),
    (review(asin="Q").encode().replace(b"Q", b"\xff"), "not UTF-8"),
    (review(reviewerID=None), "no reviewerID"),
    (review(reviewerID=" "), "no reviewerID"),
    (review(asin=""), "no asin"),
    *((review(reviewerID=missing), "no reviewerID") for missing in (float("nan"), "nan", "NaN", "None", "NULL", "\\N")),
    (review(asin="null"), "no asin"),
    (review(unixReviewTime=None), "no unixReviewTime"),
    (review(unixReviewTime="May 13, 2014"), "unixReviewTime is not a number"),
    (review(unixReviewTime=0), "timestamp is zero"),
    (review(unixReviewTime=-1), "timestamp before ingest.earliest"),
    (review(unixReviewTime=700_000_000), "timestamp before ingest.earliest"),  # 1992
    (review(unixReviewTime=int(time.time()) + 3 * DAY), "timestamp in the future"),
    (review(unixReviewTime=SECONDS * 1000), "timestamp in the wrong unit: milliseconds where seconds are expected"),
    (review(unixReviewTime=10**15), "timestamp in the future"),
    (review(overall=None), "no overall (rating)"),
    (review(overall="good"), "overall is not a number"),
    (review(overall=7), "overall is not between 0 and 5"),
    (review(overall="nan"), "overall is not between 0 and 5"),
]


def test_bad_reviews_are_kept_with_file_line_and_reason(tmp_path: Path) -> None:
    reviews = lines(review(), "", *(line for line, _ in BAD_REVIEWS), review(reviewerID="U2"))
    raw = ingest(amazon(tmp_path / "source", reviews), "amazon")
    assert raw.rejects == [(REVIEWS, n, reason) for n, (_, reason) in enumerate(BAD_REVIEWS, 3)]
    assert [(r["user"], r["line"]) for r in raw.rows("reviews")] == [("U1", 1), ("U2", 3 + len(BAD_REVIEWS))]
    assert raw.account(REVIEWS) == (len(BAD_REVIEWS) + 2, 2, len(BAD_REVIEWS))


def test_a_time_a_little_ahead_is_no_future(tmp_path: Path) -> None:
    """Clocks and time zones differ."""
    ahead = int(time.time()) + DAY
    raw = ingest(amazon(tmp_path / "source", lines(review(unixReviewTime=ahead))), "amazon", 0.0)
    assert raw.rows("reviews")[0]["ts"] == ahead * 1000


PYTHON_CODE = "__import__('pathlib').Path({place!r}).touch()"
NO_LITERAL = "neither JSON nor a Python literal"
BAD_META = [
    ("{'asin': 'B', 'title': 'x'", NO_LITERAL),
    ("asin", NO_LITERAL),
    ("{{'asin': 'B'}}", NO_LITERAL),  # a set of dicts: TypeError
    ("{[]: 1}", NO_LITERAL),
    ("{'asin': 'B', 'title': 0x" + "f" * 9_000 + "}", NO_LITERAL),  # too many digits to be written out
    ("(" * 100_000, NO_LITERAL),
    ("[" * 100_000, NO_LITERAL),
    ("-" * 100_000 + "1", NO_LITERAL),
    ("{'asin': 'B\x00'}", NO_LITERAL),
    (b"{'asin': 'B', 'title': '\xff'}", "not UTF-8"),
    ("['asin', 'B']", "not a record of named fields"),
    ("3", "not a record of named fields"),
    ("{'title': 'x'}", "no asin"),
    ("{'asin': True}", "no asin"),
    ("{'asin': None}", "no asin"),
    ('{"asin": NaN}', "no asin"),
    ("{'asin': 'nan'}", "no asin"),
    ("{'parent_asin': 'B'}", "a line of the 2023 release: parent_asin where asin is expected"),
    ("{'asin': ' '}", "no asin"),
    (r'{"asin": "\ud83d"}', "asin is not valid text"),
    ("{'asin': 'B', 'categories': 'Books'}", "categories is not a list of paths"),
    ("{'asin': 'B', 'categories': {'Books': 1}}", "categories is not a list of paths"),
    ("{'asin': 'B', 'categories': 'Books', 'category': []}", "categories is not a list of paths"),
    ("{'asin': 'B', 'categories': [['Books'], 'Music']}", "categories is not a list of paths"),
]


def test_bad_meta_is_kept_with_file_line_and_reason(tmp_path: Path) -> None:
    meta = lines(repr({"asin": "A1"}), *(line for line, _ in BAD_META))
    raw = ingest(amazon(tmp_path / "source", meta=meta), "amazon")
    assert raw.rejects == [(META, n, reason) for n, (_, reason) in enumerate(BAD_META, 2)]
    assert [row["item"] for row in raw.rows("items")] == ["A1"]


@pytest.mark.parametrize("entry", ["{code}", "{{'asin': 'B', 'title': {code}}}", "[{code} for _ in 'x']"])
def test_code_in_a_meta_line_is_rejected_and_never_run(tmp_path: Path, entry: str) -> None:
    place = tmp_path / "touched"
    code = PYTHON_CODE.format(place=str(place))
    compile(code, "a line", "eval")  # it could be run
    raw = ingest(amazon(tmp_path / "source", meta=lines(repr({"asin": "A1"}), entry.format(code=code))), "amazon")
    assert raw.rejects == [(META, 2, NO_LITERAL)]
    assert not place.exists()


def test_too_many_bad_lines_stop_the_run_and_show_the_first_of_one_reason(tmp_path: Path) -> None:
    bad = [review(unixReviewTime=0) if n % 2 else f"broken {n}" for n in range(12)]
    source = amazon(tmp_path / "source", lines(*[review()] * 988, *bad))
    with pytest.raises(DataError) as error:
        ingest(source, "amazon", 0.01)
    text = error.value.full_message
    assert text.startswith(f"{source / REVIEWS}: 12 of 1,000 rows (1.2%) cannot be used; at most 1.0% may be")
    shown = [line for line in text.splitlines() if line.startswith("  line ")]
    # Of the most frequent reason: six rows, every other one.
    assert [line.split(": ")[0].strip() for line in shown] == [f"line {n}" for n in range(989, 1001, 2)]
    assert shown[0] == "  line 989: not a JSON object: broken 0"
    assert "raise ingest.max_reject_share" in text
    # What the message has no room for is in the table of rejects.
    assert [line for _, line, _ in rejected_in(source.parent / "source-raw")] == list(range(989, 1001))


def test_as_many_bad_lines_as_allowed_do_not_stop_it(tmp_path: Path) -> None:
    source = amazon(tmp_path / "source", lines(*[review()] * 99, "broken"))
    assert ingest(source, "amazon", 0.01).account(REVIEWS) == (100, 99, 1)


def test_nothing_but_bad_lines_stops_the_run_whatever_the_share(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"meta_X\.json: 2 of 2 rows \(100\.0%\) cannot be used"):
        ingest(amazon(tmp_path / "source", meta=lines("x", "y")), "amazon", 1.0)


def test_one_wrong_unit_throughout_is_told_as_such(tmp_path: Path) -> None:
    source = amazon(tmp_path / "source", lines(*[review(unixReviewTime=MS)] * 3))
    with pytest.raises(DataError, match=r"Most timestamps of the file are off by the same unit \(3 of 3 rows\)"):
        ingest(source, "amazon")


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    reviews, meta = (
        b"\xef\xbb\xbf" + lines(*texts).replace(b"\n", b"\r\n")
        for texts in ([review(), review(asin="A2")], [repr({"asin": "A1"}), repr({"asin": "A2", "title": "t"})])
    )
    raw = ingest(amazon(tmp_path / "source", reviews, meta), "amazon", 0.0)
    assert [row["item"] for row in raw.rows("reviews")] == ["A1", "A2"]
    assert raw.rows("items")[1]["title"] == "t"


def test_meta_of_another_category(tmp_path: Path) -> None:
    source = amazon(tmp_path / "source", meta=lines(repr({"asin": "Z9"})))
    with pytest.raises(DataError, match=r"meta_X\.json: describes none of the 1 items .*A1, here: Z9"):
        ingest(source, "amazon")


def test_missing_parts_leave_the_rest_of_a_list(tmp_path: Path) -> None:
    entry = (
        '{"asin": "A2", "title": NaN, "description": ["None", null, "bright", NaN], "category": [null, "Home", NaN]}'
    )
    expected = {"item": "A2", "title": None, "brand": None, "description": "bright", "categories": [["Home"]]}
    assert items(tmp_path, entry) == [expected]


@pytest.mark.parametrize("empty", [[], None, "", [None], [[]], float("nan")])
@pytest.mark.parametrize("names", [("categories", "category"), ("category", "categories")])
def test_of_two_spellings_the_one_with_content_counts(tmp_path: Path, names: tuple[str, str], empty: Any) -> None:
    path = ["Home", "Lamps"]
    (row,) = items(tmp_path, json.dumps({"asin": "A2", names[0]: empty, names[1]: path}))
    assert row["categories"] == [path]


def test_numbers_are_ids_as_their_text(tmp_path: Path) -> None:
    reviews = lines(review(reviewerID=7, asin=1048791), review(reviewerID=7.0, asin=1048791.0), review(asin="v1.0"))
    meta = lines('{"asin": 1048791}', "{'asin': 1048791.0}", '{"asin": "1048791"}', '{"asin": "v1.0"}')
    raw = ingest(amazon(tmp_path / "source", reviews, meta), "amazon", 0.0)
    assert [(row["user"], row["item"]) for row in raw.rows("reviews")] == [("7", "1048791")] * 2 + [("U1", "v1.0")]
    assert [row["item"] for row in raw.rows("items")] == ["1048791", "v1.0"]
    assert raw.manifest["notes"]["items_without_meta"] == 0


def release_2023(source: Path, names: tuple[str, str]) -> Path:
    source.mkdir()
    row = {"user_id": "U", "asin": "A", "parent_asin": "P", "rating": 5.0, "timestamp": MS, "text": "t"}
    meta = {"parent_asin": "P", "main_category": "Books", "title": "t", "categories": []}
    for name, entry in zip(names, (row, meta), strict=True):
        (source / name).write_bytes(lines(json.dumps(entry)))
    return source


@pytest.mark.parametrize(
    "names",
    [
        ("Books.jsonl", "meta_Books.jsonl"),
        ("reviews_X.json", "meta_X.json"),
        ("Books_5.json", "meta_Books.json"),
        ("Books.csv", "meta_Books.jsonl"),
    ],
)
def test_the_2023_release_is_known_and_the_way_to_read_it_is_told(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"(?s)looks like Amazon's 2023 release .*set format to logs"):
        ingest(release_2023(tmp_path / "source", names), "amazon")


def test_the_meta_file_of_the_2023_release(tmp_path: Path) -> None:
    source = amazon(tmp_path / "source", meta=lines('{"parent_asin": "P"}'))
    with pytest.raises(DataError, match=r"(?s)meta_X\.json: 1 of 1 rows .*2023 release"):
        ingest(source, "amazon")


def test_the_whole_2018_release_is_named_by_its_category(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Books.json").write_bytes(lines(review()))
    (source / "meta_Books.json").write_bytes(lines('{"asin": "A1"}'))
    assert ingest(source, "amazon").account("Books.json") == (1, 1, 0)


@pytest.mark.parametrize(
    "name",
    [
        "reviews_X_5.csv",
        "reviews_X_5.json.zip",
        "REVIEWS_X_5.JSON",
        "meta_X.json.bak",
        "reviews_X_5 (1).json",
        "meta_X",
    ],
)
def test_a_file_that_begins_as_a_table_is_read_or_named(tmp_path: Path, name: str) -> None:
    source = amazon(tmp_path / "source")
    (source / name).write_bytes(lines(review(reviewerID="U2")))
    with pytest.raises(DataError, match=re.escape(name)):
        ingest(source, "amazon")


def test_a_label_may_have_dots(tmp_path: Path) -> None:
    source = amazon(tmp_path / "source")
    (source / "reviews_X_5.2014.07.24.json").write_bytes(lines(review(reviewerID="U2")))
    (source / "readme.txt").write_text("not a table", encoding="utf-8")
    assert [row["user"] for row in ingest(source, "amazon").rows("reviews")] == ["U1", "U2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no Amazon reviews file .*The folder holds: nothing"),
        (["meta_X.json"], r"no Amazon reviews file .*The folder holds: meta_X\.json"),
        (["reviews_X_5.json.gz"], r"no Amazon meta file .*meta_Kindle_Store"),
        (["a_5.json", "b_5.jsonl", "meta_X.json"], r"2 files look like the Amazon reviews file \(a_5.*b_5"),
        (["klicks.csv"], r"holds: klicks\.csv\. For tables of events and items of your own set format to logs"),
        (["rec_inter.csv"], r"It looks like KuaiSAR data: set format to kuaisar"),
    ],
)
def test_a_folder_without_the_two_files(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "source").mkdir()
    for name in names:
        (tmp_path / "source" / name).write_bytes(lines("x"))
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "source", "amazon")


def test_digital_music_as_published(real_data: Path, tmp_path: Path) -> None:
    """DATA.md: 6,908 reviews of 2,490 users on 382 items, 7,419 meta lines that cover every one of them."""
    (tmp_path / "music").symlink_to(real_data / "amazon-digital-music")
    raw: Raw = ingest(tmp_path / "music", "amazon", 0.0)
    assert raw.account("reviews_Digital_Music_5.json.gz") == (6908, 6908, 0)
    assert raw.account("meta_Digital_Music.json.gz") == (7419, 7419, 0)
    reviews, result = raw.rows("reviews"), raw.rows("items")
    assert (len({r["user"] for r in reviews}), len({r["item"] for r in reviews})) == (2490, 382)
    assert raw.manifest["notes"]["items_without_meta"] == 0
    assert len(result) + raw.manifest["notes"]["repeated_items"] == 7419
    assert all(row["ts"] % 86_400_000 == 0 for row in reviews)  # day resolution
    reviewed = {r["item"] for r in reviews}
    paths = [len(row["categories"]) for row in result if row["item"] in reviewed]
    assert sum(paths) / len(paths) == pytest.approx(6.3, abs=0.05)
    texts = [row[name] or "" for row in result for name in ("title", "brand", "description")]
    assert not [t for t in texts if "&amp;" in t or "<br" in t.lower()]
