"""The bundle for a machine without the pipeline: trainings to run, and the folders that they need.

``JOBS/job_bundle.json`` lists the jobs. The folders ``JOBS/store/<stage>/<key>`` have the layout of the pipeline's
store. ``tasks.remote.export`` packs and unpacks the bundle; ``gensr_model.remote.worker`` does the work.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

import gensr_model
from gensr_model.config.base import Frozen, Split
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.errors import ConfigError
from gensr_model.runtime.files import write_json

FILE = "job_bundle.json"


class Job(Frozen):
    """One model: its CF table, its training, and its ranks on a split. Folders are named by their key."""

    name: str
    config: PipelineConfig
    model: Literal["gensr", "two_head"]
    pretrain: str
    finetune: str
    evaluate: str
    option: str = Field(description="Option of the ranking stage, one per variant.")
    split: Split = Field("test", description="Split that the model ranks. A sweep ranks only valid.")

    @property
    def ranking(self) -> str:
        """The name of the ranking stage."""
        return "rank-valid" if self.split == "valid" else "evaluate"


class JobBundle(Frozen):
    """Jobs over one prepared dataset."""

    library: str = Field(description="`library_digest` of the code that computed the keys.")
    prepared: str
    jobs: tuple[Job, ...]


@functools.cache
def library_digest() -> str:
    """SHA-256 of this package's source files."""
    root = Path(gensr_model.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def write(folder: Path, bundle: JobBundle) -> None:
    """Write ``job_bundle.json`` into the folder."""
    write_json(folder / FILE, bundle.model_dump(mode="json"))


def read(folder: Path) -> JobBundle:
    """Read the job bundle in a folder. Raises ConfigError where there is none, or where other code wrote it."""
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no {FILE}. Give a folder that `python -m tasks.remote.export out` has written."
        )
    try:
        bundle = JobBundle.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise ConfigError(
            f"{path} is not what `python -m tasks.remote.export out` writes (fields: {fields}). Pack the bundle again."
        ) from error
    if bundle.library != library_digest():
        raise ConfigError(
            f"{path} was written by another version of gensr_model, so its results would get a wrong "
            "key. Use the same checkout on both machines, or pack the bundle again."
        )
    return bundle


def place(folder: Path, stage: str, key: str) -> Path:
    """The path of a store folder inside a job bundle."""
    return folder / "store" / stage / key
