"""A model that was really logged, once per file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from logged_model import Logged


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    root = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENSR_HOME", str(root / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Logged(root)
