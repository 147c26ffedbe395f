"""The controls of Query-SeqRec know what they say they know."""

from __future__ import annotations

import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import write_dataset
from torch import Tensor

from benchmarks.controls import WITHOUT_QUERIES, WITHOUT_SEARCHES
from gensr_model.baselines.base import Baseline, BaselineSpec
from gensr_model.baselines.inputs import REC, BaselineBatch
from gensr_model.baselines.query_seqrec import QuerySeqRec
from gensr_model.data.prepared import PreparedDataset
from tasks.compare.names import find_baseline

CONTROLS = ("WITHOUT_QUERIES", "WITHOUT_SEARCHES")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("controls") / "prepared")


def trained(dataset: PreparedDataset, model: type[Baseline]) -> tuple[Baseline, BaselineBatch]:
    torch.manual_seed(0)
    made, rows = model(collator(dataset, model).domain), batch(dataset, model, with_history=True)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    first = made.loss(rows).total.item()
    for _ in range(30):
        optimizer.zero_grad()
        made.loss(rows).total.backward()
        optimizer.step()
    assert made.loss(rows).total.item() < first / 2
    return made.eval(), rows


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_named_as_a_baseline_of_ones_own(name: str) -> None:
    system = find_baseline(f"benchmarks.controls:{name}")
    assert isinstance(system, BaselineSpec)
    assert system.tasks == ("recommendation",)


def test_without_queries_no_query_moves_a_score_and_every_item_does(dataset: PreparedDataset) -> None:
    def moved(model: Baseline, rows: BaselineBatch) -> tuple[bool, bool]:
        history = rows.history
        there = history.query > 0
        other = history.replace(query=torch.where(there, history.query.flip(0) % 3 + 2, history.query))
        searched = history.mask & (history.behavior == 1)
        items = history.replace(item=torch.where(searched, (history.item + 7) % dataset.n_items, history.item))
        result: list[Tensor] = []
        with torch.inference_mode():
            result = [model.score(rows.replace(history=h)) for h in (history, other, items)]
        return not torch.equal(result[0], result[1]), not torch.equal(result[0], result[2])

    assert moved(*trained(dataset, WITHOUT_QUERIES.model)) == (False, True)
    assert moved(*trained(dataset, QuerySeqRec)) == (True, True)


def test_without_searches_there_is_no_search_to_read(dataset: PreparedDataset) -> None:
    assert WITHOUT_SEARCHES.reads == {REC}
    model, rows = trained(dataset, WITHOUT_SEARCHES.model)
    assert set(rows.__dict__) == {"candidates", "task", REC}
    assert torch.isfinite(model.score(rows)).all()
