"""The paper's own numbers (Tables 1, 2, 3 and 5), shown only beside results on the paper's data."""

from __future__ import annotations

from gensr_model.config import Format, Task
from gensr_model.reporting.facts import Facts

METRICS = ("recall_at_5", "recall_at_10", "ndcg_at_5", "ndcg_at_10")
Row = tuple[float, float, float, float]

# Tables 2 and 3: GenSR, the best joint model, and the best model of the one task.
RANKING: dict[Format, dict[Task, dict[str, Row]]] = {
    "amazon": {
        "recommendation": {
            "GenSR": (0.6102, 0.7200, 0.4922, 0.5278),
            "UniSAR": (0.5874, 0.7020, 0.4513, 0.4885),
            "CoLLM": (0.5800, 0.6811, 0.4651, 0.5001),
        },
        "search": {
            "GenSR": (0.9782, 0.9853, 0.9664, 0.9687),
            "UniSAR": (0.8190, 0.8977, 0.6875, 0.7132),
            "TEM": (0.8185, 0.9051, 0.6303, 0.6587),
        },
    },
    "kuaisar": {
        "recommendation": {
            "GenSR": (0.5235, 0.6819, 0.3686, 0.4199),
            "UniSAR": (0.5169, 0.6792, 0.3632, 0.4158),
            "CoLLM": (0.4092, 0.5915, 0.3199, 0.3683),
        },
        "search": {
            "GenSR": (0.7661, 0.8372, 0.7564, 0.7655),
            "UniSAR": (0.7476, 0.8369, 0.6417, 0.6708),
            "CoPPS": (0.6616, 0.7707, 0.4977, 0.5331),
        },
    },
}
# Table 5, which has no unit.
INFORMATION: dict[Format, dict[str, dict[Task, float]]] = {
    "amazon": {
        "UniSAR": {"recommendation": 0.8739, "search": 0.9003},
        "GenSR": {"recommendation": 0.9217, "search": 0.9378},
    },
    "kuaisar": {
        "UniSAR": {"recommendation": 0.8475, "search": 0.8514},
        "GenSR": {"recommendation": 0.9168, "search": 0.9251},
    },
}
DATA: dict[Format, str] = {"amazon": "Amazon Kindle Store", "kuaisar": "KuaiSAR"}
_USERS: dict[Format, int] = {"amazon": 68_223, "kuaisar": 25_877}  # Table 1
_TOLERANCE = 0.02  # the paper says not every step of its filter


def is_papers_data(facts: Facts) -> bool:
    """Real data of the paper's format with the paper's number of users, give or take 2%."""
    users = facts.manifest.get("counts", {}).get("users", 0)
    expected = _USERS[facts.summary["format"]]
    return not facts.generated and abs(users - expected) <= _TOLERANCE * expected
