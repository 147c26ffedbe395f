"""Models in MLflow, on a real SQLite store: what is logged, and which champion retraining compares with."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from built_once import new_home
from logged_model import Logged
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import DataError
from gensr_model.serving.service import Answer, Request, Service
from tasks.core.stage import StageResult
from tasks.core.tracking import parent_run
from tasks.promote import model_registry
from tasks.promote.pyfunc_model import parse_request


def test_no_champion_then_a_foreign_one_then_one_without_a_bundle(gensr_home: Path, tmp_path: Path) -> None:
    with parent_run(PipelineConfig(), "retrain/nightly", "0" * 8) as run:
        assert model_registry.champion(run, "gensr-x") is None
        run.client.create_registered_model("gensr-x")
        assert model_registry.champion(run, "gensr-x") is None
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
        by_hand = run.client.create_model_version("gensr-x", (tmp_path / "model").as_uri(), run.run_id)
        model_registry.promote(run, "gensr-x", str(by_hand.version), None)
        with pytest.raises(DataError, match=r"version 1 of the model gensr-x was not registered by"):
            model_registry.champion(run, "gensr-x")

        bundle = StageResult("finetune", "k1", tmp_path, {}, 0.0, False)
        version = model_registry.register(run, "gensr-x", (tmp_path / "model").as_uri(), bundle, {})
        model_registry.promote(run, "gensr-x", version, str(by_hand.version))
        with pytest.raises(DataError, match="no model bundle among"):
            model_registry.champion(run, "gensr-x")
        assert not list((gensr_home / "champions").iterdir()), "nothing half-fetched stays"


def test_a_champion_in_a_state_folder_whose_path_could_be_a_uri(
    logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Path
) -> None:
    home = tmp_path / "My%20Project #1 [a]* item=kindle"
    monkeypatch.setenv("GENSR_HOME", str(home))
    new_home(home, mlflow_database)
    bundle = logged.bundle._replace(path=Path(shutil.copytree(logged.folder, home / "bundle")))
    with parent_run(PipelineConfig(), "gensr", "3" * 8) as run:
        version = model_registry.register(run, "gensr-50%20", model_registry.log_model(run, bundle), bundle, {})
        model_registry.promote(run, "gensr-50%20", version, None)
        champion = model_registry.champion(run, "gensr-50%20")
    assert champion is not None
    assert {path.name for path in champion.bundle.path.iterdir()} == {path.name for path in bundle.path.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == [home.name], "nothing lies beside it"


# --- a model that was really logged ------------------------------------------------------------------------------


CANDIDATES = ["i4", "i9", "i17", "i25"]


@pytest.mark.parametrize("query", [None, "", "kitchen"])
def test_a_logged_model_ranks_as_the_ranker(logged: Logged, query: str | None) -> None:
    request = pd.DataFrame({"history": [["i1", "i2"]], "query": [query], "candidates": [CANDIDATES]})
    (answer,) = logged.model.predict(request).to_dict("records")
    expected = logged.ranker.rank(["i1", "i2"], query or None, CANDIDATES)
    assert answer["items"] == [item for item, _ in expected]
    assert answer["scores"] == pytest.approx([score for _, score in expected])
    assert len(set(answer["scores"])) == len(CANDIDATES)


def test_a_logged_model_answers_row_by_row_and_keeps_the_best(logged: Logged) -> None:
    request = pd.DataFrame(
        {
            "history": [["i1"], [], ["i3", "gone"]],
            "query": ["kitchen", None, "garden"],
            "candidates": [CANDIDATES, CANDIDATES[:2], CANDIDATES],
        }
    )
    every = logged.model.predict(request)
    assert every.columns.tolist() == list(Answer._fields)
    assert [sorted(items) for items in every["items"]] == [
        sorted(CANDIDATES), sorted(CANDIDATES[:2]), sorted(CANDIDATES)
    ]  # fmt: skip
    best = logged.model.predict(request, params={"top_n": 1})
    assert best["items"].tolist() == [items[:1] for items in every["items"]]


def test_a_request_without_queries_is_recommendation(logged: Logged) -> None:
    request = pd.DataFrame({"history": [["i1"]], "candidates": [CANDIDATES]})
    assert logged.model.predict(request)["items"][0] == [
        item for item, _ in logged.ranker.rank(["i1"], None, CANDIDATES)
    ]


def test_every_column_may_be_left_out_or_null(logged: Logged) -> None:
    """A user, a history and nothing at all, in one frame; then each column alone."""
    request = pd.DataFrame(
        {
            "user": ["u12", None, None, "nobody"],
            "history": [None, ["i1", "i2"], None, None],
            "behaviors": [None, ["rec", "src"], None, None],
            "query": [None, "kitchen", "garden", None],
            "candidates": [None, CANDIDATES, None, CANDIDATES],
            "top_n": [3, 2, 5, None],
        }
    )
    answers = [Answer(**row) for row in logged.model.predict(request).to_dict("records")]
    expected = [
        Request("u12", top_n=3),
        Request(None, ["i1", "i2"], ["rec", "src"], "kitchen", CANDIDATES, 2),
        Request(query="garden", top_n=5),
        Request("nobody", candidates=CANDIDATES),
    ]
    assert answers == [logged.service.answer(each) for each in expected]
    assert [answer.candidate_source for answer in answers] == ["retrieved", "given", "retrieved", "given"]
    assert [answer.history_source for answer in answers] == ["stored", "given", "none", "unknown-user"]
    for column in request.columns.drop("behaviors"):
        single = request.loc[[1], [column]] if column != "user" else request.loc[[0], [column]]
        assert len(logged.model.predict(single)["items"].iloc[0]) > 0


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("candidates", ["i4", "nope"], r"row 1: the model does not know the candidates \['nope'\]"),
        ("top_n", 0.0, "row 1: top_n is 0. Give 1 or more"),
        ("top_n", 1.5, "row 1: top_n: expected a whole number, got 1.5"),
    ],
)
def test_a_wrong_row_is_named(logged: Logged, column: str, value: object, says: str) -> None:
    good: dict[str, object] = {"history": ["i1"], "candidates": CANDIDATES, "top_n": 2.0}
    with pytest.raises(MlflowException, match=says):
        logged.model.predict(pd.DataFrame([good, good | {column: value}]))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("user", ["u1"], r"^row 0: user: expected text, got \['u1'\]$"),
        ("user", True, "^row 0: user: expected text, got True$"),
        ("query", float("inf"), "^row 0: query: expected text, got inf$"),
        ("history", "i1", "^row 0: history: expected a list of ids, got 'i1'$"),
        ("candidates", {"i4": 1}, r"^row 0: candidates: expected a list of ids, got \{'i4': 1\}$"),
        ("candidates", [True], "^row 0: candidates: expected text, got True$"),
        ("candidates", ["i4", None], "^row 0: candidates: expected text, got None$"),
        ("top_n", True, "^row 0: top_n: expected a whole number, got True$"),
        ("top_n", "many", "^row 0: top_n: expected a whole number, got 'many'$"),
        ("top_n", float("inf"), "^row 0: top_n: expected a whole number, got inf$"),
        ("usr", "u1", r"^row 0: usr: there is no such field \(did you mean user\?\)\. Give one of user, history, "),
        ("n", 3, "^row 0: n: there is no such field\. Give one of user, "),
        (0, "u1", "^row 0: 0: there is no such field\. Give one of user, "),
    ],
)
def test_a_value_of_another_type_or_name_is_refused_by_field_and_value(
    logged: Logged, column: str, value: object, message: str
) -> None:
    with pytest.raises(MlflowException, match=message) as refused:
        logged.model.predict(pd.DataFrame({column: [value]}))
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("body", [["u1"], "u1", 3])
def test_what_holds_no_records_is_refused(logged: Logged, body: object) -> None:
    with pytest.raises(MlflowException, match=r"^expected records of fields, such as .* got "):
        logged.model.predict(body)


def test_numbers_are_ids_and_queries_as_their_text(logged: Logged) -> None:
    assert parse_request({"user": 12, "query": 2020.0, "candidates": np.array([7, 8])}, None) == Request(
        "12", query="2020", candidates=["7", "8"]
    )
    assert parse_request({"user": 2**60 + 1, "top_n": "3"}, None) == Request(str(2**60 + 1), top_n=3)
    with pytest.raises(DataError, match=r"user: .* too large for an exact number beside nulls\. Send it as text"):
        parse_request(pd.DataFrame({"user": [2**60 + 1, None]}).to_dict("records")[0], None)
    frame = pd.DataFrame({"user": [12, None], "query": [2020, None], "top_n": [2, 3]})
    answers = logged.model.predict(frame)
    assert answers["task"].tolist() == ["search", "recommendation"]
    assert [len(items) for items in answers["items"]] == [2, 3]
    assert answers["history_source"].tolist() == ["unknown-user", "none"]


def test_a_request_may_be_one_record_or_a_list_of_them_and_empty(logged: Logged) -> None:
    one = logged.model.predict({"user": "u12", "candidates": CANDIDATES})
    listed = logged.model.predict([{"user": "u12", "candidates": CANDIDATES}])
    columns = logged.model.predict({"user": np.array(["u12"]), "candidates": np.array([CANDIDATES])})
    assert one["items"][0] == listed["items"][0] == columns["items"][0]
    assert len(logged.model.predict(pd.DataFrame([{}, {}]))) == 2
    assert len(logged.model.predict(pd.DataFrame({"user": [None]}))) == 1


def test_the_printed_python_runs(logged: Logged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a model of the name that it names, which only its registry and its address are stood in for."""
    page = (Path(__file__).resolve().parents[2] / "docs/how_to/use_a_model.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (name,) = re.findall(r"models:/(\S+)@champion", text)
    model_registry.register(logged.run, name, logged.uri, logged.bundle, {})
    model_registry.promote(logged.run, name, "1", None)
    monkeypatch.setattr(mlflow, "set_tracking_uri", lambda address: None)
    last = ast.parse(text).body[-1]
    lines = text.splitlines()
    lines[last.lineno - 1] = f"answer = {lines[last.lineno - 1]}"
    script = tmp_path / "printed.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    answer = runpy.run_path(str(script))["answer"]
    assert [len(items) for items in answer["items"]] == [10]


def test_cells_of_a_csv_are_text(logged: Logged) -> None:
    assert logged.model is not None, "loading a model adapts the server"
    parsed = scoring_server.parse_csv_input(csv_input=StringIO("user,query,top_n\n007,nan,2\n,12,\n"), schema=None)
    rows = [parse_request(row, None) for row in parsed.to_dict("records")]
    assert rows == [Request("007", query="nan", top_n=2), Request(query="12")]


def test_a_fault_of_the_model_answers_without_its_trace(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = logged.model.unwrap_python_model()
    monkeypatch.setattr(model, "service", None)
    with pytest.raises(MlflowException, match="row 0: a fault in the model") as refused:
        model.predict(None, pd.DataFrame({"user": ["u1"]}))
    answer = refused.value.serialize_as_json()
    assert "Traceback" not in answer
    assert "stack_trace" not in answer
    assert "AttributeError" in caplog.text


def test_what_was_logged_holds_no_pickle_and_pins_what_it_needs(logged: Logged) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(logged.uri))
    suffixes = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin"}
    pinned = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in line and "+" not in line for line in pinned)
    assert {"mlflow", "torch", "transformers"} <= {line.split("==")[0] for line in pinned}


@pytest.mark.filterwarnings("ignore:.*validate_serving_input:FutureWarning")
def test_the_example_in_a_model_is_json_with_its_types_and_answered_as_a_server_reads_it(logged: Logged) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(logged.uri))
    body = (folder / "serving_input_example.json").read_text(encoding="utf-8")
    rows = json.loads(body, parse_constant=pytest.fail)["dataframe_split"]
    by_field = dict(zip(rows["columns"], zip(*rows["data"], strict=True), strict=True))
    assert list(by_field) == list(Request._fields)
    assert (by_field["top_n"], by_field["query"]) == ((None, 3), ("blue", None))
    answers = mlflow.models.validate_serving_input(str(folder), body)
    assert answers["task"].tolist() == ["search", "recommendation"]
    assert [len(items) for items in answers["items"]] == [4, 3]


def test_a_bundle_is_logged_once(logged: Logged) -> None:
    with parent_run(PipelineConfig(), "gensr", "2" * 8) as run:
        assert model_registry.log_model(run, logged.bundle) == logged.uri
        assert model_registry.log_model(run, logged.bundle._replace(key="k2")) != logged.uri


def test_the_champion_is_fetched_with_its_bundle(logged: Logged) -> None:
    first, second = (model_registry.register(logged.run, "gensr-y", logged.uri, logged.bundle, {}) for _ in range(2))
    assert (first, second) == ("1", "2")
    assert model_registry.champion(logged.run, "gensr-y") is None
    model_registry.promote(logged.run, "gensr-y", second, None)
    model_registry.tag_outcome(logged.run, "gensr-y", second, "promoted", "better")
    for _ in range(2):  # fetched, then found
        result = model_registry.champion(logged.run, "gensr-y")
        assert result is not None
        assert (result.version, result.bundle.key) == ("2", "k1")
        fetched = {p.name: p.read_bytes() for p in result.bundle.path.iterdir()}
        assert fetched == {p.name: p.read_bytes() for p in logged.folder.iterdir()}
    assert logged.run.client.get_model_version("gensr-y", "2").tags["decision"] == "better"


def test_an_alias_that_was_moved_meanwhile_stays_where_it_is(logged: Logged) -> None:
    """A person who rolls back is not overruled by a run that compared its model with another champion."""
    one, two, three = (model_registry.register(logged.run, "gensr-m", logged.uri, logged.bundle, {}) for _ in range(3))
    model_registry.promote(logged.run, "gensr-m", two, None)
    logged.run.client.set_registered_model_alias("gensr-m", model_registry.CHAMPION, one)
    with pytest.raises(model_registry.ChampionMoved, match=r"is now version 1, not 2 as at the comparison"):
        model_registry.promote(logged.run, "gensr-m", three, two)
    with pytest.raises(model_registry.ChampionMoved, match=r"is now version 1, not none"):
        model_registry.promote(logged.run, "gensr-m", three, None)
    result = model_registry.champion(logged.run, "gensr-m")
    assert result is not None
    assert result.version == one


def test_a_catalogue_is_served_with_the_champion_that_came_meanwhile(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = logged.run, logged.config.model_copy(update={"name": "w"})
    name, make = model_registry.served_name(config), model_registry.log_model
    model_registry.promote(run, name, model_registry.register(run, name, logged.uri, logged.bundle, {}), None)
    newer = model_registry.register(run, name, logged.uri, logged.bundle._replace(key="k9"), {})

    def log(*given: Any) -> str:
        uri = make(*given)
        if (result := model_registry.champion(run, name)) and result.version == "1":
            model_registry.promote(run, name, newer, "1")
        return uri

    monkeypatch.setattr(model_registry, "log_model", log)
    version = model_registry.serve_catalogue(run, config, logged.full, TASKS)
    result = model_registry.champion(run, name)
    assert result is not None
    assert (result.version, result.bundle.key, result.catalogue_key) == (version, "k9", "f1")


def test_new_code_that_answers_requests_is_logged_anew(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    with parent_run(PipelineConfig(), "gensr", "3" * 8) as run:
        monkeypatch.setattr(model_registry, "walk", lambda roots: {"of another day": ""})
        assert model_registry.log_model(run, logged.bundle) != logged.uri


def test_two_runs_that_fetch_the_same_go_on_with_one_copy(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name, encoding="utf-8")
    model_registry.move_into_place(tmp_path / "theirs", tmp_path / "there")
    model_registry.move_into_place(tmp_path / "mine", tmp_path / "there")
    assert (tmp_path / "there" / "file").read_text(encoding="utf-8") == "theirs"
    with pytest.raises(OSError, match="No such file"):
        model_registry.move_into_place(tmp_path / "gone", tmp_path / "elsewhere")


def test_what_serves_ranks_the_catalogue_by_the_full_ranking_champion(logged: Logged) -> None:
    """From no full-ranking model to a registered one: the served champion gets it, and says so in its answers."""
    run, config = logged.run, logged.config.model_copy(update={"name": "z"})
    served, full = model_registry.served_name(config), model_registry.full_ranking_name(config)
    assert model_registry.full_ranking_bundle(run, config, TASKS) is None
    assert model_registry.serve_catalogue(run, config, logged.full, TASKS) is None, "nothing serves yet"
    model_registry.promote(run, served, model_registry.register(run, served, logged.uri, logged.bundle, {}), None)

    version = model_registry.register(run, full, model_registry.log_model(run, logged.full), logged.full, {})
    model_registry.promote(run, full, version, None)
    known = model_registry.full_ranking_bundle(run, config, TASKS)
    assert known is not None
    assert known.key == "f1"
    model_registry.set_card(run, served, "1", logged.uri, f"# {served}, version 1\n\n## Data\n")
    assert model_registry.serve_catalogue(run, config, known, TASKS) == "2"
    assert model_registry.serve_catalogue(run, config, known, TASKS) is None, "it serves already"

    request = pd.DataFrame({"user": ["u12", "u12"], "query": [None, "kitchen"], "top_n": [5.0, 5.0]})
    before, after = (mlflow.pyfunc.load_model(f"models:/{served}/{number}").predict(request) for number in (1, 2))
    assert before["candidate_source"].tolist() == ["retrieved"] * 2
    assert after["candidate_source"].tolist() == ["full-ranking"] * 2
    expected = Service.load(logged.folder, logged.full.path)
    for row, query in enumerate((None, "kitchen")):
        answer = expected.answer(Request("u12", query=query, top_n=5))
        assert after["items"][row] == answer.items
        assert after["scores"][row] == pytest.approx(answer.scores)
        assert before["items"][row] == logged.service.answer(Request("u12", query=query, top_n=5)).items
    given = request.assign(candidates=[CANDIDATES] * 2)
    full_model = mlflow.pyfunc.load_model(f"models:/{full}@champion")
    assert full_model.predict(request)["items"].tolist() == after["items"].tolist()
    assert full_model.predict(given)["candidate_source"].tolist() == ["given"] * 2

    promoted = model_registry.champion(run, served)
    assert promoted is not None
    assert (promoted.version, promoted.bundle.key, promoted.catalogue_key) == ("2", "k1", "f1")
    fetched = model_registry.serving_folders(run.client.get_model_version(served, "2"))
    assert Service.load(*fetched).answer(Request("u12", top_n=5)).items == after["items"][0]
    assert model_registry.serving_folders(run.client.get_model_version(served, "1"))[1] is None
    newest, first = model_registry.versions(run, served)
    assert (newest.aliases, first.aliases) == (("champion",), ("previous",))
    assert newest.card.startswith(f"# {served}, version 2\n\nThe GenSR of version 1, with the new full-ranking ")
    assert newest.card.endswith("## Data\n")
