"""What the figures of bandits share: runs over many seeds at once, and bootstrap intervals of their means."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._style import BLACK, KL, MEAN, ORANGE, SKY, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "pmd-mean": MEAN,
    "pmd-part": {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1)), "linewidth": 1.3},
    "kl-chi2": {"color": SKY, "linestyle": (0, (3, 1)), "linewidth": 1.3},
    "rloo-is": {"color": BLACK, "linestyle": (0, (1, 1)), "linewidth": 1.1},
    "rloo": {"color": "0.45", "linestyle": (0, (6, 1.5)), "linewidth": 1.1},
    "grpo": {"color": VERMILLION, "linestyle": (0, (3, 1, 1, 1, 1, 1)), "linewidth": 1.1},
    "exact-mean": {**KL, "color": "0.6", "linewidth": 0.9},
}
LEVEL: Final = 0.95
DRAWS: Final = 2000

__all__ = ["LOOKS", "band", "interval", "rows"]


def rows(
    options: Mapping[str, Any], seeds: int, *, tau: Sequence[float] = (), learning_rate: Sequence[float] = ()
) -> dict[str, FloatArray]:
    """Metrics `[R, S, T]` of a config's fields for every tau (or learning rate), seed and batch; `R` is 1 for none.

    The metrics of a policy have an entry for the start too: `[R, S, T + 1]`.
    """
    import jax
    import jax.numpy as jnp

    from tiny_llm_rl.bandit import BanditConfig, make_train

    config = BanditConfig(**options)
    train, keys = make_train(config), jax.random.split(jax.random.key(config.seed), seeds)
    taus = jnp.asarray(tau or [config.tau] * max(len(learning_rate), 1), jnp.float32)
    rates = jnp.asarray(learning_rate or [config.learning_rate] * len(taus), jnp.float32)

    def seeded(strength: Any, rate: Any) -> Any:
        return jax.vmap(lambda key: train(key, tau=strength, learning_rate=rate))(keys)

    found = jax.vmap(seeded)(taus, rates)
    result = {name: np.asarray(value, np.float64) for name, value in found.metrics.items()}
    for name, value in found.start.items():
        result[name] = np.concatenate([np.asarray(value, np.float64)[..., None], result[name]], -1)
    return result


def interval(samples: FloatArray, axis: int = 1) -> FloatArray:
    """Mean over the seeds, and the ends of its bootstrap interval (95 %, percentiles of 2,000 draws): `[..., 3]`."""
    moved = np.moveaxis(samples, axis, 0)
    rng = np.random.default_rng(0)
    means = np.stack([moved[rng.integers(0, len(moved), len(moved))].mean(0) for _ in range(DRAWS)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.stack([moved.mean(0), low, high], -1)


def band(axes: "Axes", x: FloatArray, table: FloatArray, **look: Any) -> None:
    """A line `[T, 3]` with its interval shaded, where there are numbers."""
    known = ~np.isnan(table[:, 0])
    axes.plot(x[known], table[known, 0], **look)
    axes.fill_between(x[known], table[known, 1], table[known, 2], color=look["color"], alpha=0.2, linewidth=0.0)
