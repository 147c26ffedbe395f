"""UniSAR: which transitions its masks let through, its experts, its losses, and what §6.5 compares."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from baseline_inputs import batch, collator
from small_dataset import write_dataset
from torch import Tensor
from torchjd.autojac import jac

from gensr_model.baselines.inputs import BaselineBatch, Domain, History
from gensr_model.baselines.unisar import PLE, Alignment, Transitions, UniSAR, chosen_events, cross_type
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training.gradient_probe import task_gradient_cosine

R, S = 0, 1


@pytest.fixture(scope="module")
def model() -> UniSAR:
    torch.manual_seed(0)
    return UniSAR(Domain(n_items=20, n_users=5, n_words=9, max_history=8), dim=8).eval()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("unisar") / "prepared")


def history(items: list[int], behavior: list[int], padding: int = 0) -> History:
    """One history; the query of a search for item i is the word i % 7 + 2."""
    words = [i % 7 + 2 if b == S else 0 for i, b in zip(items, behavior, strict=True)]
    columns = [[0] * padding + column for column in (items, behavior, words)]
    item, kind, query = (torch.tensor([column]) for column in columns)
    mask = torch.tensor([[False] * padding + [True] * len(items)])
    return History(item=item, mask=mask, behavior=kind, query=query.unsqueeze(-1))


def test_the_mask_lets_only_the_other_behavior_through() -> None:
    result = cross_type(torch.tensor([[R, S, S, R]]))
    expected = [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert result.int().tolist() == [expected]


def test_events_of_a_behavior_keep_their_order() -> None:
    chosen = torch.tensor([[False, True, False, True, True], [False, False, False, False, True]])
    places, mask = chosen_events(chosen)
    assert places[0].tolist() == [1, 3, 4]
    assert places[1, -1] == 4
    assert mask.tolist() == [[True, True, True], [False, False, True]]
    places, mask = chosen_events(torch.zeros(2, 4, dtype=torch.bool))
    assert places.shape == (2, 1)
    assert not mask.any()


def by_hand(model: UniSAR, events: Tensor, row: int, keys: list[int]) -> Tensor:
    """(d,) the cross-type encoder's output for an event that attends to the given ones and to nothing else."""
    layer = model.encoders[2].layers[0]
    x, memory = events[:, row : row + 1], events[:, keys]
    x = layer.norm1(x + layer.self_attn(x, memory, memory)[0])
    return layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))[0, 0]


def test_cross_transitions_are_attention_to_the_other_behavior_alone(model: UniSAR) -> None:
    result = history([3, 5, 11, 7], [R, S, S, R], padding=2)
    recommended, searched = model.transitions(result)
    events = model.items(result.item) + model.query(result.query) * result.behavior.unsqueeze(-1)
    events = model.placed[2](events, result.mask)
    for number, row in enumerate((2, 5)):  # 3 and 7, after two places of padding
        expected = by_hand(model, events, row, [3, 4])
        torch.testing.assert_close(recommended.cross[0, number], expected, atol=1e-5, rtol=1e-5)
    for number, row in enumerate((3, 4)):
        expected = by_hand(model, events, row, [2, 5])
        torch.testing.assert_close(searched.cross[0, number], expected, atol=1e-5, rtol=1e-5)


def moved(before: Transitions, after: Transitions) -> dict[str, list[bool]]:
    """Which of the W events of the one history have changed."""
    return {
        name: [
            not torch.allclose(a, b, atol=1e-5)
            for a, b in zip(getattr(before, name)[0], getattr(after, name)[0], strict=True)
        ]
        for name in ("same", "cross")
    }


def test_a_changed_search_moves_what_it_may_and_nothing_else(model: UniSAR) -> None:
    behavior = [R, S, S, R]
    before = model.transitions(history([3, 5, 11, 7], behavior))
    after = model.transitions(history([3, 6, 11, 7], behavior))  # the earlier search is another one
    assert moved(before[R], after[R]) == {"same": [False, False], "cross": [True, True]}
    assert moved(before[S], after[S]) == {"same": [True, True], "cross": [True, False]}


def test_without_the_other_behavior_a_cross_transition_is_the_event_alone(model: UniSAR) -> None:
    before, _ = model.transitions(history([3, 5], [R, R]))
    after, searched = model.transitions(history([4, 5], [R, R]))
    assert moved(before, after) == {"same": [True, True], "cross": [True, False]}
    assert not searched.mask.any()
    assert not searched.same.any()


def test_the_gate_weighs_own_and_shared_experts() -> None:
    """Two own and two shared experts of width 2, worked out by hand."""
    ple = PLE(inputs=2, width=2, experts=2, dropout=0.5).eval()
    eye = torch.eye(2)
    with torch.no_grad():
        for layer in (ple.shared, *ple.own, *ple.gates):
            layer.weight.zero_()
            layer.bias.zero_()
        ple.own[0].weight.copy_(torch.cat([eye, 2 * eye]))  # x and 2x
        ple.shared.weight.copy_(torch.cat([10 * eye, -eye]))  # 10x and, for x > 0, 0
        ple.gates[0].bias.copy_(torch.tensor([1.0, 2.0, 4.0, 1.0]).log())
    x = torch.tensor([[1.0, 3.0]])
    # (1 x + 2 · 2x + 4 · 10x + 1 · 0) / 8
    torch.testing.assert_close(ple(x, 0), 45 / 8 * x)
    # The other task: own experts give 0, and an even gate: (10x + 0 + 0 + 0) / 4.
    torch.testing.assert_close(ple(x, 1), 10 / 4 * x)


def test_alignment_by_hand() -> None:
    align = Alignment(dim=2, tau=0.5)
    with torch.no_grad():
        align.weight.weight.copy_(torch.eye(2))
    a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    same, other = math.tanh(1.0) / 0.5, 0.0
    # Similarities: [[same, same], [other, same]].
    rows = [math.log(2 * math.exp(same)), math.log(math.exp(other) + math.exp(same))]
    columns = [math.log(math.exp(same) + math.exp(other)), math.log(2 * math.exp(same))]
    expected = [(r + c) / 2 - same for r, c in zip(rows, columns, strict=True)]
    alone = torch.eye(2, dtype=torch.bool)
    torch.testing.assert_close(align(a, b, alone), torch.tensor(expected))
    # Two rows of one user are no negatives of each other.
    torch.testing.assert_close(align(a, b, torch.ones(2, 2, dtype=torch.bool)), torch.zeros(2))


def test_the_loss_is_the_weighted_sum_and_task_losses_are_unweighted(dataset: PreparedDataset) -> None:
    torch.manual_seed(0)
    weights = {"weights": (0.03, 0.2, 0.5)}
    model = UniSAR(collator(dataset, UniSAR).domain, **weights).eval()
    result = batch(dataset, UniSAR)
    recommendation, search = model.task_losses(result)
    scores, label = model.score(result), torch.tensor([1.0, 0, 0, 0, 0])
    for number, loss in enumerate((recommendation, search)):
        mine = scores[result.task == number]
        expected = F.binary_cross_entropy_with_logits(mine, label.expand_as(mine))
        torch.testing.assert_close(loss, expected)
    loss = model.loss(result)
    torch.testing.assert_close(loss.parts["recommendation"], recommendation.detach())
    torch.testing.assert_close(loss.parts["search"], search.detach())
    total = recommendation + 0.03 * search + 0.2 * loss.parts["align"] + 0.5 * loss.parts["pairs"]
    torch.testing.assert_close(loss.total, total)
    alone = result.take(torch.nonzero(result.task == R).squeeze(1))
    assert model.task_losses(alone)[1].isnan()


def test_gradients_of_both_tasks_meet_in_the_encoder_of_both_behaviors(dataset: PreparedDataset) -> None:
    torch.manual_seed(0)
    model, result = UniSAR(collator(dataset, UniSAR).domain), batch(dataset, UniSAR, with_history=True)
    shared = model.conflict_parameters()
    assert {p.shape for p in shared} == {(192, 64), (192,), (64, 64), (64,)}
    cosine = task_gradient_cosine(model, result, shared)
    assert cosine is not None
    assert -1 <= cosine.cosine <= 1
    assert min(cosine.norm_search, cosine.norm_recommendation) > 0
    assert all(p.grad is None for p in model.parameters())
    one: BaselineBatch = result.take(result.task == S)
    assert task_gradient_cosine(model, one, shared) is None


def test_the_cosine_is_what_torchjd_says_of_the_whole_batch(dataset: PreparedDataset) -> None:
    model, result = UniSAR(collator(dataset, UniSAR).domain).eval(), batch(dataset, UniSAR, with_history=True)
    shared = model.conflict_parameters()
    ours = task_gradient_cosine(model, result, shared)
    assert ours is not None
    blocks = jac(list(model.task_losses(result)), shared)  # an implementation of others
    recommendation, search = torch.cat([block.flatten(1) for block in blocks], dim=1).double()
    cosine = torch.cosine_similarity(recommendation, search, dim=0).item()
    assert ours.cosine == pytest.approx(cosine, abs=1e-4)
    assert ours.norm_recommendation == pytest.approx(recommendation.norm().item(), rel=1e-4)
    assert ours.norm_search == pytest.approx(search.norm().item(), rel=1e-4)
