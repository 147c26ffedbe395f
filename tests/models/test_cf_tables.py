"""The CF table of a model: cold items, other catalogues and scale."""

import pytest
import torch
from torch import Tensor

from gensr_model.models.cf_tables import CFTable, unit_scale


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cold_items_share_one_vector_that_learns_and_the_table_does_not() -> None:
    known = torch.tensor([True, False, True, False])
    table = CFTable(draw(0, 4, 3), known, freeze=True)
    with torch.no_grad():
        table.cold.copy_(torch.tensor([1.0, 2.0, 3.0]))
    result = table(torch.tensor([0, 1, 3]))
    torch.testing.assert_close(result[0], table.table[0])
    assert result[1].tolist() == result[2].tolist() == [1.0, 2.0, 3.0]
    result.sum().backward()
    assert table.table.grad is None
    assert table.cold.grad is not None


def test_another_catalogue_takes_its_rows_or_the_cold_vector() -> None:
    table = CFTable(draw(0, 3, 2), torch.tensor([True, True, False]))
    before = table(torch.arange(3)).detach()
    table.select(torch.tensor([1, -1, 2, 0]))
    after = table(torch.arange(4)).detach()
    torch.testing.assert_close(after[[0, 3]], before[[1, 0]])
    torch.testing.assert_close(after[[1, 2]], table.cold.detach().expand(2, -1))


def test_unit_scale_looks_at_known_rows_only() -> None:
    table = torch.cat([draw(0, 50, 4) * 0.01, torch.full((1, 4), 1e6)])
    known = torch.ones(51, dtype=torch.bool)
    known[50] = False
    assert unit_scale(table, known)[:50].pow(2).mean().item() == pytest.approx(1.0, rel=1e-4)
    nothing = torch.zeros(51, dtype=torch.bool)
    assert torch.equal(unit_scale(table, nothing), table)
