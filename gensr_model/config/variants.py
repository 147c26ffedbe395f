"""The variants of the ablation study (§6.6), one row each: title, changes, and the paper's figures."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, WithJsonSchema

from gensr_model.config.base import Task


class Variant(NamedTuple):
    """GenSR with one part changed."""

    group: Literal["usual", "departure", "prompts"]  # usual: fits any config
    title: str
    changes: dict[str, Any]  # laid over the config
    paper: dict[Task, float] = {}  # noqa: RUF012  # relative change of NDCG@5 on Amazon, where §6.6 gives it


def _prompts(*segments: str) -> dict[str, Any]:
    """Prompts of both tasks, with five segments each. {0} is the task's name and, for search, the query."""
    tasks = {"recommendation_prompt": "recommend", "search_prompt": "search {query}"}
    return {
        "model": {
            prompt: {"segments": tuple(segment.replace("{0}", task) for segment in segments)}
            for prompt, task in tasks.items()
        }
    }


def _without(**departures: Any) -> dict[str, Any]:
    return {"model": {"departures": departures}}


# §6.6 gives one pair of figures for "a single view" and does not say which view remains.
_SINGLE_VIEW: dict[Task, float] = {"recommendation": -0.265, "search": -0.061}

VARIANTS: dict[str, Variant] = {
    "gensr": Variant("usual", "GenSR", {}),
    "no_cf_view": Variant("usual", "GenSR − CF view", {"model": {"cf_view": False}}, _SINGLE_VIEW),
    "no_semantic_view": Variant("usual", "GenSR − semantic view", {"model": {"semantic_view": False}}, _SINGLE_VIEW),
    "no_soft_filter": Variant(
        "usual", "GenSR − soft filter", {"model": {"soft_filter": False}}, {"recommendation": -0.122, "search": -0.031}
    ),
    "no_contrastive": Variant(
        "usual", "GenSR − contrastive", {"model": {"beta": 0.0}}, {"recommendation": -0.061, "search": -0.010}
    ),
    "recommendation_only": Variant("usual", "GenSR, recommendation only", {"train": {"tasks": "recommendation"}}),
    "search_only": Variant("usual", "GenSR, search only", {"train": {"tasks": "search"}}),
    "no_searches": Variant("departure", "GenSR − searches in the text", _without(searches_in_text={"enabled": False})),
    "no_leave_one_out": Variant(
        "departure",
        "GenSR − a search left out of its positive's text",
        _without(searches_in_text={"leave_one_out": False}),
    ),
    "no_folds": Variant("departure", "GenSR − cross-fitting", _without(folds=0)),
    "no_interaction": Variant("departure", "GenSR − product of history and candidate", _without(interaction=False)),
    "no_query_interaction": Variant(
        "departure", "GenSR − product of query and candidate", _without(query_interaction=False)
    ),
    "no_cold_items": Variant("departure", "GenSR − cold items in training", _without(cold_items=0.0)),
    "no_filter_identity": Variant(
        "departure", "GenSR − filter that starts as identity", _without(filter_identity=False)
    ),
    # 24 and 64 words with the four placeholders. A tokenizer trained on the corpus makes a few more tokens of them.
    "prompts_24": Variant(
        "prompts",
        "GenSR, prompts of 24 words",
        _prompts("{0} . what the user had :", "and its words :", "the item :", "and its words :", "fit ?"),
    ),
    "prompts_64": Variant(
        "prompts",
        "GenSR, prompts of 64 words",
        _prompts(
            "{0} . what the user had so far , as seen through all other users :",
            "the same again , as seen through the words of each item :",
            "now one item of the list , as seen through all users :",
            "the same item again , as seen through its own words :",
            "does it fit the user ?",
        ),
    ),
}
USUAL_VARIANTS = tuple(name for name, variant in VARIANTS.items() if variant.group == "usual")
DEPARTURE_VARIANTS = tuple(name for name, variant in VARIANTS.items() if variant.group == "departure")


def _known(name: str) -> str:
    if name not in VARIANTS:
        raise ValueError(f"{name!r} is no variant. Choose one of {', '.join(VARIANTS)}.")
    return name


# Prefect's form takes its list of names from this schema.
VariantName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(VARIANTS)})]
