"""Full ranking by the item vectors of both views (departures AR, AS): scores, loss, generation, other catalogues."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_full_ranking import TEXT, positives
from test_full_ranking import make as make_full
from test_gensr import CF, ITEMS, backbone, batch, rows_of
from torch import Tensor

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.folds import fold_of
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.fold_tables import FoldTables
from gensr_model.models.text_pooling import TextBuffers, masked_mean, mean_tokens, pool_text
from gensr_model.models.view_ranking import ViewRanking

FOLDS = 3


def make(folds: FoldTables | None = None, sampled: tuple[int, int] = (ITEMS, 2), **model: Any) -> ViewRanking:
    torch.manual_seed(0)
    shape = {"max_history": 5, "view_dropout": 0.0, "view_heads": 2, "soft_filter": False, **model}
    full = FullRankingConfig.model_validate(
        {"departures": {"item_vectors": True, "shortcuts": True}, "sampled_above": sampled[0],
         "sampled_items": sampled[1]}
    )  # fmt: skip
    prompts = make_full().text.prompts(torch.tensor([0, 1, -1]))
    cf = CFTable(torch.randn(ITEMS, CF), torch.arange(ITEMS) != 4, folds=folds)
    config = ModelConfig.model_validate(shape)
    made = ViewRanking(config, full, backbone(), cf, TextBuffers(TEXT, prompts), None)
    with torch.no_grad():
        made.bias.table.normal_()
        made.cf.cold.normal_()
        for part in (made.cf_output, made.text_output):
            if part is not None and part.latest is not None:
                part.state.weight.normal_()
                part.latest.weight.normal_()
    return made.eval()


def expected_scores(model: ViewRanking, table: Tensor | None = None) -> Tensor:
    """(5, I) by the definition, for the table of the batch's items (I, d), or for the common one."""
    encoded = model.encode(batch())
    state, prompts = model.decoder_state(batch(), encoded), model.text.prompts(batch().query)
    known = model.cf.known.unsqueeze(1)
    cf = torch.where(known, model.cf.table if table is None else table, model.cf.cold)
    text = pool_text(model.backbone.shared, TEXT, torch.arange(ITEMS))
    text = (text - text.mean(dim=1, keepdim=True)) / (text.var(dim=1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    words = mean_tokens(model.backbone.shared, prompts.query, prompts.query_length)
    query = F.linear(words, model.query.get_parameter("weight.weight"))
    asked_cf = asked(model.cf_output, encoded.cf, state)
    asked_text = asked(model.text_output, encoded.semantic, state) + query
    return model.bias.table[:, 0] + asked_cf @ cf.T + asked_text @ text.T


def asked(output: Any, view: Any, state: Tensor) -> Tensor:
    """(5, d) what an output asks of item vectors."""
    mean = output.mean(masked_mean(view.history, view.mask))
    total: Tensor = (output.state(state) + mean + output.latest(view.history[:, 2])) * output.log_scale.exp()
    return total


def test_a_score_is_the_product_of_what_is_asked_with_both_vectors_of_the_item() -> None:
    model = make()
    with torch.inference_mode():
        expected = expected_scores(model)
        assert expected.std(dim=1).min() > 0.1
        torch.testing.assert_close(model.catalogue_scores(batch()), expected, atol=1e-5, rtol=1e-4)
        listed = expected.gather(1, batch().items[batch().candidates])
        torch.testing.assert_close(model.score(batch()), listed, atol=1e-5, rtol=1e-4)
        loss = F.cross_entropy(expected, positives(), reduction="none")
        torch.testing.assert_close(model.row_losses(batch())[:, 0], loss, atol=1e-5, rtol=1e-4)


def test_training_reads_the_table_that_has_not_seen_the_purchase() -> None:
    tables = FoldTables(torch.randn(FOLDS, ITEMS, CF), (torch.arange(ITEMS) != 4).expand(FOLDS, ITEMS))
    model = make(folds=tables, backbone={"dropout": 0.0}, departures={"folds": FOLDS}).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    fold = fold_of(batch().user, positives(), FOLDS)
    assert len(fold.unique()) > 1
    with torch.no_grad():
        model.backbone.eval()  # T5 keeps dropout rates of its own
        every = torch.stack([expected_scores(model, tables.item[k])[row] for row, k in enumerate(fold.tolist())])
        loss = F.cross_entropy(every, positives(), reduction="none")
        torch.testing.assert_close(model.row_losses(batch())[:, 0], loss, atol=1e-5, rtol=1e-4)


def test_the_best_are_generated_in_the_order_of_the_scores() -> None:
    model = make()
    scores = model.catalogue_scores(batch()).log_softmax(dim=1).sort(dim=1, descending=True)
    result = model.generate(batch(), 4)
    assert result.items.tolist() == scores.indices[:, :4].tolist()
    torch.testing.assert_close(result.scores, scores.values[:, :4])
    more = model.generate(batch(), ITEMS + 1)
    assert more.items[:, ITEMS].tolist() == [-1] * 5
    assert more.scores[:, ITEMS].isneginf().all()


def test_a_large_catalogue_is_estimated_from_drawn_items() -> None:
    whole, all_drawn, some = make(), make(sampled=(ITEMS - 1, ITEMS)), make(sampled=(ITEMS - 1, 6))
    with torch.no_grad():
        expected = whole.row_losses(batch())
        torch.testing.assert_close(all_drawn.row_losses(batch()), expected, atol=1e-5, rtol=1e-4)
        drawn = torch.stack([some.row_losses(batch()) for _ in range(150)])
    assert not torch.allclose(drawn[0], expected)
    torch.testing.assert_close(drawn.exp().mean(dim=0), expected.exp(), atol=0.0, rtol=0.2)


def test_another_catalogue_is_ranked_and_an_unknown_item_by_its_text() -> None:
    model = make()
    whole = model.catalogue_scores(batch())
    rows = torch.tensor([3, -1, 5, 0, 8, 1, 2, 4, 6, 7])
    tokens = TEXT.tokens.view(-1, 2)[rows]  # the unknown one has the text of the last
    model.select(rows)
    model.text.tokens, model.text.offsets = tokens.flatten(), torch.arange(ITEMS + 2) * 2
    place = torch.argsort(rows)[1:]
    elsewhere = batch()._replace(items=place)
    new = model.catalogue_scores(elsewhere)
    torch.testing.assert_close(new[:, place], whole, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(new[:, 1], whole[:, 8])
    model.select(torch.where(torch.arange(ITEMS + 1) == place[8], -1, torch.arange(ITEMS + 1)))
    twice = model.catalogue_scores(elsewhere)
    torch.testing.assert_close(twice[:, place[8]], twice[:, 1])


@pytest.mark.parametrize("left_out", ["cf_view", "semantic_view"])
def test_a_view_that_is_left_out_is_in_no_score(left_out: str) -> None:
    model = make(None, (ITEMS, 2), **{left_out: False})
    assert model.catalogue_scores(batch()).shape == (5, ITEMS)
    assert torch.isfinite(model.loss(batch()).total)


def test_the_loss_reaches_every_parameter_and_no_candidate_the_prompt() -> None:
    model = make(departures={"cold_items": 0.5}).train()
    model.loss(batch()).total.backward()
    # The output matrix is that of the words; cold items reach the cold vector.
    assert not {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert torch.isfinite(model.loss(rows_of(batch(), [2])).total)  # one user, no history
    model.eval()
    other = batch()._replace(candidates=(batch().candidates + 1) % ITEMS)
    torch.testing.assert_close(model.catalogue_scores(batch()), model.catalogue_scores(other))
