"""What a score comes from, against prompts that are filled by hand and go through the backbone's own forward."""

from __future__ import annotations

from typing import Any

import pytest
import test_full_ranking
import test_two_head
import test_view_ranking
import torch
from test_gensr import ITEMS, NO, YES, batch, make
from torch import Tensor

from gensr_model.models.gensr import GenSR
from gensr_model.models.views import View

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "products": {"departures": {"interaction": True, "query_interaction": True}},
    "no filter": {"soft_filter": False},
    "no semantic view": {"semantic_view": False},
    "no CF view": {"cf_view": False},
}


def changed(**switches: Any) -> GenSR:
    """A model whose vectors that start at zero are drawn. Its logits are small, so that their last digits count."""
    model = make(tied=False, **switches).eval()
    with torch.no_grad():
        model.backbone.lm_head.weight *= 0.1
        model.cf.cold.normal_()
        for view in (model.cf_view, model.semantic_view):
            if view is not None and model.config.soft_filter:
                view.filter.empty.normal_()
    return model


def mean_items(model: GenSR) -> tuple[Tensor, Tensor]:
    """(d,) the mean of all items' vectors in the CF and the semantic view. Item i has the tokens 10 + 2 i, 11 + 2 i."""
    cf = model.cf.table.clone()
    cf[4] = model.cf.cold
    words = model.backbone.shared.weight[10 : 10 + 2 * ITEMS]
    return cf.mean(dim=0), words.mean(dim=0)


def neutral_slots(model: GenSR, view: View, mean: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor]:
    """(d_model,) the placeholders of a view that reads no history, and the mean item as candidate."""
    nothing = view.filter.empty if model.config.soft_filter else torch.zeros_like(mean)
    history, candidate = view.project(nothing), view.project(mean)
    if model.config.departures.interaction:
        history = history + view.interaction.weight.weight @ (nothing * mean)
    if model.config.departures.query_interaction and view is model.semantic_view and query is not None:
        candidate = candidate + model.query_interaction.weight.weight @ (query * mean)
    return history, candidate


def direct_score(model: GenSR, row: int, column: int, replaced: int | None) -> float:
    """z_yes − z_no of one candidate, with the placeholders of view ``replaced`` (0 CF, 1 semantic) filled anew."""
    everyone = batch()
    embeds, mask = model.prompt(everyone, model.encode(everyone), torch.tensor([row]))
    own = embeds[0, column].clone()
    if replaced is not None:
        prompts = model.text.prompts(everyone.query[row : row + 1])
        words = model.backbone.shared.weight[prompts.query[0, : int(prompts.query_length[0])]]
        view = (model.cf_view, model.semantic_view)[replaced]
        query = words.mean(dim=0) if len(words) else None
        history, candidate = neutral_slots(model, view, mean_items(model)[replaced], query)
        own[prompts.slots[0, replaced]], own[prompts.slots[0, 2 + replaced]] = history, candidate
    start = torch.tensor([[0]])
    logits = model.backbone(inputs_embeds=own[None], attention_mask=mask.long(), decoder_input_ids=start).logits[0, 0]
    return float(logits[YES] - logits[NO])


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_a_view_contributes_what_the_score_loses_without_its_placeholders(name: str) -> None:
    model = changed(**VARIANTS[name])
    before = model.score(batch())
    result = model.attribution(batch())
    torch.testing.assert_close(model.score(batch()), before, atol=0, rtol=0)
    for place, view in enumerate((model.cf_view, model.semantic_view)):
        part = result.views[place]
        if view is None:
            assert part is None
            assert result.weights[place] is None
            continue
        direct = torch.tensor(
            [
                [direct_score(model, row, column, None) - direct_score(model, row, column, place) for column in (0, 3)]
                for row in range(5)
            ]
        )
        assert direct.std() > 1e-3
        torch.testing.assert_close(part[:, [0, 3]], direct, atol=1e-6, rtol=0)
        assert (result.weights[place] is None) == (not model.config.soft_filter)
    assert result.other is None


@torch.inference_mode()
def test_item_vectors_of_before_and_of_now_give_the_same_parts() -> None:
    model = changed()
    expected = model.attribution(batch())
    model.precompute_items()
    for part, known in zip(model.attribution(batch()).views, expected.views, strict=True):
        torch.testing.assert_close(part, known, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_full_ranking_by_item_tokens_replaces_the_history() -> None:
    model = test_full_ranking.make()
    result, everyone = model.attribution(batch()), batch()
    items = everyone.items[everyone.candidates]
    scores = []
    for replaced in (None, 0, 1):
        rows = []
        for row in range(5):
            embeds, mask = model.prompt(everyone, model.encode(everyone), torch.tensor([row]))
            if replaced is not None:
                view = (model.cf_view, model.semantic_view)[replaced]
                place = model.text.prompts(everyone.query[row : row + 1]).slots[0, replaced]
                embeds[0, 0, place] = view.project.bias
            start = torch.tensor([[0]])
            output = model.backbone(inputs_embeds=embeds[:, 0], attention_mask=mask.long(), decoder_input_ids=start)
            rows.append(output.logits[0, 0, model.first_item :].log_softmax(dim=0)[items[row]])
        scores.append(torch.stack(rows))
    assert result.weights == (None, None)
    for place, part in enumerate(result.views):
        direct = scores[0] - scores[1 + place]
        torch.testing.assert_close(part, direct, atol=1e-6, rtol=0)
        assert not part[2].any(), "the third sample has no history"
        assert direct.std() > 1e-3


@torch.inference_mode()
def test_full_ranking_by_item_vectors_has_terms_that_sum_to_the_logit() -> None:
    model = test_view_ranking.make()
    result, everyone = model.attribution(batch()), batch()
    items = everyone.items[everyone.candidates]
    expected = test_view_ranking.expected_scores(model)
    whole = (expected - expected.mean(dim=1, keepdim=True)).gather(1, items)
    torch.testing.assert_close(sum(result.views) + result.other, whole, atol=1e-5, rtol=1e-4)
    encoded = model.encode(everyone)
    state = model.decoder_state(everyone, encoded)
    table = torch.where(model.cf.known.unsqueeze(1), model.cf.table, model.cf.cold)
    term = test_view_ranking.asked(model.cf_output, encoded.cf, state) @ table.T
    torch.testing.assert_close(result.views[0], (term - term.mean(dim=1, keepdim=True)).gather(1, items))
    bias = model.bias.table[:, 0]
    torch.testing.assert_close(result.other, (bias - bias.mean())[items])
    assert result.weights == (None, None)


@torch.inference_mode()
def test_two_heads_have_one_filter_and_no_part_of_a_view() -> None:
    model = test_two_head.make().eval()
    result = model.attribution(test_two_head.MIXED)
    cf, semantic = result.weights
    assert cf is semantic
    events = test_two_head.MIXED.history_mask.any(dim=1).float()
    torch.testing.assert_close(cf.sum(dim=2), events.unsqueeze(1).expand(4, 5))
    assert result.views == (None, None)
    assert test_two_head.make(soft_filter=False).eval().attribution(test_two_head.MIXED).weights == (None, None)
