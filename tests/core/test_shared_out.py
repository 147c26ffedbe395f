"""Where several processes share the tests, a file's stay together: two releases of pytest undid that silently."""

from __future__ import annotations

import os

import pytest


def test_a_files_tests_are_shared_out_as_one(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@test_shared_out.py")
