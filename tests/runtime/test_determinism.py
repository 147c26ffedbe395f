"""Deterministic mode: what it repeats, and that the caller's settings come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gensr_model.runtime import determinism
from gensr_model.runtime.determinism import deterministic

ROOT = Path(__file__).resolve().parents[2]
# Rows that meet in one gradient, more than one thread's worth: two threads add them up in the order of the moment.
REPEATED_GRADIENTS = """
import torch
from gensr_model.runtime.determinism import deterministic

torch.set_num_threads(2)
rows, weight = torch.randint(50, (20_000,)), torch.randn(20_000, 64)

def gradient():
    table = torch.zeros(50, 64, requires_grad=True)
    (table[rows] * weight).sum().backward()
    return table.grad

with deterministic():
    first, *others = (gradient() for _ in range(20))
assert all(torch.equal(first, other) for other in others)
"""


@pytest.fixture(autouse=True)
def default_settings() -> Iterator[None]:
    assert not torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(False)


def test_two_threads_repeat_a_gradient_to_the_bit() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", REPEATED_GRADIENTS],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert process.returncode == 0, process.stderr


def test_nested_blocks_end_with_the_last() -> None:
    with deterministic():
        with deterministic():
            pass
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_an_error_restores_the_settings() -> None:
    @deterministic()
    def fail() -> None:
        assert torch.are_deterministic_algorithms_enabled()
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011  # raised above
            fail()
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_callers_own_setting_stays() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    with deterministic():
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_a_thread_that_leaves_first_does_not_switch_another_ones_block_off() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with deterministic():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=stay)
    with deterministic():
        thread.start()
        assert entered.wait(10)
    assert torch.are_deterministic_algorithms_enabled()
    leave.set()
    thread.join()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_gpu_warns_of_a_missing_kernel_instead_of_failing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # the test's end puts back what there was
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with caplog.at_level("INFO", logger=determinism.__name__), deterministic():
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "it warns by name" in caplog.text
