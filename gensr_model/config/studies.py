"""Configs of the studies: analyses of trained models, comparison table, ablation and sweep."""

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
        raise ValueError(f"a seed stands twice in {list(seeds)} and would count as two trainings. Name each seed once.")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)]


class AnalysisConfig(Frozen):
    """The paper's analyses, measured on the trained models (§4, §6.4, §6.5)."""

    enabled: bool = Field(True, description="Run the analyses in gensr/full-pipeline.")
    parts: tuple[Literal["information", "gradients", "space", "theorem"], ...] = Field(
        ("information", "gradients", "space", "theorem"),
        description="Which analyses run. information: mutual information of answers (Table 5). gradients: "
        "gradient conflict during training (Fig. 4). space: the tasks in parameter space (Fig. 3). "
        "theorem: a simulation of Theorem 4.1's Gaussian world.",
    )
    mine_samples: int = Field(
        4_000, ge=1, description="Test samples per task. The analysis takes the first sample of each user among them."
    )
    mine_steps: int = Field(
        1_500, ge=1, description="Largest number of training steps of a critic. Held-out samples may stop it earlier."
    )
    mine_seeds: int = Field(3, ge=1, description="Critics per estimate, each with its own split.")
    negatives_per_positive: int = Field(
        1, ge=1, description="Negatives per positive among the labels Y of the answers."
    )
    space_samples: int = Field(1_000, ge=1, description="Test samples per task in the plots of parameter space.")
    theorem_trials: int = Field(100, ge=1, description="Simulated data sets per sample size.")
    gradient_every: int = Field(
        30, ge=0, description="Training steps between two measurements of the gradient cosine. 0 turns them off."
    )
    unisar: Literal["never", "mechanisms", "always"] = Field(
        "mechanisms",
        description="Where the baseline UniSAR is trained and analysed too. never: nowhere. mechanisms: in "
        "analyze/mechanisms. always: in gensr/full-pipeline too. Section `rerank` holds its "
        "settings, and `train.tasks` must be both.",
    )


class SavedRanks(Frozen):
    """A file of ranks from ``benchmarks.save_ranks``, or a cell of ``docs/results``. A plain path means the file."""

    path: str = Field(description="Path of the file.")
    systems: tuple[str, ...] = Field((), description="Systems to read from the file. Empty: all systems.")
    again: bool = Field(
        False, description="Allow systems that an earlier file also holds. Their ranks count as further seeds."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add a plain path to the schema: Prefect's server checks parameters by the schema alone."""
        return {"anyOf": [{"type": "string", "title": "path"}, handler(core)]}

    def without_folder(self) -> dict[str, Any]:
        """As JSON, with only the name of the file: its folder is private."""
        return self.model_dump(mode="json") | {"path": Path(self.path).name}


class RerankConfig(Frozen):
    """All systems of the paper on the same candidates, as ``compare/rerank-table`` ranks them."""

    systems: tuple[str, ...] = Field(
        (),
        description="Systems to compare: gensr, two_head, references and baselines by name, or module:Class. "
        "Empty: all systems.",
    )
    seeds: Seeds = Field((0,), description="Seeds of training. Data and candidates use `seed`.")
    tune: bool | None = Field(
        None,
        description="Search each system's grid on the valid split first, with the first seed. Left out: "
        "compare/rerank-table tunes, and the analyses do not tune UniSAR.",
    )
    points: dict[str, dict[str, Any]] = Field(
        {}, description='Hyperparameters by baseline, in place of the values of its grid: {"sasrec": {"loss": "bce"}}.'
    )
    trials: int = Field(4, ge=1, description="Points of the grid to try, the same number for every system.")
    trial_epochs: int = Field(
        15, ge=1, description="Largest number of epochs of a trial. GenSR and the two-head model train no longer than "
"`train` says. Short trials favor hyperparameters that learn fast."
    )  # fmt: skip
    epochs: int = Field(
        30, ge=1, description="Largest number of epochs of a baseline. GenSR trains for `train.epochs`."
    )
    patience: int = Field(
        6,
        ge=1,
        description="Epochs without a better valid NDCG@5 before a baseline stops. Some baselines improve only "
        "after five.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of baselines whose grid has none.")
    batch_size: int = Field(256, ge=1, description="Training positives of a baseline in a batch.")
    concurrency: int = Field(2, ge=1, description="Systems that train at once and share the cores.")
    dask: str | None = Field(
        None,
        min_length=1,
        description="Address of a Dask scheduler (tcp://host:8786). Its workers train as many systems at once as "
        "they have threads, and `concurrency` has no effect. Left out: systems train on this machine.",
    )
    saved_ranks: tuple[SavedRanks, ...] = Field(
        (), description="Files of ranks whose systems join the table without training."
    )


class AblationConfig(Frozen):
    """``ablation/paper`` (§6.6): GenSR beside variants of GenSR without one part."""

    variants: tuple[VariantName, ...] = Field(
        USUAL_VARIANTS,
        description="Variants to train; GenSR itself always trains too. A variant without a departure needs a config "
        "with the departure. "
        + " ".join(f"{name}: {variant.title}." for name, variant in VARIANTS.items() if name != "gensr"),
    )
    seeds: Seeds = Field((0,), description="Seeds of LightGCN and training. Data and candidates use `seed`.")
    concurrency: int = Field(2, ge=1, description="Variants that train at once and share the cores.")


class SweepConfig(Frozen):
    """``sweep/tau-beta`` (§6.1.3) with the paper's grids: one factor varies, and the other is as in ``model``."""

    tau: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.01, 0.03, 0.05, 0.07, 0.09), description="Values of model.tau to try."
    )
    beta: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (0.001, 0.01, 0.1, 0.15, 0.2, 0.25, 0.3), description="Values of model.beta to try."
    )
    concurrency: int = Field(2, ge=1, description="Models that train at once and share the cores.")


class StudiesConfig(Frozen):
    """Which studies gensr/full-pipeline runs after it has trained its models. Each study has a section for its size."""

    rerank: bool = Field(
        False, description="Compare all systems, as compare/rerank-table does. Section `rerank` has the settings."
    )
    full_ranking: bool = Field(
        False, description="Rank the whole catalogue, as train/full-ranking does, but register no model."
    )
    ablation: bool = Field(
        False,
        description="Train GenSR without each of its parts, as ablation/paper does. Section `ablation` has the "
        "settings.",
    )
    sweep: bool = Field(
        False, description="Try values of τ and β, as sweep/tau-beta does. Section `sweep` has the settings."
    )
