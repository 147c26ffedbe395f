"""GenSR as an MLflow model, by code and safetensors: MLflow runs this file to load one, nothing is unpickled.

Input, one row per request: ``history`` (item ids, oldest first), ``query`` (null for recommendation), ``candidates``.
Output: ``items``, the candidates best first, and ``scores``, P(Yes) of each.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from gensr_model.ranker import Ranker


class GenSRModel(PythonModel):
    """Ranks candidates for a history, with or without a query."""

    def load_context(self, context: PythonModelContext) -> None:
        self.ranker = Ranker.load(context.artifacts["bundle"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Rank every row; ``params['top_n']`` keeps only the best."""
        del context
        top_n = (params or {}).get("top_n")
        rows = []
        for row in model_input.to_dict("records"):
            query = row.get("query")
            query = query if isinstance(query, str) and query else None
            ranked = self.ranker.rank(list(row["history"]), query, list(row["candidates"]), top_n or None)
            rows.append({"items": [item for item, _ in ranked], "scores": [score for _, score in ranked]})
        return pd.DataFrame(rows)


mlflow.models.set_model(GenSRModel())
