"""Both views of §5.1 against plain loops and hand-computed values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gensr_model.config.model import ModelConfig
from gensr_model.data.text import ItemText
from gensr_model.models.views import (
    CFTable,
    HistoryEncoder,
    ItemEmbedding,
    SoftFilter,
    View,
    contrastive_loss,
    distinct_users,
    masked_mean,
    pool_text,
    unit_scale,
)

CONFIG = ModelConfig(max_history=8, view_heads=2, view_dropout=0.0)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- Eq. 10 ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    users=st.integers(1, 12),
    width=st.integers(2, 6),
    tau=st.floats(0.02, 5.0),
    seed=st.integers(0, 10_000),
    alike=st.booleans(),
)
def test_contrastive_loss_is_at_least_ln_2(
    users: int, width: int, tau: float, seed: int, alike: bool
) -> None:
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
    found = contrastive_loss(cf[order], semantic[order], 0.2)
    torch.testing.assert_close(found, contrastive_loss(cf, semantic, 0.2))
    assert not torch.isclose(contrastive_loss(cf[order], semantic, 0.2), found)


def test_contrastive_loss_of_nobody_is_zero_and_has_a_gradient() -> None:
    nobody = torch.zeros(0, 4, requires_grad=True)
    loss = contrastive_loss(nobody, nobody, 0.1)
    loss.backward()
    assert loss.item() == 0.0


def test_one_row_per_user_the_one_that_knows_most() -> None:
    user = torch.tensor([7, 3, 7, 3, 9, 5])
    history_end = torch.tensor([4, 8, 6, 2, 1, 0])
    has_history = torch.tensor([True, True, True, True, True, False])
    assert sorted(distinct_users(user, history_end, has_history).rows.tolist()) == [1, 2, 4]


# --- items -------------------------------------------------------------------------------------------------------


def test_pooled_text_is_the_mean_over_tokens() -> None:
    words = nn.Embedding(20, 5)
    bags = [[1, 2, 3], [], [4], [5, 5, 6, 7]]
    offsets = torch.tensor([0, 3, 3, 4, 8])
    text = ItemText(torch.tensor([token for bag in bags for token in bag]), offsets)
    items = torch.tensor([3, 1, 0])
    found = pool_text(words, text, items)
    for row, item in zip(found, items.tolist(), strict=True):
        bag = words.weight[bags[item]]
        torch.testing.assert_close(row, bag.mean(dim=0) if bags[item] else torch.zeros(5))


def test_pooled_text_follows_the_weights_of_its_tokens() -> None:
    words, weights = nn.Embedding(20, 5), torch.tensor([0.5, 0.25, 0.25, 1.0])
    text = ItemText(torch.tensor([1, 2, 3, 7]), torch.tensor([0, 3, 3, 4]), weights)
    found = pool_text(words, text, torch.tensor([2, 1, 0]))
    first = (words.weight[[1, 2, 3]] * weights[:3].unsqueeze(1)).sum(dim=0)
    torch.testing.assert_close(found, torch.stack([words.weight[7], torch.zeros(5), first]))


def test_cold_items_share_one_vector_that_learns_and_the_table_does_not() -> None:
    known = torch.tensor([True, False, True, False])
    table = CFTable(draw(0, 4, 3), known, freeze=True)
    with torch.no_grad():
        table.cold.copy_(torch.tensor([1.0, 2.0, 3.0]))
    found = table(torch.tensor([0, 1, 3]))
    torch.testing.assert_close(found[0], table.table[0])
    assert found[1].tolist() == found[2].tolist() == [1.0, 2.0, 3.0]
    found.sum().backward()
    assert table.table.grad is None
    assert table.cold.grad is not None


def test_another_catalogue_takes_its_rows_or_the_cold_vector() -> None:
    table = CFTable(draw(0, 3, 2), torch.tensor([True, True, False]))
    before = table(torch.arange(3)).detach()
    table.select(torch.tensor([1, -1, 2, 0]))
    after = table(torch.arange(4)).detach()
    torch.testing.assert_close(after[[0, 3]], before[[1, 0]])
    torch.testing.assert_close(after[[1, 2]], table.cold.detach().expand(2, -1))


def test_items_of_their_own_start_at_zero_and_an_item_unknown_to_training_stays_there() -> None:
    table = ItemEmbedding(3, 2)
    assert not table(torch.arange(3)).any()
    with torch.no_grad():
        table.table += draw(0, 3, 2)
    before = table(torch.arange(3)).detach()
    table.select(torch.tensor([1, -1, 2, 0]))
    after = table(torch.arange(4))
    torch.testing.assert_close(after[[0, 2, 3]], before[[1, 2, 0]])
    assert not after[1].any()
    after.sum().backward()
    assert table.table.grad is not None


def test_unit_scale_looks_at_known_rows_only() -> None:
    table = torch.cat([draw(0, 50, 4) * 0.01, torch.full((1, 4), 1e6)])
    known = torch.ones(51, dtype=torch.bool)
    known[50] = False
    assert unit_scale(table, known)[:50].pow(2).mean().item() == pytest.approx(1.0, rel=1e-4)
    nothing = torch.zeros(51, dtype=torch.bool)
    assert torch.equal(unit_scale(table, nothing), table)


# --- Eq. 5 to 8 --------------------------------------------------------------------------------------------------


def padded(history: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """(1, n, d) on the right of (1, width, d), with its mask."""
    out = draw(9, 1, width, history.shape[2])  # what stands in the padding must not matter
    out[:, width - history.shape[1] :] = history
    mask = torch.zeros(1, width, dtype=torch.bool)
    mask[:, width - history.shape[1] :] = True
    return out, mask


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder, soft = HistoryEncoder(4, CONFIG).eval(), SoftFilter(4, 2, 0.0).eval()
    history, candidate = draw(1, 1, 3, 4), draw(2, 1, 5, 4)
    found = []
    for width in (3, 5, 8):
        values, mask = padded(history, width)
        behavior = torch.zeros(1, width, dtype=torch.long)
        behavior[:, -1] = 1
        encoded = encoder(values, mask, behavior)
        assert not encoded[~mask].any()
        found.append((encoded[mask], soft(candidate, encoded, mask)))
    for encoded, filtered in found[1:]:
        torch.testing.assert_close(encoded, found[0][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(filtered, found[0][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("switch", ["behavior_embedding", "position_embedding"])
def test_behavior_and_order_matter_exactly_where_they_are_on(switch: str) -> None:
    torch.manual_seed(0)
    encoder = HistoryEncoder(4, CONFIG).eval()
    without = HistoryEncoder(4, CONFIG.model_copy(update={switch: False})).eval()
    without.load_state_dict(encoder.state_dict(), strict=False)
    history, mask, behavior = draw(1, 1, 3, 4), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0, 1, 0]])
    other = torch.tensor([[0, 0, 1]])
    swap = torch.tensor([0, 2, 1])

    def changes(module: HistoryEncoder) -> bool:
        before = module(history, mask, behavior)
        if switch == "behavior_embedding":
            return not torch.allclose(module(history, mask, other), before, atol=1e-5)
        swapped = module(history[:, swap], mask, behavior[:, swap])
        return not torch.allclose(swapped, before[:, swap], atol=1e-5)

    assert changes(encoder)
    assert not changes(without)


def test_soft_filter_is_attention_of_the_candidate_over_the_history() -> None:
    """Eq. 7 and 8 written out: softmax over history of scaled products per head, then the weighted values."""
    torch.manual_seed(0)
    soft = SoftFilter(4, 2, 0.0).eval()
    candidate, encoded = draw(1, 1, 3, 4), draw(2, 1, 5, 4)
    mask = torch.tensor([[False, True, True, True, True]])
    query, key, value = (
        vectors[0] @ weight.T + bias
        for vectors, weight, bias in zip(
            (candidate, encoded, encoded),
            soft.attention.in_proj_weight.chunk(3),
            soft.attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weight = (query[:, head] @ key[:, head].T / math.sqrt(2)).masked_fill(~mask, -math.inf).softmax(dim=1)
        heads.append(weight @ value[:, head])
    expected = soft.attention.out_proj(torch.cat(heads, dim=1))
    torch.testing.assert_close(soft(candidate, encoded, mask)[0], expected, atol=1e-6, rtol=1e-4)


def test_a_filter_that_starts_as_identity_weighs_the_history_by_its_likeness() -> None:
    soft = SoftFilter(4, 2, 0.0, identity=True).eval()
    candidate, encoded = draw(1, 1, 3, 4), draw(2, 1, 5, 4)
    mask = torch.tensor([[False, True, True, True, True]])
    expected = torch.empty(3, 4)
    for head in (slice(0, 2), slice(2, 4)):
        own, events = candidate[0][:, head], encoded[0][:, head]
        weight = (own @ events.T / math.sqrt(2)).masked_fill(~mask, -math.inf).softmax(dim=1)
        expected[:, head] = weight @ events
    torch.testing.assert_close(soft(candidate, encoded, mask)[0], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("identity", [False, True])
def test_the_config_says_how_the_filter_starts(identity: bool) -> None:
    view = View(4, 6, CONFIG.model_copy(update={"filter_identity": identity}))
    assert view.filter is not None
    assert torch.equal(view.filter.attention.out_proj.weight, torch.eye(4)) is identity


def test_an_empty_history_gives_the_learned_vector_and_finite_gradients() -> None:
    torch.manual_seed(0)
    view = View(4, 6, CONFIG)
    assert view.filter is not None
    with torch.no_grad():
        view.filter.empty.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    vectors = draw(1, 5, 4)
    mask = torch.tensor([[False, False, False], [False, True, True]])
    history = torch.zeros(2, 3, dtype=torch.long)
    encoded = view.encode(vectors, history, mask, torch.zeros(2, 3, dtype=torch.long))
    filtered, candidate = view.slots(encoded, mask, vectors[torch.tensor([[0, 1], [2, 3]])])
    assert filtered.shape == candidate.shape == (2, 2, 6)
    torch.testing.assert_close(filtered[0], view.project(view.filter.empty).expand(2, -1))
    (filtered.sum() + candidate.sum()).backward()
    for name, parameter in view.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_the_interaction_adds_the_product_of_history_and_candidate_to_the_historys_slot() -> None:
    torch.manual_seed(0)
    assert View(4, 6, CONFIG).product is None  # the paper's
    view = View(4, 6, CONFIG.model_copy(update={"interaction": True})).eval()
    assert view.filter is not None
    assert view.product is not None
    encoded, mask, candidate = draw(1, 2, 3, 4), torch.ones(2, 3, dtype=torch.bool), draw(2, 2, 5, 4)
    history, own = view.slots(encoded, mask, candidate)
    filtered = view.filter(candidate, encoded, mask)
    expected = view.project(filtered) + (filtered * candidate) @ view.product.weight.T
    torch.testing.assert_close(history, expected)
    torch.testing.assert_close(own, view.project(candidate))


def test_without_the_filter_every_candidate_sees_the_mean_history() -> None:
    torch.manual_seed(0)
    view = View(4, 6, CONFIG.model_copy(update={"soft_filter": False})).eval()
    vectors = draw(1, 5, 4)
    mask = torch.tensor([[False, True, True]])
    encoded = view.encode(vectors, torch.tensor([[0, 1, 2]]), mask, torch.zeros(1, 3, dtype=torch.long))
    history, _ = view.slots(encoded, mask, vectors[torch.tensor([[3, 4]])])
    torch.testing.assert_close(masked_mean(encoded, mask)[0], encoded[0, 1:].mean(dim=0))
    torch.testing.assert_close(history[0], view.project(encoded[0, 1:].mean(dim=0)).expand(2, -1))
