"""Shared by all tests: nothing phones home, and one Prefect server serves every test that asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from built_once import built_once, link_stages, new_home, shared_folder
from tiny_run import STUDIES, TINY, Finished

from gensr_model.config.pipeline import PipelineConfig
from tasks.core import code_version, source_files

# Tiny models: a second thread only makes them wait for each other, ten times over where the cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test asks for two: they do not spin while they wait
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"


# Groups of tests that take over ten seconds, in the order in which processes take them: short ones fill the end.
LONG = (
    "finished",
    "analysed models",
    "test_bad_input.py",
    "test_studies.py",
    "test_full_pipeline.py",
    "test_stage_declarations.py",
    "test_mechanisms.py",
    "test_rerank_flow.py",
    "test_retrain.py",
    "test_full_ranking_flow.py",
    "test_worker.py",
    "test_two_threads.py",
    "test_joint_signal.py",
)


@pytest.hookimpl(tryfirst=True)  # before xdist writes the groups into the names that it shares out by
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests stay together where several processes share them, and begin with those that take longest.

    A file's tests stay together, for its fixtures. So do all that read the finished runs, and all that read the models
    of the analyses: each process would make them anew.
    """
    group = {item: _group(item) for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group[item]))
    items.sort(key=lambda item: LONG.index(group[item]) if group[item] in LONG else len(LONG))


def _group(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    if "finished" in fixtures:
        return "finished"
    analysed = item.path.parent.name == "analysis" and "world" in fixtures
    return "analysed models" if analysed else item.path.name


@pytest.fixture(autouse=True)
def this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test starts processes with a model's code, or knows baselines, that another test loaded."""
    source_files.only_this_version()
    monkeypatch.setattr(code_version, "FOREIGN", {})


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary Prefect server with a database of its own."""
    from prefect.settings import PREFECT_HOME, PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    place = tmp_path_factory.mktemp("prefect")
    updates = {PREFECT_HOME: place, PREFECT_RESULTS_LOCAL_STORAGE_PATH: place / "results"}
    with temporary_settings(updates), prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's file before the first run, to begin a state folder with."""
    from tiny_stages import empty_mlflow

    return built_once(shared_folder(tmp_path_factory) / "mlflow.db", empty_mlflow)


@pytest.fixture
def gensr_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Path) -> Path:
    """A state folder of the test's own, MLflow's store included."""
    home = tmp_path / "home"
    monkeypatch.setenv("GENSR_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    new_home(home, mlflow_database)
    return home


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., PipelineConfig]) -> Path:
    """A state folder with what comes before the models in the tiny run on Amazon's format; nobody writes into it."""
    from tiny_stages import build_before_models

    def build(home: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GENSR_HOME", str(home))
            build_before_models(home, tiny())

    return built_once(shared_folder(tmp_path_factory) / "tiny-data", build)


@pytest.fixture
def home_with_data(gensr_home: Path, tiny_data: Path) -> Path:
    """The test's own state folder, with the tiny run's data, checks and LightGCN table in it."""
    link_stages(tiny_data, gensr_home)
    return gensr_home


@pytest.fixture(scope="session")
def tiny() -> Callable[..., PipelineConfig]:
    """Makes the configuration that goes through every stage in seconds, with some fields replaced."""

    def make(**changes: Any) -> PipelineConfig:
        return PipelineConfig.model_validate(TINY | changes)

    return make


@pytest.fixture(scope="session")
def finished(
    prefect_server: None,
    tiny: Callable[..., PipelineConfig],
    tmp_path_factory: pytest.TempPathFactory,
    mlflow_database: Path,
) -> Callable[[str], Finished]:
    """The tiny run of a data format, made when it is first asked for and shared by every test that reads it.

    The run on Amazon's format makes all studies, too.
    """
    from flows.full_pipeline import full_pipeline

    made: dict[str, Finished] = {}

    def run(data_format: str) -> Finished:
        if data_format not in made:
            home = tmp_path_factory.mktemp("finished") / data_format
            new_home(home, mlflow_database)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GENSR_HOME", str(home))
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                more = STUDIES if data_format == "amazon" else {}
                summary = full_pipeline(tiny(name=f"tiny-{data_format}", format=data_format, **more))
            made[data_format] = Finished(home, summary)
        return made[data_format]

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real Amazon slices: ``GENSR_REAL_DATA``, or ``../shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GENSR_REAL_DATA", beside))
    if not (folder / "amazon-scientific").is_dir():
        pytest.skip(f"no real data in {folder}; set GENSR_REAL_DATA to the folder with amazon-scientific")
    return folder


@pytest.fixture(scope="session")
def flan_t5_small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real pretrained T5 as a Hugging Face folder (308 MB), rebuilt by the tool beside the checkout."""
    tool = Path(__file__).resolve().parents[2] / "shared" / "tools" / "flan_t5_small.py"
    if not tool.is_file():
        pytest.skip("no ../shared/tools/flan_t5_small.py beside the checkout to build a pretrained T5 with")
    folder = tmp_path_factory.mktemp("flan") / "flan-t5-small"
    made = subprocess.run([sys.executable, tool, folder], capture_output=True, text=True, encoding="utf-8")
    assert made.returncode == 0, made.stderr
    yield folder
    shutil.rmtree(folder)
