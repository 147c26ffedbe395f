"""What MkDocs does to each page besides its own.

Equations become MathML, links out of docs become text, and anchors of headings are those of the forge.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from latex2mathml.converter import convert
from pymdownx.slugs import slugify

EQUATION = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: Any) -> None:
    """Anchors as the forge makes them, so that a link to one works in both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's Markdown as the site has it; on the forge it reads as it is."""
    folder = posixpath.dirname(page.file.src_uri)
    equations = EQUATION.sub(lambda match: f"<div>{convert(match[1].strip(), display='block')}</div>", markdown)
    return LINK.sub(lambda link: link[1] if _leads_out(folder, link[2]) else link[0], equations)


def _leads_out(folder: str, target: str) -> bool:
    """Whether a link leads to a file of the repository that the site does not have."""
    return posixpath.normpath(posixpath.join(folder, target)).startswith("../")
