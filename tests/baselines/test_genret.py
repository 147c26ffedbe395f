"""GenRet: codes that it learns from texts and queries, one after another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import ITEMS, write_dataset
from torch import Tensor

from gensr_model.baselines import genret
from gensr_model.baselines.base import BaselineSpec
from gensr_model.baselines.genret import LEVELS, GenRet, balanced_kmeans, centred, sinkhorn
from gensr_model.baselines.inputs import BaselineBatch, Domain
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.data.text import ItemText
from gensr_model.errors import ConfigError, DataError
from gensr_model.models.base import LossParts
from gensr_model.runtime.files import module_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline, trainer

CODES, EPOCHS, BATCH = 4, 30, 64
POINT = {"codes": CODES, "dim": 16, "layers": 1, "decoder_layers": 1, "dropout": 0.0, "learning_rate": 1e-2}
CONFIG = PipelineConfig.model_validate(
    {"model": {"max_history": 6}, "train": {"valid_samples": 40}, "rerank": {"batch_size": BATCH, "patience": 1}}
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("genret") / "prepared")


class Step(NamedTuple):
    level: int
    ids: Tensor
    positives: Tensor


class Recorded(GenRet):
    """Notes what every step had."""

    steps: ClassVar[list[Step]] = []

    def loss(self, batch: BaselineBatch) -> LossParts:
        self.steps.append(Step(self.level, self.ids.clone(), batch.candidates[:, 0]))
        return super().loss(batch)


def train(dataset: PreparedDataset, folder: Path, kind: type[GenRet] = GenRet) -> GenRet:
    spec = BaselineSpec(kind, "GenRet", "search", {}, reranks=False)
    lexicon = baseline.lexicon_of(spec, dataset, CONFIG.model.text)
    return baseline.fit_baseline(spec, POINT, dataset, lexicon, CONFIG, EPOCHS, folder, NullReport())[0]


@pytest.fixture(scope="module")
def whole(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[GenRet, list[Step]]:
    Recorded.steps = []
    return train(dataset, tmp_path_factory.mktemp("whole"), Recorded), Recorded.steps


def colliding(ids: Tensor, levels: int) -> int:
    """Pairs of items with the same codes at the first levels."""
    return sum(n * (n - 1) // 2 for n in Counter(map(tuple, ids[:, :levels].tolist())).values())


def test_codes_are_frozen_one_after_another_and_used_about_equally(
    dataset: PreparedDataset, whole: tuple[GenRet, list[Step]]
) -> None:
    model, steps = whole
    codes = model.ids[:, :LEVELS]
    per_epoch = -(-(dataset.samples("train").task == 1).sum() // BATCH)
    # A thirtieth of the epochs, then four.
    assert [len([s for s in steps if s.level == level]) for level in (1, 2, 3)] == [5 * per_epoch] * 3
    for step in steps:
        assert torch.equal(step.ids[:, : step.level - 1], codes[:, : step.level - 1])
    collisions = [colliding(codes, level) for level in range(LEVELS + 1)]
    assert collisions == sorted(collisions, reverse=True)
    assert collisions[LEVELS] < collisions[1] / 5, "later codes tell the items of a prefix apart"
    for level in range(LEVELS):
        used = torch.bincount(codes[:, level] - 1 - level * CODES, minlength=CODES)
        assert 1 - (used - ITEMS / CODES).abs().sum() / (2 * ITEMS) > 0.85
    assert len(model.ids.unique(dim=0)) == ITEMS
    numbers = model.ids[:, LEVELS] - 1 - LEVELS * CODES
    assert sorted(numbers.tolist())[-1] == max(Counter(map(tuple, codes.tolist())).values()) - 1


def test_batches_of_later_codes_hold_few_prefixes(whole: tuple[GenRet, list[Step]]) -> None:
    prefixes = {
        level: np.median([len(s.ids[s.positives, 0].unique()) for s in whole[1] if s.level == level])
        for level in (1, 2, LEVELS + 1)
    }
    assert prefixes == {1: CODES, 2: 2, LEVELS + 1: CODES}


def test_a_training_that_is_killed_in_a_middle_phase_resumes_to_the_same_weights(
    dataset: PreparedDataset, whole: tuple[GenRet, list[Step]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = trainer.TrainingData.batch, [len([s for s in whole[1] if s.level == 1]) + 9]

    def dies(self: trainer.TrainingData, number: int) -> tuple[Any, Any]:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(trainer.TrainingData, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes-1", "prefix-1", "prefix-2"]
    resumed, expected = module_tensors(train(dataset, tmp_path)), module_tensors(whole[0])
    assert [name for name in expected if not torch.equal(expected[name], resumed[name])] == []


@pytest.mark.parametrize("epsilon", [1.0, 0.05])
def test_sinkhorn_balances_codes(epsilon: float) -> None:
    scores = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    assigned = sinkhorn(scores, epsilon)
    torch.testing.assert_close(assigned.sum(dim=0), torch.tensor([2.0, 2.0]).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(assigned.sum(dim=1), torch.ones(4).double())
    assert assigned.argmax(dim=1).tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(sinkhorn(scores * 7 + 5, epsilon), assigned, atol=1e-4, rtol=0)
    assert sinkhorn(scores[:0]).shape == (0, 2)


def test_codes_are_balanced_also_where_all_items_are_much_alike() -> None:
    """What all share neither decides nor sets the scale, or the largest share of a row would be of few codes."""
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(64, 16)) * rng.uniform(0.1, 1, 16) + 50 * rng.normal(size=16))
    used = torch.bincount(sinkhorn(scores).argmax(dim=1), minlength=16)
    assert 1 - (used - 4).abs().sum() / (2 * 64) > 0.8


def test_centres_have_about_as_many_points_each() -> None:
    rng = np.random.default_rng(0)
    points = torch.from_numpy(np.concatenate([rng.normal(size=(90, 2)), [[9, 9]] * 10])).float()
    centres = balanced_kmeans(points, 4, np.random.default_rng(1))
    size = torch.bincount(torch.cdist(points, centres).argmin(dim=1), minlength=4)
    assert size.min() >= 10
    assert size.max() <= 40
    same = balanced_kmeans(torch.ones(3, 2), 4, np.random.default_rng(1))
    assert same.tolist() == [[1.0, 1.0]] * 4


def test_what_an_equal_query_looks_for_is_no_negative(dataset: PreparedDataset) -> None:
    torch.manual_seed(0)
    model, result = GenRet(collator(dataset, GenRet).domain), batch(dataset, GenRet)
    model.enter("prefix-1", 0)
    same = torch.nonzero((result.query == result.query[0]).all(dim=1)).squeeze(1)
    assert len(result.candidates[same, 0].unique()) > 2
    assert model.loss(result.take(same)).total == 0
    other = torch.nonzero((result.query != result.query[0]).any(dim=1))[0]
    assert model.loss(result.take(torch.cat([same, other]))).total > 0


def without_text(domain: Domain, silent: Tensor) -> Domain:
    """The domain without the texts of items."""
    text = domain.item_text
    assert text is not None
    length = text.offsets.diff().masked_fill(silent, 0)
    words = [text.tokens[a : a + n] for a, n in zip(text.offsets.tolist(), length.tolist(), strict=False)]
    return domain._replace(item_text=ItemText(torch.cat(words), torch.cat([length.new_zeros(1), length.cumsum(0)])))


@pytest.mark.parametrize("share", [3, 1])
def test_items_without_text_keep_their_random_codes(dataset: PreparedDataset, share: int) -> None:
    torch.manual_seed(0)
    silent = torch.arange(ITEMS) % share == 0
    model = GenRet(without_text(collator(dataset, GenRet).domain, silent), codes=CODES)
    result, before = batch(dataset, GenRet), model.ids.clone()
    for phase in model.phases:
        model.enter(phase.name, 0)
        model.zero_grad()
        loss = model.loss(result)
        assert all(part.isfinite() for part in loss.parts.values())
        if loss.total.requires_grad:
            loss.total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert torch.equal(model.ids[silent, :LEVELS], before[silent, :LEVELS])
    assert len(model.ids.unique(dim=0)) == ITEMS
    assert torch.equal(model.ids, before) == (share == 1)


def test_centring_leaves_what_tells_the_items_of_a_prefix_apart() -> None:
    values = torch.tensor([[5.0, 1.0], [7.0, 1.0], [0.0, 3.0], [4.0, 3.0]])
    prefix = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 3]])
    result = centred(values, prefix)
    assert result[:2].tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    alone = torch.tensor([[-4.0, 1.0], [0.0, 1.0]])  # less the mean of all, (4, 2), and of the others' length
    torch.testing.assert_close(result[2:], alone * 2 / (17**0.5 + 1))
    assert centred(values, torch.zeros(4, 1)).mean(dim=0).tolist() == [0.0, 0.0]


def test_codes_tell_the_items_of_a_prefix_apart_where_prefixes_differ_more() -> None:
    """Without centring every item of a prefix has the code that the prefix likes."""
    rng = np.random.default_rng(0)
    prefix = torch.arange(16).repeat_interleave(4).unsqueeze(1)
    scores = torch.from_numpy(rng.normal(size=(64, 8)) + 20 * rng.normal(size=(16, 8))[prefix.squeeze(1)])

    def distinct(scores: Tensor) -> int:
        codes = sinkhorn(scores).argmax(dim=1)
        return len(torch.cat([prefix, codes.unsqueeze(1)], dim=1).unique(dim=0))

    assert distinct(scores) < 30
    assert distinct(centred(scores, prefix)) > 45


def test_codes_that_outnumber_the_items_are_refused(dataset: PreparedDataset) -> None:
    domain = collator(dataset, GenRet).domain
    assert GenRet(domain).codes == ITEMS < 64
    with pytest.raises(ConfigError, match=rf"^rerank\.points\.genret\.codes is 41, but there are only {ITEMS} items"):
        GenRet(domain, codes=ITEMS + 1)


def test_too_many_items_with_the_same_codes_are_an_error(
    dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = GenRet(collator(dataset, GenRet).domain, codes=CODES)
    torch.nn.init.zeros_(model.books[0])
    torch.nn.init.zeros_(model.books[1])
    monkeypatch.setattr(genret, "MOST_EQUAL", 9)
    model.enter("prefix-2", 0)
    with pytest.raises(DataError, match="items the same codes, but ids can distinguish only 9"):
        model.enter("prefix-3", 0)
