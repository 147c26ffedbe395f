"""The trainer's own arithmetic."""

from __future__ import annotations

import numpy as np

from gensr_model.training.trainer import learning_rate_factor


def test_learning_rate_rises_then_falls_in_straight_lines() -> None:
    found = [learning_rate_factor(step, 100, 0.1) for step in range(101)]
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(found[10:], np.arange(90, -1, -1) / 90)
    assert learning_rate_factor(0, 1, 0.0) > 0
