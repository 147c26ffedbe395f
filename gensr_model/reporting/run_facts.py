"""All that the report of a run is made of: ``Facts``, and what its studies and analyses left.

Apart from ``Facts``: the analyses' own figures take names from there, so a change there makes the analyses anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gensr_model.config.known_formats import FormatFacts
from gensr_model.reporting.facts import Facts, model_title

RERANK, FULL, ABLATION, SWEEP = "rerank-table", "full-ranking", "ablation", "sweep"  # names of studies
MECHANISMS = "mechanisms"  # what analyze/mechanisms calls itself
SPACE = "space"  # name of a picture
_FULL_TITLE = {"full": "GenSR, full ranking"}


@dataclass(frozen=True)
class RunFacts(Facts):
    """What is known of a finished run, its studies included.

    Attributes:
        data_format: of the run's raw files; None where nobody asked, and then no number of the paper is shown.
        studies: name -> the summary of the study, made by a flow of its own or within gensr/full-pipeline.
        pictures: name -> PNG.
    """

    data_format: FormatFacts | None = None
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of_summary(cls, summary: dict[str, Any], **known: Any) -> RunFacts:
        """What ``summary.json`` alone holds, and what else is ``known``.

        A study that the summary itself is of stands among the studies. What such a study ranked stands in its own
        section, not among the results of the run.
        """
        studies, name = dict(summary.get("studies", {})), summary.get("study")
        if name in (RERANK, FULL, ABLATION, SWEEP):
            studies[name] = summary
        if name in (RERANK, FULL):
            summary = summary | {"results": {}, "comparisons": {}, "diagnosis": []}
        own = {"training": summary.get("training", {}), "stages": summary.get("stages", [])}
        return cls(summary, studies=studies, segments=summary.get("diagnosis", []), **own | known)

    @property
    def confidence(self) -> str:
        """Of all intervals, as ``95%``."""
        return f"{100 * self.summary['config']['statistics']['confidence']:g}%"

    @property
    def alpha(self) -> float:
        """Below which a p value tells a difference: what the intervals leave out."""
        return 1.0 - float(self.summary["config"]["statistics"]["confidence"])

    def title(self, name: str) -> str:
        """What people call a model, a system of a comparison or a trial of a study."""
        if name.startswith("tau="):
            return name.replace("tau=", "τ ").replace("-beta=", ", β ")
        model, _, seed = name.partition("-seed")
        systems = self.studies.get(RERANK, {}).get("systems", {})
        known = systems[model]["title"] if model in systems else _FULL_TITLE.get(model, model_title(model))
        return known + (f", seed {seed}" if seed else "")
