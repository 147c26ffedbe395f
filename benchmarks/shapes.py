"""Generated sources of KuaiSAR's size in the paper's Table 1. They are generated data, not KuaiSAR's."""

from __future__ import annotations

from gensr_model.config.data import GeneratedSource

# 25,877 users, 6,890,707 items, about 5.06M rows of search and 14.6M of recommendations: within 1% of Table 1.
KUAISAR_FULL = GeneratedSource(users=25_877, items=6_890_707, events_per_user=314.8, search_share=0.0924)


KUAISAR_FULL_ROWS = 19_664_885  # search and recommendation actions of Table 1


def kuaisar(rows: int) -> GeneratedSource:
    """KUAISAR_FULL's proportions with about ``rows`` rows of interactions: the same events per user, fewer of all."""
    share = rows / KUAISAR_FULL_ROWS
    users, items = (max(round(share * n), least) for n, least in ((KUAISAR_FULL.users, 20), (KUAISAR_FULL.items, 150)))
    return KUAISAR_FULL.model_copy(update={"users": users, "items": items})
