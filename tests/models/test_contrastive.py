"""Eq. 10 against hand-computed values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensr_model.models.contrastive import contrastive_loss, distinct_users


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=60)
@given(
    users=st.integers(1, 12),
    width=st.integers(2, 6),
    tau=st.floats(0.02, 5.0),
    seed=st.integers(0, 10_000),
    alike=st.booleans(),
)
def test_contrastive_loss_is_at_least_ln_2(users: int, width: int, tau: float, seed: int, alike: bool) -> None:
    cf = draw(seed, users, width)
    semantic = cf if alike else draw(seed + 1, users, width)
    assert contrastive_loss(cf, semantic, tau) >= math.log(2) - 1e-5


def test_contrastive_loss_of_one_user_is_ln_2() -> None:
    """Both sums hold the one pair itself: −log(e^s / (e^s + e^s))."""
    assert contrastive_loss(draw(0, 1, 4), draw(1, 1, 4), 0.1).item() == pytest.approx(math.log(2), rel=1e-5)


def test_contrastive_loss_of_two_users_by_hand() -> None:
    cf = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    semantic = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    tau = 0.5
    # sim(C1, S1) = 1, sim(C1, S2) = 1, sim(C2, S1) = 0, sim(C2, S2) = 0, each over τ.
    e = math.exp(1 / tau)
    first = -math.log(e / ((e + e) + (e + 1)))  # Σ sim(C1, S_u') + Σ sim(S1, C_u')
    second = -math.log(1 / ((1 + 1) + (e + 1)))
    assert contrastive_loss(cf, semantic, tau).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_contrastive_loss_knows_no_order_of_users() -> None:
    cf, semantic, order = draw(0, 6, 4), draw(1, 6, 4), torch.tensor([3, 0, 5, 1, 4, 2])
    result = contrastive_loss(cf[order], semantic[order], 0.2)
    torch.testing.assert_close(result, contrastive_loss(cf, semantic, 0.2))
    assert not torch.isclose(contrastive_loss(cf[order], semantic, 0.2), result)


def test_contrastive_loss_of_nobody_is_zero_and_has_a_gradient() -> None:
    nobody = torch.zeros(0, 4, requires_grad=True)
    loss = contrastive_loss(nobody, nobody, 0.1)
    loss.backward()
    assert loss.item() == 0.0


def test_one_row_per_user_the_one_that_knows_most() -> None:
    user = torch.tensor([7, 3, 7, 3, 9, 5])
    history_end = torch.tensor([4, 8, 6, 2, 1, 0])
    has_history = torch.tensor([True, True, True, True, True, False])
    assert sorted(distinct_users(user, history_end, has_history).tolist()) == [1, 2, 4]
