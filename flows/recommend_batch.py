"""The best items for many users, and results for many searches, by the champion or a named version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.shared.fan_out import FanOut, fan_out
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.config.recommend import RecommendConfig
from tasks.core.run_log import STARTED, run_logger
from tasks.core.tracking import RunReport, Tracked, parent_run
from tasks.core.worker_check import WorkerEnvironment, check, here
from tasks.recommend import batch as batches
from tasks.recommend.batch import Batch
from tasks.recommend.destination import Destination, open_destination
from tasks.recommend.requests import Shard
from tasks.recommend.rows import Counts

_NAME = "recommend"


@flow(name="recommend")
def recommend_batch(config: PipelineConfig) -> dict[str, Any]:
    """Answer all users, or those of a file, and the searches of a file. Returns the manifest of the batch.

    Answers are written shard by shard. A run that was killed goes on with the shards that are missing, and a finished
    batch is not made again.
    """
    settings = config.recommend
    fan = fan_out(settings, _NAME)
    with parent_run(config, "recommend/batch", str(flow_run.id)) as run:
        batch = batches.find_batch(run, config)
        run.tags(model=batch.model, version=batch.version)
        destination = open_destination(settings, batch.name)
        destination.prepare()
        manifest = destination.manifest()
        if manifest is None:
            manifest = _make(run, batch, settings, destination, fan)
            message = f"{batches.sentence(manifest)}, in {destination.place}"
        else:
            message = f"nothing to do, this batch is finished in {destination.place}: {batches.sentence(manifest)}"
        run_logger().info("%s: %s", _NAME, message)
        _publish(run, manifest, message)
    return manifest


def _make(
    run: Tracked, batch: Batch, settings: RecommendConfig, destination: Destination, fan: FanOut
) -> dict[str, Any]:
    """Write the shards that are missing, then the manifest."""
    done = destination.done()
    left = [shard for shard in batch.requests.shards if str(shard) not in done]
    if len(left) < len(batch.requests.shards):
        written = len(batch.requests.shards) - len(left)
        run_logger().info(
            "%s: %d of %d shards are written, %d are left", _NAME, written, written + len(left), len(left)
        )
    run_logger().info("%s: %s", _NAME, STARTED)
    begun = time.monotonic()
    if settings.dask is None:  # in this flow, where a terminal shows the progress
        answered = _watch(run, (write_one(batch, shard, settings, None, 0) for shard in left), len(left))
    else:
        by_workers = write_by_workers.with_options(task_runner=fan.runner)
        answered = by_workers(run.run_id, batch, left, settings, fan.at_once)
    seconds = time.monotonic() - begun
    run.metrics({"answers": float(answered), "seconds": seconds, "answers_per_second": answered / max(seconds, 1e-9)})
    return batches.finish(batch, settings, destination)


@flow(name="shards", validate_parameters=False)
def write_by_workers(run_id: str, batch: Batch, shards: list[Shard], settings: RecommendConfig, at_once: int) -> int:
    """Write shards on the workers of a Dask cluster. Returns the number of answers."""
    futures = [write_one.submit(batch, shard, settings, here(), at_once) for shard in shards]
    return _watch(Tracked.existing(run_id), (future.result() for future in futures), len(shards))


def _watch(run: Tracked, parts: Iterator[Counts], shards: int) -> int:
    """Wait for the shards and show progress. Returns the number of answers."""
    report, answered = RunReport(run, _NAME), 0
    try:
        for number, counts in enumerate(parts, 1):
            answered += counts["answers"]
            report.progress(number, shards, f"{answered:,} answers, {number} of {shards} shards")
    finally:
        report.close()
    return answered


@task(name="shard", task_run_name="{shard}", cache_policy=NO_CACHE, persist_result=False)
def write_one(
    batch: Batch, shard: Shard, settings: RecommendConfig, flow: WorkerEnvironment | None, share: int
) -> Counts:
    """Answer and write one shard."""
    if flow is not None:
        check(flow)  # a Dask worker may have joined late
        batches.use_cores(share)
    return batches.write_shard(batch, shard, settings)


def _publish(run: Tracked, manifest: dict[str, Any], message: str) -> None:
    run.client.log_dict(run.run_id, manifest, "manifest.json")
    rows = [
        f"| {kind} | {source} | {count:,} |"
        for kind in ("recommendations", "searches")
        for source, count in manifest.get(kind, {}).get("sources", {}).items()
    ]
    table = "\n".join(["| kind | source | answers |", "|---|---|---|", *rows])
    create_markdown_artifact(
        f"{message}\n\n{table}\n", key="recommendations", description=f"Batch {manifest['batch']}"[:200]
    )
