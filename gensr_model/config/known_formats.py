"""Names and titles of the data formats, for checking a config and for forms and reports.

The code that reads and prepares a format is in ``tasks/ingest/formats/<name>.py``.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, WithJsonSchema


class FormatFacts(NamedTuple):
    """Names and texts about a format, as people read them."""

    name: str  # in the config, in manifests and in the names of folders
    title: str
    split: str  # how the manifest calls the split
    split_rule: str  # the split in a sentence, for an error about an empty split
    leave_one_out: bool = False  # every user has one test sample of a task
    # Why the order of events at one instant is unknown. None: source rows are in the order of events.
    without_order: str | None = "the format states no order for them"
    anonymised: str | None = None  # why no baseline can generate words of items; None: item texts are real words
    without_impressions: str | None = None  # why the format cannot say what was shown; None: its data may
    paper: str | None = None  # name of this data in the paper's tables (``gensr_model/reporting/paper.py``)


FORMATS: dict[str, FormatFacts] = {
    facts.name: facts
    for facts in (
        FormatFacts(
            name="amazon",
            title="Amazon",
            split="leave one purchase out",
            split_rule="the last purchase of a user with at least three is test, the one before valid",
            leave_one_out=True,
            without_order=None,
            without_impressions="reviews say what was bought, not what was shown",
            paper="Amazon Kindle Store",
        ),
        FormatFacts(
            name="kuaisar",
            title="KuaiSAR",
            split="by day in Asia/Shanghai",
            split_rule="the last day in Asia/Shanghai is test, the day before valid, earlier days train",
            without_order="rows of one instant were shown together",
            anonymised="it needs the words of item texts, and here these are anonymised (the paper's footnote 6)",
            paper="KuaiSAR",
        ),
        FormatFacts(
            name="logs",
            title="own logs",
            split="as logs.split says",
            split_rule="logs.split",
            without_order="rows of one instant may stand in any order",
        ),
    )
}
DEFAULT = "amazon"
_ELSEWHERE = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"


def lacks_order(facts: FormatFacts, same_time: str) -> str | None:
    """Why this format does not allow ``prepare.same_time: include``. None where the setting is allowed."""
    if same_time == "exclude" or facts.without_order is None:
        return None
    return (
        f"prepare.same_time is {same_time!r}, but format {facts.name!r} cannot tell which events of "
        f"one instant came first: {facts.without_order}. Set prepare.same_time to 'exclude'."
    )


def short_name(name: str) -> str:
    """The short name of a format for people and files: the last part of ``module:NAME``, in lower case."""
    return name.rpartition(":")[2].lower()


def _known(name: str) -> str:
    if name in FORMATS or re.fullmatch(_ELSEWHERE, name):
        return name
    raise ValueError(
        f"{name!r} is no data format. Choose one of {', '.join(FORMATS)}, or name a DatasetFormat of "
        "your own as module:NAME."
    )


# A config's ``format``. Forms offer the known ones.
Format = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(FORMATS), "title": "known"},
                {"type": "string", "pattern": f"^{_ELSEWHERE}$", "title": "module:NAME"},
            ]
        }
    ),
]
