"""GenSR's score, loss and switches on a tiny T5."""

import math

import pytest
import torch
import torch.nn.functional as F
from generation import generated
from transformers import T5Config, T5ForConditionalGeneration

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.departures import ItemEmbedding, QueryProduct, Unchanged
from gensr_model.models.gensr import GenSR
from gensr_model.models.losses import listwise_loss
from gensr_model.models.text_pooling import TextBuffers

ITEMS, WIDTH, CF, VOCABULARY, NO, YES = 9, 16, 8, 40, 37, 38


def backbone(tied: bool = True, scaled: bool = True) -> T5ForConditionalGeneration:
    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    config.tie_word_embeddings = tied
    config.scale_decoder_outputs = scaled
    return T5ForConditionalGeneration(config)


def make(tied: bool = True, scaled: bool = True, **switches: object) -> GenSR:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"max_history": 5, "view_dropout": 0.0, "view_heads": 2, **switches})
    text = ItemText(torch.arange(2 * ITEMS) + 10, torch.arange(ITEMS + 1) * 2)
    prompts = PromptTable(
        # Two queries and recommendation; the slots hold the pad id 0, 1 ends a prompt.
        ids=torch.tensor(
            [[30, 3, 4, 0, 0, 31, 0, 0, 32, 1], [30, 5, 0, 0, 31, 0, 0, 32, 1, 0], [33, 0, 0, 31, 0, 0, 32, 1, 0, 0]]
        ),
        length=torch.tensor([10, 9, 8]),
        slots=torch.tensor([[3, 4, 6, 7], [2, 3, 5, 6], [1, 2, 4, 5]]),
        query=torch.tensor([[3, 4], [5, 0], [0, 0]]),
        query_length=torch.tensor([2, 1, 0]),
    )
    known = torch.ones(ITEMS, dtype=torch.bool)
    known[4] = False
    cf = CFTable(torch.randn(ITEMS, CF), known)
    return GenSR(config, backbone(tied, scaled), cf, TextBuffers(text, prompts), (NO, YES))


def batch(candidates: int = 4) -> Batch:
    """Five samples of both tasks in mixed order; the third has no history."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([3, 1, 0, 3, 2])
    return Batch(
        items=torch.arange(ITEMS),
        history=torch.randint(0, ITEMS, (5, 3), generator=generator),
        history_mask=torch.arange(3) >= 3 - lengths.unsqueeze(1),
        behavior=torch.randint(0, 2, (5, 3), generator=generator),
        candidates=torch.randint(0, ITEMS, (5, candidates), generator=generator),
        task=torch.tensor([1, 0, 1, 0, 1]),
        query=torch.tensor([0, -1, 1, -1, 1]),
        user=torch.tensor([0, 1, 2, 3, 0]),
        history_end=torch.tensor([3, 4, 5, 9, 12]),
    )


def rows_of(whole: Batch, rows: list[int]) -> Batch:
    return Batch(whole.items, *(field[rows] for field in whole[1:]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_score_is_constrained_generation(tied: bool, scaled: bool) -> None:
    model = make(tied, scaled).eval()
    with torch.inference_mode():
        result = model.score(batch()).sigmoid()
    torch.testing.assert_close(result, generated(model, batch()), atol=1e-6, rtol=1e-4)
    assert result.std() > 1e-4


def test_the_candidates_text_slot_holds_its_product_with_the_query_and_nothing_without_one() -> None:
    """Against the model without the product: the slots differ by W (q ⊙ c), q the mean of the query's words."""
    assert isinstance(make().query_interaction, Unchanged)  # the paper's
    model = make(departures={"query_interaction": True}).eval()
    plain = make().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    assert isinstance(model.query_interaction, QueryProduct)
    everyone = torch.arange(5)
    with torch.inference_mode():
        encoded = model.encode(batch())
        result, _ = model.prompt(batch(), encoded, everyone)
        without, _ = plain.prompt(batch(), plain.encode(batch()), everyone)
        semantic = encoded[1]
        assert semantic is not None
        words = model.backbone.shared.weight
        query = torch.stack([words[[3, 4]].mean(0), words[5], words[5]])  # of the samples that search: 0, 2, 4
        candidates = semantic.candidates[[0, 2, 4]]
        expected = (query.unsqueeze(1) * candidates) @ model.query_interaction.weight.weight.T
    changed = (result - without).abs().sum(dim=-1) > 0  # (R, C, L)
    assert not changed[[1, 3]].any()  # recommendation
    for row, sample in enumerate((0, 2, 4)):
        slot = int(model.text.prompts(batch().query[sample : sample + 1]).slots[0, 3])
        assert changed[sample].nonzero()[:, 1].unique().tolist() == [slot]
        torch.testing.assert_close(
            result[sample, :, slot] - without[sample, :, slot], expected[row], atol=1e-5, rtol=1e-4
        )


def test_without_a_semantic_view_there_is_no_product_with_the_query() -> None:
    model = make(departures={"query_interaction": True}, semantic_view=False)
    assert isinstance(model.query_interaction, Unchanged)
    assert torch.isfinite(model.score(batch())).all()


def test_loss_is_the_likelihood_of_the_answer_in_the_whole_vocabulary() -> None:
    """Eq. 12 through the backbone's own labels: Yes for the positive in column 0, No for the others."""
    model = make().eval()
    result = model.row_losses(batch())
    encoded = model.encode(batch())
    for row in range(5):
        embeds, mask = model.prompt(batch(), encoded, torch.tensor([row]))
        for column in range(4):
            labels = torch.tensor([[YES if column == 0 else NO]])
            expected = model.backbone(inputs_embeds=embeds[:, column], attention_mask=mask.long(), labels=labels).loss
            torch.testing.assert_close(result[row, column], expected, atol=1e-5, rtol=1e-4)


def test_the_loss_over_two_answers_is_binary_cross_entropy_and_never_above_the_vocabulary() -> None:
    whole, two = make().eval(), make(answer_loss="yes_no").eval()
    label = torch.zeros(5, 4)
    label[:, 0] = 1.0
    expected = F.binary_cross_entropy_with_logits(two.score(batch()), label, reduction="none")
    torch.testing.assert_close(two.row_losses(batch()), expected)
    assert (two.row_losses(batch()) < whole.row_losses(batch())).all()


def test_the_listwise_loss_is_a_softmax_over_a_positive_and_its_negatives() -> None:
    """Margins ln 1 … ln 4 weigh 1 … 4: the positive has 1 of 10; the other way round, and 7 higher, 4 of 10."""
    margin = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()
    result = listwise_loss(torch.stack([margin, margin.flip(0) + 7.0]))
    torch.testing.assert_close(result, torch.tensor([math.log(10), math.log(10 / 4)]))
    model = make(answer_loss="listwise", beta=0.0).eval()
    weights = model.score(batch()).exp()
    expected = -(weights[:, 0] / weights.sum(dim=1)).log()
    torch.testing.assert_close(model.row_losses(batch()), expected.unsqueeze(1))
    torch.testing.assert_close(model.loss(batch()).total, expected.mean())


def test_parts_of_the_loss_add_up() -> None:
    model = make(beta=0.3).eval()
    result = model.loss(batch())
    torch.testing.assert_close(result.total.detach(), result.parts["generation"] + 0.3 * result.parts["contrastive"])
    recommendation, search = model.task_losses(batch())
    torch.testing.assert_close(result.parts["generation"], (2 * recommendation + 3 * search).detach() / 5)


def test_a_score_depends_on_its_own_row_and_candidate_only() -> None:
    model = make().eval()
    with torch.inference_mode():
        whole = model.score(batch())
        for row in range(5):
            one_row = rows_of(batch(), [row])
            for column in range(4):
                one = one_row._replace(candidates=one_row.candidates[:, column : column + 1])
                torch.testing.assert_close(model.score(one)[0, 0], whole[row, column], atol=1e-5, rtol=1e-4)


def test_rows_keep_their_places_when_tasks_are_run_apart() -> None:
    model = make().eval()
    order = [4, 1, 0, 3, 2]
    with torch.inference_mode():
        torch.testing.assert_close(
            model.score(rows_of(batch(), order)), model.score(batch())[order], atol=1e-5, rtol=1e-4
        )


def test_query_history_behavior_and_item_all_reach_the_score() -> None:
    model = make().eval()
    with torch.inference_mode():
        before = model.score(batch())
        other_query = model.score(batch()._replace(query=torch.tensor([1, -1, 0, -1, 0])))
        other_history = model.score(batch()._replace(history=(batch().history + 1) % ITEMS))
        other_behavior = model.score(batch()._replace(behavior=1 - batch().behavior))
    assert (~torch.isclose(other_query, before, atol=1e-6)).all(dim=1).tolist() == [True, False, True, False, True]
    for changed in (other_history, other_behavior):
        assert (~torch.isclose(changed, before, atol=1e-6)).any(dim=1).tolist() == [True, True, False, True, True]


SWITCHES: list[tuple[dict[str, object], set[str]]] = [
    ({}, set()),
    ({"cf_view": False}, {"cf_view", "contrast"}),
    ({"semantic_view": False}, {"semantic_view", "contrast"}),
    ({"soft_filter": False}, {"cf_view.filter", "semantic_view.filter"}),
    ({"departures": {"filter_identity": True}}, set()),
    ({"beta": 0.0}, {"contrast"}),
    ({"behavior_embedding": False, "position_embedding": False}, set()),
    ({"answer_loss": "yes_no"}, set()),
    ({"answer_loss": "listwise"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("switches", "gone"), SWITCHES, ids=[str(s) for s, _ in SWITCHES])
def test_every_ablation_learns_and_drops_what_it_names(switches: dict[str, object], gone: set[str]) -> None:
    model = make(**switches).eval()  # no dropout, so that the loss after a step can be compared
    names = {name for name, _ in make().named_parameters()}
    left = {name for name, _ in model.named_parameters()}
    missing = names - left
    assert all(any(name.startswith(part) for name in missing) for part in gone)
    if gone:
        assert all(any(name.startswith(part) for part in gone) for name in missing)
    before = model.loss(batch()).total
    before.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3).step()
    assert model.loss(batch()).total < before


def test_the_cf_table_is_frozen_unless_asked() -> None:
    for freeze in (True, False):
        model = make(freeze_cf=freeze)
        model.cf.table.requires_grad_(not freeze)
        model.loss(batch()).total.backward()
        assert (model.cf.table.grad is None) is freeze
        assert model.cf.cold.grad is not None
        assert model.backbone.shared.weight.grad is not None


def test_vectors_of_the_items_own_change_nothing_before_training_and_learn() -> None:
    model = make(departures={"item_embedding": True})
    torch.testing.assert_close(model.eval().score(batch()), make().eval().score(batch()))
    model.loss(batch()).total.backward()
    assert isinstance(model.item_embedding, ItemEmbedding)
    assert model.item_embedding.table.grad is not None
    met = torch.cat([batch().candidates.flatten(), batch().history[batch().history_mask]]).unique()
    assert torch.equal(model.item_embedding.table.grad.abs().sum(dim=1).nonzero().squeeze(1), met)
    without = make(departures={"item_embedding": True}, semantic_view=False)
    assert isinstance(without.item_embedding, Unchanged)


def test_a_batch_without_any_history_trains() -> None:
    nobody = batch()._replace(history_mask=torch.zeros(5, 3, dtype=torch.bool))
    model = make()
    loss = model.loss(nobody).total
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
