"""Dropout from 16-bit draws."""

import pytest
import torch
from torch import nn

from gensr_model.models.dropout import Dropout, use_fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_it_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    kept = Dropout(p)(torch.ones(1_000, 1_001)) != 0
    assert (~kept).float().mean().item() == pytest.approx(p, abs=2e-3)
    assert (~kept)[:, 3::4].float().mean().item() == pytest.approx(p, abs=4e-3)  # each quarter of a word alone
    values = Dropout(p)(torch.ones(1_000, 1_001))
    assert values.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-3)]


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(1_000_000)) != 0).float()
    for lag in (1, 2, 3, 4):
        both = (kept[lag:] * kept[:-lag]).mean().item()
        assert both == pytest.approx(0.25, abs=3e-3), lag


def test_the_gradient_passes_where_the_value_did() -> None:
    torch.manual_seed(0)
    x = torch.full((50, 7), 2.0, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y.detach(), x.grad * 2)


def test_the_seed_decides_and_evaluation_changes_nothing() -> None:
    x, layer = torch.randn(9, 5), Dropout(0.4)
    torch.manual_seed(3)
    first = layer(x)
    second = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert not Dropout(1 - 1e-7)(x).any(), "nothing is kept by 16 bits, and nothing is divided by 0"


def test_every_module_of_a_model_is_replaced() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    names = set(layer.state_dict())
    x = torch.randn(2, 3, 8)
    before = layer.eval()(x)
    use_fast_dropout(layer.train())
    dropouts = [m for m in layer.modules() if isinstance(m, nn.Dropout)]
    assert [type(m) for m in dropouts] == [Dropout] * 3
    assert all(m.p == 0.2 and m.training for m in dropouts)
    assert set(layer.state_dict()) == names
    torch.testing.assert_close(layer.eval()(x), before)
