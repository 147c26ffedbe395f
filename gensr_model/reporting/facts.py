"""All that a report is made of: plain, JSON-able values, collected by whoever has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gensr_model.config.variants import VARIANTS

MODELS = {
    "gensr": "GenSR",
    "two_head": "Two heads (Eq. 1)",
    "unisar": "UniSAR",
    "popularity": "Popularity",
    "item_knn": "Item-kNN",
    "lightgcn": "LightGCN",
    "bm25": "BM25",
    "same_query": "Same query",
    **{name: variant.title for name, variant in VARIANTS.items()},
}
_PLANES = {
    "inputs": "Input (X, Y)",
    "inputs_without_query": "Input without the query",
    "gensr_untrained": "GenSR, untrained",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a finished run. A part that a run does not have is empty, and its section is left out.

    Attributes:
        summary: the content of ``summary.json``.
        made: when the report was made, for people.
        links: name -> address, of the run in MLflow and in Prefect.
        manifest: of the prepared dataset.
        reading: of the raw files: lines read, accepted and rejected.
        rejects: reason -> rejected lines.
        profile: a row per raw or prepared table and column.
        checks: rows of "suite", "expectations" and "failed".
        audits: rows of "name", "rule" and "violations".
        audit_figures: rows of "name", "rule" and "values" (name -> number or None), which never fail.
        training: model -> content of ``training.json``.
        gradients: model -> probes, each with "step" and "cosine".
        stages: rows of "label", "seconds", "reused", "peak_bytes", "peak_gpu_bytes" and "metrics".
        examples: what ``evaluation.examples.example_rankings`` gives.
        segments: rows of "task", "by", "segment", "model", "samples" and "ndcg_at_10" (``evaluation.diagnosis``).
    """

    summary: dict[str, Any]
    made: str = ""
    links: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    profile: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)
    audit_figures: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    gradients: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def generated(self) -> bool:
        """Whether the data were made by this program."""
        return bool(self.summary["config"]["source"]["kind"] == "generated")

    def analysis(self, kind: str) -> dict[tuple[str, ...], dict[str, float]]:
        """``kind/a/b/name: value`` of the summary's analysis as ``{(a, b): {name: value}}``."""
        groups: dict[tuple[str, ...], dict[str, float]] = {}
        for path, value in self.summary["analysis"].items():
            first, *group, name = path.split("/")
            if first == kind:
                groups.setdefault(tuple(group), {})[name] = value
        models = in_order(dict.fromkeys(group[0] for group in groups))
        return dict(sorted(groups.items(), key=lambda entry: models.index(entry[0][0])))


def in_order(names: Iterable[str]) -> list[str]:
    """Models in the order of ``MODELS``, GenSR first, others after them as they come: JSON keeps no order."""
    known = {name: place for place, name in enumerate(MODELS)}
    return sorted(names, key=lambda name: known.get(name, len(known)))


def model_title(name: str) -> str:
    """What people call a model, or another plane of Figure 3."""
    return MODELS.get(name, _PLANES.get(name, name))


def how_it_came(stage: dict[str, Any]) -> str:
    """Whether a run built a stage, from its "reused" and "built_on"."""
    if stage.get("built_on"):
        return f"reused, built on {stage['built_on']}"
    return "reused" if stage["reused"] else "built"
