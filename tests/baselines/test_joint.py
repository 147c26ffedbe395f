"""JSR, USER and UnifiedSSR: what is particular to each, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gensr_model.baselines.inputs import BaselineBatch, Domain
from gensr_model.baselines.jsr import JSR
from gensr_model.baselines.unified_ssr import UnifiedSSR, alignment, discrimination, find_sessions
from gensr_model.baselines.user import CoAttention


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_the_loss_of_jsr_by_hand() -> None:
    """Two items, one user, and a vocabulary of one word, which is then also every negative word."""
    model = JSR(Domain(2, 1, 3, 4), dim=2, search_weight=0.5, word_weight=0.25, word_negatives=3)
    with torch.no_grad():
        model.users.weight.copy_(torch.tensor([[2.0, 1.0]]))
        model.items.table.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
        model.words.weight[2] = torch.tensor([0.3, -0.4])
        model.tell.weight.copy_(torch.eye(2))
        model.tell.bias.fill_(0.1)
    result = BaselineBatch(
        user=torch.tensor([0, 0]),
        task=torch.tensor([0, 1]),
        query=torch.tensor([[0], [2]]),
        candidates=torch.tensor([[0, 1], [1, 0]]),
    )
    matched = [2.0 * 1.0, 1.0 * 0.5]
    told = [0.3 * math.tanh(1.1) - 0.4 * math.tanh(0.1), 0.3 * math.tanh(0.1) - 0.4 * math.tanh(0.6)]
    torch.testing.assert_close(model.score(result), torch.tensor([matched, [told[1], told[0]]]))
    loss = model.loss(result)
    expected = {
        "recommendation": softplus(matched[1] - matched[0]),
        "search": softplus(told[0] - told[1]),
        "words": softplus(-told[1]) + 3 * softplus(told[1]),
    }
    for name, value in expected.items():
        assert loss.parts[name].item() == pytest.approx(value, abs=1e-6), name
    total = expected["recommendation"] + 0.5 * expected["search"] + 0.25 * expected["words"]
    assert loss.total.item() == pytest.approx(total, abs=1e-6)


def test_co_attention_of_user_by_hand() -> None:
    block = CoAttention(dim=2)
    with torch.no_grad():
        block.affinity.weight.copy_(torch.eye(2))
        block.merge.weight.copy_(torch.cat([torch.eye(2), 10 * torch.eye(2)], dim=1))
        block.merge.bias.zero_()
    item = torch.tensor([1.0, 2.0])
    words = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]])  # the first is padding
    result = block(words.unsqueeze(0), torch.tensor([[False, True, True]]), item.unsqueeze(0))
    weights = torch.tensor([1.0, 2.0, 5.0]).div(2**0.5).softmax(0)  # of the two words and the item
    expected = weights @ torch.stack([words[1], words[2], item]) + 10 * item
    torch.testing.assert_close(result[0], expected)


STATES = torch.tensor([[[7.0, 7.0], [2.0, 0.0], [2.0, 0.2], [0.0, 1.0], [0.2, 1.0]]])
MASK = torch.tensor([[False, True, True, True, True]])


def test_a_session_ends_where_neighbours_are_least_alike() -> None:
    result = find_sessions(STATES, MASK, 2)
    torch.testing.assert_close(result.mean, torch.tensor([[[2.0, 0.1], [0.1, 1.0]]]))
    assert result.there.tolist() == [[True, True]]
    torch.testing.assert_close(result.last, torch.tensor([[0.1, 1.0]]))
    whole = find_sessions(STATES, MASK, 1)
    torch.testing.assert_close(whole.last, STATES[:, 1:].mean(dim=1))
    # More sessions than events: each event its own, and the rest are not there.
    every = find_sessions(STATES, MASK, 6)
    assert every.there.tolist() == [[True] * 4 + [False] * 2]
    torch.testing.assert_close(every.mean[0, :4], STATES[0, 1:])


def test_sessions_differ_within_a_sequence_and_agree_between_branches() -> None:
    result = find_sessions(STATES, MASK, 2)
    a, b = [2.0, 0.1], [0.1, 1.0]
    cosine = (a[0] * b[0] + a[1] * b[1]) / (math.hypot(*a) * math.hypot(*b))
    assert discrimination(result).item() == pytest.approx(cosine, abs=1e-6)
    assert discrimination(find_sessions(-STATES, MASK, 2)).item() == pytest.approx(cosine, abs=1e-6)
    assert discrimination(find_sessions(STATES, MASK, 1)).item() == 0
    other = find_sessions(STATES.roll(-2, dims=1), MASK, 2)
    assert alignment(result, result).item() == pytest.approx(-1, abs=1e-6)
    assert alignment(result, other).item() > -1


def test_both_branches_of_unified_ssr_share_every_parameter() -> None:
    torch.manual_seed(0)
    model = UnifiedSSR(Domain(5, 2, 4, 4), dim=8, heads=2).eval()
    mask = torch.tensor([[False, True, True], [True, True, True]])
    user = torch.tensor([0, 1])
    one, two = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    first, second = model.encode([one, two], mask, user)
    swapped = model.encode([two, one], mask, user)
    torch.testing.assert_close(swapped, [second, first])
    (alone,) = model.encode([one], mask, user)  # recommendation: the branch attends to itself
    torch.testing.assert_close(model.encode([one, one], mask, user), [alone, alone])
    assert not torch.allclose(alone, first, atol=1e-3)


def test_a_sequence_begins_with_the_learned_start() -> None:
    model = UnifiedSSR(Domain(5, 2, 4, 4), dim=8, heads=2)
    items = torch.arange(1.0, 4.0).view(1, 3, 1).expand(1, 3, 8) * torch.tensor([0.0, 1, 1]).view(1, 3, 1)
    result, mask = model.with_start(items, torch.tensor([[False, True, True]]))
    assert mask.tolist() == [[False, True, True, True]]
    assert not result[0, 0].any()
    torch.testing.assert_close(result[0, 1], model.start)
    torch.testing.assert_close(result[0, 2:], items[0, 1:])
