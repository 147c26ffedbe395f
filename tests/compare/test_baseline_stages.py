"""What decides whether a baseline is trained again, and what the names of systems mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gensr_model.baselines.registry import BASELINES
from gensr_model.baselines.sasrec import SASRec
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from tasks.compare import baselines, names
from tasks.compare.baselines import RERANKED, SystemTable
from tasks.compare.full_table import FULL_RANKED
from tasks.core import code_version
from tasks.core.stage import StageResult

PREPARED = StageResult("prepare", "p", Path("nowhere"), {}, 0.0, False)


def keys(name: str, **config: object) -> list[str]:
    return keys_in(RERANKED, name, config)


def full_keys(name: str, **config: object) -> list[str]:
    return keys_in(FULL_RANKED, name, config)


def keys_in(table: SystemTable, name: str, config: dict[str, object]) -> list[str]:
    given = PipelineConfig.model_validate(config)
    return [stage.key(given, PREPARED, option=name) for stage in baselines.stages_of(name, table)]


def definitions(name: str) -> set[str]:
    """What training a baseline runs."""
    return set(baselines.stages_of(name).train.definitions(PipelineConfig(), name))


def test_a_new_system_and_a_change_in_another_model_train_nobody_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, search = keys("sasrec"), keys("zam")
    monkeypatch.setitem(BASELINES, "another", BASELINES["qem"])
    assert keys("sasrec") == before
    modules = {name.split(":")[0] for name in definitions("sasrec")}
    assert "gensr_model.baselines.sasrec" in modules
    assert "gensr_model.baselines.layers" in modules
    assert "gensr_model.training.trainer" in modules
    assert "gensr_model.baselines.registry" not in modules
    assert "gensr_model.baselines.product_search" not in modules
    assert keys("zam") == search != before


def test_the_grid_decides_the_tuning_its_first_point_training_too_and_genSR_epochs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tune, train, rank = keys("sasrec")
    own = BASELINES["sasrec"].grid
    for grid, begins_alike in (({k: (*v, v[0]) for k, v in own.items()}, True), ({"dropout": (0.9,)}, False)):
        monkeypatch.setitem(BASELINES, "sasrec", BASELINES["sasrec"]._replace(grid=grid))
        result = keys("sasrec")
        assert result[0] != tune
        assert (result[1] == train) is begins_alike
        assert result[2] == rank
    monkeypatch.undo()
    assert keys("sasrec", train={"epochs": 9}, rerank={"concurrency": 7, "seeds": [3]}) == [tune, train, rank]
    assert keys("sasrec", train={"negatives": 9})[:2] != [tune, train]
    assert keys("sasrec", seed=1)[1] != train
    assert keys("sasrec", rerank={"epochs": 9}) == [tune, keys("sasrec", rerank={"epochs": 9})[1], rank]


def test_precision_is_in_the_key_of_what_is_trained() -> None:
    tune, train, rank = keys("sasrec")
    other = keys("sasrec", train={"precision": "bf16"})
    assert other[0] != tune
    assert other[1] != train
    assert other[2] == rank  # its key has the training's besides


def test_gradient_probes_are_in_the_key_of_the_training_that_has_them_and_in_no_other() -> None:
    every = {"analysis": {"gradient_every": 7}}
    tune, train, rank = keys("unisar")
    assert keys("unisar", **every) == [tune, keys("unisar", **every)[1], rank]
    assert keys("unisar", **every)[1] != train
    for name in ("sasrec", "unified_ssr"):
        assert keys(name, **every) == keys(name)
        assert not any(definition.endswith(":GradientLog") for definition in definitions(name))
    assert any(definition.endswith(":GradientLog") for definition in definitions("unisar"))


def test_unisar_is_analysed_where_the_config_says_so_and_never_on_one_task() -> None:
    def analysed(when: str, tasks: str = "both", enabled: bool = True) -> tuple[bool, bool]:
        given = {"analysis": {"unisar": when, "enabled": enabled}, "train": {"tasks": tasks}}
        config = PipelineConfig.model_validate(given)
        return config.analyses_unisar(), config.analyses_unisar(full_pipeline=True)

    assert PipelineConfig().analysis.unisar == "mechanisms"
    assert [analysed(when) for when in ("never", "mechanisms", "always")] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert analysed("always", tasks="search") == (False, False)
    assert analysed("always", enabled=False) == (True, False)  # of the pipeline's analyses


def test_a_baseline_from_outside_the_package_counts_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from gensr_model.baselines.sasrec import SASRec\nimport mine_layers\nclass Mine(SASRec):\n    pass\n"
    (tmp_path / "mine_alone.py").write_text(source, encoding="utf-8")
    (tmp_path / "mine_layers.py").write_text("WIDTH = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = names.find_baseline("mine_alone:Mine")
    assert issubclass(result.model, SASRec)
    assert result.title == "Mine"
    assert "gensr_model.baselines.sasrec:SASRec" in definitions("mine_alone:Mine")
    for file in ("mine_layers.py", "mine_alone.py"):  # what it imports counts, too
        before, versions = keys("mine_alone:Mine"), code_version.versions()
        with (tmp_path / file).open("a", encoding="utf-8") as more:
            more.write("CHANGED = True\n")
        assert keys("mine_alone:Mine") == before, "this process has imported what it was"
        code_version.must_be(versions)
        monkeypatch.setattr(code_version, "FOREIGN", {})  # another process reads it anew
        with pytest.raises(ConfigError, match=r"mine_alone\.py changed after this run had begun"):
            code_version.must_be(versions)
        assert all(old != new for old, new in zip(before, keys("mine_alone:Mine"), strict=True))


def test_a_dotted_import_of_a_baseline_from_outside_counts_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import gensr_model.baselines.sasrec\nclass Dotted(gensr_model.baselines.sasrec.SASRec):\n    pass\n"
    (tmp_path / "mine_dotted.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "gensr_model.baselines.sasrec:SASRec" in definitions("mine_dotted:Dotted")


def test_a_baseline_is_trained_for_each_table_by_what_that_table_chooses_it_by() -> None:
    given, full = keys("bsr"), full_keys("bsr")
    assert not set(given) & set(full)
    names = [stage.name for stage in baselines.stages_of("bsr", FULL_RANKED)]
    assert names == ["tune-full", "train-baseline-full", "evaluate-full"]
    for of_candidates in ({"train": {"valid_samples": 7}}, {"prepare": {"protocols": ["uniform", "popularity"]},
                                                            "evaluation": {"protocol": "popularity"}}):  # fmt: skip
        assert full_keys("bsr", **of_candidates) == full
        assert keys("bsr", **of_candidates)[1] != given[1]
    for of_catalogue in ({"valid_samples": 7}, {"mask_met": False}):
        assert keys("bsr", full_ranking=of_catalogue) == given
        assert full_keys("bsr", full_ranking=of_catalogue)[1] != full[1]
    catalogue = "gensr_model.evaluation.catalogue:rank_catalogue"
    assert catalogue not in definitions("bsr")
    assert catalogue in baselines.stages_of("bsr", FULL_RANKED).train.definitions(PipelineConfig(), "bsr")


def test_the_table_of_full_ranking_has_what_can_rank_the_catalogue() -> None:
    every = FULL_RANKED.names(PipelineConfig(preset="laptop"))
    assert {"popularity", "lightgcn", "query_user", "sasrec", "bert4rec", "jsr", "bsr", "genret", "gensr"} <= set(every)
    assert not {"two_head", "din", "sesrec", "unisar"} & set(every)
    assert {"tiger", "genret", "bsr"} <= set(every)
    named = PipelineConfig(rerank={"systems": ["bm25", "two_head", "din", "tiger", "gensr"]})
    assert FULL_RANKED.names(named) == ("bm25", "tiger", "gensr")
    assert RERANKED.names(named) == named.rerank.systems


def test_every_system_has_a_title_and_a_group_of_the_table() -> None:
    every = names.every_system()
    assert {"popularity", "bm25", "sasrec", "zam", "two_head", "gensr"} <= set(every)
    assert every[-1] == "gensr"
    titles = [names.title(name) for name in every]
    assert len(set(titles)) == len(titles)
    groups = {"reference", "recommendation", "search", "search-enhanced", "joint"}
    assert {names.block(name) for name in every} <= groups


def test_a_point_replaces_what_has_a_value() -> None:
    config = PipelineConfig(preset="laptop")
    changed = baselines.at_point(config, {"train.learning_rate": 0.5, "model.beta": None, "train.epochs": 1})
    assert (changed.train.learning_rate, changed.train.epochs) == (0.5, 1)
    assert changed.model == config.model
    for grid in names.OURS.values():
        for field, values in grid.items():
            assert values[0] is None  # the first trial is the config as it is
            assert baselines.at_point(config, {field: values[-1]}) != config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"semantic_ids": {"levels": 4}},
            r"^semantic_ids\.levels is 4, but TIGER reads 3 codes and a number\. Set semantic_ids\.levels to 3",
        ),
        ({"semantic_ids": {"vectors": "/no/such"}}, r"^semantic_ids\.vectors '/no/such' is no T5 that can be loaded"),
        (
            {"lightgcn": {"dim": 32}},
            r"CF table of 64 dimensions, but lightgcn\.dim is 32\. Set rerank\.points\.collm\.cf_dim",
        ),
        ({"rerank": {"points": {"collm": {"cf_dim": 8}}}}, r"CF table of 8 dimensions, but lightgcn\.dim is 64"),
    ],
)
def test_codes_and_vectors_that_do_not_fit_are_named_before_any_training(changes: dict[str, Any], said: str) -> None:
    config = PipelineConfig.model_validate(changes)
    names.check_needs(config, ("popularity", "sasrec", "gensr"))
    with pytest.raises(ConfigError, match=said):
        names.check_needs(config, ("sasrec", "tiger", "collm"))


def test_codes_and_vectors_that_fit_are_taken() -> None:
    fits: dict[str, Any] = {"lightgcn": {"dim": 32}, "rerank": {"points": {"collm": {"cf_dim": 32}}}}
    for changes in ({}, fits):
        names.check_needs(PipelineConfig.model_validate(changes), ("tiger", "collm"))
