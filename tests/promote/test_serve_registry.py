"""What a server reads from MLflow's registry: the champion, its folders, and the list of versions."""

from __future__ import annotations

import pytest
from logged_model import Logged

from gensr_model.errors import DataError
from gensr_model.serving.http.versions import UnknownVersion
from gensr_model.serving.service import Request
from tasks.promote import model_registry
from tasks.serve.registry import Registry, model_with_champion


def test_a_registered_model_is_a_source_of_versions(logged: Logged) -> None:
    run, config = logged.run, logged.config.model_copy(update={"name": "shop"})
    name = model_registry.served_name(config)
    with pytest.raises(DataError, match="no model in MLflow has the alias champion"):
        model_with_champion()
    registry = Registry(name, "http://127.0.0.1:5000")
    assert registry.champion() is None
    model_registry.promote(run, name, model_registry.register(run, name, logged.uri, logged.bundle, {}), None)
    both = model_registry.log_model(run, logged.bundle, logged.full)
    assert model_registry.register(run, name, both, logged.bundle, {}, logged.full) == "2"
    assert registry.champion() == "1"
    model_registry.promote(run, name, "2", "1")
    assert (registry.champion(), model_with_champion()) == ("2", name)

    served = registry.load("1")
    assert (served.model, served.version) == (name, "1")
    assert served.service.answer(Request("u12")).items == logged.service.answer(Request("u12")).items
    assert registry.load("2").service.answer(Request("u12")).candidate_source == "full-ranking"
    with pytest.raises(UnknownVersion, match="no version 3"):
        registry.load("3")
    with pytest.raises(UnknownVersion, match="no version first"):
        registry.load("first")

    for version in "12":  # both were tested by the answers that they gave when they were logged
        service = registry.load(version).service
        saved = model_registry.saved_examples(run.client.get_model_version(name, version))
        assert [example.items for example in saved] == [service.answer(example.request).items for example in saved]
        assert [example.request.query for example in saved] == ["blue", None]

    newest, first = registry.listing()
    assert (newest["version"], newest["aliases"]) == ("2", ("champion",))
    assert (first["version"], first["aliases"]) == ("1", ("previous",))
    assert served.run_url == first["run_url"]
    assert first["run_url"].startswith("http://127.0.0.1:5000/#/experiments/")
    assert run.run_id in first["run_url"]

    other = model_registry.served_name(config.model_copy(update={"name": "other"}))
    model_registry.promote(run, other, model_registry.register(run, other, logged.uri, logged.bundle, {}), None)
    with pytest.raises(DataError, match=r"gensr-other, gensr-shop\. Name one with --model"):
        model_with_champion()
