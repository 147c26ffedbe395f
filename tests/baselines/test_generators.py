"""Generative baselines: their scores are likelihoods of ids, whoever computes them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import write_dataset
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from gensr_model.baselines.bsr import BSR
from gensr_model.baselines.generator import PAD, Generator, random_codes, side_by_side
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.tiger import TIGER
from gensr_model.data.prepared import PreparedDataset
from gensr_model.decoding.likelihood import RestrictedDecoder
from gensr_model.errors import ConfigError

GENERATORS = {name: spec.model for name, spec in BASELINES.items() if issubclass(spec.model, Generator)}
every_generator = pytest.mark.parametrize("kind", GENERATORS.values(), ids=GENERATORS.keys())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("generators") / "prepared")


def spread(dataset: PreparedDataset, kind: type[Generator]) -> Generator:
    """A model whose answers are far from uniform, so that no two scores are close."""
    torch.manual_seed(3)
    model = kind(collator(dataset, kind).domain).eval()
    with torch.no_grad():
        model.t5.shared.weight.mul_(40)
        for parameter in model.t5.parameters():
            parameter.mul_(1.3)
    return model


def likelihoods(model: Generator, result: BaselineBatch) -> Tensor:
    """(B, I) log p of every id, each read alone in one pass of the decoder."""
    states, mask = model.encode(result)
    allowed = model.allowed()
    out = torch.empty(len(states), len(model.ids))
    for row in range(len(states)):
        for item, (answer, length) in enumerate(zip(model.ids, model.id_lengths.tolist(), strict=True)):
            known = torch.cat([torch.tensor([PAD]), answer[: length - 1]]).unsqueeze(0)
            logits = model.t5(
                encoder_outputs=BaseModelOutput(last_hidden_state=states[row : row + 1]),
                attention_mask=mask[row : row + 1], decoder_input_ids=known,
            ).logits[0]  # fmt: skip
            logs = logits.masked_fill(~allowed[:length], -torch.inf).log_softmax(-1)
            out[row, item] = logs[torch.arange(length), answer[:length]].sum()
    return out


@every_generator
@torch.inference_mode()
def test_scores_beam_and_hugging_face_give_the_same_likelihoods(
    dataset: PreparedDataset, kind: type[Generator]
) -> None:
    model, result = spread(dataset, kind), batch(dataset, kind, 3)
    expected = likelihoods(model, result)
    torch.testing.assert_close(Generator.catalogue_scores(model, result), expected, atol=1e-5, rtol=1e-5)
    listed = expected.gather(1, result.candidates)
    torch.testing.assert_close(model.likelihood(result), listed, atol=1e-5, rtol=1e-5)
    # BSR's scores are logits: their softmax over the catalogue is what the others have.
    scores = model.catalogue_scores(result)
    torch.testing.assert_close(scores.log_softmax(-1) if kind is BSR else scores, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.gather(1, result.candidates), model.score(result), atol=1e-5, rtol=1e-5)
    total = expected.exp().sum(dim=1)
    assert (total <= 1 + 1e-5).all()
    if kind is BSR:
        torch.testing.assert_close(total, torch.ones(3))
    beams = model.generate(result, len(model.ids))
    best = expected.sort(dim=1, descending=True)
    assert beams.items.tolist() == best.indices.tolist()
    torch.testing.assert_close(beams.scores, best.values, atol=1e-5, rtol=1e-5)


@every_generator
@torch.inference_mode()
def test_a_constrained_beam_of_hugging_face_finds_the_same_items(
    dataset: PreparedDataset, kind: type[Generator]
) -> None:
    """Its own prefix function comes after a softmax over the whole vocabulary; here the softmax is over ids' tokens."""
    model, result = spread(dataset, kind), batch(dataset, kind, 3)
    allowed: dict[tuple[int, ...], set[int]] = defaultdict(set)
    rows = [tuple(ids[:n]) for ids, n in zip(model.ids.tolist(), model.id_lengths.tolist(), strict=True)]
    for row in rows:
        for place, token in enumerate(row):
            allowed[row[:place]].add(token)
    of_place = model.allowed()

    class OnlyIds(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            logs = scores.masked_fill(~of_place[input_ids.shape[1] - 1], -torch.inf).log_softmax(-1)
            goes_on = torch.zeros_like(logs, dtype=torch.bool)
            for number, sent in enumerate(input_ids[:, 1:].tolist()):
                goes_on[number, sorted(allowed[tuple(sent)]) or [PAD]] = True  # an id that has ended
            return logs.masked_fill(~goes_on, -torch.inf)

    states, mask = model.encode(result)
    found = model.t5.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states), attention_mask=mask, do_sample=False, num_beams=4,
        num_return_sequences=4, max_new_tokens=model.ids.shape[1], length_penalty=0.0,
        eos_token_id=getattr(model, "eos", None),
        logits_processor=LogitsProcessorList([OnlyIds()]), output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    place = {row: number for number, row in enumerate(rows)}
    items = [place[tuple(token for token in row if token != PAD)] for row in found.sequences[:, 1:].tolist()]
    ours = model.generate(result, 4)
    assert ours.items.flatten().tolist() == items
    torch.testing.assert_close(ours.scores.flatten(), found.sequences_scores, atol=1e-5, rtol=1e-5)


def test_tokens_of_a_row_stand_together_at_the_right() -> None:
    parts = [torch.tensor([[0, 5], [0, 0], [6, 7]]), torch.tensor([[0, 0, 8], [0, 0, 0], [9, 0, 4]])]
    assert side_by_side(parts).tolist() == [[0, 0, 5, 8], [0, 0, 0, 0], [6, 7, 9, 4]]
    assert side_by_side([torch.zeros(2, 3, dtype=torch.long)]).tolist() == [[0], [0]]


@torch.inference_mode()
def test_bsr_is_blind_to_queries_in_recommendation_and_to_history_in_search(dataset: PreparedDataset) -> None:
    model, result = spread(dataset, BSR), batch(dataset, BSR, 40)
    scores, searched = model.score(result), result.task == 1
    other_words = result.replace(query=torch.where(result.query != 0, 2, 0))
    assert torch.equal(model.score(other_words)[~searched], scores[~searched])
    assert not torch.isclose(model.score(other_words)[searched], scores[searched]).all(dim=1).all()
    history = result.rec_history
    other_history = result.replace(rec_history=history.replace(item=(history.item + 1) % dataset.n_items))
    torch.testing.assert_close(model.score(other_history)[searched], scores[searched])
    told = history.mask.any(dim=1) & ~searched
    assert not torch.isclose(model.score(other_history)[told], scores[told]).all(dim=1).any()


def test_popularity_in_one_task_shows_in_the_other(dataset: PreparedDataset) -> None:
    """The paper's claim: the tasks share the item tokens. Item 3 is what every search finds."""
    torch.manual_seed(0)
    model, result = BSR(collator(dataset, BSR).domain, dropout=0.0), batch(dataset, BSR, 60)
    result = result.take(torch.nonzero(result.task == 1).squeeze(1))
    result = result.replace(candidates=torch.full((len(result.task), 1), 3))
    recommend = result.replace(
        task=torch.zeros_like(result.task), candidates=torch.arange(8).expand(len(result.task), -1)
    )
    before = model.score(recommend).softmax(-1)[:, 3].mean().item()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        model.loss(result).total.backward()
        optimizer.step()
    assert model.score(recommend).softmax(-1)[:, 3].mean().item() > 2 * before


def test_random_codes_are_distinct_and_numbered_within_equal_ones() -> None:
    codes = random_codes(500, 4, 4)
    assert len(np.unique(codes, axis=0)) == 500
    for bucket in np.unique(codes[:, :3], axis=0):
        numbers = codes[(codes[:, :3] == bucket).all(axis=1), 3]
        assert numbers.tolist() == list(range(len(numbers)))
    assert random_codes(500, 4, 4).tolist() == codes.tolist()


@torch.inference_mode()
def test_tiger_tells_items_of_equal_codes_apart_and_says_the_codes_it_was_given(dataset: PreparedDataset) -> None:
    model, result = spread(dataset, TIGER), batch(dataset, TIGER, 4)
    codes = torch.from_numpy(random_codes(dataset.n_items, 2, 4, seed=5))
    model.receive("codes", codes)
    assert model.ids.tolist() == (codes + torch.arange(4) * 256 + model.first_code).tolist()
    with pytest.raises(ConfigError, match=r"TIGER reads ids of 4 codes, but these have 3\. Set semantic_ids\.levels"):
        model.receive("codes", codes[:, :3])
    one, two = next((a, b) for a in range(20) for b in range(a) if torch.equal(codes[a, :3], codes[b, :3]))
    scores = model.score(result.replace(candidates=torch.tensor([[one, two]] * 4)))
    assert (scores[:, 0] != scores[:, 1]).all()


def test_tokens_that_no_id_has_get_no_probability() -> None:
    class Two:
        def start(self) -> Tensor:
            return torch.tensor([[1.0, 2.0, 3.0]])

        def advance(self, source: Tensor, token: Tensor) -> Tensor:
            return torch.tensor([[3.0, 2.0, 1.0]])

    decoder = RestrictedDecoder(Two(), torch.tensor([[True, True, False], [False, True, True]]))
    none = torch.zeros(1, 1, dtype=torch.long)
    assert decoder.start().tolist() == [[1.0, 2.0, -torch.inf]]
    assert decoder.advance(none, none).tolist() == [[-torch.inf, 2.0, 1.0]]
    assert decoder.start().tolist() == [[1.0, 2.0, -torch.inf]]
