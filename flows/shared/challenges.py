"""A challenge of the champion whose decision is published however the run ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.runtime import flow_run

from gensr_model.config.pipeline import PipelineConfig
from tasks.core.tracking import Tracked, error_context
from tasks.promote.challenge import Challenge
from tasks.publish.publish import publish_decision, save_decision


@contextmanager
def published_challenge(
    run: Tracked, config: PipelineConfig, name: str, key: str, latest: str | None = None
) -> Iterator[Challenge]:
    """A challenge of the champion of ``name``; its decision becomes Prefect's artifact ``key`` when the block ends.

    An error in the block is part of the decision and is raised again. ``latest`` is the link in ``runs/`` to this run.
    """
    challenge = Challenge(run, config, name, str(flow_run.id))
    try:
        yield challenge
    except BaseException as error:
        challenge.fail(error)
        with error_context(error):
            if isinstance(error, Exception):
                publish_decision(challenge.decision, key, latest)
            else:  # cancelled: the seconds that are left are enough for a file
                save_decision(challenge.decision, latest)
        raise
    publish_decision(challenge.decision, key, latest)
