"""``gensr check`` and ``gensr init`` as they are typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from called import gensr
from shop_logs import shop

from flows.cli import app

SMALL = ("--set", "prepare.negatives=5", "--set", "prepare.min_interactions=2", "--set", "prepare.threads=1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small shop, seen from the folder in which it lies."""
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(app.installation, "enter", lambda: None)
    monkeypatch.chdir(tmp_path)
    return shop(tmp_path / "shop", 0.4, users=70, items=70, each=14)


def check(*arguments: str) -> Any:
    return gensr("check", "--data", "shop", "--format", "logs", *SMALL, *arguments)


def edit(path: Path, old: str, new: str, count: int = -1) -> None:
    path.write_text(path.read_text("utf-8").replace(old, new, count), encoding="utf-8")


def test_data_that_can_be_trained_on_end_with_0(folder: Path) -> None:
    done = check()
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{folder}, read as own logs\n")
    assert "\nevents  user      user_id     usual name\n" in done.stdout
    again = check()
    assert (again.exit_code, again.stdout) == (0, done.stdout)


def test_the_file_of_rejected_lines_is_named(folder: Path) -> None:
    with (folder / "events.csv").open("a", encoding="utf-8") as file:
        file.write("u1,i2,yesterday,click,\n")
    (path,) = [line.split(": ")[1] for line in check().stdout.splitlines() if line.startswith("Rejected lines: ")]
    (row,) = pq.read_table(path).to_pylist()
    assert row == {
        "file": "events.csv",
        "line": 982,
        "reason": "time is not a number",
        "excerpt": "u1,i2,yesterday,click",
    }


def test_a_check_imports_no_library_of_training(folder: Path) -> None:
    """They take seconds of a core, and the check needs none of them."""
    modules = "flows.cli.app, tasks.validate.check, tasks.ingest.formats.logs, gensr_model.reporting.data_check"
    code = f"import sys, {modules}; print(sorted({{'torch', 'mlflow', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.stdout == "[]\n", done.stderr


def test_a_required_column_that_is_not_found_ends_with_1(folder: Path) -> None:
    edit(folder / "events.csv", "user_id", "buyer", 1)
    done = check()
    assert (done.exit_code, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert "Columns: buyer, sku, timestamp" in last
    assert last.endswith("Name it as logs.events.columns.user.")
    assert check("--set", "logs.events.columns.user=buyer").exit_code == 0


@pytest.mark.parametrize(
    ("options", "sentence", "remedy"),
    [
        (["prepare.min_interactions=40"], "the filters leave no interaction.", "Lower prepare.min_interactions"),
        (["prepare.until=1999-01-01"], "no event is before prepare.until, 1999-01-01", "Set a later time, or null"),
        (["logs.behaviors.click=ignored"], "no event is an engagement: of 980 events 980 are ignored",
         "(logs.behaviors)"),
        (["prepare.min_interactions=1", "prepare.until=2023-11-15"], "no samples for valid/recommendation",
         "Bring data that covers it"),
        (["logs.events.columns.query=sku", "train.tasks=recommendation"], "no sample of a configured task:",
         "Set train.tasks to search"),
        (["prepare.negatives=69"], "the catalogue is too small for 69 negatives", "Lower prepare.negatives"),
    ],
)  # fmt: skip
def test_a_run_that_could_not_work_ends_with_1_and_the_screen_says_how_far_it_got(
    folder: Path, options: list[str], sentence: str, remedy: str
) -> None:
    done = check(*(part for option in options for part in ("--set", option)))
    assert done.exit_code == 1
    assert "Events read" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gensr: DataError: ")
    assert sentence in last
    assert remedy in last


def test_tables_of_which_nothing_joins_end_with_1(folder: Path) -> None:
    edit(folder / "items.csv", "\ni", "\nother-")
    done = check()
    assert done.exit_code == 1
    assert "980" in done.stdout
    assert "no item of the events is in the items table" in done.stderr.splitlines()[-1]
    assert "Set logs.events.columns.item or logs.items.columns.item" in done.stderr.splitlines()[-1]


def test_a_file_is_no_folder(folder: Path) -> None:
    for more in ((), ("--format", "logs")):
        assert gensr("check", "--data", "shop/events.csv", *more).stderr.endswith(
            f"is a file. Name its folder: {folder}\n"
        )

    assert "shop/events.csv: is a file. Name its folder" in gensr("run", "--data", "shop/events.csv").stderr


def test_a_file_of_no_table_is_named(folder: Path) -> None:
    (folder / "items.csv").rename(folder / "artikel.csv")
    assert "- No table reads artikel.csv: file names begin with logs.events.name (events), " in check().stdout
    assert "No table reads" not in check("--set", "logs.items.name=artikel").stdout


def test_the_other_formats_are_checked_too(folder: Path) -> None:
    world = ("source.kind=generated", "source.users=60", "source.items=150", "source.events_per_user=8")
    for name in ("amazon", "kuaisar"):
        options = [part for each in world for part in ("--set", each)]
        done = gensr("check", "--format", name, *SMALL, *options)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.startswith("generated data, read as ")
        assert "What is left" in done.stdout
        assert "title, " in done.stdout


def test_init_writes_what_run_and_check_take_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(folder / "events.csv", "event_type,query", "was: done,suchwort", 1)
    edit(folder / "events.csv", ",click,", ",no # 1,", 300)
    sets = ("--set", "logs.events.columns.query=suchwort", "--set", "logs.events.columns.behavior=was: done",
            "--set", 'logs.behaviors={"no # 1": rec}')  # fmt: skip
    done = gensr("init", "--data", "shop", *SMALL, *sets)
    assert (done.exit_code, done.stderr) == (0, "")
    text = Path("gensr.yaml").read_text(encoding="utf-8")
    for line in (
        "source: ./shop",
        "format: logs",
        "      user: user_id  # usual name",
        '      behavior: "was: done"  # named in the config',
        "    time_unit: s",
        '    "no # 1": rec  # 300 rows',
        "    click: rec  # 680 rows",
        "    by: leave_one_out  # 11 days have events; from 14 days on the split is by days",
        "  negatives: 5",
    ):
        assert line in text.splitlines(), line
    by_file, by_options = gensr("check", "--config", "gensr.yaml"), check(*sets)
    assert by_file.exit_code == by_options.exit_code == 0
    assert _figures(by_file.stdout) == _figures(by_options.stdout)
    runs: list[dict[str, Any]] = []
    monkeypatch.setattr(app.watch, "run", lambda here, tree, *_: runs.append(tree) or 0)
    assert gensr("run", "--config", "gensr.yaml").exit_code == 0
    assert runs[0]["source"] == str(folder)
    assert runs[0]["logs"]["events"]["columns"]["query"] == "suchwort"


def test_init_leaves_a_blank_for_what_only_a_person_knows(folder: Path) -> None:
    edit(folder / "events.csv", "user_id", "buyer", 1)
    edit(folder / "events.csv", ",query", ",search_terms", 1)
    edit(folder / "items.csv", "sku", "number", 1)
    edit(folder / "events.csv", ",click,", ",nudge,", 20)
    done = gensr("init", "--data", "shop", *SMALL)
    text = Path("gensr.yaml").read_text(encoding="utf-8")
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gensr: DataError: gensr.yaml is written, and not complete. ")
    fields = "logs.events.columns.user, logs.items.columns.item"
    assert last.endswith(f"replace the ??? of {fields}, then: gensr check --config gensr.yaml")
    assert "\n      user: ???  # columns seen: buyer, " in text
    assert "\n      # query: search_terms  # the name is alike: remove the # if it is right\n" in text
    assert "      item: sku  # usual name" in text.splitlines()
    assert "Name it as logs.events.columns.user." in check("--config", "gensr.yaml").stderr
    filled = text.replace("user: ???", "user: buyer").replace("item: ???", "item: number")
    Path("gensr.yaml").write_text(filled, encoding="utf-8")
    assert "unknown event types: nudge (20 rows)" in gensr("check", "--config", "gensr.yaml").stderr

    Path("half.yaml").write_text(filled.replace("item: number", "item: ???"), encoding="utf-8")
    assert "add --config half.yaml" in gensr("init", "--data", "shop", "--out", "half.yaml").stderr
    names = ("--config", "half.yaml", "--set", "logs.items.columns.item=number")
    assert gensr("init", "--data", "shop", "--out", "b.yaml", *names).exit_code == 1
    rows = Path("b.yaml").read_text(encoding="utf-8").splitlines()
    at = rows.index("    nudge: ???  # 20 rows: rec, src, shown or ignored")
    assert rows[at - 1].startswith("  behaviors:  # rec and src are engagements")
    rows[at] = "    nudge: ignored"
    Path("b.yaml").write_text("\n".join(rows), encoding="utf-8")
    assert gensr("check", "--config", "b.yaml").exit_code == 0


def test_the_format_is_that_of_the_names_of_files(folder: Path) -> None:
    done = gensr("check", "--data", "shop", *SMALL)
    assert done.stdout.startswith(f"{folder}, read as own logs because of events.csv (--format names another)\n")
    assert done.stdout.split("\n", 1)[1] == check().stdout.split("\n", 1)[1]
    own = gensr("check", "--data", "shop", *SMALL, "--set", "logs.keep_users=both")
    assert "read as own logs because the config has a section logs (" in own.stdout
    (folder / "reviews_X_5.json").write_text("{}\n", encoding="utf-8")
    last = gensr("check", "--data", "shop").stderr.splitlines()[-1]
    assert "of several formats: reviews_X_5.json of amazon, events.csv of logs. Say which --format to read." in last
    (folder / "reviews_X_5.json").unlink()
    (folder / "events.csv").rename(folder / "ubi_events.jsonl")
    last = gensr("check", "--data", "shop").stderr.splitlines()[-1]
    assert last.endswith("Files named ubi are of the layout ubi: set logs.layout to ubi.")


def test_init_takes_parts_with_columns_of_their_own(folder: Path) -> None:
    head, *rows = (folder / "events.csv").read_text("utf-8").splitlines()
    (folder / "EVENTS.2.csv").write_text("\n".join([head.replace("timestamp", "ts"), *rows[500:]]), encoding="utf-8")
    (folder / "events.csv").write_text("\n".join([head, *rows[:500]]), encoding="utf-8")
    assert gensr("init", "--data", "shop", *SMALL).exit_code == 0
    assert '      time: ["ts?", "timestamp?"]' in Path("gensr.yaml").read_text(encoding="utf-8")
    assert _figures(gensr("check", "--config", "gensr.yaml").stdout) == _figures(check().stdout)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_days_without_an_hour_are_named(folder: Path, zone: str) -> None:
    head, *rows = (folder / "events.csv").read_text("utf-8").splitlines()
    days = [re.sub(r",17(\d{8}),", lambda m: f",2023-11-{14 + int(m[1]) // 86_400},", row) for row in rows]
    (folder / "events.csv").write_text("\n".join([head, *days]), encoding="utf-8")
    assert "The times look like whole days or hours" in check("--set", f"logs.events.time_zone={zone}").stdout


def _figures(screen: str) -> str:
    return screen[screen.index("What is left") : screen.index("Split:")]


def test_init_overwrites_nothing(folder: Path) -> None:
    Path("gensr.yaml").write_text("mine: 1\n", encoding="utf-8")
    done = gensr("init", "--data", "shop")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("gensr: ConfigError: gensr.yaml: exists already.")
    assert Path("gensr.yaml").read_text(encoding="utf-8") == "mine: 1\n"


def test_init_repeats_no_secret(folder: Path) -> None:
    done = gensr("init", "--data", "s3://shop/logs?X-Amz-Signature=hunter2")
    assert done.exit_code == 1
    assert "hunter2" not in done.output
    assert gensr("init", "--data", "s3://shop/logs").stderr.endswith(": say which --format the files have\n")
    assert not Path("gensr.yaml").exists()


def test_init_says_where_no_file_has_a_name_that_is_known(folder: Path) -> None:
    (folder / "events.csv").rename(folder / "log.csv")
    done = gensr("init", "--data", "shop")
    assert done.exit_code == 1
    assert "shop: no file is named as those of a known format (amazon: reviews_*, " in done.stderr
    assert "Say which --format it has." in done.stderr
