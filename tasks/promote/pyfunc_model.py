"""GenSR as an MLflow model from code and safetensors. MLflow runs this file to load a model, without pickle.

Input, one row per request, every column optional: ``user``, ``history`` (item ids, oldest first), ``behaviors``,
``query``, ``candidates``, ``top_n``; null is "not given". Output: the fields of ``gensr_model.serving``'s Answer.

The model's signature names no inputs. With names, MLflow would drop other columns, also misspelt ones, without a
message, and would refuse whole numbers for floats. With names of any type it would also lose rows of nothing but nulls.
With type hints its server would refuse ``dataframe_records`` and CSV. The model's example shows the fields instead.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, TextIO

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext, scoring_server

from gensr_model.errors import DataError
from gensr_model.serving import fields
from gensr_model.serving.service import Answer, Request, Service

_LOG = logging.getLogger("gensr")


class GenSRModel(PythonModel):
    """Recommends without a query and searches with one, over given candidates or the whole catalogue."""

    def load_context(self, context: PythonModelContext) -> None:
        adapt_server()
        self.service = Service.load(context.artifacts["bundle"], context.artifacts.get("catalogue"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer every row. ``params['top_n']`` is for rows without a ``top_n`` of their own; 0 means no limit."""
        del context
        top_n = (params or {}).get("top_n") or None
        answers = []
        for number, row in enumerate(_rows(model_input)):
            try:
                answers.append(self.service.answer(parse_request(row, top_n)))
            except DataError as error:  # the server then answers 400 with the message, not with a trace
                raise MlflowException(f"row {number}: {error}", INVALID_PARAMETER_VALUE) from error
            except Exception as error:  # for other errors the server would send the trace to the client
                _LOG.exception("row %d: %s", number, row)
                message = f"row {number}: a fault in the model, not in the request. The server's log has its trace."
                raise MlflowException(message, INTERNAL_ERROR) from error
        return pd.DataFrame(answers, columns=list(Answer._fields))


def adapt_server() -> None:
    """Make MLflow's server answer an unreadable body without a trace, and read the cells of a CSV as text.

    MLflow has no setting for either. An MLflow version without these functions stays unchanged.
    """
    answer = getattr(scoring_server, "_handle_serving_error", None)
    if answer is not None:
        scoring_server._handle_serving_error = functools.partial(answer, include_traceback=False)
    if hasattr(scoring_server, "parse_csv_input"):
        scoring_server.parse_csv_input = _read_csv


def _read_csv(csv_input: TextIO, schema: object = None) -> pd.DataFrame:
    """Rows of a CSV body. An id 007 stays 007, and an empty cell is not given."""
    del schema
    try:
        return pd.read_csv(csv_input, dtype=str, keep_default_na=False, na_values=[""])
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise MlflowException(
            f"the body is no CSV with a header: {error}. Send one line of field names, then one line per request.",
            INVALID_PARAMETER_VALUE,
        ) from error


def _rows(given: Any) -> list[dict[Any, Any]]:
    """The requests in a frame, a list of records, one record, or a column per field (numpy)."""
    if isinstance(given, Mapping) and given and all(isinstance(value, np.ndarray) for value in given.values()):
        given = pd.DataFrame({name: list(value) for name, value in given.items()})
    if isinstance(given, pd.DataFrame):
        records = given.to_dict("records")
        return records if len(records) == len(given) else [{}] * len(given)  # pandas loses rows without columns
    rows = [given] if isinstance(given, Mapping) else given
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        return [dict(row) for row in rows]
    message = f"expected records of fields, such as {{'dataframe_records': [{{'user': 'U1'}}]}}, got {given!r:.200}"
    raise MlflowException(message, INVALID_PARAMETER_VALUE)


def parse_request(row: Mapping[Any, Any], top_n: int | None) -> Request:
    """A row of the input as a request. Raises FieldError as ``gensr_model.serving.fields``."""
    return fields.parse_request({name: None if _absent(value) else value for name, value in row.items()}, top_n)


def _absent(value: object) -> bool:
    """None, or the NaN, NaT or NA that pandas makes of it."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))  # type: ignore[call-overload]


mlflow.models.set_model(GenSRModel())
