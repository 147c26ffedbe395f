from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchjd.autojac import jac

from gensr_model.models import bundle
from gensr_model.training.gradient_probe import task_gradient_cosine
from gensr_model.training.trainer import TrainingData

if TYPE_CHECKING:
    from trained_world import World


class Rows(NamedTuple):
    """A batch as small as the probe's model needs."""

    x: Tensor
    task: Tensor

    def take(self, rows: Tensor) -> Rows:
        return Rows(self.x[rows], self.task[rows])


class Quadratic(nn.Module):
    """L_r = ½‖w − a‖², L_s = ½‖w − b‖²: gradients known in closed form."""

    def __init__(self, a: list[float], b: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(a)))
        self.other = nn.Parameter(torch.ones(2))
        self.a, self.b = torch.tensor(a), torch.tensor(b)

    def task_losses(self, batch: Rows) -> tuple[Tensor, Tensor]:
        pull = [0.5 * (self.w - target).pow(2).sum() for target in (self.a, self.b)]
        return pull[0], pull[1]


class Dropped(nn.Module):
    """A small network with dropout, whose tasks are told apart by row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(6, 8), nn.Linear(8, 1), nn.Dropout(0.5)

    def rows(self, batch: Rows) -> Tensor:
        return self.second(self.drop(torch.tanh(self.first(batch.x)))).squeeze(-1).pow(2)

    def task_losses(self, batch: Rows) -> tuple[Tensor, Tensor]:
        rows = self.rows(batch)
        return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()


def batch(tasks: list[int]) -> Rows:
    x = torch.randn(len(tasks), 6, generator=torch.Generator().manual_seed(1))
    return Rows(x, torch.tensor(tasks))


@pytest.mark.parametrize(
    ("a", "b", "cosine"),
    [([1.0, 0.0], [3.0, 0.0], 1.0), ([1.0, 0.0], [-2.0, 0.0], -1.0), ([1.0, 0.0], [0.0, 5.0], 0.0)],
)
def test_known_angles_and_norms(a: list[float], b: list[float], cosine: float) -> None:
    model = Quadratic(a, b)
    result = task_gradient_cosine(model, batch([0, 1, 0, 1]), [model.w])
    assert result is not None
    assert result.cosine == pytest.approx(cosine, abs=1e-6)
    assert result.norm_recommendation == pytest.approx(torch.tensor(a).norm().item())
    assert result.norm_search == pytest.approx(torch.tensor(b).norm().item())
    assert result.cosine_halves == pytest.approx(cosine, abs=1e-6)
    assert result.null_recommendation == result.null_search == pytest.approx(1)  # its rows say the same


def test_a_parameter_outside_the_loss_counts_as_zero() -> None:
    model = Quadratic([1.0, 1.0], [1.0, 0.0])
    result = task_gradient_cosine(model, batch([0, 1, 0, 1]), [model.w, model.other])
    assert result is not None
    assert result.cosine == pytest.approx(0.5**0.5)


def test_halves_of_known_rows() -> None:
    """Loss of a row: w·x, so its gradient is x, and every cosine can be told from the rows."""

    class Linear(Quadratic):
        def task_losses(self, batch: Rows) -> tuple[Tensor, Tensor]:
            rows = batch.x @ self.w
            return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()

    model = Linear([0.0, 0.0], [0.0, 0.0])
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    result = task_gradient_cosine(model, Rows(x, torch.tensor([0, 0, 1, 1])), [model.w])
    assert result is not None
    assert result.null_recommendation == pytest.approx(0, abs=1e-6)  # (1, 0) and (0, 1)
    assert result.null_search == pytest.approx(-(0.5**0.5))  # (1, 1) and (−1, 0)
    assert result.cosine_halves == pytest.approx((2 * 0.5**0.5 - 1 + 0) / 4)
    assert result.cosine == pytest.approx(0.5**0.5)  # (½, ½) and (0, ½)
    odd = Rows(torch.cat([x, torch.tensor([[4.0, 0.0]])]), torch.tensor([0, 0, 1, 1, 1]))
    result = task_gradient_cosine(model, odd, [model.w])
    assert result is not None
    whole = torch.tensor([4.0, 1.0]) / 3  # halves of two rows and of one, weighted so
    assert result.norm_search == pytest.approx(whole.norm().item())


@pytest.mark.parametrize("kind", ["gensr", "two_head"])
def test_on_real_models_it_is_what_torchjd_says_of_the_whole_batch(world: World, kind: str) -> None:
    model = bundle.load(world.bundles[kind], world.dataset.items, world.dataset.queries).model
    config = world.config
    rows = TrainingData(world.dataset, config.train, config.model.max_history, 0).random_batch(0)
    parameters = model.conflict_parameters()
    result = task_gradient_cosine(model, rows, parameters)
    assert result is not None
    # An implementation of others: both rows of the Jacobian of (L_r, L_s), in one batched backward pass.
    blocks = jac(list(model.task_losses(rows)), parameters)
    jacobian = torch.cat([block.flatten(1) for block in blocks], dim=1)
    recommendation, search = jacobian.double()
    assert result.cosine == pytest.approx(torch.cosine_similarity(recommendation, search, dim=0).item(), abs=1e-4)
    assert result.norm_recommendation == pytest.approx(recommendation.norm().item(), rel=1e-4)
    assert result.norm_search == pytest.approx(search.norm().item(), rel=1e-4)
    assert result.null_recommendation < 1


def test_no_angle_without_both_tasks_or_with_a_zero_gradient() -> None:
    model = Dropped()
    assert task_gradient_cosine(model, batch([0, 0]), list(model.first.parameters())) is None
    assert task_gradient_cosine(model, batch([1, 0, 0]), list(model.first.parameters())) is None  # no halves
    still = Quadratic([0.0, 0.0], [1.0, 0.0])
    assert task_gradient_cosine(still, batch([0, 1, 0, 1]), [still.w]) is None


def test_both_tasks_see_the_same_dropout_mask() -> None:
    # Both tasks hold the same rows, so with one forward pass their gradients are those of the same network.
    class Twice(Dropped):
        def task_losses(self, batch: Rows) -> tuple[Tensor, Tensor]:
            rows = self.rows(batch)
            return rows.mean(), 3 * rows.mean()

    model = Twice()
    result = task_gradient_cosine(model, batch([0, 1, 0, 1]), list(model.first.parameters()))
    assert result is not None
    assert result.cosine == pytest.approx(1.0, abs=1e-6)


def test_the_same_draw_twice_and_no_grad_around_it() -> None:
    model = Dropped()
    torch.manual_seed(5)
    with torch.no_grad():
        once = task_gradient_cosine(model, batch([0, 1, 0, 1]), list(model.first.parameters()))
        again = task_gradient_cosine(model, batch([0, 1, 0, 1]), list(model.first.parameters()))
    assert once is not None
    assert once == again
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("probe_every", [1, 3])
def test_training_is_bit_identical_with_and_without_the_probe(probe_every: int) -> None:
    def train(probe: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = Dropped()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(9):
            rows = Rows(torch.randn(8, 6), torch.tensor([0, 1] * 4))
            optimizer.zero_grad(set_to_none=True)
            if probe and step % probe_every == 0:
                assert task_gradient_cosine(model, rows, list(model.first.parameters())) is not None
            model.rows(rows).mean().backward()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()]

    for with_probe, without in zip(train(True), train(False), strict=True):
        assert torch.equal(with_probe, without)
