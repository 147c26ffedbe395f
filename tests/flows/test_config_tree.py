"""What a command makes of a config: files, JSON text, ``--set``, and the message where one of them is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.assignments import nearest, paths
from flows.cli.config_tree import read_config
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the config is not JSON: "),
        ('{"seed": 1, "seed": 2}', "'seed' stands twice"),
        (f'{{"seed": {"[" * 9_999}{"]" * 9_999}}}', "the config is not JSON: lists or objects stand too deep within"),
        ("none.yaml", "none.yaml: No such file or directory, seen from .* YAML or JSON file"),
        (".", "Is a directory"),
        ('{"train": {"epoch": 3}}', "train.epoch: no such field; did you mean epochs"),
        ('{"preset": "huge"}', "preset: Input should be 'demo', 'laptop', 'best', 'small' or 'paper'"),
        ('{"source": {"kind": "folder"}}', r"- source\.path: Field required"),
        ('{"source": {"kind": "folder", "path": "./a", "pth": 1}}', "source.pth: no such field; did you mean path"),
        (
            '{"logs": {"events": {"columns": {"user": 3}}}}',
            r"- logs\.events\.columns\.user: .*; or: .*valid list$",
        ),
        ('{"logs": {"behaviors": {"add-to-cart": "x"}}}', r"- logs\.behaviors\.add-to-cart: Input should be 'rec'"),
        ('{"logs": {"behaviors": {"": "rec"}}}', r'- logs\.behaviors\."": String should have at least 1'),
        ('{"logs": {"events": {"quoted": "maybe"}}}', r"- logs\.events\.quoted: .*boolean.*; or: .*'backslash'"),
        ('{"logs": {"events": {"name": ".."}}}', r"- logs\.events\.name: '\.\.' begins no file name that is read"),
        ('{"logs": {"items": {"name": "a/b"}}}', r"- logs\.items\.name: 'a/b' begins no file name that is read"),
        ('{"name": ".."}', r"- name: '\.\.' cannot name a model in MLflow"),
        ('{"format": "no_such_package:FORMAT"}', "format 'no_such_package:FORMAT' cannot be imported"),
        ('{"format": "json:loads"}', "format 'json:loads' is no DatasetFormat"),
        ('{"model": {"backbone": {"name_or_path": "./nope"}}}', "name_or_path: './nope' is no folder, seen from"),
        ('{"semantic_ids": {"vectors": "/nope/t5"}}', "semantic_ids.vectors: '/nope/t5' is no folder, seen from"),
        ('{"rerank": {"systems": ["gensrr"]}}', "rerank.systems: 'gensrr' is no system"),
        ('{"overrides": {"rerank": {"systems": ["gensrr"]}}}', "rerank.systems: 'gensrr' is no system"),
    ],
)
def test_a_wrong_config_is_refused_with_its_field(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(text)


def test_a_given_config_stays_as_given_but_for_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"preset": "laptop", "source": {"kind": "folder", "path": "mine"}}
    expected = {"preset": "laptop", "source": str(tmp_path / "mine")}
    assert read_config(json.dumps(given | {"source": "./mine"})) == expected
    assert read_config(json.dumps(given)) == expected
    database = {"kind": "sql", "url": "sqlite:///shop.db", "events": "select 1", "items": "select 1"}
    expected = {"source": database | {"url": f"sqlite:///{tmp_path}/shop.db"}}
    assert read_config(json.dumps({"source": database})) == expected
    for remote in ("s3://bucket/logs", ["https://host/events.csv", "env:ITEMS"], database | {"url": "env:SHOP_DB"}):
        assert read_config(json.dumps({"source": remote})) == {"source": remote}
    assert read_config(None) == {}
    (tmp_path / "flan").mkdir()
    for name, said in (("flan", str(tmp_path / "flan")), ("google/flan-t5-small", "google/flan-t5-small")):
        result = read_config(json.dumps({"model": {"backbone": {"name_or_path": name}}}))
        assert result["model"]["backbone"]["name_or_path"] == said
    for vectors, said in (("./flan", str(tmp_path / "flan")), ("google/flan-t5-small", "google/flan-t5-small")):
        assert read_config(json.dumps({"semantic_ids": {"vectors": vectors}}))["semantic_ids"]["vectors"] == said
    for given in ({"rerank": {"saved_ranks": ["ranks.parquet"]}},
                  {"overrides": {"rerank": {"saved_ranks": ["ranks.parquet"]}}}):  # fmt: skip
        (file,) = read_config(json.dumps(given))["rerank"]["saved_ranks"]
        assert file["path"] == str(tmp_path / "ranks.parquet")
    recommend = {"users": "users.csv", "queries": "q.csv", "output": "sqlite:///recs.db"}
    changed = {name: str(tmp_path / file) for name, file in recommend.items()}
    changed["output"] = f"sqlite:///{tmp_path}/recs.db"
    assert read_config(json.dumps({"recommend": recommend}))["recommend"] == changed
    for kept in ({"users": "all", "output": "env:RECS"}, {"users": "none", "output": "s3://shop/recs"}):
        assert read_config(json.dumps({"recommend": kept}))["recommend"] == kept
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert read_config('{"source": "~/mine"}') == {"source": str(tmp_path / "me" / "mine")}


YAML = """\
# Words and numbers as YAML 1.2 reads them.
preset: best
name: Schöne Schuhe
ingest: {earliest: 2020-01-02}
train:
  precision: no
  learning_rate: 1e-3
  epochs: "3"
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_read_as_the_schema_has_its_fields(tmp_path: Path) -> None:
    expected = {
        "preset": "best",
        "name": "Schöne Schuhe",
        "ingest": {"earliest": "2020-01-02"},
        "train": {"precision": "no", "learning_rate": 0.001, "epochs": 3},
    }
    result = read_config(write(tmp_path / "mine.yaml", YAML))
    assert result == expected
    assert isinstance(result["train"]["epochs"], int), "the server takes no text for a number"
    assert read_config(write(tmp_path / "mine.json", json.dumps(expected))) == expected
    assert read_config(write(tmp_path / "empty.yaml", "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epochs: 3\n", "mine.yaml, line 2: not YAML"),
        ("seed: 1\ntrain:\n  epochs: 3\n  epochs: 4\n", "mine.yaml, line 4: not YAML: 'epochs' stands twice"),
        ("- a\n", r"mine\.yaml holds \[.a.\]\. Give fields with their values"),
        (
            "train: {epoch: 3}",
            r"mine.yaml with the command's options does not fit (.|\n)*train.epoch: no such field; did you mean epochs",
        ),
        ("12: 3", "12: no such field"),
        ("name: &a x\nseed: &b [*a]\ntrain: *b", r"line 3: not YAML: \*b stands for several values\. Write them out"),
        ("train: &a [*a]", r"line 1: not YAML: \*a stands for several values"),
        (f"seed: {'[' * 999}{']' * 999}", "mine.yaml is not YAML: lists or objects stand too deep within each other"),
        ("? [a]\n: 3", r"\['a'\] is no field name"),
        ("a: !!python/object:os.system {}", "mine.yaml, line 1: not YAML: could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_named_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(write(tmp_path / "mine.yaml", text))


def test_keys_of_yaml_are_text(tmp_path: Path) -> None:
    tree = read_config(write(tmp_path / "mine.yaml", "logs: {behaviors: {1: rec, true: ignored, 007: rec}}"))
    assert tree == {"logs": {"behaviors": {"1": "rec", "true": "ignored", "007": "rec"}}}


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes("name: Bücher".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"mine\.yaml: not UTF-8"):
        read_config(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.epochs=3", {"train": {"epochs": 3}}),
        ("train.learning_rate=1e-3", {"train": {"learning_rate": 0.001}}),
        ("train.precision=no", {"train": {"precision": "no"}}),
        ("analysis.enabled=false", {"analysis": {"enabled": False}}),
        ("name=2020", {"name": "2020"}),
        ("name=a = b", {"name": "a = b"}),
        ("rerank.tune=null", {"rerank": {"tune": None}}),
        ("model.backbone.name_or_path=null", {"model": {"backbone": {"name_or_path": None}}}),
        ("rerank.systems=sasrec,bm25", {"rerank": {"systems": ["sasrec", "bm25"]}}),
        ("ablation.seeds=4", {"ablation": {"seeds": [4]}}),
        ('prepare.protocols=["uniform", "bm25"]', {"prepare": {"protocols": ["uniform", "bm25"]}}),
        ("sweep.tau=[0.1, 0.2]", {"sweep": {"tau": [0.1, 0.2]}}),
        ("studies={ablation: true}", {"studies": {"ablation": True}}),
        ("rerank.points.sasrec.learning_rate=0.01", {"rerank": {"points": {"sasrec": {"learning_rate": 0.01}}}}),
        (
            "logs.items.columns.title=[name, subtitle]",
            {"logs": {"items": {"columns": {"title": ["name", "subtitle"]}}}},
        ),
        ("logs.items.columns.title=name, short", {"logs": {"items": {"columns": {"title": "name, short"}}}}),
        ("source=/data/mine", {"source": "/data/mine"}),
        ("source.path=/data/mine", {"source": {"kind": "folder", "path": "/data/mine"}}),
    ],
)
def test_a_value_is_read_as_the_type_of_its_field(assignment: str, expected: dict[str, Any]) -> None:
    sets = ["source.kind=folder"] * assignment.startswith("source.") + [assignment]
    result = read_config(None, sets=sets)
    assert result == ({"source": "/data/mine"} if "source" in expected else expected)
    assert json.dumps(result)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("epochs=3", r"--set epochs: no such field\. The nearest are (\w+\.epochs(, |$)){3}"),
        ("train.epoch=3", r"--set train\.epoch: no such field\. The nearest are train\.epochs, "),
        ("overrides.train.epochs=3", "no such field"),
        ("train.epochs.more=3", "no such field"),
        ("train.epochs=many", "train.epochs: Input should be a valid integer"),
        ("logs.items.columns.title=[name, short?]", r"short\?\]' is not YAML: .* Names with signs such as \? stand in"),
        ("train.epochs=0", "train.epochs: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_assignment_is_refused(assignment: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(None, sets=[assignment])


def test_every_path_that_is_offered_may_be_set() -> None:
    assert {"train", "train.epochs", "model.departures.searches_in_text.share", "source.users"} <= set(paths())
    assert nearest("modle.max_histroy")[0] == "model.max_history"
    full = PipelineConfig().model_dump()
    for path in paths():
        if not path.startswith("source."):
            value: Any = full
            for name in path.split("."):
                value = value[name]


def test_options_win_over_the_file_and_assignments_over_options() -> None:
    given = '{"preset": "laptop", "train": {"epochs": 5}, "overrides": {"train": {"batch_size": 8}}}'
    sets = ["train.epochs=2", "seed=1", "seed=7"]
    assert read_config(given, {"preset": "best", "format": None}, sets) == {
        "preset": "best",
        "train": {"epochs": 2, "batch_size": 8},
        "seed": 7,
    }
