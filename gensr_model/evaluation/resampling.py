"""Means over resamples of the test users, each with all of their samples.

Samples of one user are alike, so they are drawn together or not at all. As independent samples they would make
intervals too narrow wherever a user has many. The error of a mean is that of clustered samples (Cameron and Miller
2015, "A Practitioner's Guide to Cluster-Robust Inference", §II). Where every user has one sample, both equal the plain
ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gensr_model.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_CHUNK = 2_000_000  # resampled places held at once: 16 MB, and as much again for the values of each model


def number_users(sample_id: npt.NDArray[np.str_], users: pa.Table | None) -> IntArray:
    """(n,) the user of each sample, numbered from 0 in order of appearance.

    Args:
        users: ``sample_id`` and ``user_idx`` of at least these samples, columns of the prepared dataset's samples; None
            where every sample has another user.
    Raises:
        DataError: ``users`` lacks a sample.
    """
    if users is None:
        return np.arange(len(sample_id))
    place = pc.index_in(pa.array(sample_id, pa.string()), value_set=users["sample_id"].combine_chunks())
    if place.null_count:
        missing = sample_id[np.asarray(place.is_null())]
        raise DataError(
            f"{len(missing)} ranked samples (for example {missing[0]}) are not in the split whose "
            "users are resampled. Compare models on the prepared dataset that they ranked."
        )
    _, first, user = np.unique(users["user_idx"].to_numpy()[place.to_numpy()], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[user]


def resampled_means(values: FloatArray, user: IntArray, samples: int, rng: np.random.Generator) -> FloatArray:
    """(models, samples) mean of each model over each resample of the users. All models share the resamples.

    Each mean is over all samples of the drawn users. ``_CHUNK`` bounds the memory at any n.

    Args:
        values: (models, n) a metric of every model on every sample.
        user: (n,) from `number_users`.
    """
    size = np.bincount(user)
    same = bool((size == size[0]).all())  # as in the Amazon format: then every resample has n samples
    sums = np.stack([np.bincount(user, weights=row) for row in values])
    rows = max(1, _CHUNK // len(size))
    means = []
    for start in range(0, samples, rows):
        drawn = rng.integers(len(size), size=(min(rows, samples - start), len(size)))
        n = len(user) if same else size[drawn].sum(axis=1)
        means.append(np.stack([total[drawn].sum(axis=1) for total in sums]) / n)
    return np.concatenate(means, axis=1)


def drawn_counts(users: int, samples: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """(samples, users) how often each user is in each resample, for the resamples of `resampled_means`.

    A mean over all resamples is then one matrix product for any number of values.
    """
    counts = np.empty((samples, users), dtype=np.int16)
    rows = max(1, _CHUNK // users)
    for start in range(0, samples, rows):
        drawn = rng.integers(users, size=(min(rows, samples - start), users))
        drawn += np.arange(len(drawn))[:, None] * users
        counts[start : start + rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
    return counts


def standard_error(values: FloatArray, user: IntArray) -> float:
    """Standard error of the mean of values (n,), clustered by the users (n,), any integers. NaN for a single user."""
    whose, number = np.unique(user, return_inverse=True)
    users = len(whose)
    if users < 2:
        return float("nan")
    residual = np.bincount(number, weights=values - values.mean())
    return float(np.sqrt(users / (users - 1) * (residual**2).sum()) / len(values))
