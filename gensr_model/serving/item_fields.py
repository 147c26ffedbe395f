"""What a page shows of items: title, brand, category and description, by raw id or by words of the title."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.serving.service import Service

_COLUMNS = ["title", "brand", "category_text", "description"]


class ItemFields:
    """The fields of all items that a service can answer with.

    Args:
        service: knows the items, and how many users of training met each. Its full-ranking model may know others.
    """

    def __init__(self, service: Service) -> None:
        self._bought = service.store.bought.numpy()
        self._raw_ids = service.ranker.raw_ids
        rankers = [service.ranker, *([] if service.catalogue in (None, service.ranker) else [service.catalogue])]
        self._tables = [(ranker.index, ranker.loaded.items.select(_COLUMNS)) for ranker in rankers]

    def __contains__(self, raw_id: str) -> bool:
        return self._place(raw_id) is not None

    def short(self, raw_id: str) -> dict[str, Any]:
        """``id``, ``title``, ``brand`` and ``category`` of an item. They are None where no item has the id."""
        found = self._place(raw_id)
        if found is None:
            return {"id": raw_id, "title": None, "brand": None, "category": None}
        table, row = found
        title, brand, category = (table[name][row].as_py() for name in _COLUMNS[:3])
        return {"id": raw_id, "title": title, "brand": brand, "category": category}

    def title(self, raw_id: str) -> str | None:
        """The title of an item. None where no item has the id."""
        found = self._place(raw_id)
        return None if found is None else found[0]["title"][found[1]].as_py()

    def whole(self, raw_id: str) -> dict[str, Any] | None:
        """The fields of ``short`` and ``description``. None where no item has the id."""
        found = self._place(raw_id)
        if found is None:
            return None
        return {**self.short(raw_id), "description": found[0]["description"][found[1]].as_py()}

    def find(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Items of the bundle whose title has every word of ``text``, also within a longer word, most popular first."""
        titles = self._tables[0][1]["title"]
        matches = np.ones(len(titles), bool)
        for word in text.split():
            has = pc.match_substring(titles, word, ignore_case=True)
            matches &= pc.fill_null(has, False).to_numpy()
        rows = np.flatnonzero(matches)
        best = rows[np.argsort(-self._bought[rows].astype(np.int64), kind="stable")[:limit]]
        return [self.short(self._raw_ids[row]) for row in best.tolist()]

    def _place(self, raw_id: str) -> tuple[pa.Table, int] | None:
        for index, table in self._tables:
            if raw_id in index:
                return table, index[raw_id]
        return None
