"""The sentence that opens each section of a report. It says what the section is for, with its outcome if any."""

from __future__ import annotations

from gensr_model.reporting import study_findings
from gensr_model.reporting.findings import joined, tested
from gensr_model.reporting.run_facts import ABLATION, FULL, FULL_TABLE, RERANK, SWEEP, RunFacts
from gensr_model.reporting.standings import standings

_MEANINGS = {
    "claims": "What of the paper is seen in this run, claim by claim.",
    "results": "Who ranks the item that the user took highest.",
    "segments": "For which users, items and queries GenSR leads, and where it loses.",
    "systems": "GenSR beside the systems that the paper compares with, on the same candidates.",
    "catalogue": "The same over the whole catalogue, as a live system has to rank.",
    "full": "GenSR finds the item among the whole catalogue, as a live system has to.",
    "ablation": "What each part of GenSR is worth: the change when the part is left out.",
    "sweep": "How much the temperature τ and the weight β of the contrastive loss matter.",
    "examples": "Ten rankings to judge by eye. The seed drew them, nobody chose them.",
    "mechanisms": "Whether the paper's explanation of GenSR's lead holds for these models.",
    "semantic-ids": "How well the codes of items tell the items apart.",
    "failed": "What to know before you rely on the figures above.",
    "data": "What is left of the logs after filtering, and how the samples are split.",
    "checks": "Whether the data keep the rules that make the comparison fair.",
    "check": "How the raw files were read. A column that was taken for another makes every figure wrong.",
    "training": "Whether each model has learned what it can, or stopped too early.",
    "speed": "What training and ranking cost in time and memory.",
    "run": "All that is needed to make this run again, and what each stage took.",
}
_STUDIES = {"systems": RERANK, "catalogue": FULL_TABLE, "full": FULL, "ablation": ABLATION, "sweep": SWEEP}


def meaning(facts: RunFacts, section: str) -> str:
    """Of a section by its anchor; empty for one without, such as the first screen."""
    said = [_MEANINGS.get(section, "")]
    if section == "results":
        places = [f"{standing.place} of {len(standing.rows)} in {standing.task}" for standing in standings(facts)]
        said += [f"GenSR is at place {joined(places)}."] if places else []
    if section == "segments":
        said += _segments(facts)
    if section in _STUDIES:
        said += study_findings.outcomes_of(facts, _STUDIES[section])
    return " ".join(filter(None, said))


def _segments(facts: RunFacts) -> list[str]:
    compared = [row for row in facts.segments if row.get("lead") is not None]
    verdicts = [tested(row["lead"], row.get("lead_p_holm"), facts) for row in compared]
    if not verdicts:
        return []
    ahead, behind = verdicts.count("good"), verdicts.count("bad")
    return [f"GenSR is significantly ahead on {ahead} of {len(verdicts)} segments and behind on {behind}."]
