"""Sums and log-sums over the others of a group: without one's own term, and without ever subtracting it."""

import numpy as np

from pmdtheory._checks import FloatArray

__all__ = ["others_log_mean_exp", "others_mean"]

_ROWS = 4096  # groups handled at once: a few temporaries of 4096 x 16 stay in the second-level cache


def _prefix_suffix(values: FloatArray) -> FloatArray:
    """For each position of the last axis the sum over all other positions: what stands before plus what follows."""
    total = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=total[..., 1:])
    total[..., :-1] += np.cumsum(values[..., :0:-1], axis=-1)[..., ::-1]
    return total


def others_mean(values: FloatArray) -> FloatArray:
    """Mean over the others of each group, `[G, n]` -> `[G, n]`."""
    return np.asarray(_prefix_suffix(values) / (values.shape[-1] - 1))


def others_log_mean_exp(values: FloatArray) -> FloatArray:
    """Log of the mean of exp over the others of each group, `[G, n]` -> `[G, n]`.

    Scaled by the group's largest entry the others' sum is at least one, except for the entry that is itself the
    largest: its others are scaled by their own largest, the runner-up.
    """
    groups, n = values.shape
    result = np.empty_like(values)
    for start in range(0, groups, _ROWS):
        block = values[start : start + _ROWS]
        rows = np.arange(block.shape[0])
        best = block.argmax(axis=1)
        top = block[rows, best]
        with np.errstate(under="ignore", divide="ignore"):
            out = np.log(_prefix_suffix(np.exp(block - top[:, None])))
            out += top[:, None]
            rest = block.copy()
            rest[rows, best] = -np.inf
            second = rest.max(axis=1)
            out[rows, best] = second + np.log(np.exp(rest - second[:, None]).sum(axis=1))
        result[start : start + _ROWS] = out - np.log(n - 1)
    return result
