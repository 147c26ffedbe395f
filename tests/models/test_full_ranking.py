"""GenSR over the whole catalogue: every item a token, the loss its likelihood, the score constrained generation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_gensr import CF, ITEMS, backbone, batch, rows_of
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.errors import ConfigError
from gensr_model.models.backbone import add_item_tokens
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.losses import sampled_cross_entropy
from gensr_model.models.text_pooling import TextBuffers, masked_mean

TEXT = ItemText(torch.arange(2 * ITEMS) + 10, torch.arange(ITEMS + 1) * 2)


def make(tied: bool = True, scaled: bool = True, full: FullRankingConfig | None = None) -> FullRanking:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"max_history": 5, "view_dropout": 0.0, "view_heads": 2, "soft_filter": False})
    prompts = PromptTable(
        ids=torch.tensor([[30, 3, 4, 0, 31, 0, 32, 1], [30, 5, 0, 31, 0, 32, 1, 0], [33, 0, 31, 0, 32, 1, 0, 0]]),
        length=torch.tensor([8, 7, 6]),
        slots=torch.tensor([[3, 5], [2, 4], [1, 3]]),
        query=torch.tensor([[3, 4], [5, 0], [0, 0]]),
        query_length=torch.tensor([2, 1, 0]),
    )  # fmt: skip
    t5 = backbone(tied, scaled)
    t5.set_input_embeddings(t5.shared)
    first = add_item_tokens(t5, TEXT)
    cf = CFTable(torch.randn(ITEMS, CF), torch.arange(ITEMS) != 4)
    made = FullRanking(config, full or FullRankingConfig(), t5, cf, TextBuffers(TEXT, prompts), first)
    with torch.no_grad():
        made.backbone.lm_head.weight[first:] += 0.3 * torch.randn(ITEMS, t5.model_dim)
    return made.eval()


def positives() -> Tensor:
    return batch().items[batch().candidates[:, 0]]


@torch.inference_mode()
def first_step(model: FullRanking) -> Tensor:
    """(B, V) logits of the first token, one prompt at a time, through the backbone's own forward."""
    encoded, out = model.encode(batch()), []
    for row in range(5):
        embeds, mask = model.prompt(batch(), encoded, torch.tensor([row]))
        start = torch.tensor([[0]])
        result = model.backbone(inputs_embeds=embeds[0], attention_mask=mask.long(), decoder_input_ids=start)
        out.append(result.logits[0, 0])
    return torch.stack(out)


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_start_as_their_text_and_leave_the_old_ones_alone(tied: bool) -> None:
    torch.manual_seed(0)
    before = backbone(tied)
    before.set_input_embeddings(before.shared)
    old, old_head = before.shared.weight.clone(), before.lm_head.weight.clone()
    first = add_item_tokens(before, TEXT)
    for matrix, was in ((before.shared.weight, old), (before.lm_head.weight, old_head)):
        torch.testing.assert_close(matrix[:first], was)
        for item in range(ITEMS):
            torch.testing.assert_close(matrix[first + item], was[10 + 2 * item : 12 + 2 * item].mean(dim=0))
    assert (before.lm_head.weight.data_ptr() == before.shared.weight.data_ptr()) is tied
    assert before.encoder.embed_tokens.weight is before.decoder.embed_tokens.weight is before.shared.weight


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_scores_are_the_first_step_and_the_loss_its_likelihood_among_items(tied: bool, scaled: bool) -> None:
    model = make(tied, scaled)
    expected = first_step(model)[:, model.first_item :]
    with torch.inference_mode():
        torch.testing.assert_close(model.catalogue_scores(batch()), expected, atol=1e-5, rtol=1e-4)
        listed = expected.gather(1, batch().items[batch().candidates])
        torch.testing.assert_close(model.score(batch()), listed, atol=1e-5, rtol=1e-4)
        loss = F.cross_entropy(expected, positives(), reduction="none")
        torch.testing.assert_close(model.row_losses(batch())[:, 0], loss, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_generation_is_the_best_of_the_catalogue_and_hugging_faces(tied: bool) -> None:
    model = make(tied)
    result = model.generate(batch(), 4)
    scores = first_step(model).log_softmax(dim=1)[:, model.first_item :].sort(dim=1, descending=True)
    assert result.items.tolist() == scores.indices[:, :4].tolist()
    torch.testing.assert_close(result.scores, scores.values[:, :4], atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        embeds, mask = model.prompt(batch(), model.encode(batch()), torch.arange(5))
        states = model.backbone.encoder(inputs_embeds=embeds[:, 0], attention_mask=mask.long())
        model.backbone.config.num_layers = model.backbone.config.num_decoder_layers  # what generate's cache reads
        theirs = model.backbone.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.last_hidden_state),
            attention_mask=mask.long(), num_beams=4, num_return_sequences=4, max_new_tokens=1, do_sample=False,
            prefix_allowed_tokens_fn=lambda *_: list(range(model.first_item, model.first_item + ITEMS)),
        )  # fmt: skip
    assert theirs[:, 1].view(5, 4).sub(model.first_item).tolist() == result.items.tolist()


def test_another_catalogue_is_ranked_by_the_tokens_of_the_items_it_shares() -> None:
    """All nine items in another order, and a tenth between them that training did not have."""
    model = make()
    whole = model.catalogue_scores(batch())
    order = torch.tensor([3, 5, 0, 8, 1, 2, 4, 6, 7])
    rows = torch.cat([order[:1], torch.tensor([-1]), order[1:]])
    model.select(rows)
    tokens = torch.cat(
        [TEXT.tokens.view(-1, 2)[rows[:1]], torch.tensor([[39, 39]]), TEXT.tokens.view(-1, 2)[order[1:]]]
    )
    model.text.tokens, model.text.offsets = tokens.flatten(), torch.arange(ITEMS + 2) * 2
    place = torch.argsort(rows)[1:]  # of training's items in the new catalogue
    elsewhere = batch()._replace(items=place)
    new = model.catalogue_scores(elsewhere)
    torch.testing.assert_close(new[:, place], whole)
    assert new[:, 1].isneginf().all()
    assert model.generate(elsewhere, 10).items[:, 9].tolist() == [-1] * 5
    assert not (model.generate(elsewhere, 9).items == 1).any()


def test_the_history_placeholders_take_the_mean_of_the_encoded_history() -> None:
    model = make()
    encoded = model.encode(batch())
    embeds, mask = model.prompt(batch(), encoded, torch.tensor([1, 0]))
    assert mask.sum(dim=1).tolist() == [6, 8]
    for number, (view, of_view) in enumerate(zip((model.cf_view, model.semantic_view), encoded, strict=True)):
        assert view is not None
        assert of_view is not None
        slots = view.project(masked_mean(of_view.history, batch().history_mask))
        torch.testing.assert_close(embeds[0, 0, [1, 3][number]], slots[1])
        torch.testing.assert_close(embeds[1, 0, [3, 5][number]], slots[0])


def test_prompts_made_for_candidates_are_refused() -> None:
    model = make()
    prompts = model.text.prompts(torch.tensor([0, 1, -1]))
    model.text.set_prompts(prompts._replace(slots=prompts.slots.repeat(1, 2)))
    with pytest.raises(ConfigError, match="the prompts have 4 placeholders, but FullRanking fills 2"):
        model.catalogue_scores(batch())


def test_candidates_do_not_reach_the_prompt() -> None:
    model = make()
    other = batch()._replace(candidates=(batch().candidates + 1) % ITEMS)
    torch.testing.assert_close(model.catalogue_scores(batch()), model.catalogue_scores(other))


def test_the_loss_has_both_parts_and_reaches_every_parameter() -> None:
    model = make()
    result = model.loss(batch())
    torch.testing.assert_close(
        result.total.detach(), result.parts["generation"] + model.config.beta * result.parts["contrastive"]
    )
    result.total.backward()
    silent = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not silent
    assert torch.isfinite(model.loss(rows_of(batch(), [2])).total)  # one user, no history


def test_a_sampled_softmax_estimates_the_whole_one() -> None:
    torch.manual_seed(1)
    state, rows, target = 0.5 * torch.randn(6, 4), torch.randn(500, 4), torch.randint(0, 500, (6,))
    whole = F.cross_entropy(state @ rows.T, target, reduction="none")
    result = torch.stack([sampled_cross_entropy(state, rows, target, 400) for _ in range(300)])
    torch.testing.assert_close(result.mean(dim=0), whole, atol=0.02, rtol=0.02)
    single = sampled_cross_entropy(state, rows[target[:1]], torch.zeros(6, dtype=torch.long), 5)
    torch.testing.assert_close(single, torch.zeros(6))  # all drawn are the target: nothing is against it


def test_a_large_catalogue_trains_with_the_sampled_softmax() -> None:
    small = make(full=FullRankingConfig(sampled_above=ITEMS, sampled_items=2))
    large = make(full=FullRankingConfig(sampled_above=ITEMS - 1, sampled_items=2))
    torch.manual_seed(0)
    state = large.decoder_state(batch(), large.encode(batch()))
    torch.manual_seed(5)
    expected = sampled_cross_entropy(state, large.backbone.lm_head.weight[large.first_item :], positives(), 2)
    torch.manual_seed(5)
    torch.testing.assert_close(large.row_losses(batch())[:, 0], expected)
    assert not torch.allclose(small.row_losses(batch())[:, 0], expected)
