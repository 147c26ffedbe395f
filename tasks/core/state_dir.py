"""The state folder GENSR_HOME, and the environment that keeps every tool's files inside it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gensr_model.errors import ConfigError

_IMPOSSIBLE = ("?", "\\")  # ? begins the options of a database's URL, and DuckDB reads a backslash as /


class StateDir(NamedTuple):
    """The state folder. Every path that the pipeline writes outside a caller's folder is below it."""

    root: Path

    @property
    def store(self) -> Path:
        """Finished stages, by the digest of their inputs."""
        return self.root / "store"

    @property
    def parts(self) -> Path:
        """The parsed form of each raw file, so that a file is parsed once."""
        return self.root / "parts"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trainings that can resume after a crash."""
        return self.root / "checkpoints"

    @property
    def results(self) -> Path:
        """Prefect's persisted task results (JSON)."""
        return self.root / "results"

    @property
    def runs(self) -> Path:
        """Summaries and decisions, one folder per flow run, and links to the latest (``point_latest``)."""
        return self.root / "runs"

    @property
    def services(self) -> Path:
        """The servers that ``make run`` started."""
        return self.root / "services"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def mlflow_store(self) -> str:
        """URI of MLflow's SQLite file."""
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"


def state_dir() -> StateDir:
    """The state folder: ``$GENSR_HOME``, or ``.gensr`` in the working directory.

    Raises ConfigError for a path with a character that MLflow's or DuckDB's files cannot have.
    """
    root = Path(os.environ.get("GENSR_HOME") or ".gensr").expanduser().resolve()
    if wrong := [character for character in _IMPOSSIBLE if character in str(root)]:
        raise ConfigError(
            f"the state folder {root} has a {wrong[0]} in its path, which addresses of databases "
            "cannot hold. Set GENSR_HOME to another folder."
        )
    return StateDir(root)


def tracking_uri() -> str:
    """``$MLFLOW_TRACKING_URI``, or the SQLite file under GENSR_HOME."""
    return os.environ.get("MLFLOW_TRACKING_URI") or state_dir().mlflow_store


def point_latest(flow_run_id: str, name: str = "latest") -> None:
    """Make ``runs/<name>`` lead to the folder of this flow run, atomically.

    It is a symbolic link. Where the file system has none, it is a file with the flow run's id.
    """
    link = state_dir().runs / name
    aside = link.with_name(f"{name}.tmp-{uuid.uuid4().hex}")
    try:
        aside.symlink_to(flow_run_id)  # relative, so that the state folder can be moved
    except OSError:
        aside.write_text(flow_run_id, encoding="utf-8")
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    aside.replace(link)


def run_folder(path: Path) -> Path:
    """The folder of a flow run: ``path``, or the folder beside it that the file ``path`` names (``point_latest``)."""
    return path.with_name(path.read_text(encoding="utf-8")) if path.is_file() else path


def server_environment(where: StateDir, prefect_port: int, mlflow_port: int) -> dict[str, str]:
    """The environment that the servers, the worker and their clients share.

    It leaves out the Prefect and MLflow settings of the caller's shell on purpose: a profile or an API key of another
    server must not decide where this pipeline's runs go. ``flows.local.stores`` has the few that name where servers
    keep their data.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    # Threads of torch that wait by spinning take the core from those they wait for wherever anything else runs: on two
    # shared cores training was seven times slower. Spinning shortly costs a tenth on idle ones, not spinning a third.
    waiting = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}
    return (
        inherited
        | waiting
        | {
            "GENSR_HOME": str(where.root),
            "PREFECT_HOME": str(where.root / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(where.results),
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow_port}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "GX_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PYTHONUTF8": "1",  # for libraries that name no encoding, and for streams, in any locale
            "PYTHONIOENCODING": "utf-8",
        }
        | direct_to_loopback(os.environ)
    )


def direct_to_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """``NO_PROXY`` in both spellings, with this machine's addresses added: all our servers listen there."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in ("127.0.0.1", "localhost", "::1") if host not in hosts]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(hosts))
