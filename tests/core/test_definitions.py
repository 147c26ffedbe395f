"""What a function runs: definitions followed through a small tree of sources, and digests that follow only them."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core import code_version, definitions, source_files
from tasks.core.definitions import module, sql_code, walk

TREE = {
    "tasks/__init__.py": "",
    "tasks/one.py": '''
"""About one."""
import numpy
from gensr_model import deep
from gensr_model.deep import three, user_of
from tasks.core.stage import stage
from tasks.two import late, unused
LIMIT = 3
@stage("build", config=("seed",))
def build(work, option: "user_of"):
    """Build."""
    return late(LIMIT), deep.three.thing, run("10_a"), run(f"folder/{option}")
def other():
    return unused()
''',
    "tasks/two.py": """
def late(n):
    from gensr_model.deep.four import table as looked_up
    import gensr_model.deep.five
    return looked_up[n], gensr_model.deep.five.value
def unused():
    return 0
""",
    "tasks/core/__init__.py": "",
    "tasks/core/stage.py": "from tasks import unseen\ndef stage(name): ...\n",
    "tasks/unseen.py": "",
    "gensr_model/__init__.py": "",
    "gensr_model/deep/__init__.py": "from gensr_model.deep.handed import user_of\n",
    "gensr_model/deep/handed.py": "def user_of(): ...\n",
    "gensr_model/deep/three.py": "import os\nos.environ['A'] = '1'\ndef thing(): return again()\n"
    "def again(): return thing()\ndef apart(): ...\n",
    "gensr_model/deep/four.py": "from tasks import two\ntable = {'a': two}\nwhole = 1\n",
    "gensr_model/deep/five.py": "value = 5\nelse_where = 6\n",
    "tasks/entry.py": """
from tasks.parts import Part, fill, whole
COMMON = {"part": Part(rows=2)}
ENTRY = whole(part=Part(rows=3), fill=fill)
OTHER = whole(**COMMON)
""",
    "tasks/parts.py": """
class Part:
    rows: int
    limit: int = 7
def whole(part=None, fill=None): return part
def fill(): ...
""",
    "tasks/branches.py": """
try:
    from tasks.two import late as pick
except ImportError:
    from gensr_model.deep.three import apart as pick
if len("a"):
    import gensr_model.deep.four as table
else:
    import gensr_model.deep.five as table
try:
    from tasks.parts import fill
except ImportError:
    def fill(): return 1
def named(): return pick()
def held(): return table
def filled(): return fill()
def inside():
    try:
        from tasks.two import unused as pick
    except ImportError:
        from tasks.parts import fill as pick
    return pick()
""",
    "gensr_model/config/__init__.py": "",
    "gensr_model/config/base.py": "",
    "numpy/__init__.py": "",  # as where everything is installed into one folder
    "sql/10_a.sql": "select 1 -- one\n",
    "sql/folder/b.sql": "select 2",
    "sql/folder/deep/c.sql": "select 3",
    "sql/apart/b.sql": "select 4",
    "sql/README.md": "about",
}
BUILD = "tasks.one:build"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(source_files, "SOURCES", tmp_path)
    forget()
    source_files.frozen()  # as when the module is imported
    yield tmp_path
    forget()


def forget() -> None:
    for cached in (
        source_files.frozen,
        source_files.all_code,
        definitions.read_module,
        definitions._definition,
        definitions._config_methods,
        code_version.definitions_of,
    ):
        cached.cache_clear()


def edited(tree: Path, file: str, old: str, new: str) -> dict[str, str]:
    content = (tree / file).read_text(encoding="utf-8")
    assert old in content
    (tree / file).write_text(content.replace(old, new), encoding="utf-8")
    forget()
    return walk([BUILD])


def test_definitions_are_followed_and_their_neighbours_are_not(tree: Path) -> None:
    assert set(walk([BUILD])) == {
        "gensr_model.deep.five:value",
        "gensr_model.deep.four:table",
        "gensr_model.deep.three:",  # what it does when it is imported
        "gensr_model.deep.three:again",
        "gensr_model.deep.three:thing",
        "sql/10_a.sql",
        "sql/folder/b.sql",
        "sql/folder/deep/c.sql",
        "tasks.one:LIMIT",
        "tasks.one:build",
        "tasks.two:late",
        "tasks.two:unused",  # `table` holds the module
    }


def test_names_that_are_handed_on_a_whole_module_and_what_is_skipped(tree: Path) -> None:
    assert set(walk(["gensr_model.deep:user_of"])) == {"gensr_model.deep.handed:user_of"}
    assert set(walk(["gensr_model.deep.five:*"])) == {"gensr_model.deep.five:value", "gensr_model.deep.five:else_where"}
    assert set(walk([BUILD], skip=["tasks.two:late", "sql/folder", "gensr_model.deep.three:thing"])) == {
        "gensr_model.deep.three:",
        "sql/10_a.sql",
        "tasks.one:LIMIT",
        "tasks.one:build",
    }
    for wrong in ("tasks.one:nothing", "tasks.three:build", "sql/11_a.sql", "sql/nothing"):
        with pytest.raises(LookupError, match=wrong):
            walk([wrong])
        with pytest.raises(LookupError, match=wrong):
            walk([BUILD], skip=[wrong])


@pytest.mark.parametrize(
    ("root", "reached"),
    [
        ("ENTRY.part.limit", {"tasks.parts:Part"}),
        ("ENTRY.part.rows", set()),
        ("ENTRY.more", {"tasks.parts:whole"}),
        ("OTHER.part", {"tasks.parts:whole", "tasks.parts:Part", "tasks.entry:COMMON"}),
    ],
)
def test_of_an_argument_that_is_not_given_the_default_counts(tree: Path, root: str, reached: set[str]) -> None:
    """The class or function that is called has it."""
    assert walk([f"tasks.entry:{root}"]).keys() - {f"tasks.entry:{root}"} == reached


def test_an_edit_of_a_default_changes_the_digest(tree: Path) -> None:
    before = walk(["tasks.entry:ENTRY.part.limit"])
    edited(tree, "tasks/parts.py", "limit: int = 7", "limit: int = 8")
    assert walk(["tasks.entry:ENTRY.part.limit"]) != before


@pytest.mark.parametrize(
    ("function", "reached"),
    [
        ("named", {"tasks.two:late", "gensr_model.deep.three:apart"}),
        ("held", {"gensr_model.deep.four:table", "gensr_model.deep.five:value"}),
        ("filled", {"tasks.parts:fill", "tasks.branches:fill"}),
        ("inside", {"tasks.two:unused", "tasks.parts:fill"}),
        ("pick", {"tasks.two:late", "gensr_model.deep.three:apart"}),
    ],
)
def test_a_name_that_branches_bind_leads_to_each_of_them(tree: Path, function: str, reached: set[str]) -> None:
    assert walk([f"tasks.branches:{function}"]).keys() >= reached


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/one.py", '"""About one."""', '"""More about it."""\n\n# And a comment.\n'),
        ("tasks/one.py", '    """Build."""\n', "    # Without a docstring.\n"),
        ("tasks/one.py", "return unused()", "return 7"),
        ("tasks/one.py", '("seed",)', '("seed", "train")'),  # the key holds the fields
        ("tasks/unseen.py", "", "value = 1"),
        ("tasks/core/stage.py", "(name): ...", "(name): return 1"),
        ("gensr_model/deep/three.py", "def apart(): ...", "def apart(): return 1"),
        ("gensr_model/deep/four.py", "whole = 1", "whole = 2"),
        ("gensr_model/deep/handed.py", "def user_of(): ...", "def user_of(): return 1"),
        ("sql/10_a.sql", "-- one", "-- another"),
        ("sql/10_a.sql", "select 1", "-- the first\nselect\n  1"),
        ("sql/apart/b.sql", "select 4", "select 5"),
        ("sql/README.md", "about", "more"),
    ],
)
def test_what_does_not_run_changes_nothing(tree: Path, file: str, old: str, new: str) -> None:
    before = walk([BUILD])
    assert edited(tree, file, old, new) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("tasks/one.py", "LIMIT = 3", "LIMIT = 4", "tasks.one:LIMIT"),
        ("tasks/one.py", "late(LIMIT)", "late(-LIMIT)", "tasks.one:build"),
        ("gensr_model/deep/three.py", "return thing()", "return 1", "gensr_model.deep.three:again"),
        ("gensr_model/deep/three.py", "= '1'", "= '2'", "gensr_model.deep.three:"),
        ("gensr_model/deep/five.py", "value = 5", "value = 6", "gensr_model.deep.five:value"),
        ("sql/10_a.sql", "select 1", "select '1'", "sql/10_a.sql"),
        ("sql/folder/deep/c.sql", "select 3", "select 4", "sql/folder/deep/c.sql"),
    ],
)
def test_what_runs_changes_one_digest(tree: Path, file: str, old: str, new: str, changed: str) -> None:
    before = walk([BUILD])
    after = edited(tree, file, old, new)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {changed}


def test_a_file_that_changes_while_the_process_runs_changes_no_digest(tree: Path) -> None:
    """The process goes on with what it imported; its results may not be stored as those of the new code."""
    before = walk([BUILD])
    (tree / "gensr_model/deep/five.py").write_text("value = 'changed'\n", encoding="utf-8")
    definitions._definition.cache_clear()
    assert walk([BUILD]) == before


def test_strings_and_quoted_names_of_a_query_keep_their_blanks_and_dashes() -> None:
    query = "select 'a  --b' as \"c  d\" -- e\n  /* f\n */ from   g\n"
    assert sql_code(query) == "select 'a  --b' as \"c  d\" from g"
    assert sql_code("select 'it''s  -- one'") == "select 'it''s  -- one'"


def test_a_config_class_counts_by_its_methods_and_only_where_they_are_called() -> None:
    reached = walk(["gensr_model.evaluation.evaluate:rank_reference"])
    assert "gensr_model.config.training:TrainConfig.trained_tasks" in reached
    assert not any(name.endswith(":TrainConfig") for name in reached)
    assert not any("analyses_unisar" in name for name in reached)


def test_threads_never_parse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent trials hash the same code: CPython 3.11 fails where two threads build a syntax tree."""
    at_work, most = [], []
    plain = ast.parse

    def parse(source: str) -> ast.Module:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.002)
        try:
            return plain(source)
        finally:
            at_work.pop()

    names = [file[: -len(".py")].replace("/", ".") for file in source_files.files_in("gensr_model/models")]
    forget()
    with monkeypatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr("tasks.core.source_files.ast.parse", parse)
        list(pool.map(module, names))
    forget()
    assert len(most) > 10
    assert max(most) == 1
