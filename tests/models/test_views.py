"""Both views of §5.1 against plain loops and hand-computed values."""

import math

import pytest
import torch
from torch import Tensor

from gensr_model.config.model import ModelConfig
from gensr_model.models.departures import HistoryProduct, ItemEmbedding, Unchanged, start_as_identity
from gensr_model.models.text_pooling import masked_mean
from gensr_model.models.views import HistoryEncoder, SoftFilter, View

CONFIG = ModelConfig(max_history=8, view_heads=2, view_dropout=0.0)


def with_departures(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate(CONFIG.model_dump() | {"departures": changes})


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_items_of_their_own_start_at_zero_and_an_item_unknown_to_training_stays_there() -> None:
    table, zeros = ItemEmbedding(3, 2), torch.zeros(4, 2)
    assert not table(zeros[:3], torch.arange(3)).any()
    with torch.no_grad():
        table.table += draw(0, 3, 2)
    before = table(zeros[:3], torch.arange(3)).detach()
    table.select(torch.tensor([1, -1, 2, 0]))
    after = table(zeros, torch.arange(4))
    torch.testing.assert_close(after[[0, 2, 3]], before[[1, 2, 0]])
    assert not after[1].any()
    after.sum().backward()
    assert table.table.grad is not None


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
    result = []
    for width in (3, 5, 8):
        values, mask = padded(history, width)
        behavior = torch.zeros(1, width, dtype=torch.long)
        behavior[:, -1] = 1
        encoded = encoder(values, mask, behavior)
        assert not encoded[~mask].any()
        result.append((encoded[mask], soft(candidate, encoded, mask)))
    for encoded, filtered in result[1:]:
        torch.testing.assert_close(encoded, result[0][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(filtered, result[0][1], atol=1e-5, rtol=1e-4)


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


def test_the_filters_weights_are_softmaxes_of_products_averaged_over_the_heads() -> None:
    torch.manual_seed(0)
    soft = SoftFilter(4, 2, 0.0).eval()
    with torch.no_grad():
        soft.attention.in_proj_bias.normal_()
    candidate, encoded = draw(1, 2, 3, 4), draw(2, 2, 5, 4)
    mask = torch.tensor([[False, True, True, True, True], [False] * 5])
    query = candidate[0] @ soft.attention.in_proj_weight[:4].T + soft.attention.in_proj_bias[:4]
    key = encoded[0, 1:] @ soft.attention.in_proj_weight[4:8].T + soft.attention.in_proj_bias[4:8]
    heads = [(query[:, head] @ key[:, head].T / math.sqrt(2)).softmax(dim=1) for head in (slice(0, 2), slice(2, 4))]
    weights = soft.weights(candidate, encoded, mask)
    torch.testing.assert_close(weights[0, :, 1:], (heads[0] + heads[1]) / 2, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights[0].sum(dim=1), torch.ones(3))
    assert weights[0].std() > 0.01
    assert not weights[0, :, 0].any()
    assert not weights[1].any(), "an empty history has no weights"


def test_a_filter_that_starts_as_identity_weighs_the_history_by_its_likeness() -> None:
    soft = SoftFilter(4, 2, 0.0).eval()
    start_as_identity(soft.attention)
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
    view = View(4, 6, with_departures(filter_identity=identity))
    assert isinstance(view.filter, SoftFilter)
    assert torch.equal(view.filter.attention.out_proj.weight, torch.eye(4)) is identity


def test_an_empty_history_gives_the_learned_vector_and_finite_gradients() -> None:
    torch.manual_seed(0)
    view = View(4, 6, CONFIG)
    assert isinstance(view.filter, SoftFilter)
    with torch.no_grad():
        view.filter.empty.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    vectors = draw(1, 5, 4)
    mask = torch.tensor([[False, False, False], [False, True, True]])
    history = torch.zeros(2, 3, dtype=torch.long)
    encoded = view.encoder(vectors[history], mask, torch.zeros(2, 3, dtype=torch.long))
    filtered, candidate = view.slots(encoded, mask, vectors[torch.tensor([[0, 1], [2, 3]])])
    assert filtered.shape == candidate.shape == (2, 2, 6)
    torch.testing.assert_close(filtered[0], view.project(view.filter.empty).expand(2, -1))
    (filtered.sum() + candidate.sum()).backward()
    for name, parameter in view.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_the_interaction_adds_the_product_of_history_and_candidate_to_the_historys_slot() -> None:
    torch.manual_seed(0)
    assert isinstance(View(4, 6, CONFIG).interaction, Unchanged)  # the paper's
    view = View(4, 6, with_departures(interaction=True)).eval()
    assert isinstance(view.interaction, HistoryProduct)
    encoded, mask, candidate = draw(1, 2, 3, 4), torch.ones(2, 3, dtype=torch.bool), draw(2, 2, 5, 4)
    history, own = view.slots(encoded, mask, candidate)
    filtered = view.filter(candidate, encoded, mask)
    expected = view.project(filtered) + (filtered * candidate) @ view.interaction.weight.weight.T
    torch.testing.assert_close(history, expected)
    torch.testing.assert_close(own, view.project(candidate))


def test_without_the_filter_every_candidate_sees_the_mean_history() -> None:
    torch.manual_seed(0)
    view = View(4, 6, CONFIG.model_copy(update={"soft_filter": False})).eval()
    vectors = draw(1, 5, 4)
    mask = torch.tensor([[False, True, True]])
    encoded = view.encoder(vectors[torch.tensor([[0, 1, 2]])], mask, torch.zeros(1, 3, dtype=torch.long))
    history, _ = view.slots(encoded, mask, vectors[torch.tensor([[3, 4]])])
    torch.testing.assert_close(masked_mean(encoded, mask)[0], encoded[0, 1:].mean(dim=0))
    torch.testing.assert_close(history[0], view.project(encoded[0, 1:].mean(dim=0)).expand(2, -1))
