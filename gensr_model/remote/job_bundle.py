"""What travels to a machine without the pipeline and back: trainings to make, and the folders they need.

``JOBS/job_bundle.json`` lists them; ``JOBS/store/<stage>/<key>`` are folders as the pipeline's own store has them.
``tasks.remote.export`` packs and unpacks, ``gensr_model.remote.worker`` does the work.
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
    """One model: its table, its training, its ranks on a split, each by the name of its folder in this bundle."""

    name: str
    config: PipelineConfig
    model: Literal["gensr", "two_head"]
    pretrain: str
    finetune: str
    evaluate: str
    option: str = Field(description="of the ranking's stage, one per variant")
    split: Split = Field("test", description="what is ranked; a sweep reads only valid")

    @property
    def ranking(self) -> str:
        """The stage that ranks."""
        return "rank-valid" if self.split == "valid" else "evaluate"


class JobBundle(Frozen):
    """Jobs over one prepared dataset."""

    library: str = Field(description="`library_digest` of the code that the keys were made with")
    prepared: str
    jobs: tuple[Job, ...]


@functools.cache
def library_digest() -> str:
    """sha256 of this package's source files."""
    root = Path(gensr_model.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def write(folder: Path, bundle: JobBundle) -> None:
    """``job_bundle.json`` of the folder."""
    write_json(folder / FILE, bundle.model_dump(mode="json"))


def read(folder: Path) -> JobBundle:
    """The job bundle in a folder. Raises ConfigError where there is none, or one of other code."""
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{folder} has no {FILE}: name a folder that `python -m tasks.remote.export out` has written")
    try:
        bundle = JobBundle.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise ConfigError(
            f"{path} is not what `python -m tasks.remote.export out` writes (fields: {fields}): pack it again"
        ) from error
    if bundle.library != library_digest():
        raise ConfigError(
            f"{path} was written by another version of gensr_model than this one: its results would stand under a "
            "wrong key. Use the same checkout on both machines, or pack it again"
        )
    return bundle


def place(folder: Path, stage: str, key: str) -> Path:
    """Where a job bundle has a folder of the store."""
    return folder / "store" / stage / key
