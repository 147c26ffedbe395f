"""Data Docs that open from disk. Great Expectations' pages load styles, scripts and images from the web."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_LINK = re.compile(r"<link\b[^>]*>", re.IGNORECASE)
_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_FOOTER = re.compile(r"<footer\b.*?</footer\s*>", re.DOTALL | re.IGNORECASE)
_REMOTE_URL = re.compile(r"url\(\s*['\"]?(https?:)?//[^)]*\)", re.IGNORECASE)
_STYLE = """<style>
body { font-family: system-ui, sans-serif; font-size: 15px; line-height: 1.4; margin: 1em auto; max-width: 70em;
  padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: .5em 0; }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: left; vertical-align: top; }
.alert { background: #eef1f4; padding: .3em .7em; margin: .7em 0; }
.fa-check-circle::before { content: "✔"; color: #17803d; font-style: normal; }
.fa-times::before, .fa-exclamation-triangle::before { content: "✘"; color: #b3261e; font-style: normal; }
.badge { background: #ddd; border-radius: .3em; padding: 0 .3em; }
.breadcrumb, .nav { list-style: none; padding: 0; }
.btn-group { display: none; }
nav.navbar { height: auto !important; max-height: none !important; }
.failed { color: #b3261e; }
</style>
"""


def make_offline(docs: Path, outcomes: Mapping[str, Mapping[str, Any]], failures: Sequence[str]) -> None:
    """Rewrite the site in the folder ``docs`` so that it needs no network, and write its index, which needs scripts.

    ``outcomes`` are the results of each suite by name, in Great Expectations' JSON. ``failures`` are sentences for the
    index.
    """
    for page in docs.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for remote in (_SCRIPT, _LINK, _IMAGE, _FOOTER):
            text = remote.sub("", text)
        text = _REMOTE_URL.sub("none", text).replace("</head>", f"{_STYLE}</head>", 1)
        page.write_text(text, encoding="utf-8")
    shutil.rmtree(docs / "static", ignore_errors=True)  # fonts and pictures of what was taken out
    (docs / "index.html").write_text(_index(docs, outcomes, failures), encoding="utf-8")


def _index(docs: Path, outcomes: Mapping[str, Mapping[str, Any]], failures: Sequence[str]) -> str:
    items = "\n".join(f"<li>{html.escape(failure)}</li>" for failure in failures)
    rows = "\n".join(_row(docs, name, outcome) for name, outcome in outcomes.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>Data Docs</title>
{_STYLE}</head>
<body>
<h1>Data Docs</h1>
<table>
<tr><th>suite</th><th>result</th><th>expectations</th><th>failed</th><th>what is expected</th></tr>
{rows}
</table>
{f'<h2 class="failed">What failed</h2><ul>{items}</ul>' if failures else ""}
</body>
</html>
"""


def _row(docs: Path, name: str, outcome: Mapping[str, Any]) -> str:
    (page,) = (docs / "validations" / name).rglob("*.html")
    counts = outcome["statistics"]
    result = "passed" if outcome["success"] else '<strong class="failed">failed</strong>'
    suite = html.escape(name)
    return (
        f'<tr><td>{suite}</td><td><a href="{html.escape(page.relative_to(docs).as_posix())}">{result}</a></td>'
        f"<td>{counts['evaluated_expectations']}</td><td>{counts['unsuccessful_expectations']}</td>"
        f'<td><a href="expectations/{suite}.html">suite</a></td></tr>'
    )
