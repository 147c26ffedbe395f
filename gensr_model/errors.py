"""Errors whose message is meant for the person who runs the pipeline."""

from __future__ import annotations


class GensrError(Exception):
    """Base of every error that we raise on purpose: what is wrong, where, and what to do."""


class DataError(GensrError):
    """The input data cannot be used: names the file, the line or field, and what was expected."""


class ConfigError(GensrError):
    """The configuration asks for something that does not exist or cannot work."""


class TrainingError(GensrError):
    """Training cannot go on, for example because a loss is not finite: names the step and the samples."""


class DivergedError(TrainingError):
    """A loss or a gradient is not finite: what these hyperparameters did, not the machine."""


class NaNScoreError(DivergedError, DataError):
    """A model gives NaN for a score: it has diverged, or read a damaged file."""
