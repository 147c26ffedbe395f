"""The paper's figures (Tables 1 to 5), shown only beside results on the paper's data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from gensr_model.config.base import Task
from gensr_model.evaluation.arithmetic import Figures, Place, ranks_six_to_ten
from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.sections import Block, note

T = TypeVar("T")
Row = tuple[float, float, float, float]
Rows = Mapping[str, Mapping[str, Mapping[str, Row]]]  # data -> task -> system
DATA = ("Amazon Kindle Store", "KuaiSAR")  # in the order of the tables' columns

# System, then R@5, R@10, N@5 and N@10 on Amazon, and the same on KuaiSAR.
_TABLE_2 = """
    GenSR        .6102 .7200 .4922 .5278 .5235 .6819 .3686 .4199
    UniSAR       .5874 .7020 .4513 .4885 .5169 .6792 .3632 .4158
    CoLLM        .5800 .6811 .4651 .5001 .4092 .5915 .3199 .3683
    DIN          .5170 .6525 .3726 .4165 .4509 .6179 .3104 .3643
    GRU4Rec      .4949 .6548 .3388 .3907 .3764 .5788 .2345 .3087
    SASRec       .5295 .6772 .3747 .4225 .4065 .6007 .2671 .3298
    BERT4Rec     .5311 .6658 .3954 .4390 .3699 .5885 .2381 .3083
    FMLP-Rec     .5356 .6879 .3739 .4232 .4292 .6159 .2851 .3453
    IDGenRec     .2305 .2818 .1791 .1955 - - - -
    NRHUB        .4988 .6503 .3487 .3977 .3862 .5610 .2572 .3136
    Query-SeqRec .5401 .6860 .3859 .4333 .3920 .5890 .2552 .3186
    SESRec       .5623 .6864 .4245 .4648 .4956 .6643 .3432 .3978
    JSR          .5467 .6779 .3970 .4396 .4791 .6453 .3315 .3853
    USER         .5441 .6854 .3964 .4422 .4086 .5627 .2820 .3318
    UnifiedSSR   .5196 .6707 .3662 .4151 .3981 .5939 .2617 .3249
    BSR          .1417 .2278 .0899 .1177 .2180 .3395 .1472 .1860"""
_TABLE_3 = """
    GenSR        .9782 .9853 .9664 .9687 .7661 .8372 .7564 .7655
    UniSAR       .8190 .8977 .6875 .7132 .7476 .8369 .6417 .6708
    QEM          .7100 .8186 .5066 .5422 .6020 .7182 .4575 .4953
    HEM          .6778 .8267 .4736 .5221 .6505 .7653 .5029 .5400
    AEM          .7095 .8443 .5114 .5554 .5956 .7182 .4415 .4812
    ZAM          .7109 .8468 .5147 .5590 .6117 .7344 .4560 .4959
    TEM          .8185 .9051 .6303 .6587 .6502 .7632 .4887 .5254
    CoPPS        .8169 .9051 .6281 .6570 .6616 .7707 .4977 .5331
    JSR          .7038 .8225 .5173 .5563 .7162 .7961 .5962 .6221
    USER         .7631 .8697 .6000 .6348 .7304 .8149 .6069 .6342
    UnifiedSSR   .7744 .8812 .5847 .6196 .7377 .8320 .5991 .6297
    BSR          .4786 .6015 .3485 .3883 .1573 .2075 .1359 .1520"""
_TABLE_4_RECOMMENDATION = """
    GenSR        .0153 .0211 .0136 .0198 .0187 .0254 .0181 .0250
    TIGER        .0108 .0173 .0101 .0142 .0149 .0213 .0138 .0201
    BSR          .0027 .0037 .0016 .0019 .0052 .0081 .0043 .0071"""
_TABLE_4_SEARCH = """
    GenSR        .0268 .0362 .0223 .0305 .0181 .0259 .0144 .0216
    GenRet       .0221 .0311 .0197 .0277 .0112 .0181 .0099 .0173
    BSR          .0072 .0080 .0058 .0059 .0074 .0109 .0066 .0095"""


def _rows(**tables: str) -> Rows:
    columns: dict[str, dict[str, dict[str, Row]]] = {data: {} for data in DATA}
    for task, table in tables.items():
        for line in table.split("\n")[1:]:
            name, *values = line.split()
            for rows, four in zip(columns.values(), (values[:4], values[4:]), strict=True):
                if "-" not in four:
                    a, b, c, d = map(float, four)
                    rows.setdefault(task, {})[name] = (a, b, c, d)
    return columns


RANKING = _rows(recommendation=_TABLE_2, search=_TABLE_3)
FULL_RANKING = _rows(recommendation=_TABLE_4_RECOMMENDATION, search=_TABLE_4_SEARCH)
# Table 5, which has no unit.
INFORMATION: dict[str, dict[str, dict[Task, float]]] = {
    "Amazon Kindle Store": {
        "UniSAR": {"recommendation": 0.8739, "search": 0.9003},
        "GenSR": {"recommendation": 0.9217, "search": 0.9378},
    },
    "KuaiSAR": {
        "UniSAR": {"recommendation": 0.8475, "search": 0.8514},
        "GenSR": {"recommendation": 0.9168, "search": 0.9251},
    },
}
# Table 1; events are its searches and interactions together.
STATISTICS: dict[str, dict[str, int]] = {
    "Amazon Kindle Store": {"users": 68_223, "items": 61_934, "queries": 4_298, "events": 934_664 + 989_618},
    "KuaiSAR": {"users": 25_877, "items": 6_890_707, "queries": 453_667, "events": 5_059_169 + 14_605_716},
}


def papers_cells(known: Rows) -> Iterator[tuple[tuple[str, str, str], Figures, Place]]:
    """Data, task and system of each cell of ``RANKING`` or ``FULL_RANKING``, its figures, and whether they are
    possible.
    """
    for data, tasks in known.items():
        for task, systems in tasks.items():
            for name, (recall_5, recall_10, ndcg_5, ndcg_10) in systems.items():
                row = Figures(name, recall_5, recall_10, ndcg_5, ndcg_10, digits=4)
                yield (data, task, name), row, ranks_six_to_ten(row)


_TOLERANCE = 0.02  # the paper does not describe some steps of its filter


def is_papers_data(facts: RunFacts) -> bool:
    """Whether the data are real, in the paper's format, and with the paper's number of users, within 2%."""
    if facts.data_format is None or facts.data_format.paper is None or facts.generated:
        return False
    users = facts.manifest.get("counts", {}).get("users", 0)
    expected = STATISTICS[facts.data_format.paper]["users"]
    return abs(users - expected) <= _TOLERANCE * expected


def for_format(table: Mapping[str, T], facts: RunFacts) -> T:
    """The part of a table for the run's format. Call it only where ``is_papers_data``."""
    return table[data_of(facts)]


def data_of(facts: RunFacts) -> str:
    """The paper's name of the run's data. Call it only where ``is_papers_data``."""
    assert facts.data_format is not None
    assert facts.data_format.paper is not None
    return facts.data_format.paper


def not_shown(facts: RunFacts, which: str) -> list[Block]:
    """A note that the paper's ``which`` is left out. Empty on the paper's data, or where the data are unknown."""
    if not facts.manifest or is_papers_data(facts):
        return []
    return [note(f"Not the paper's data: {which}.")]
