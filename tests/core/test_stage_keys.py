"""Which edit of the sources changes the keys of which stages. The stages and the sources are the real ones."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gensr_model.baselines.registry import BASELINES
from gensr_model.config.base import UndeclaredField
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.synthetic import write_amazon
from gensr_model.evaluation.reference import REFERENCES
from tasks.compare import baselines
from tasks.compare.full_table import FULL_RANKED, TABLES
from tasks.core import code_version, definitions, source_files
from tasks.core.code_version import function_digest
from tasks.core.stage import Stage, StageResult, build_folder
from tasks.core.state_dir import StateDir
from tasks.evaluate import analyze
from tasks.evaluate.examples import draw_examples
from tasks.evaluate.rank import rank_model, rank_reference, rank_valid
from tasks.ingest.ingest import find_source, ingest, reading_code
from tasks.prepare.prepare import prepare
from tasks.train.finetune import MODELS, finetune
from tasks.train.full_ranking import finetune_full, rank_full, rank_full_reference
from tasks.train.pretrain import pretrain
from tasks.train.semantic_ids import semantic_ids
from tasks.validate.drift import check_drift
from tasks.validate.validate import check_prepared, check_raw

Edit = Callable[[dict[str, bytes]], None]
Changed = Callable[[dict[str, bytes]], set[str]]
GIVEN = (StageResult("input", "a", Path(), {}, 0.0, False), StageResult("input", "b", Path(), {}, 0.0, False))
DATA: dict[str, Stage] = {
    "ingest": ingest,
    "check raw": check_raw,
    "prepare": prepare,
    "check": check_prepared,
    "drift": check_drift,
}
TRAINED: dict[str, tuple[Stage, str | None]] = {
    "pretrain": (pretrain, None),
    "semantic ids": (semantic_ids, None),
    **{f"finetune {model}": (finetune, model) for model in MODELS},
    **{f"rank {model}": (rank_model, model) for model in MODELS},
    "rank no_cf_view": (rank_model, "no_cf_view"),
    "rank valid": (rank_valid, "gensr"),
    "finetune full": (finetune_full, None),
    "rank full": (rank_full, "gensr"),
    "examples": (draw_examples, None),
    "analyze information": (analyze.analyze_information, None),
    "analyze gradients": (analyze.analyze_gradients, None),
    "analyze space": (analyze.analyze_space, None),
    "analyze theorem": (analyze.analyze_theorem, None),
    **{f"reference {name}": (rank_reference, name) for name in REFERENCES},
    **{f"full reference {name}": (rank_full_reference, name) for name in REFERENCES},
}
# Reports of the checks show the comments of these queries.
SHOWN = {*source_files.files_in("sql/audit"), "sql/prepared/later_share.sql"}
OF_GENSR = {
    "finetune gensr", "rank gensr", "rank no_cf_view", "rank valid", "examples", "analyze information", "analyze space",
}  # fmt: skip
FINETUNED = {f"finetune {model}" for model in MODELS}
OF_FULL_RANKING = {"finetune full", "rank full"}


def keys(**how_it_trains: object) -> dict[str, str]:
    """The keys of all stages by name, their inputs held fixed."""
    config = PipelineConfig.model_validate({"train": how_it_trains})
    of_data = {
        f"{name} {data_format}": stage.key(PipelineConfig.model_validate({"format": data_format}), *GIVEN)
        for name, stage in DATA.items()
        for data_format in ("amazon", "kuaisar")
    }
    trained = {name: stage.key(config, *GIVEN, option=option) for name, (stage, option) in TRAINED.items()}
    compared = {
        f"{name} {stage.name}": stage.key(config, *GIVEN, option=name)
        for name in BASELINES
        for table in TABLES.values()
        for stage in baselines.stages_of(name, table)
        if table.takes(name)
    }
    return of_data | trained | compared


def forget() -> None:
    for cached in (definitions._definition, definitions._config_methods, code_version.definitions_of):
        cached.cache_clear()


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Replaces sources, as if the process had begun with them."""

    def replace(sources: dict[str, bytes]) -> None:
        for file, content in sources.items():
            assert content != source_files.frozen()[file], file
            monkeypatch.setitem(source_files.frozen(), file, content)
        forget()

    yield replace
    monkeypatch.undo()
    forget()


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return keys()


@pytest.fixture
def changed(before: dict[str, str], edit: Edit) -> Changed:
    """The stages whose keys change with an edit."""

    def with_edit(sources: dict[str, bytes]) -> set[str]:
        edit(sources)
        after = keys()
        return {name for name, key in after.items() if key != before[name]}

    return with_edit


def with_more(name: str) -> dict[str, bytes]:
    """The file of ``module:name`` with one more statement in that function, or method of a class."""
    module, _, inner = name.partition(":")
    file = module.replace(".", "/") + ".py"
    lines = source_files.text(file).splitlines(keepends=True)
    body: list[ast.stmt] = ast.parse("".join(lines)).body
    for part in inner.split("."):
        (body,) = (node.body for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part)
    last = body[-1]
    lines.insert(last.lineno - 1, f"{' ' * last.col_offset}edited = True\n")
    return {file: "".join(lines).encode()}


def test_comments_docstrings_and_layout_change_no_key(changed: Changed) -> None:
    sources = {}
    for file, content in source_files.frozen().items():
        if file.endswith(".py") and content.strip():
            tree = ast.parse(content)
            described = ast.unparse(definitions.without_docstrings(tree))
            sources[file] = f'"""Another docstring."""\n\n# A comment.\n{described}\n'.encode()
        elif file.endswith(".sql") and file not in SHOWN:
            sources[file] = b"-- A comment.\n\n" + content.replace(b"\n", b"\n\n")
    assert len(sources) > 200
    assert changed(sources) == set()


def test_a_comment_that_reports_show_is_in_the_key_of_the_reports(changed: Changed) -> None:
    sources = {file: b"-- A comment.\n" + source_files.frozen()[file] for file in SHOWN}
    assert changed(sources) == {"check amazon", "check kuaisar"}


def test_generated_words_change_no_key_of_data_that_are_there(changed: Changed) -> None:
    file = "gensr_model/data/synthetic/vocabulary.py"
    writer = function_digest(write_amazon)
    words = source_files.frozen()[file].replace(b"skillet", b"wok")
    assert changed({file: words}) == set()
    assert function_digest(write_amazon) != writer, "generated files are written anew"


@pytest.mark.parametrize(
    ("reader", "data_format"),
    [("amazon:review_blocks", "amazon"), ("amazon_meta:item_row", "amazon"), ("kuaisar:blocks", "kuaisar")],
)
def test_a_reader_is_in_the_key_of_its_format_alone(reader: str, data_format: str, changed: Changed) -> None:
    assert changed(with_more(f"tasks.ingest.formats.{reader}")) == {f"ingest {data_format}"}


def test_a_query_is_in_the_key_of_its_format_alone(changed: Changed) -> None:
    file = "sql/amazon/search_events.sql"
    sources = {file: source_files.frozen()[file].replace(b"select", b"select all", 1)}
    assert changed(sources) == {"prepare amazon"}


def test_the_default_of_a_part_that_an_entry_does_not_give_is_in_the_key(edit: Edit) -> None:
    config, file = PipelineConfig.model_validate({"format": "kuaisar"}), "tasks/core/dataset_format.py"
    before = check_prepared.key(config, *GIVEN)
    default = b"figures: tuple[str, ...] = "
    edit({file: source_files.frozen()[file].replace(default + b"()", default + b'("audit/more",)')})
    assert check_prepared.key(config, *GIVEN) != before


def test_an_edit_of_the_contrastive_loss_trains_gensr_and_full_ranking_again(changed: Changed) -> None:
    """Eq. 10. Two heads have no contrastive loss."""
    sources = with_more("gensr_model.models.contrastive:contrastive_loss")
    assert changed(sources) == OF_GENSR | OF_FULL_RANKING


def test_an_edit_of_two_heads_trains_two_heads_again(changed: Changed) -> None:
    sources = with_more("gensr_model.models.two_head:TwoHead.loss")
    read_any_bundle = {"rank no_cf_view", "analyze information", "analyze space"}
    assert changed(sources) == {"finetune two_head", "rank two_head"} | read_any_bundle


def test_an_edit_of_the_trainer_trains_all_models_again_and_no_table(changed: Changed) -> None:
    of_baselines = {f"{name} {place}" for name in BASELINES for place in ("tune", "train-baseline")}
    over = filter(FULL_RANKED.takes, BASELINES)
    of_baselines |= {f"{name} {place}" for name in over for place in ("tune-full", "train-baseline-full")}
    models = {"finetune gensr", "finetune two_head", "finetune full"}
    assert changed(with_more("gensr_model.training.trainer:fit")) == models | of_baselines


def test_an_edit_of_rq_vae_makes_the_codes_again(changed: Changed) -> None:
    assert changed(with_more("gensr_model.semantic_ids.rq_vae:quantize")) == {"semantic ids"}


def test_an_edit_of_lightgcn_makes_the_table_again(changed: Changed) -> None:
    assert changed(with_more("gensr_model.training.lightgcn:pretrain")) == {"pretrain"}


@pytest.mark.parametrize(
    ("function", "also"),
    [
        ("gensr_model.baselines.gru4rec:GRU4Rec.state", set()),
        ("gensr_model.baselines.unisar:UniSAR.loss", {"analyze information", "analyze space"}),
    ],
)
def test_an_edit_of_a_baseline_trains_that_baseline_again(function: str, also: set[str], changed: Changed) -> None:
    name = function.split(":")[0].rpartition(".")[2]
    own = {f"{name} {stage.name}" for table in TABLES.values() if table.takes(name)
           for stage in baselines.stages_of(name, table)}  # fmt: skip
    assert changed(with_more(function)) == own | also
    assert len(own) == (6 if FULL_RANKED.takes(name) else 3)


def test_an_edit_of_ranking_the_catalogue_trains_for_that_table_alone(changed: Changed) -> None:
    edited = changed(with_more("gensr_model.evaluation.catalogue:rank_catalogue"))
    over = {f"{name} {place}" for name in filter(FULL_RANKED.takes, BASELINES)
            for place in ("tune-full", "train-baseline-full", "evaluate-full")}  # fmt: skip
    assert edited == over | OF_FULL_RANKING | {f"full reference {name}" for name in REFERENCES}


def test_an_edit_of_one_stage_leaves_the_others_of_its_file(changed: Changed) -> None:
    sources = with_more("tasks.evaluate.rank:rank_reference")
    assert changed(sources) == {f"reference {name}" for name in REFERENCES}


def test_what_a_raw_file_becomes_is_cached_under_all_that_decides_it() -> None:
    code = reading_code(PipelineConfig())
    for name in ("file_cache:Parts", "rejects:time_bounds", "rejects:cut"):
        assert f"tasks.ingest.{name}" in code


def test_an_ingest_that_gives_the_same_bytes_stops_the_rebuild(
    tmp_path: Path, gensr_home: Path, tiny: Callable[..., PipelineConfig], edit: Edit
) -> None:
    config, store = tiny(), StateDir(tmp_path)

    def built(stage: Stage, given: StageResult) -> StageResult:
        return build_folder(
            store, stage.name, stage.key(config, given), lambda work: stage.build(work, config, given.path)
        )

    source = find_source.fn(config)
    first = built(ingest, source)
    prepared = built(prepare, first)
    edit(with_more("tasks.ingest.formats.amazon:review_blocks"))
    again = built(ingest, source)
    assert again.key != first.key
    assert not again.reused
    assert again.content == first.content
    assert built(prepare, again) == prepared._replace(reused=True)
    other = again._replace(content="of other bytes")
    assert prepare.key(config, other) != prepared.key


def test_the_number_of_processes_is_in_no_key_and_all_that_the_trainer_trains_has_it(
    before: dict[str, str],
) -> None:
    assert keys(processes=2, accelerate="machines.yaml") == before
    assert {name for name, (stage, _) in TRAINED.items() if stage.trains} == {*FINETUNED, "finetune full"}
    for table in TABLES.values():
        assert [stage.trains for stage in baselines.stages_of("sasrec", table)] == [True, True, False]
    with pytest.raises(UndeclaredField, match=r"train\.processes"):
        _ = finetune.view(PipelineConfig(), "gensr").train.processes


def test_what_a_stage_declares_counts_by_its_effect_and_not_as_source() -> None:
    for stage in (analyze.analyze_information, analyze.analyze_gradients, analyze.analyze_space):
        names = {name.partition(":")[2] for name in stage.definitions(PipelineConfig())}
        assert not names & {"_MODELS", "_SAMPLES", "_FIGURES", "_REGISTRY"}
