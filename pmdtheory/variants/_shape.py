r"""How the gradient of a sequence depends on its own log-ratio s: which of a few functions it is a sum of.

| form | g(s) | which loss |
|---|---|---|
| policy gradient | 1 | \(-A\log\pi\), no anchor |
| regression | 1, s | a square of the log-ratio |
| importance-weighted | \(e^s\) | \(-\rho A\) |
| penalised | \(e^s, s e^s, e^{2s}\) | \(-\rho A\) with KL and chi2 |
| mixed | other pairs and triples | a square or a KL estimate beside an importance weight |
| clipped | exactly zero beyond a ratio | PPO's surrogate and its relatives |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.variants._layout import layout, mixed_rewards
from pmdtheory.variants._probe import Probe

FUNCTIONS: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "1": lambda s: np.ones_like(s),
    "s": lambda s: s,
    "e": np.exp,
    "se": lambda s: s * np.exp(s),
    "e2": lambda s: np.exp(2.0 * s),
    "e-": lambda s: np.exp(-s),
}
FORMS: Final = (
    ("policy gradient", ("1",)),
    ("regression", ("1", "s")),
    ("importance-weighted", ("e",)),
    ("penalised", ("e", "se")),
    ("penalised", ("e", "se", "e2")),
    ("mixed", ("e", "s")),
    ("mixed", ("1", "e-")),
    ("mixed", ("e", "e-")),
    ("mixed", ("1", "e")),
    ("mixed", ("1", "s", "e")),
    ("mixed", ("1", "e", "e-")),
)
# the smallest tells a ratio clipped at 3e-4 from one that is not
GRID: Final = np.array([-1.5, -1.0, -0.6, -0.35, -0.2, -0.1, -0.01, 0.0, 0.01, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5])
NODES: Final = np.array([0.0, 0.6, -0.6, 1.0])  # log-ratios at which coefficients are measured afterwards

__all__ = ["FORMS", "FUNCTIONS", "GRID", "Shape", "coefficients", "shape"]


@dataclass(frozen=True)
class Shape:
    """The form of g(s).

    Attributes:
        form: its name; "clipped", "other" and "coupled" have no functions.
        functions: names of the functions g is a sum of.
        residual: worst misfit relative to the largest gradient.
        clip: lower and upper ratio beyond which the gradient vanishes; NaN where it does not.
    """

    form: str
    functions: tuple[str, ...]
    residual: float
    clip: tuple[float, float] = (math.nan, math.nan)


def shape(tested: Probe, n: int, scale: float) -> Shape:
    """The form of a loss, from the gradients of one group of n rollouts of one token at a grid of log-ratios."""
    rewards = mixed_rewards(n, scale)
    rows = np.array([tested.gradient(layout(rewards, log_ratio=s))[0, :, 0] for s in GRID])  # [S, n]
    size = np.abs(rows).max()
    if size == 0.0:
        return Shape("no gradient", (), 0.0)
    vanished = (np.abs(rows) <= 1e-9 * size) & (np.abs(rows).max(axis=0) > 1e-4 * size)
    runs = [side for side in (slice(0, 2), slice(-2, None)) if vanished[side].all(axis=0).any()]
    if runs:
        return Shape("clipped", (), math.nan, _clips(tested, rewards, float(size)))
    if _coupled(tested, rewards, size):
        return Shape("coupled", (), math.nan)
    best = math.inf
    for form, functions in FORMS:
        basis = np.stack([FUNCTIONS[name](GRID) for name in functions], axis=1)
        found, *_ = np.linalg.lstsq(basis, rows, rcond=None)
        # every curve has its own scale: a small advantage must not hide a misfit
        misfit = np.abs(rows - basis @ found).max(axis=0) / np.abs(rows).max(axis=0).clip(1e-3 * size)
        best = min(best, float(misfit.max()))
        if best < 10.0 * tested.tolerance:
            return Shape(form, functions, best)
    return Shape("other", (), best)


def coefficients(
    tested: Probe, functions: tuple[str, ...], rewards: FloatArray, lengths: FloatArray | None = None, pad: int = 1
) -> FloatArray:
    """`[F, G, n]`, the coefficient of every function in the gradient of the first token of each sequence."""
    nodes = NODES[: len(functions)]
    rows = [tested.gradient(layout(rewards, lengths=lengths, pad=pad, log_ratio=s))[..., 0] for s in nodes]
    basis = np.stack([FUNCTIONS[name](nodes) for name in functions], axis=1)
    values = np.stack(rows)
    solved = np.linalg.solve(basis, values.reshape(nodes.size, -1)).reshape(values.shape)
    return np.asarray(solved, dtype=np.float64)


def _coupled(tested: Probe, rewards: FloatArray, size: float) -> bool:
    """Whether moving one rollout changes the gradient of the others in its group."""
    one = np.zeros(rewards.size)
    one[0] = 0.7
    before = tested.gradient(layout(rewards))[0, :, 0]
    after = tested.gradient(layout(rewards, log_ratio=one))[0, :, 0]
    return bool(np.abs(after - before)[1:].max() > 10.0 * tested.tolerance * max(size, np.abs(after).max()))


def _clips(tested: Probe, rewards: FloatArray, size: float) -> tuple[float, float]:
    """Ratios beyond which the gradient of the worst rollout (below) and of the best (above) is exactly zero."""
    found = []
    for sign, which in ((-1.0, int(np.argmin(rewards))), (1.0, int(np.argmax(rewards)))):

        def flat(s: float, sign: float = sign, which: int = which) -> bool:
            moved = tested.gradient(layout(rewards, log_ratio=sign * s))[0, which, 0]
            return bool(abs(moved) <= 1e-9 * size)

        low, high = 0.0, 1.5
        if not flat(high):
            found.append(math.nan)
            continue
        while high - low > 1e-9 + 1e-7 * high:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if flat(middle) else (middle, high)
        stencil = 2.0 * tested.step if tested.library == "numpy" else 0.0  # differences see a bound that much later
        found.append(math.exp(sign * (high - stencil)))
    return found[0], found[1]
