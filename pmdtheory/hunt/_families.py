r"""Random laws for a search: several shapes of masses and rewards, tau log-uniform, and laws drawn through their step.

Coordinates of a law of `K` actions with `E` further numbers: `[2K + E]`, K unnormalised log-masses, K values asinh(r),
then logarithms. Rewards are in units of tau.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy.special import logsumexp

from pmdtheory._checks import FloatArray
from pmdtheory.hunt._case import FloatCase

__all__ = ["case_of", "coordinates"]

_FLOOR: Final = -60.0  # of log-masses
_LARGEST: Final = 1e6  # of |reward|/tau
_LEAST: Final = 1e-2  # span of the rewards over tau: below it differences of divergences are rounding noise


def coordinates(
    rng: np.random.Generator, laws: int, actions: int, extra: Mapping[str, tuple[float, float]]
) -> FloatArray:
    """`[laws, 2 actions + E]`, a mixture of the families."""
    third = laws // 3
    log_mass = np.concatenate([_dirichlet(rng, third, actions), _heavy(rng, laws - third, actions)])
    reward = _rewards(rng, laws, actions)
    through = slice(2 * third, laws)
    log_mass[through], reward[through] = _through_steps(rng, laws - 2 * third, actions)
    order = rng.permutation(laws)
    further = [rng.uniform(np.log(low), np.log(high), laws) for low, high in extra.values()]
    return np.column_stack([log_mass[order], np.arcsinh(reward[order]), *further])


def case_of(z: FloatArray, actions: int, extra: Mapping[str, tuple[float, float]]) -> tuple[FloatCase, FloatArray]:
    """The laws of coordinates `[N, 2K + E]`, and which of them lie in the region that is searched `[N]`."""
    log_mass = z[:, :actions] - logsumexp(z[:, :actions], axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        reward = np.sinh(z[:, actions : 2 * actions])
    inside = (
        (log_mass.min(1) >= _FLOOR - 1.0) & (np.abs(reward).max(1) <= _LARGEST) & (np.ptp(reward, axis=1) >= _LEAST)
    )
    further = {}
    for column, (name, (low, high)) in enumerate(extra.items(), 2 * actions):
        inside &= (z[:, column] >= np.log(low)) & (z[:, column] <= np.log(high))
        further[name] = np.exp(z[:, column])
    kept = {name: value[inside] for name, value in further.items()}
    return FloatCase(log_mass[inside], reward[inside], kept), inside


def _dirichlet(rng: np.random.Generator, laws: int, actions: int) -> FloatArray:
    """Dirichlet laws of concentrations .1 to 10."""
    shape = rng.choice([0.1, 0.3, 1.0, 3.0, 10.0], size=(laws, 1))
    with np.errstate(divide="ignore"):
        logs = np.log(rng.standard_gamma(np.broadcast_to(shape, (laws, actions))))
    return np.asarray(np.maximum(logs - logs.max(1, keepdims=True), _FLOOR))


def _heavy(rng: np.random.Generator, laws: int, actions: int) -> FloatArray:
    """Log-masses far apart: exponential with means .3 to 15 nats."""
    scale = np.exp(rng.uniform(np.log(0.3), np.log(15.0), size=(laws, 1)))
    logs = -scale * rng.standard_exponential((laws, actions))
    return np.asarray(np.maximum(logs - logs.max(1, keepdims=True), _FLOOR))


def _rewards(rng: np.random.Generator, laws: int, actions: int) -> FloatArray:
    """Binary, few levels, uniform, normal and heavy-tailed rewards of a log-uniform span; never all equal."""
    size = (laws, actions)
    kinds = [
        rng.integers(0, 2, size).astype(np.float64),
        rng.integers(0, 3, size) / 2.0,
        rng.uniform(size=size),
        rng.standard_normal(size),
        np.clip(rng.standard_t(1.5, size), -1e4, 1e4),
        -np.exp(2.0 * rng.standard_normal(size)),
        np.exp(3.0 * rng.standard_normal(size)),
    ]
    reward = np.choose(rng.integers(0, len(kinds), (laws, 1)), kinds)
    reward[:, 0] += np.where(np.ptp(reward, axis=1) == 0.0, 1.0, 0.0)
    span = np.exp(rng.uniform(np.log(_LEAST), np.log(1e4), (laws, 1)))
    reward = reward / np.ptp(reward, axis=1, keepdims=True) * span
    return np.asarray(reward - reward.mean(1, keepdims=True))


def _through_steps(rng: np.random.Generator, laws: int, actions: int) -> tuple[FloatArray, FloatArray]:
    """Any masses and ratios with E rho = 1 are the step of some rewards: r/tau = log rho + lambda rho (C1, C4)."""
    log_mass = _heavy(rng, laws, actions)
    log_mass -= logsumexp(log_mass, axis=1, keepdims=True)
    scale = np.exp(rng.uniform(np.log(0.1), np.log(10.0), (laws, 1)))
    logs = scale * rng.standard_normal((laws, actions))
    logs -= logsumexp(log_mass + logs, axis=1, keepdims=True)
    weight = -(np.exp(log_mass) * logs).sum(1, keepdims=True)
    reward = np.clip(logs + weight * np.exp(logs), -_LARGEST, _LARGEST)
    narrow = np.ptp(reward, axis=1) < _LEAST
    reward[narrow, 0] += 1.0
    return log_mass, reward
