"""GenSR as an MLflow model, by code and safetensors: MLflow runs this file to load one, nothing is unpickled.

Input, one row per request, every column optional: ``user``, ``history`` (item ids, oldest first), ``behaviors``,
``query``, ``candidates``, ``top_n``; null is "not given". Output: the fields of ``gensr_model.serving``'s Answer.
"""

from __future__ import annotations

import math
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from gensr_model.errors import DataError
from gensr_model.serving.service import Answer, Request, Service


class GenSRModel(PythonModel):
    """Recommends without a query and searches with one, over given candidates or the whole catalogue."""

    def load_context(self, context: PythonModelContext) -> None:
        self.service = Service.load(context.artifacts["bundle"], context.artifacts.get("catalogue"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer every row; ``params['top_n']`` is for rows without one of their own, 0 for no limit."""
        del context
        top_n = (params or {}).get("top_n") or None
        answers = []
        for number, row in enumerate(model_input.to_dict("records")):
            try:
                answers.append(self.service.answer(_request(row, top_n)))
            except DataError as error:  # so that the server answers 400 with the sentence, not with a trace
                raise MlflowException(f"row {number}: {error}", INVALID_PARAMETER_VALUE) from error
        return pd.DataFrame(answers, columns=list(Answer._fields))


def _request(row: dict[Any, Any], top_n: int | None) -> Request:
    given = {str(name): value for name, value in row.items() if not _absent(value)}
    lists = {name: list(given[name]) for name in ("history", "behaviors", "candidates") if name in given}
    limit = given.get("top_n", top_n)
    if limit is not None and limit != int(limit):
        raise DataError(f"top_n: expected a whole number, got {limit}")
    return Request(
        user=given.get("user"), query=given.get("query"), top_n=None if limit is None else int(limit), **lists
    )


def _absent(value: object) -> bool:
    """None, or the NaN that pandas makes of it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


mlflow.models.set_model(GenSRModel())
