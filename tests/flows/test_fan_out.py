"""What must be true of a Dask cluster before systems are put to work on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from distributed import LocalCluster

from flows import fan_out
from flows.rerank_table import rerank_table
from gensr_model.config import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.study_config import RerankConfig


def test_threads_of_this_machine_need_no_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "prefect_dask", None
    )  # importing it raises, as where it is not installed
    assert fan_out.fan_out(RerankConfig(concurrency=3)).at_once == 3
    with pytest.raises(ConfigError, match=r"needs the extra `dask`.* pip install .*\.\[dask\]"):
        fan_out.fan_out(RerankConfig(dask="127.0.0.1:8786"))


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_that_cannot_be_used_is_said_before_anything_is_trained(gensr_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"answers at '127\.0\.0\.1': missing port"):
        rerank_table(PipelineConfig(rerank={"dask": "127.0.0.1"}))
    assert not (gensr_home / "store").exists()


def test_no_scheduler_or_no_worker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "CONNECT", 0.5)
    monkeypatch.setattr(fan_out, "FIRST_WORKER", 0.5)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        fan_out.fan_out(RerankConfig(dask="tcp://127.0.0.1:1"))
    with (
        LocalCluster(host="127.0.0.1", n_workers=0, dashboard_address=None) as empty,
        pytest.raises(ConfigError, match="has had no worker"),
    ):
        fan_out.fan_out(RerankConfig(dask=empty.scheduler_address))


def test_workers_have_the_flows_place_and_their_threads_are_counted(
    gensr_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCluster(
        host="127.0.0.1", n_workers=2, threads_per_worker=3, processes=True, dashboard_address=None
    ) as cluster:
        asked = RerankConfig(dask=cluster.scheduler_address, concurrency=1)
        assert fan_out.fan_out(asked).at_once == 6
        monkeypatch.setenv("GENSR_HOME", f"{gensr_home}-elsewhere")
        with pytest.raises(
            ConfigError, match=rf"GENSR_HOME is {gensr_home}, the flow's is {gensr_home}-elsewhere"
        ):
            fan_out.fan_out(asked)
