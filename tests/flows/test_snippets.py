"""Every printed snippet of README and docs is one that a test checks: a kind that nobody checks fails here.

``test_documented_commands`` checks ``gensr run``, ``make run`` and ``prefect deployment run``.
``tests/promote/test_model_registry.py`` runs the Python of ``use_a_model.md``, ``test_slow_serve.py`` its request.
``tests/baselines/test_printed_baseline.py`` trains the class of ``add_a_baseline.md``.
``tests/serving/test_explain.py`` runs the Python of ``why_this_item.md``, ``tests/recommend/test_batch.py`` the Python
and SQL of ``nightly_recommendations.md``.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from called import gensr
from latex2mathml.converter import convert

from gensr_model.config.pipeline import PipelineConfig
from tasks.ingest.file_cache import csv_parts, name_of

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREFECT = ("deployment", "work-pool", "deploy", "worker")
# pages whose Python and SQL a test runs
RUN = ("use_a_model.md", "add_a_baseline.md", "why_this_item.md", "nightly_recommendations.md")
# Programs that are not ours; the first two are run as printed.
OTHERS = {"curl", "mlflow", "accelerate", "createdb", "createuser", "dask", "docker", "export"}


def snippets() -> list[tuple[str, str, str]]:
    """(page, language, text) of each fenced block."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/shop/README.md"]
    return [(page.name, *block) for page in pages for block in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands(text: str) -> list[list[str]]:
    """The words of each command, without comments and what is set before the program; quotes may span lines."""
    lines = re.findall(r"""(?:'[^']*'|"[^"]*"|[^'"\n])+""", text.replace("\\\n", " "))
    every = [shlex.split(line, comments=True) for line in lines]
    plain = [list(itertools.dropwhile(re.compile("[A-Z_]+=").match, words)) for words in every]
    return [words for words in plain if words]


def check_command(words: list[str]) -> None:
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert rest[0] in targets
    elif program == "python":
        assert rest[0] == "-m"
        spec = find_spec(rest[1])
        assert spec is not None, f"no module {rest[1]}"
        assert spec.origin is not None
        options = {word for word in rest if word.startswith("--")}
        known = "".join(path.read_text(encoding="utf-8") for path in sources_of(Path(spec.origin)))
        assert not {option for option in options if f'"{option}"' not in known}
    elif program == "gensr":
        assert gensr(rest[0], "--help").exit_code == 0
    elif program == "prefect":
        assert next(word for word in rest if not word.startswith("-")) in PREFECT
    else:
        assert program in OTHERS, f"nobody checks {program}"


def sources_of(module: Path) -> list[Path]:
    """The module, the others of a package that runs, and what benchmarks share."""
    own = sorted(module.parent.glob("*.py")) if module.stem in ("__init__", "__main__") else [module]
    return [*own, ROOT / "benchmarks" / "sides.py"]


@pytest.mark.parametrize(
    ("page", "language", "text"), snippets(), ids=[f"{n}-{p}" for n, (p, *_) in enumerate(snippets())]
)
def test_a_snippet_is_of_a_kind_that_is_checked(page: str, language: str, text: str) -> None:
    first = text.split()[0]
    if language == "yaml":
        assert yaml.safe_load(text)
    elif language == "math":
        assert convert(text).startswith("<math")  # the site draws it, as the forge does
    elif language in ("python", "sql"):
        assert page in RUN, "run it in a test, as tests/promote/test_model_registry.py does"
    elif language == "json" or text.startswith("{"):
        PipelineConfig.model_validate(json.loads(text))
    elif name_of(Path(first)):
        assert all(name_of(Path(name)) for name in text.split())
    else:
        assert language in ("", "sh", "bash", "console"), f"nobody checks {language}"
        for words in commands(text):
            check_command(words)


def test_the_printed_names_of_day_parts_are_read(tmp_path: Path) -> None:
    (names,) = [text.split() for page, _, text in snippets() if page == "scaling.md" and text.startswith("rec_inter")]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in csv_parts(tmp_path, "rec_inter")] == [n for n in names if n.startswith("rec_inter")]


def test_the_messages_that_a_page_lists_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "how_to" / "own_csv.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page.partition("## Messages")[2], re.MULTILINE)
    assert len(messages) > 5
    files = [path for room in ("tasks", "gensr_model", "sql") for path in (ROOT / room).rglob("*.*")]
    code = "".join(path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".sql"))
    joined = re.sub(r"""["']\s*\n\s*f?["']""", "", code)  # a text over several lines
    assert [message for message in messages if message not in joined] == []


@pytest.mark.parametrize("text", ["kubectl apply -f x.yaml", "python -m benchmarks.nothing", "make nothing"])
def test_a_command_that_nobody_checks_fails(text: str) -> None:
    (words,) = commands(text)
    with pytest.raises(AssertionError):
        check_command(words)
