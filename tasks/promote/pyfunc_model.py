"""GenSR as an MLflow model, by code and safetensors: MLflow runs this file to load one, nothing is unpickled.

Input, one row per request, every column optional: ``user``, ``history`` (item ids, oldest first), ``behaviors``,
``query``, ``candidates``, ``top_n``; null is "not given". Output: the fields of ``gensr_model.serving``'s Answer.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext, scoring_server

from gensr_model.errors import DataError
from gensr_model.serving.service import Answer, Request, Service

_LOG = logging.getLogger("gensr")


class GenSRModel(PythonModel):
    """Recommends without a query and searches with one, over given candidates or the whole catalogue."""

    def load_context(self, context: PythonModelContext) -> None:
        answer_without_traces()
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
                answers.append(self.service.answer(parse_request(row, top_n)))
            except DataError as error:  # so that the server answers 400 with the sentence, not with a trace
                raise MlflowException(f"row {number}: {error}", INVALID_PARAMETER_VALUE) from error
            except Exception as error:  # the server would send the trace of anything else to who asked
                _LOG.exception("row %d: %s", number, row)
                message = f"row {number}: a fault in the model, not in the request; the server's log has its trace"
                raise MlflowException(message, INTERNAL_ERROR) from error
        return pd.DataFrame(answers, columns=list(Answer._fields))


def answer_without_traces() -> None:
    """Let MLflow's server answer a CSV or Parquet body that it cannot parse with the message alone.

    MLflow adds the trace and has no setting for that. A version without the function keeps its answers.
    """
    answer = getattr(scoring_server, "_handle_serving_error", None)
    if answer is not None:
        scoring_server._handle_serving_error = functools.partial(answer, include_traceback=False)


def parse_request(row: dict[Any, Any], top_n: int | None) -> Request:
    """A row of the input as a request. Raises DataError for a value of another type; names field and value."""
    given = {str(name): value for name, value in row.items() if not _absent(value)}
    texts = {name: _text(name, given[name]) for name in ("user", "query") if name in given}
    lists = {name: _texts(name, given[name]) for name in ("history", "behaviors", "candidates") if name in given}
    return Request(**texts, **lists, top_n=_whole(given.get("top_n", top_n)))  # type: ignore[arg-type]


def _whole(limit: object) -> int | None:
    if limit is None:
        return None
    if not isinstance(limit, (int, float)) or limit != int(limit):
        raise DataError(f"top_n: expected a whole number, got {limit!r}")
    return int(limit)


def _texts(name: str, given: object) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{name}: expected a list of ids, got {given!r}")
    return [_text(name, value) for value in given]


def _text(name: str, given: object) -> str:
    """Ids may be numbers, as KuaiSAR's are; pandas makes floats of them beside a null."""
    if isinstance(given, (int, float, np.integer)) and not isinstance(given, bool) and given == int(given):
        return str(int(given))
    if not isinstance(given, str):
        raise DataError(f"{name}: expected text, got {given!r}")
    return given


def _absent(value: object) -> bool:
    """None, or the NaN that pandas makes of it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


mlflow.models.set_model(GenSRModel())
