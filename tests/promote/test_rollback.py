"""`gensr promote`: what it lists, how the champion moves and returns, what it refuses, and what is recorded."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from called import gensr
from logged_model import Logged

from flows.local import installation, servers
from gensr_model.errors import DataError
from tasks.core.state_dir import state_dir, tracking_uri
from tasks.promote import model_registry
from tasks.promote.record import DECISION, read_decision
from tasks.promote.rollback import move, previous, table
from tasks.promote.versions import CARD, CHAMPION, PREVIOUS, alias, set_card, versions

METRICS = {"search/ndcg_at_10": 0.25, "recommendation/ndcg_at_10": 0.125, "search/mrr": 0.5}


def nights(logged: Logged, name: str) -> None:
    """Version 1 was champion, version 2 is, version 3 was not promoted, and version 4 is not gensr's."""
    for outcome, over in (("promoted", None), ("promoted", "1"), ("kept", "")):
        number = model_registry.register(logged.run, name, logged.uri, logged.bundle, {}, None, METRICS)
        if over != "":
            model_registry.promote(logged.run, name, number, over)
        model_registry.tag_outcome(logged.run, name, number, outcome, "by the rule")  # type: ignore[arg-type]
    logged.run.client.create_model_version(name, logged.uri, logged.run.run_id)


def named(logged: Logged, name: str) -> tuple[str, str]:
    """The numbers of champion and previous."""
    both = (alias(logged.run, name, which) for which in (CHAMPION, PREVIOUS))
    return tuple(str(each.version) for each in both if each)  # type: ignore[return-value]


def test_back_and_forth_each_time_with_a_record(logged: Logged) -> None:
    name = "gensr-back"
    nights(logged, name)
    assert named(logged, name) == ("2", "1")
    decision = move(name, previous(name), "Complaints since this morning.")
    assert named(logged, name) == ("1", "2")
    assert (decision.outcome, decision.champion_version, decision.new_version) == ("promoted", "2", "1")
    assert "from version 2 to version 1" in decision.reason
    assert decision.reason.endswith("Complaints since this morning.")
    assert decision.metrics == {m: v for m, v in METRICS.items() if m != "search/mrr"}

    assert read_decision(state_dir().runs / decision.flow_run_id / DECISION) == decision
    run = logged.run.client.get_run(str(decision.mlflow_run_id))
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["decision"]) == (
        "FINISHED", "promoted", decision.reason
    )  # fmt: skip
    assert run.data.metrics == decision.metrics
    assert DECISION in {file.path for file in logged.run.client.list_artifacts(run.info.run_id)}
    first = next(each for each in versions(logged.run, name) if each.number == "1")
    assert (first.outcome, first.reason, first.aliases) == ("promoted", decision.reason, (CHAMPION,))
    with mock.patch.object(servers.services, "is_up", return_value=False):
        last = servers.status(installation.local())[-1]
    assert last.startswith("last decision")
    assert last.endswith(f"{name}: promoted. {decision.reason}")

    assert move(name, previous(name)).new_version == "2"
    assert named(logged, name) == ("2", "1")
    assert move(name, "3").new_version == "3", "one that the rule did not promote"
    champion = model_registry.champion(logged.run, name)
    assert champion is not None
    assert (champion.version, named(logged, name)) == ("3", ("3", "2"))


def test_what_cannot_serve_is_refused_in_a_sentence_and_nothing_changes(logged: Logged, tmp_path: Path) -> None:
    name = "gensr-refused"
    nights(logged, name)
    recorded = sorted(state_dir().runs.glob("*"))
    for number, message in (
        ("9", r"^gensr-refused has no version 9\. Choose one of 4, 3, 2, 1\.$"),
        ("2", r"^version 2 of gensr-refused is the champion already\. Choose one of 4, 3, 1\.$"),
        ("4", r"^version 4 of gensr-refused has no model bundle, as gensr did not register it\. Choose .* 3, 2, 1\.$"),
    ):
        with pytest.raises(DataError, match=message):
            move(name, number)
    with pytest.raises(DataError, match=r"^there is no registered model gensr-none\. Known are .*gensr-refused"):
        move("gensr-none", "1")
    model_registry.register(logged.run, "gensr-new", logged.uri, logged.bundle, {})
    with pytest.raises(DataError, match=r"^gensr-new has no previous version.* `gensr promote` lists all\.$"):
        previous("gensr-new")
    logged.run.client.set_registered_model_alias("gensr-new", "champion", "1")
    with pytest.raises(DataError, match=r"is the champion already\. There is no other version\.$"):
        move("gensr-new", "1")
    gone = model_registry.register(
        logged.run, name, (tmp_path / "gone").as_uri(), logged.bundle._replace(key="gone"), {}
    )
    with pytest.raises(DataError, match=rf"^the files of version {gone} of gensr-refused cannot be read: "):
        move(name, gone)
    assert named(logged, name) == ("2", "1")
    assert sorted(state_dir().runs.glob("*")) == recorded


def test_the_list_shows_number_time_outcome_metrics_and_alias(logged: Logged) -> None:
    name = "gensr-list"
    nights(logged, name)
    title, head, *rows = table([name])
    assert title == name
    assert head.split()[0] == "version"
    shown = [row.split() for row in rows]
    assert [(row[0], *row[3:]) for row in shown] == [
        ("4", "no", "bundle", "-", "-"),
        ("3", "kept", "0.1250", "0.2500"),
        ("2", "promoted", "0.1250", "0.2500", "champion"),
        ("1", "promoted", "0.1250", "0.2500", "previous"),
    ]


def test_the_command_lists_moves_and_refuses(logged: Logged) -> None:
    name = "gensr-command"
    nights(logged, name)

    def call(*arguments: str) -> tuple[int, str]:
        with mock.patch.dict(os.environ, MLFLOW_TRACKING_URI=tracking_uri()):
            done = gensr("promote", *arguments)
        return done.exit_code, done.stdout + done.stderr

    status, out = call("--model", name)
    assert (status, out.splitlines()) == (0, table([name]))
    status, out = call("--model", name, "--previous", "--reason", "Slow.")
    assert (status, named(logged, name)) == (0, ("1", "2"))
    assert out.startswith(f"{name}: promoted, ")
    status, out = call("--model", name, "--version", "1")
    assert status == 1
    assert out.splitlines()[-1].startswith(f"gensr: DataError: version 1 of {name} is the champion already")
    assert call("--version", "1", "--previous")[0] == 2
    status, out = call("--version", "1")
    assert status == 1
    assert out.splitlines()[-1].endswith("Name one by --model.")


def test_without_a_state_folder_it_says_how_to_make_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSR_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with mock.patch.dict(os.environ):
        done = gensr("promote")
    assert done.exit_code == 1
    assert "Make the first by `gensr run --deployment retrain/nightly`" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "nothing" / "mlflow").exists()


def test_a_card_is_the_description_and_a_file_of_the_model(logged: Logged) -> None:
    name = "gensr-card"
    version = model_registry.register(logged.run, name, logged.uri, logged.bundle, {})
    set_card(logged.run, name, version, logged.uri, "# Short\n")
    assert versions(logged.run, name)[0].card == "# Short\n"
    long = "\n".join(f"line {n}" for n in range(2_000))
    set_card(logged.run, name, version, logged.uri, long)
    text = versions(logged.run, name)[0].card
    assert len(text) <= 5_000
    assert text.endswith(f"The rest is in `{CARD}` among the model's files.\n")
    folder = Path(model_registry.mlflow.artifacts.download_artifacts(f"models:/{name}/{version}"))
    assert (folder / CARD).read_text(encoding="utf-8") == long
