"""Configs of the studies: the analyses of trained models, and what trains many: comparison, ablation, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gensr_model.config.base import Frozen
from gensr_model.config.variants import USUAL_VARIANTS, VARIANTS, VariantName


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"a seed stands twice in {list(seeds)}: it would count as two trainings")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)]


class AnalysisConfig(Frozen):
    """The paper's explanation of itself, measured on the trained models (§4, §6.4, §6.5)."""

    enabled: bool = Field(True, description="false: gensr/full-pipeline makes none of the analyses")
    parts: tuple[Literal["information", "gradients", "space", "theorem"], ...] = Field(
        ("information", "gradients", "space", "theorem"),
        description="which analyses: mutual information of answers (Table 5), gradient conflict along training "
        "(Fig. 4), the tasks in parameter space (Fig. 3), Theorem 4.1's Gaussian world, simulated",
    )
    mine_samples: int = Field(4_000, ge=1, description="test samples per task, of which each user's first is taken")
    mine_steps: int = Field(1_500, ge=1, description="most steps of a critic; held-out samples may stop it earlier")
    mine_seeds: int = Field(3, ge=1, description="critics per estimate, each with its own split")
    negatives_per_positive: int = Field(1, ge=1, description="balance of the labels Y that answers are read on")
    space_samples: int = Field(1_000, ge=1, description="test samples per task in the pictures of parameter space")
    theorem_trials: int = Field(100, ge=1, description="simulated data sets per sample size")
    gradient_every: int = Field(30, ge=0, description="steps between gradient cosines; 0 turns them off")
    unisar: Literal["never", "mechanisms", "always"] = Field(
        "mechanisms",
        description="where UniSAR, which the paper compares with, is trained and analysed: nowhere, in "
        "analyze/mechanisms, or in gensr/full-pipeline too. `rerank` says how; it needs train.tasks to be both",
    )


class SavedRanks(Frozen):
    """A file of ranks that ``benchmarks.save_ranks`` wrote, or a cell of ``docs/results``; a path stands for it."""

    path: str
    systems: tuple[str, ...] = Field((), description="systems to take from the file; none named means all")
    again: bool = Field(
        False, description="its systems may be in a file before it, too: these are further seeds of theirs"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Prefect's server checks parameters by the schema alone, so a path has to be in it."""
        return {"anyOf": [{"type": "string", "title": "path"}, handler(core)]}

    def without_folder(self) -> dict[str, Any]:
        """As JSON, the file by its name alone: where it lay is private."""
        return self.model_dump(mode="json") | {"path": Path(self.path).name}


class RerankConfig(Frozen):
    """Every system of the paper on the same candidates: ``compare/rerank-table``."""

    systems: tuple[str, ...] = Field(
        (), description="gensr, two_head, references and baselines by name, or module:Class; none means all"
    )
    seeds: Seeds = Field((0,), description="seeds of training; data and candidates are those of `seed`")
    tune: bool | None = Field(
        None,
        description="whether each system's grid is searched on valid first, with the first seed. Left out: "
        "compare/rerank-table tunes, the analyses do not tune UniSAR",
    )
    points: dict[str, dict[str, Any]] = Field(
        {}, description='by baseline, hyperparameters in place of its grid\'s values: {"sasrec": {"loss": "bce"}}'
    )
    trials: int = Field(4, ge=1, description="points of a grid that are tried, as many for every system")
    trial_epochs: int = Field(
        15, ge=1, description="most epochs of a trial; of GenSR and two heads no more than they train for. Short "
        "trials choose what learns fast"
    )  # fmt: skip
    epochs: int = Field(30, ge=1, description="most epochs of a baseline; train.epochs are GenSR's")
    patience: int = Field(6, ge=1, description="epochs without a better valid NDCG@5; some rise only after five")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of a baseline whose grid has none")
    batch_size: int = Field(256, ge=1, description="a baseline's training positives in a batch")
    concurrency: int = Field(2, ge=1, description="systems trained at once; they share the cores")
    dask: str | None = Field(
        None,
        min_length=1,
        description="address of a Dask scheduler (tcp://host:8786). Its workers train as many systems at once as they "
        "have threads; `concurrency` does not count. Left out: threads of this machine",
    )
    saved_ranks: tuple[SavedRanks, ...] = Field(
        (), description="files of ranks whose systems join the table without being trained"
    )


class AblationConfig(Frozen):
    """``ablation/paper`` (§6.6): GenSR beside GenSR without one of its parts."""

    variants: tuple[VariantName, ...] = Field(
        USUAL_VARIANTS,
        description="gensr itself is always among them. What takes away a departure asks for a config that has it on. "
        + "; ".join(f"{name}: {variant.title}" for name, variant in VARIANTS.items() if name != "gensr"),
    )
    seeds: Seeds = Field((0,), description="seeds of LightGCN and training; data and candidates are those of `seed`")
    concurrency: int = Field(2, ge=1, description="variants trained at once; they share the cores")


class SweepConfig(Frozen):
    """``sweep/tau-beta`` (§6.1.3): one factor at a time, the other as in ``model``; the paper's grids."""

    tau: tuple[Annotated[float, Field(gt=0)], ...] = (0.01, 0.03, 0.05, 0.07, 0.09)
    beta: tuple[Annotated[float, Field(ge=0)], ...] = (0.001, 0.01, 0.1, 0.15, 0.2, 0.25, 0.3)
    concurrency: int = Field(2, ge=1, description="models trained at once; they share the cores")


class StudiesConfig(Frozen):
    """Which studies gensr/full-pipeline makes after its own models; the section of a study has its size."""

    rerank: bool = Field(False, description="compare all systems, as compare/rerank-table; section `rerank`")
    full_ranking: bool = Field(
        False, description="rank the whole catalogue, as train/full-ranking, and register no model"
    )
    ablation: bool = Field(False, description="train GenSR without its parts, as ablation/paper; section `ablation`")
    sweep: bool = Field(False, description="search τ and β, as sweep/tau-beta; section `sweep`")
