"""HEM's halves, and the attention of AEM and ZAM on a purchase history of two items, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gensr_model.baselines.inputs import BaselineBatch, Domain, History
from gensr_model.baselines.product_search import AEM, HEM, ZAM
from gensr_model.data.text import ItemText


def toy(model: type[AEM]) -> AEM:
    """Items (1, 0) and (0, 1); the query of word 2 is (tanh .5, 0); two heads, the first asks for it alone."""
    text = ItemText(torch.tensor([2, 2]), torch.tensor([0, 1, 2]))
    made = model(Domain(2, 1, 3, 4, text), dim=2, heads=2)
    with torch.no_grad():
        made.items.table.weight.copy_(torch.eye(2))
        made.words.weight[2] = torch.tensor([0.5, 0.0])
        made.query.project.weight.copy_(torch.eye(2))
        made.query.project.bias.zero_()
        made.ask.weight.copy_(torch.cat([3 * torch.eye(2), torch.zeros(2, 2)]))
        made.ask.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
        made.mix.copy_(torch.tensor([2.0, 0.5]))
    return made


def bought(mask: list[bool]) -> BaselineBatch:
    history = History(item=torch.tensor([[0, 1]]), mask=torch.tensor([mask]), query=torch.full((1, 2, 1), 2))
    return BaselineBatch(
        task=torch.tensor([1]), query=torch.tensor([[2]]), candidates=torch.tensor([[0, 1]]), src_history=history
    )


QUERY = math.tanh(0.5)
# f(q, i) = Σ_h w_h i · tanh(W_h q + b_h): head 1 sees item 0, head 2 item 1.
ATTENTION = [2.0 * math.tanh(3 * QUERY), 0.5 * math.tanh(1.0)]


@pytest.mark.parametrize(("model", "nothing"), [(AEM, 0.0), (ZAM, 1.0)])
def test_half_the_query_and_half_the_attended_history(model: type[AEM], nothing: float) -> None:
    """ZAM's zero vector has score 0, so that it adds e⁰ to the denominator and nothing to the sum."""
    first, second = (math.exp(score) for score in ATTENTION)
    total = first + second + nothing
    expected = [0.5 * QUERY + 0.5 * first / total, 0.5 * second / total]
    torch.testing.assert_close(toy(model).score(bought([True, True])), torch.tensor([expected]))


@pytest.mark.parametrize(("model", "nothing"), [(AEM, 0.0), (ZAM, 1.0)])
def test_what_was_not_bought_has_no_weight(model: type[AEM], nothing: float) -> None:
    second = math.exp(ATTENTION[1])
    expected = [0.5 * QUERY, 0.5 * second / (second + nothing)]
    torch.testing.assert_close(toy(model).score(bought([False, True])), torch.tensor([expected]))
    without = toy(model).score(bought([False, False]))
    torch.testing.assert_close(without, torch.tensor([[0.5 * QUERY, 0.0]]))


def test_hems_intent_is_half_the_query_and_half_the_user() -> None:
    text = ItemText(torch.tensor([2, 2]), torch.tensor([0, 1, 2]))
    made = HEM(Domain(2, 2, 3, 4, text), dim=2)
    with torch.no_grad():
        made.items.table.weight.copy_(torch.eye(2))
        made.words.weight[2] = torch.tensor([0.5, 0.0])
        made.query.project.weight.copy_(torch.eye(2))
        made.query.project.bias.zero_()
        made.users.weight.copy_(torch.tensor([[0.0, 0.0], [4.0, -6.0]]))
    asked = BaselineBatch(
        task=torch.tensor([1, 1]),
        query=torch.tensor([[2], [2]]),
        candidates=torch.tensor([[0, 1], [0, 1]]),
        user=torch.tensor([0, 1]),
    )
    expected = [[0.5 * QUERY, 0.0], [0.5 * QUERY + 2.0, -3.0]]
    torch.testing.assert_close(made.score(asked), torch.tensor(expected))
