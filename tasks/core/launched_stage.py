"""Runs a stage's function in several processes that train together (``train.processes``)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gensr_model.config.base import restricted
from gensr_model.config.pipeline import SECTIONS, PipelineConfig
from gensr_model.runtime import launch
from gensr_model.runtime.devices import peak_of_this_process
from gensr_model.runtime.progress import Report
from tasks.core.code_version import must_be, versions
from tasks.core.run_log import run_logger
from tasks.core.source_files import only_this_version
from tasks.core.state_dir import state_dir
from tasks.core.work import Work

if TYPE_CHECKING:
    from tasks.core.stage import Stage


def run_together(
    stage: Stage, work: Work, config: PipelineConfig, inputs: Sequence[Path], option: str | None, share: int
) -> dict[str, float] | None:
    """Build a stage in the processes of ``train.processes`` or ``train.accelerate``. None where that is one.

    Returns the metrics of the first process and its ``peak_memory_mb``. Errors are those of ``launch.run``.

    Args:
        share: number of such stages that share the cores.
    """
    plan = launch.plan(config.train)
    if plan is None:
        return None
    if config.train.accelerate:
        run_logger().info(
            "this training needs all machines: on each further one, run python -m gensr_model.runtime.join %s and its "
            "own file like %s",
            state_dir().root,
            config.train.accelerate,
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # frees memory that a training in this process has reserved
    only_this_version()
    arguments = {
        "function": [stage.build.__module__, stage.build.__name__],
        "code": versions(),
        "config": config.model_dump(mode="json"),
        "view": stage.view_of(option),
        "folders": [str(work.out), str(work.checkpoints)],
        "inputs": [str(path) for path in inputs],
        "options": [] if option is None else [option],
    }
    threads = max(1, (os.cpu_count() or 1) // (plan.processes * max(1, share)))
    folder = work.checkpoints / launch.FOLDER
    return launch.run("tasks.core.launched_stage:build", arguments, folder, plan.options, threads, work.report)


def build(
    report: Report,
    function: tuple[str, str],
    code: dict[str, str],
    config: dict[str, Any],
    view: dict[str, Any],
    folders: tuple[str, str],
    inputs: list[str],
    options: list[str],
) -> dict[str, float]:
    """Call a stage's function in this process, one of several. The arguments are those of ``run_together``, as JSON."""
    must_be(code)
    out, checkpoints = map(Path, folders)
    named = getattr(importlib.import_module(function[0]), function[1])
    build_stage = getattr(named, "build", named)  # for a stage, the function that fills its folder
    # Sections that are whole are not filled from the preset again.
    whole = config | {name: kind.model_validate(config[name]) for name, kind in SECTIONS.items()}
    given = restricted(PipelineConfig.model_validate(whole), **view)
    metrics = build_stage(Work(out, checkpoints, report), given, *map(Path, inputs), *options) or {}
    return metrics | peak_of_this_process()
