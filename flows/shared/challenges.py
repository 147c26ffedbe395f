"""A challenge of the champion. Its decision is recorded and published however the run ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from prefect.runtime import flow_run

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.run_log import error_context
from tasks.core.tracking import Tracked
from tasks.promote.challenge import Challenge
from tasks.publish.publish import publish_decision


@contextmanager
def published_challenge(
    opened: AbstractContextManager[Tracked], config: PipelineConfig, name: str, key: str, latest: str | None = None
) -> Iterator[Challenge]:
    """A challenge of the champion of ``name``, in the MLflow run that ``opened`` opens.

    At the end of the block the decision is first written to a file, then published as Prefect's artifact ``key`` and in
    MLflow. An error of the block, of publishing, or of MLflow's run becomes part of the decision and is raised again.
    ``latest`` is the link in ``runs/`` to this run.
    """
    challenge = Challenge(config, name, str(flow_run.id), latest)
    with _recorded(challenge, key), opened as run, _recorded(challenge, key):
        challenge.begin(run)
        yield challenge
        challenge.save()
        publish_decision(challenge.decision, key)


@contextmanager
def _recorded(challenge: Challenge, key: str) -> Iterator[None]:
    """Record an error of the block and publish the decision. An error that is already recorded passes."""
    try:
        yield
    except BaseException as error:
        if error is not challenge.failure:
            with error_context(error):
                challenge.fail(error)
            if isinstance(error, Exception):  # else the run was cancelled, and the remaining seconds suffice for a file
                with error_context(error):
                    publish_decision(challenge.decision, key)
        raise
