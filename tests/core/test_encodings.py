"""Every text file and stream names UTF-8: what a locale says must not decide what is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("flows", "tasks", "gensr_model", "expectations", "sql", "benchmarks", "tests")
         for path in sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip
#: Callables that open text, and after how many arguments the encoding follows by position.
TEXT = {"read_text": 0, "write_text": 1, "TextIOWrapper": 1, "FileHandler": 2}
PROCESSES = {"run", "Popen", "check_output", "check_call"}
OPENS = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"}


def unnamed(source: str) -> Iterator[int]:
    """Lines of calls that leave the encoding of text to the locale."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in named or None in named:
            continue
        if name in TEXT:
            missing = len(call.args) <= TEXT[name]
        elif name in PROCESSES:
            missing = bool({"text", "universal_newlines"} & named.keys())
        else:
            missing = name in OPENS and _is_text(call, named.get("mode"))
        if missing:
            yield call.lineno


def _is_text(call: ast.Call, mode: ast.expr | None) -> bool:
    """Whether a call of ``open`` is in text mode; False for methods of that name with other arguments."""
    owner = ast.unparse(call.func)
    texts = [a.value for a in (*call.args, mode) if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    modes = [text for text in texts if text and set(text) <= set("rwaxbt+")]
    if owner.startswith(("gzip.", "bz2.", "lzma.")):
        return any("t" in mode for mode in modes)
    if modes:
        return "b" not in modes[-1]
    binary = owner.startswith("tempfile.") or owner in ("NamedTemporaryFile", "TemporaryFile")
    return owner == "open" or (not call.args and not call.keywords and not binary)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("path.read_text()\npath.write_text('a')\npath.write_text('a', encoding='utf-8')", [1, 2]),
        ("open(path)\nopen(path, 'rb')\npath.open()\npath.open('w')\npath.open('ab')", [1, 3, 4]),
        ("gzip.open(path, 'rt')\ngzip.open(path)\nImage.open(path)\nos.fdopen(n, 'w')", [1, 4]),
        ("subprocess.run(a, text=True)\nsubprocess.run(a)\nPopen(a, text=True, encoding='utf-8')", [1]),
        ("NamedTemporaryFile('w')\nNamedTemporaryFile()", [1]),
    ],
)
def test_what_leaves_it_to_the_locale_is_found(source: str, lines: list[int]) -> None:
    assert list(unnamed(source)) == lines


def test_every_text_file_and_stream_names_its_encoding() -> None:
    assert len(FILES) > 300
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    words = (*TEXT, *(f"{name}(" for name in OPENS), "text=", "universal_newlines")  # others need no parsing
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path, text in texts.items()
        if any(word in text for word in words)
        for line in unnamed(text)
    ]
    assert not found, 'name encoding="utf-8" there'
