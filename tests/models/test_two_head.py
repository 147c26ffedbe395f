import pytest
import torch
from torch import Tensor

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.text_pooling import TextBuffers
from gensr_model.models.two_head import TwoHead
from gensr_model.training.gradient_probe import task_gradient_cosine

ITEMS, WIDTH, CF = 7, 16, 8


def make(gamma: float = 1.0, **switches: object) -> TwoHead:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"max_history": 5, "view_dropout": 0.0, **switches})
    tokens = torch.arange(2 * ITEMS) + 10  # two words per item
    text = ItemText(tokens, torch.arange(ITEMS + 1) * 2)
    prompts = PromptTable(
        ids=torch.zeros(3, 6, dtype=torch.long),
        length=torch.tensor([6, 6, 5]),
        slots=torch.arange(4).repeat(3, 1),
        query=torch.tensor([[3, 4], [5, 0], [0, 0]]),  # queries 0 and 1, and recommendation
        query_length=torch.tensor([2, 1, 0]),
    )
    known = torch.ones(ITEMS, dtype=torch.bool)
    cf = CFTable(torch.randn(ITEMS, CF), known)
    return TwoHead(config, torch.randn(40, WIDTH), cf, TextBuffers(text, prompts), gamma)


def batch(task: list[int], query: list[int]) -> Batch:
    rows = len(task)
    generator = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randint(0, ITEMS, shape, generator=generator)  # noqa: E731
    mask = torch.tensor([[False, True, True], [True, True, True], [False, False, False], [False, False, True]])
    return Batch(
        items=torch.arange(ITEMS),
        history=draw(rows, 3),
        history_mask=mask[:rows],
        behavior=torch.ones(rows, 3, dtype=torch.long),
        candidates=draw(rows, 5),
        task=torch.tensor(task),
        query=torch.tensor(query),
        user=torch.arange(rows),
        history_end=torch.arange(rows),
    )


MIXED = batch([0, 1, 0, 1], [-1, 0, -1, 1])


def test_scores_are_finite_even_without_history() -> None:
    result = make().score(MIXED)
    assert result.shape == (4, 5)
    assert torch.isfinite(result).all()


def test_the_task_chooses_the_head() -> None:
    model = make().eval()
    before = model.score(MIXED)
    with torch.no_grad():
        for parameter in model.heads["search"].parameters():
            parameter.add_(0.5)
    after = model.score(MIXED)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.isclose(before[[1, 3]], after[[1, 3]]).any()


def test_the_query_moves_search_only() -> None:
    model = make().eval()
    other = MIXED._replace(query=torch.tensor([-1, 1, -1, 0]))
    moved = (model.score(MIXED) - model.score(other)).abs().amax(dim=1)
    assert (moved[[0, 2]] == 0).all()
    assert (moved[[1, 3]] > 0).all()


def test_query_vector_is_the_mean_of_its_tokens() -> None:
    model = make()
    result = model.query_vector(torch.tensor([0, 1, -1]))
    words = model.words.weight
    torch.testing.assert_close(result[0], (words[3] + words[4]) / 2)
    torch.testing.assert_close(result[1], words[5])
    assert (result[2] == 0).all()


def test_loss_is_search_plus_gamma_recommendation() -> None:
    for gamma in (0.0, 0.3, 2.0):
        model = make(gamma).eval()
        recommendation, search = model.task_losses(MIXED)
        assert model.loss(MIXED).total.item() == pytest.approx((search + gamma * recommendation).item())


@pytest.mark.parametrize(("task", "query"), [([0, 0], [-1, -1]), ([1, 1], [0, 1])])
def test_a_batch_of_one_task_has_a_finite_loss_and_no_cosine(task: list[int], query: list[int]) -> None:
    model = make()
    single = batch(task, query)
    loss = model.loss(single).total
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert task_gradient_cosine(model, single, model.conflict_parameters()) is None


def test_cosine_of_a_mixed_batch_on_the_shared_attention() -> None:
    model = make()
    known = MIXED._replace(history_mask=torch.ones(4, 3, dtype=torch.bool))  # a row without history has no gradient
    result = task_gradient_cosine(model, known, model.conflict_parameters())
    assert result is not None
    assert -1 <= result.cosine <= 1


def test_cf_table_stays_frozen_and_the_word_copy_is_the_models_own() -> None:
    words = torch.nn.Parameter(torch.randn(40, WIDTH))
    model = make()
    model = TwoHead(model.config, words, model.cf, model.text, 1.0)
    before = words.detach().clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.loss(MIXED).total.backward()
    optimizer.step()
    assert model.cf.table.grad is None
    assert torch.equal(words, before)
    assert not torch.equal(model.words.weight, before)


@pytest.mark.parametrize("switch", ["cf_view", "semantic_view", "soft_filter", "position_embedding"])
def test_every_switch_gives_a_working_model(switch: str) -> None:
    assert torch.isfinite(make(**{switch: False}).loss(MIXED).total)


def test_it_learns_a_rule_that_needs_history_and_query() -> None:
    """Recommendation: the positive is the last history item. Search: the positive is item 0 or 1 by query."""
    model = make()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    generator = torch.Generator().manual_seed(9)

    def draw() -> Batch:
        rows = 32
        task = torch.arange(rows) % 2
        history = torch.randint(0, ITEMS, (rows, 3), generator=generator)
        query = torch.where(task == 1, torch.randint(0, 2, (rows,), generator=generator), -1)
        positive = torch.where(task == 1, query, history[:, -1])
        shift = torch.randint(1, ITEMS, (rows, 2), generator=generator)
        candidates = torch.cat([positive[:, None], (positive[:, None] + shift) % ITEMS], dim=1)
        blank: Tensor = torch.zeros(rows, 3, dtype=torch.long)
        everything = torch.ones(rows, 3, dtype=torch.bool)
        order = torch.arange(rows)
        return Batch(torch.arange(ITEMS), history, everything, blank, candidates, task, query, order, order)

    for _ in range(250):
        optimizer.zero_grad()
        model.loss(draw()).total.backward()
        optimizer.step()
    model.eval()
    test = draw()
    right = model.score(test).argmax(dim=1) == 0
    assert right[test.task == 0].float().mean() > 0.8
    assert right[test.task == 1].float().mean() > 0.9
