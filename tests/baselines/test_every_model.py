"""What holds for every baseline; registering one is enough to have it tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from baseline_inputs import MAX_HISTORY, batch, collator, of_tasks
from small_dataset import USERS, write_dataset
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gensr_model.baselines.base import Baseline
from gensr_model.baselines.collm import CoLLM
from gensr_model.baselines.inputs import FIELDS, MIXED, REC, TEXT, USER, BaselineBatch, ContractError, History
from gensr_model.baselines.registry import BASELINES, BaselineSpec
from gensr_model.config.base import TASKS
from gensr_model.data.prepared import PreparedDataset
from gensr_model.training.hyperparameters import MIN_HISTORY, OF_TRAINER

pytestmark = pytest.mark.parametrize("system", BASELINES.values(), ids=BASELINES.keys())
HISTORIES = ("rec_history", "src_history", "history")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("baselines") / "prepared")


def make(dataset: PreparedDataset, system: BaselineSpec) -> Baseline:
    torch.manual_seed(0)
    return system.model(collator(dataset, system.model).domain)


def trained(dataset: PreparedDataset, system: BaselineSpec, steps: int = 8) -> Baseline:
    """After some steps, so that nothing is still at a start where it does not matter; ready to score."""
    model, result = make(dataset, system), batch(dataset, system.model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(result).total.backward()
        optimizer.step()
    return model.eval()


def changed(result: BaselineBatch, change: Callable[[History], History]) -> BaselineBatch:
    """The batch with every history changed."""
    return result.replace(**{name: change(result.__dict__[name]) for name in HISTORIES if name in result.__dict__})


@torch.inference_mode()
def scores(model: Baseline, result: BaselineBatch) -> Tensor:
    return model.score(result)


def test_scores_have_the_shape_of_the_lists_and_gradients_are_finite(
    dataset: PreparedDataset, system: BaselineSpec
) -> None:
    model = make(dataset, system)
    result = batch(dataset, system.model, 17)
    assert model.score(result).shape == result.candidates.shape == (17, 5)
    loss = model.loss(result)
    assert loss.total.shape == ()
    assert all(torch.isfinite(part) and not part.requires_grad for part in loss.parts.values())
    loss.total.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    still = {name for name, p in model.named_parameters() if p.requires_grad} - reached
    assert not still, f"parameters that no loss reaches: {still}"


def test_it_overfits_32_samples(dataset: PreparedDataset, system: BaselineSpec) -> None:
    """Dropout off: whether a model can fit, not how it is kept from it. Samples without any history are left out."""
    model = make(dataset, system)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    result = batch(dataset, system.model, with_history=True)
    if system.model is CoLLM:  # reads a prompt for every candidate: lists of two take less time
        result = result.replace(candidates=result.candidates[:, :2])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = 0.0
    for step in range(300):
        optimizer.zero_grad()
        loss = model.train().loss(result).total
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            first = first or loss.item()
            ranked = scores(model.eval(), result)
            best = (ranked[:, :1] > ranked[:, 1:]).all(dim=1).float().mean().item()
            if best >= 0.95:
                break
    assert best >= 0.95, f"the positive is first in {best:.0%} of the lists it was trained on"
    assert loss.item() < first


def test_what_happens_after_a_sample_changes_nothing(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model = trained(dataset, system)
    samples = of_tasks(dataset.samples("train"), system.model)
    rng = np.random.default_rng(1)
    samples = samples.take(rng.permutation(len(samples)))
    samples = samples.take(np.unique(samples.user, return_index=True)[1])  # one per user, not the first
    assert len(samples) == USERS
    assert (samples.history_end > samples.history_start).mean() > 0.5
    lists = rng.integers(dataset.n_items, size=(USERS, 5))
    before = scores(model, collator(dataset, system.model).build(samples, lists))

    # Everything from the sample's own event on is another item, behavior and query.
    events = dataset.events
    end = samples.history_end[np.searchsorted(samples.user, events.user)]
    later = np.arange(len(events.item)) >= end
    assert 0.2 < later.mean() < 1
    query = np.where(rng.random(len(later)) < 0.5, -1, rng.integers(dataset.n_queries, size=len(later)))
    altered = events._replace(
        item=np.where(later, rng.integers(dataset.n_items, size=len(later)), events.item),
        behavior=np.where(later, (query >= 0).astype(np.int64), events.behavior),
        query=np.where(later, query, events.query),
    )
    other = PreparedDataset.open(dataset.folder)
    other.__dict__["events"] = altered
    after = scores(model, collator(other, system.model, source=dataset).build(samples, lists))
    assert torch.equal(before, after)


def test_what_stands_at_padding_changes_nothing(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = trained(dataset, system), batch(dataset, system.model)

    def noise(history: History) -> History:
        fields = dict(history.__dict__)
        filled = torch.randint(dataset.n_items, history.mask.shape)
        fields["item"] = torch.where(history.mask, history.item, filled)
        if "behavior" in fields:
            fields["behavior"] = torch.where(history.mask, fields["behavior"], torch.randint(2, filled.shape))
        if "query" in fields:
            words = torch.randint(2, 6, fields["query"].shape)
            fields["query"] = torch.where(history.mask.unsqueeze(-1), fields["query"], words)
        return History(**fields)

    noisy = changed(result, noise)
    torch.testing.assert_close(scores(model, noisy), scores(model, result), atol=1e-5, rtol=1e-5)


def test_longer_padding_changes_nothing(dataset: PreparedDataset, system: BaselineSpec) -> None:
    if system.model.fixed_length:
        pytest.skip("its history has one length")
    model, result = trained(dataset, system), batch(dataset, system.model)

    def longer(history: History) -> History:
        def pad(tensor: Tensor, axis: int) -> Tensor:
            shape = list(tensor.shape)
            shape[axis] = 3
            return torch.cat([tensor.new_zeros(shape), tensor], dim=axis)

        fields = {name: pad(tensor, 1) for name, tensor in history.__dict__.items()}
        if "query" in fields:
            fields["query"] = pad(fields["query"], 2)  # longer queries, too
        return History(**fields)

    longest = changed(result, longer)
    if "query" in result.__dict__:
        query = torch.cat([result.query.new_zeros(len(result.query), 2), result.query], dim=1)
        longest = longest.replace(query=query)
    torch.testing.assert_close(scores(model, longest), scores(model, result), atol=1e-5, rtol=1e-5)


def test_without_history_or_query_scores_and_losses_are_finite(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = trained(dataset, system), batch(dataset, system.model)
    empty = changed(result, lambda h: History(**{k: torch.zeros_like(v) for k, v in h.__dict__.items()}))
    mixed = [result, empty]
    if "query" in result.__dict__:
        mixed += [each.replace(query=torch.zeros_like(result.query)) for each in (result, empty)]
    for each in mixed[1:]:
        assert scores(model, each).isfinite().all()
        model.zero_grad()
        loss = model.loss(each).total
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_score_depends_on_its_sample_and_candidate_alone(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = trained(dataset, system), batch(dataset, system.model, 12)
    whole = scores(model, result)
    places = torch.tensor([3, 1, 4, 0, 2])
    turned = scores(model, result.replace(candidates=result.candidates[:, places]))
    torch.testing.assert_close(turned, whole[:, places], atol=1e-5, rtol=1e-5)
    rows = torch.tensor([7, 2, 11])
    torch.testing.assert_close(scores(model, result.take(rows)), whole[rows], atol=1e-5, rtol=1e-5)
    one = torch.cat([scores(model, result.take(torch.tensor([row]))) for row in range(12)])
    torch.testing.assert_close(one, whole, atol=1e-5, rtol=1e-5)


def test_a_batch_of_one_task_or_of_one_sample_can_be_trained_on(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = make(dataset, system), batch(dataset, system.model)
    for task in system.tasks:
        rows = torch.nonzero(result.task == TASKS.index(task)).squeeze(1)
        for part in (rows, rows[:1]):
            loss = model.loss(result.take(part)).total
            assert loss.isfinite()
            loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class NoPromotion(TorchFunctionMode):
    """Autocast on a CPU brings what ``index_copy`` is given to one type; on CUDA it does not, and that is an error."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.index_copy, torch.index_copy):
            assert args[0].dtype == args[3].dtype, f"{args[3].dtype} copied into {args[0].dtype}"
        return func(*args, **(kwargs or {}))


def test_it_can_be_trained_in_bf16(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = make(dataset, system), batch(dataset, system.model)
    with torch.autocast("cpu", torch.bfloat16), NoPromotion():
        loss = model.loss(result).total
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def _use(model: Baseline, result: BaselineBatch) -> None:
    model.loss(result)
    model.score(result)


def test_it_reads_every_field_that_it_declares_and_no_other(dataset: PreparedDataset, system: BaselineSpec) -> None:
    model, result = make(dataset, system), batch(dataset, system.model)
    for name in system.reads - {"item_text"}:
        fields = {k: v for k, v in result.__dict__.items() if k != name}
        with pytest.raises(ContractError, match=name):
            _use(model, BaselineBatch(**fields))
    assert (collator(dataset, system.model).domain.item_text is not None) == ("item_text" in system.reads)


def test_its_block_says_what_it_may_read(dataset: PreparedDataset, system: BaselineSpec) -> None:
    """A model for recommendation alone is given no search; one for search alone has the searches as its history."""
    forbidden = {"recommendation": FIELDS - {REC, USER, TEXT}, "search": frozenset({REC, MIXED})}
    assert not system.model.reads & forbidden.get(system.block, frozenset())
    tasks = {"recommendation": ("recommendation",), "search": ("search",), "search-enhanced": ("recommendation",)}
    assert system.model.tasks == tasks.get(system.block, TASKS)


def test_the_same_seed_makes_the_same_model(dataset: PreparedDataset, system: BaselineSpec, tmp_path: Path) -> None:
    one, two = make(dataset, system), make(dataset, system)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(buffer.dtype != torch.float64 for buffer in [*one.parameters(), *one.buffers()])
    assert collator(dataset, system.model).domain.max_history == MAX_HISTORY
    for name, values in system.grid.items():
        if name not in (*OF_TRAINER, MIN_HISTORY):
            for value in values:
                system.model(collator(dataset, system.model).domain, **{name: value})
