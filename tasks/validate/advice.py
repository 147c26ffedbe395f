"""Warnings of the check: problems to know before a training, each with what to do."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from gensr_model.config.base import TASKS
from gensr_model.config.pipeline import PipelineConfig
from tasks.core.dataset_format import dataset_format

_ENOUGH = {"train": 1_000, "test": 200}  # samples; with fewer, a model learns nothing and differences are noise
_HOPELESS = 300  # engagements: below, no setting makes a run learn
_FEW = 0.05  # of the events of a usual day
_USUAL = 0.25  # of the events of a usual day: a day before the thin ones with fewer is one of them
_MUCH = 0.2  # share of ties, of items without a text
_ONE_USER = 0.05  # share of all events

Result = dict[str, Any]


def warnings(result: Result, config: PipelineConfig) -> list[str]:
    """Sentences on the content of ``check.json``, those of the format last."""
    entry = dataset_format(config.format)
    own = entry.advice(result) if entry.advice else []
    return [*itertools.chain.from_iterable(look(result, config) for look in _LOOKS), *own]


def problem_in_words(problem: str, result: Result, config: PipelineConfig) -> str:
    """Why a run could not work. Of too few data to learn from, it says what would be needed instead."""
    events = result.get("events")
    total = events["recommendation"] + events["search"] if events else 0
    if not events or not total or total + result["counts"].get("left_out_by_until", 0) >= _HOPELESS:
        return problem
    return (
        f"{problem.partition('. ')[0]}. The data hold {total:,} engagements of {events['users']:,} users, and no "
        "setting makes a run learn from so few. Bring logs of more users and more days: some thousand engagements, by "
        f"users with {max(3, config.prepare.min_interactions)} or more each."
    )


def _empty_files(result: Result, config: PipelineConfig) -> Iterator[str]:
    del config
    names = [file["name"] for file in result["files"] if file.get("empty")]
    if names:
        more = f" and {len(names) - 5:,} others" if len(names) > 5 else ""
        yield (
            f"Without a row, and so left out: {', '.join(names[:5])}{more}. Copy or export again what should hold "
            "events or items."
        )


def _few_events(result: Result, config: PipelineConfig) -> Iterator[str]:
    del config
    events = result.get("events")
    total = events["recommendation"] + events["search"] if events else 0
    if events and total < _ENOUGH["train"]:
        yield (
            f"The data hold {total:,} engagements of {events['users']:,} users, too few to learn from. Bring more "
            "users and more days: some thousand engagements, by users who come back."
        )


def _few_samples(result: Result, config: PipelineConfig) -> Iterator[str]:
    k = config.prepare.min_interactions
    lower = f", or lower prepare.min_interactions (now {k})" if k > 1 else ""
    samples = result["counts"].get("samples", {})
    means = {"train": "too few to learn from", "test": "so differences between models are noise"}
    said, larger_test = any(_few_events(result, config)), dataset_format(config.format).larger_test
    for split, enough in _ENOUGH.items():
        for task in TASKS if samples and not (said and split == "train") else ():
            if 0 < (number := samples[split][task]["samples"]) < enough:
                other = larger_test(result, config, enough / number) if larger_test and split == "test" else ""
                yield (
                    f"{split} has {number:,} samples of {task}, {means[split]}. Bring more users or more days"
                    f"{lower}{other and f', or set {other}'}."
                )


def _small_core(result: Result, config: PipelineConfig) -> Iterator[str]:
    steps = result["counts"].get("filter", {}).get("steps", [])
    if steps and 0 < steps[-1]["interactions"] < steps[0]["interactions"] / 2:
        yield (
            f"The filter leaves {steps[-1]['interactions'] / steps[0]['interactions']:.0%} of the events. Lower "
            f"prepare.min_interactions (now {config.prepare.min_interactions}) to keep more users and items."
        )


def _ties(result: Result, config: PipelineConfig) -> Iterator[str]:
    events = result.get("events")
    total = events["recommendation"] + events["search"] if events else 0
    ordered = dataset_format(config.format).facts.without_order is None
    if events and events["tied"] > _MUCH * total and ordered and config.prepare.same_time == "exclude":
        yield (
            f"{events['tied'] / total:.0%} of the events share their instant with another of the same user, and "
            "histories leave these out. Set prepare.same_time to include if the rows stand in the order of events."
        )


def _without_impressions(result: Result, config: PipelineConfig) -> Iterator[str]:
    del config
    for task, row in result["counts"].get("shown", {}).get("test", {}).items():
        if without := row["without_impressions"]:
            yield (
                f"{without:,} of {without + row['samples']:,} test samples of {task} have no impressions, so the "
                f"protocol shown leaves them out. The others have {row['median_negatives'] or 0:g} negatives in the "
                "median."
            )


def _untitled(result: Result, config: PipelineConfig) -> Iterator[str]:
    del config
    text = result.get("text")
    if text and text["without_any"] > _MUCH * text["items"]:
        yield (
            f"{text['without_any']:,} of {text['items']:,} items have no text, and a model that reads texts knows "
            "nothing of them. Bring an item file that describes them, or name its columns."
        )


def _placeholder(result: Result, config: PipelineConfig) -> Iterator[str]:
    del config
    events = result.get("events")
    total = events["recommendation"] + events["search"] if events else 0
    if events and events["users"] >= 100 and events["most_of_a_user"] > _ONE_USER * total:
        yield (
            f"User {events['busiest_user']!r} has {events['most_of_a_user'] / total:.0%} of all events: a robot, or a "
            "placeholder for users who are not known. Leave its rows out of the files."
        )


def _thin_days(result: Result, config: PipelineConfig) -> Iterator[str]:
    """Where days decide the split, the last ones with hardly any event."""
    del config
    days = [(day["day"], [day[split] for split in ("train", "valid", "test")]) for day in result.get("days", [])]
    if not days or not result["days_decide"]:
        return
    usual = statistics.median(sum(splits) for _, splits in days)
    if sum(days[-1][1]) <= _FEW * usual:
        thin = list(itertools.takewhile(lambda day: sum(day[1]) <= _USUAL * usual, reversed(days)))
        first = datetime.fromisoformat(thin[-1][0]).replace(tzinfo=ZoneInfo(result["zone"]))
        yield (
            f"From {thin[-1][0]} on there are {sum(sum(splits) for _, splits in thin):,} events, and a usual day has "
            f'{usual:,.0f}. To leave them out set prepare.until to "{first.isoformat(timespec="minutes")}".'
        )


_LOOKS: tuple[Callable[[Result, PipelineConfig], Iterator[str]], ...] = (
    _empty_files,
    _few_events,
    _few_samples,
    _small_core,
    _ties,
    _without_impressions,
    _untitled,
    _placeholder,
    _thin_days,
)
