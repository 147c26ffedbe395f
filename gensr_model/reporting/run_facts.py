"""The data of a report: plain values, ready for JSON, from any collector."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from gensr_model.config.base import SEARCH_ONLY, SHOWN
from gensr_model.config.known_formats import FormatFacts
from gensr_model.reporting.model_names import in_order, model_title

RERANK, FULL_TABLE, FULL, ABLATION, SWEEP = STUDIES = (
    "rerank-table", "full-ranking-table", "full-ranking", "ablation", "sweep",
)  # fmt: skip
# Studies that compare many systems, with the titles of their sections.
SYSTEMS = {RERANK: "All systems", FULL_TABLE: "All systems over the catalogue"}
MECHANISMS = "mechanisms"  # what analyze/mechanisms calls itself
SPACE = "space"  # name of a picture
_FULL_TITLE = {"full": "GenSR, full ranking"}


@dataclass(frozen=True)
class RunFacts:
    """What is known of a finished run. A part that a run does not have is empty, and its section is left out.

    Attributes:
        summary: the content of ``summary.json``.
        made: when the report was made, for people.
        links: name -> address, of the run in MLflow and in Prefect.
        manifest: of the prepared dataset.
        reading: of the raw files: lines read, accepted and rejected.
        rejects: reason -> rejected lines.
        check: content of ``check.json``: what was understood of the raw data.
        profile: a row per raw or prepared table and column.
        checks: rows of "suite", "expectations" and "failed".
        audits: rows of "name", "rule" and "violations".
        audit_figures: rows of "name", "rule" and "values" (name -> number or None), which never fail.
        training: model -> content of ``training.json``, with ``seconds`` and ``resumed_at``.
        gradients: model -> probes, each with "step" and "cosine".
        stages: rows of "label", "seconds", "reused", "peak_bytes", "peak_gpu_bytes" and "metrics".
        examples: what ``evaluation.examples.example_rankings`` gives.
        segments: rows of "task", "by", "segment", "model", "samples" and "ndcg_at_10" (``evaluation.diagnosis``).
        data_format: of the run's raw files; None where nobody asked, and then no number of the paper is shown.
        studies: name -> the summary of the study, made by a flow of its own or within gensr/full-pipeline.
        semantic_ids: content of the stage's ``report.json``.
        pictures: name -> PNG.
    """

    summary: dict[str, Any]
    made: str = ""
    links: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    profile: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)
    audit_figures: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    gradients: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    data_format: FormatFacts | None = None
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    semantic_ids: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def from_summary(cls, summary: dict[str, Any], **known: Any) -> RunFacts:
        """Facts from ``summary.json`` alone, and further ``known`` facts.

        A summary of a study is among the studies. Its ranks are in the study's section, not among the results of the
        run.
        """
        studies, name = dict(summary.get("studies", {})), summary.get("study")
        if name in STUDIES:
            studies[name] = summary
        if name in (*SYSTEMS, FULL):
            summary = summary | {"results": {}, "comparisons": {}, "diagnosis": []}
        own = {"training": summary.get("training", {}), "stages": summary.get("stages", [])}
        return cls(summary, studies=studies, segments=summary.get("diagnosis", []), **own | known)

    @property
    def confidence(self) -> str:
        """The confidence of all intervals, as ``95%``."""
        return f"{100 * self.summary['config']['statistics']['confidence']:g}%"

    @property
    def alpha(self) -> float:
        """The significance level of p values: 1 − the confidence of the intervals."""
        return 1.0 - float(self.summary["config"]["statistics"]["confidence"])

    def title(self, name: str) -> str:
        """The title of a model, of a system of a comparison, or of a trial of a study."""
        if name.startswith("tau="):
            return name.replace("tau=", "τ ").replace("-beta=", ", β ")
        model, _, seed = name.partition("-seed")
        systems = {n: s for study in SYSTEMS for n, s in self.studies.get(study, {}).get("systems", {}).items()}
        known = systems[model]["title"] if model in systems else _FULL_TITLE.get(model, model_title(model))
        return known + (f", seed {seed}" if seed else "")

    def median_list(self, task: str | None = None) -> float | None:
        """The median length of the ranked lists, of one task or over the tasks. None where all have one length."""
        tasks = [rows for name, rows in self.summary["results"].items() if task in (None, name)]
        medians = [row["median_candidates"] for rows in tasks for row in rows.values() if "median_candidates" in row]
        return statistics.median(medians) if medians else None

    def negatives(self, task: str | None = None, kind: str = "frozen negatives") -> str:
        """What a positive is ranked among, in words."""
        protocol = self.summary["config"]["evaluation"]["protocol"]
        if protocol != SHOWN:
            return f"{self.summary['negatives']} {kind} ({protocol})"
        median = self.median_list(task)
        return "the other items that were shown" + (f", {median - 1:g} in the median" if median else "")

    def left_out(self) -> list[str]:
        """Sentences on the samples and tasks that the protocol has no candidates for."""
        protocol = self.summary["config"]["evaluation"]["protocol"]
        if protocol in SEARCH_ONLY:
            return [f"Recommendation is left out: {protocol} draws no candidates for it."]
        if protocol != SHOWN:
            return []
        counts = self.manifest.get("counts", {}).get("shown", {}).get("test", {})
        return [
            f"{row['without_impressions']:,} of {row['samples'] + row['without_impressions']:,} test samples of {task} "
            "are left out: nothing is known to have been shown beside the item."
            for task, row in counts.items()
            if row["without_impressions"]
        ]

    @property
    def generated(self) -> bool:
        """Whether this program generated the data."""
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
