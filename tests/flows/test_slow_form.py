"""*Custom run* of gensr/full-pipeline in a real browser, on a real Prefect server; skipped where there is no browser.

With GENSR_PICTURES=folder it leaves a screenshot there, to be looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Tab, browser
from installed import START_AND_RUN, Installed, wait_for

from flows.local import services
from flows.local.installation import POOL, ROOT, Local
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.state_dir import server_environment

pytestmark = pytest.mark.slow

BOX = ".schema-form-property"  # around a field, and around an object with the boxes of its fields
FIELDS = f"[...document.querySelectorAll('{BOX}')].filter(box => !box.querySelector('{BOX}'))"
SUBMIT = "[...document.querySelectorAll('button')].find(button => button.innerText.trim() == 'Submit')"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A Prefect server with gensr/full-pipeline and nobody who works: what is sent stays as it was sent."""
    installed = Installed(tmp_path_factory.mktemp("installed"))
    ports = (installed.prefect_port, installed.mlflow_port)
    here = Local(installed.home, *ports, server_environment(installed.home, *ports))
    (here.where.root / "prefect").mkdir(parents=True)
    started = (here.where.services, here.where.logs)
    services.start(here.prefect_server, *started, here.environment, ROOT)
    try:
        services.wait_healthy(here.prefect_server, *started, timeout=START_AND_RUN)
        installed.prefect("work-pool", "create", POOL, "--type", "process")
        installed.prefect("deploy", "--name", "full-pipeline")
        yield installed
    finally:
        services.stop_all(here.where.services, [here.prefect_server.name], print)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as result:
        yield result


def open_form(tab: Tab, deployed: Installed, config: dict[str, Any]) -> list[str]:
    """Open the form, filled in with ``config``; the labels of the fields that it shows."""
    deployment = deployed.api("deployments/name/gensr/full-pipeline")["id"]
    filled = quote(quote(json.dumps({"config": config})))
    page = f"deployments/deployment/{deployment}/run?parameters={filled}"
    tab.look(1300)
    tab.open(f"http://127.0.0.1:{deployed.prefect_port}/{page}")
    counts = [0]

    def complete() -> bool:  # the page grows section by section
        counts.append(tab.evaluate(f"{FIELDS}.length"))
        return 0 < counts[-2] == counts[-1]

    wait_for(complete, 120, "the form")
    labels: list[str] = tab.evaluate(f"{FIELDS}.map(box => box.querySelector('label').innerText.trim())")
    return labels


def send(tab: Tab) -> str:
    """Press *Submit*; what the page answers."""
    tab.evaluate(f"{SUBMIT}.click()")
    answer: str = wait_for(lambda: tab.evaluate("document.querySelector('[class*=toast]')?.innerText"), 60, "an answer")
    return answer


def test_the_form_shows_few_fields_and_sends_what_was_filled_in(deployed: Installed, tab: Tab) -> None:
    labels = open_form(tab, deployed, {"preset": "laptop"})
    if folder := os.environ.get("GENSR_PICTURES"):
        tab.picture(Path(folder) / "form.png")
    assert labels[-1].startswith("Overrides")
    assert 8 < len(labels) <= 12
    tab.evaluate(f"{FIELDS}.at(-1).querySelector('textarea').focus()")
    tab.call("Input.insertText", text='{"train": {"patience": 7}}')
    assert "scheduled" in send(tab)
    (run,) = deployed.flow_runs("gensr")
    sent = run["parameters"]["config"]
    assert sent["overrides"] == {"train": {"patience": 7}}
    expected = PipelineConfig.model_validate({"preset": "laptop", "train": {"patience": 7}})
    assert PipelineConfig.model_validate(sent) == expected, "the form sent a default that undoes the preset"


def test_the_form_refuses_a_field_that_does_not_exist_and_names_it(deployed: Installed, tab: Tab) -> None:
    before = len(deployed.flow_runs("gensr"))
    open_form(tab, deployed, {"overrides": {"train": {"epoch": 3}}})
    answer = send(tab)
    assert "config.overrides.train" in answer
    assert "epoch" in answer
    assert len(deployed.flow_runs("gensr")) == before
