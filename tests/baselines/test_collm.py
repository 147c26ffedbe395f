"""CoLLM: its two phases, its slots, and the CF table from the stage that makes it to the weights."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import ITEMS, USERS, Small, write_cf, write_dataset
from torch import Tensor

from gensr_model.baselines.collm import CoLLM
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.baselines.registry import BASELINES
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError, DataError
from gensr_model.models import cf_tables
from gensr_model.models.cf_tables import NodeVectors
from gensr_model.runtime.files import write_tensors
from gensr_model.runtime.progress import NullReport
from gensr_model.training import baseline as training
from gensr_model.training.needs import read_cf
from tasks.compare import baselines
from tasks.core.stage import Stage, StageResult
from tasks.core.tracking import Tracked
from tasks.core.work import Work


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    root = tmp_path_factory.mktemp("collm")
    dataset = write_dataset(root / "prepared")
    return Small(dataset, write_cf(root / "cf"), batch(dataset, CoLLM))  # type: ignore[arg-type]


def make(small: Small, **rest: object) -> CoLLM:
    torch.manual_seed(0)
    return CoLLM(collator(small.dataset, CoLLM).domain, dropout=0.0, cf_dim=8, **rest)  # type: ignore[arg-type]


def steps(model: CoLLM, result: BaselineBatch, count: int = 3) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(count):
        optimizer.zero_grad()
        model.loss(result).total.backward()
        optimizer.step()


def weights(model: CoLLM) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model: CoLLM, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_the_first_phase_is_blind_to_the_cf_table_and_the_second_moves_the_mlp_alone(small: Small) -> None:
    result: BaselineBatch = small.batch  # type: ignore[assignment]
    one, two = make(small), make(small)
    two.receive("cf", read_cf(small.cf, small.dataset))
    assert not torch.equal(one.score(result), two.score(result))
    for model in (one, two):
        before = weights(model)
        model.enter("text", 0)
        steps(model, result)
        assert moved(model, before) == {"t5"}
    assert torch.equal(one.score(result), two.score(result))
    other_users = result.replace(user=(result.user + 1) % USERS)
    assert torch.equal(one.score(other_users), one.score(result))
    before = weights(two)
    two.enter("slots", 0)
    assert not torch.equal(two.score(other_users), two.score(result))
    steps(two, result)
    # Item 39 has no edge: the vector of such nodes learns, too.
    steps(two, result.replace(candidates=torch.full_like(result.candidates, ITEMS - 1)), 1)
    assert moved(two, before) == {"slot", "cold"}


@torch.inference_mode()
def test_swapped_user_vectors_swap_scores_and_a_node_without_edges_has_the_learned_one(small: Small) -> None:
    result: BaselineBatch = small.batch  # type: ignore[assignment]
    model = make(small).eval()
    model.receive("cf", read_cf(small.cf, small.dataset))
    pair = result.take(torch.tensor([0, 0])).replace(user=torch.tensor([3, 5]))
    scores = model.score(pair)
    assert not torch.isclose(scores[0], scores[1]).any()
    model.vectors[[3, 5]] = model.vectors[[5, 3]]
    torch.testing.assert_close(model.score(pair), scores[[1, 0]])
    model.cold += 1
    torch.testing.assert_close(model.in_slot(torch.tensor([USERS + ITEMS - 1])), model.slot(model.cold).unsqueeze(0))
    torch.testing.assert_close(model.in_slot(torch.tensor([4])), model.slot(model.vectors[[4]]))


@torch.inference_mode()
def test_the_prompt_has_titles_slots_and_the_candidate_in_order(small: Small) -> None:
    result: BaselineBatch = small.batch  # type: ignore[assignment]
    model = make(small, latest=2, title_words=3)
    row = int((result.rec_history.mask.sum(dim=1) > 2).nonzero()[0])
    one = result.take(torch.tensor([row]))
    titles = model.titles.tolist()
    expected = [
        *(token for item in one.rec_history.item[0, -2:].tolist() for token in [*titles[item], model.separator]),
        model.user_slot, model.candidate, *titles[one.candidates[0, 1]], model.item_slot,
    ]  # fmt: skip
    assert model.prompt(one)[1].tolist() == expected
    model.enter("text", 0)
    slots = (model.user_slot, model.item_slot)
    assert model.prompt(one)[1].tolist() == [token for token in expected if token not in slots]


@torch.inference_mode()
def test_the_yes_logit_alone_is_a_switch(small: Small) -> None:
    result: BaselineBatch = small.batch  # type: ignore[assignment]
    both, yes = make(small), make(small, answer="yes")
    difference = both.score(result)
    assert not torch.allclose(yes.score(result), difference)
    yes.t5.shared.weight[yes.no] += 1
    alone = yes.score(result)
    both.t5.shared.weight[both.no] = 0
    torch.testing.assert_close(both.score(result), alone)


def test_the_stages_read_the_cf_table_and_a_saved_model_ranks_as_the_trained_one(small: Small, tmp_path: Path) -> None:
    config = PipelineConfig.model_validate(
        {
            "model": {"max_history": 6},
            "train": {"valid_samples": 20},
            "prepare": {"negatives": 9},
            "rerank": {
                "batch_size": 64, "trials": 1, "points": {"collm": {"cf_dim": 8, "dim": 8, "layers": 1}}
            },
        }
    )  # fmt: skip
    stages, prepared = baselines.stages_of("collm"), small.dataset.folder

    def build(step: str, *inputs: Path) -> Path:
        out = tmp_path / step
        out.mkdir()
        stage = getattr(stages, step)
        stage.build(Work(out, tmp_path / f"{step}-work", NullReport()), stage.view(config, "collm"), *inputs, "collm")
        return out

    bundle = build("train", prepared, small.cf, build("tune", prepared, small.cf))
    model = training.load(bundle, BASELINES["collm"], small.dataset).model
    assert torch.equal(model.vectors, read_cf(small.cf, small.dataset).vectors)
    assert pq.read_table(build("rank", prepared, bundle) / "ranks.parquet").num_rows == USERS


def test_a_table_that_does_not_fit_and_a_graph_without_an_edge_are_errors_before_training(
    small: Small, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"reads a CF table of 110x64, but this one has 110x8\. Set cf_dim"):
        CoLLM(collator(small.dataset, CoLLM).domain).receive("cf", read_cf(small.cf, small.dataset))
    none = cf_tables.load(small.cf)._replace(item_has_edges=torch.zeros(ITEMS, dtype=torch.bool))
    write_tensors(tmp_path / cf_tables.FILE, none._asdict())
    with pytest.raises(DataError, match="the graph of this CF table has no edge"):
        read_cf(tmp_path, small.dataset)
    prepared = StageResult("prepare", "p", Path("nowhere"), {}, 0.0, False)
    with pytest.raises(ConfigError, match="CoLLM needs cf, which this flow does not make"):
        baselines.train_baseline_stages(cast(Tracked, None), PipelineConfig(), prepared, "collm", tune=False)


def test_tuning_and_training_get_the_cf_table_as_an_input_and_other_systems_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared, cf, tuned = (StageResult(name, name, tmp_path, {}, 0.0, False) for name in ("prepared", "cf", "tuned"))
    (tmp_path / "tuning.json").write_text('{"chosen": {}}', encoding="utf-8")
    given: list[tuple[StageResult, ...]] = []

    def stage(run: object, config: object, *inputs: StageResult, **rest: object) -> StageResult:
        given.append(inputs)
        return tuned

    monkeypatch.setattr(baselines, "stages_of", lambda name, table: baselines.Stages(*[cast(Stage, stage)] * 3))
    for name in ("collm", "qem"):
        baselines.run_system(
            cast(Tracked, None), PipelineConfig.model_validate({"rerank": {"tune": True}}), prepared, cf, name, 0
        )
    ranked = (prepared, tuned)
    assert given == [
        (prepared, cf), (prepared, cf, tuned), ranked, (prepared,), (prepared, tuned), ranked,
    ]  # fmt: skip


def test_another_cf_table_is_another_training() -> None:
    given = [StageResult(name, name, Path(), {}, 0.0, False) for name in ("prepared", "cf", "other")]
    train, config = baselines.stages_of("collm").train, PipelineConfig()
    assert train.key(config, *given[:2], option="collm") != train.key(config, given[0], given[2], option="collm")
    assert "gensr_model.training.needs:read_cf" in train.definitions(config, "collm")
    assert "gensr_model.training.needs:read_cf" not in baselines.stages_of("din").train.definitions(config, "din")


def test_users_and_items_have_unit_scale_and_users_without_purchases_no_edge(small: Small) -> None:
    nodes = read_cf(small.cf, small.dataset)
    assert nodes.vectors.shape == (USERS + ITEMS, 8)
    bought = torch.zeros(USERS, dtype=torch.bool)
    bought[torch.from_numpy(small.dataset.graph()[0])] = True
    assert torch.equal(nodes.has_edges[:USERS], bought)
    for part in (slice(0, USERS), slice(USERS, USERS + ITEMS)):
        known = nodes.vectors[part][nodes.has_edges[part]]
        torch.testing.assert_close(known.pow(2).mean(), torch.tensor(1.0))
    assert isinstance(nodes, NodeVectors)
