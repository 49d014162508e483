r"""The algorithms under comparison: each is an estimator of the advantage and a loss of `pmdtheory.losses`.

One table serves bandits and language models: log-probabilities are `[B]` or `[B, T]`. Nothing here decides how stale
the rollouts are, how often they are used, or which optimiser takes the step; so algorithms differ in these two columns
only, and are compared at equal budgets.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from jax import Array

from pmdtheory import losses
from tiny_llm_rl._checks import choice, finite_scalar, positive_scalar, unit_interval
from tiny_llm_rl.advantage import advantage

__all__ = ["ALGORITHMS", "READERS", "Algorithm", "LossConfig", "advantages", "check_read", "loss"]


@dataclass(frozen=True)
class LossConfig:
    """What the losses can be told.

    Args:
        chi2_weight: c of "kl-chi2", dimensionless, at least 0.
        level: b of "pmd-level" and "reinforce", whose baseline is tau times it, nats.
        clip_low: of the clipped losses, in [0, 1]; None takes the loss's own.
        clip_high: of the clipped losses, at least 0; None takes the loss's own.
        horizon: constant number of tokens that "dr-grpo" divides by, greater than zero.
        standardise: divide advantages by the deviation of their group; None takes the algorithm's own habit.
        length_normalise: divide the terms of the regressions of PMD by the length of the response; the penalised losses
            "kl-chi2" and "kl-pg" have no such form.

    Raises:
        ValueError: for a number out of range, naming field, value and remedy.
        TypeError: for what is no number.

    >>> LossConfig(clip_high=0.28).clip_high
    0.28
    """

    chi2_weight: float = 1.0
    level: float = 0.0
    clip_low: float | None = None
    clip_high: float | None = None
    horizon: float = 1.0
    standardise: bool | None = None
    length_normalise: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if finite_scalar("chi2_weight", self.chi2_weight, "take 0 for a KL alone") < 0:
            raise ValueError(f"chi2_weight must be at least 0, got {self.chi2_weight}; take 0 for a KL alone")
        finite_scalar("level", self.level, "give a number of nats, for instance mean reward over tau")
        usual = "0.2 is usual for tokens, None takes the loss's own"
        if self.clip_low is not None:
            unit_interval("clip_low", self.clip_low, usual)
        if self.clip_high is not None and finite_scalar("clip_high", self.clip_high, usual) < 0:
            raise ValueError(f"clip_high must be at least 0, got {self.clip_high}; {usual}")
        positive_scalar("horizon", self.horizon, "give a number of tokens")

    @property
    def clips(self) -> dict[str, float]:
        """The clips that were given."""
        return {name: value for name in ("clip_low", "clip_high") if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Algorithm:
    """An estimator and a loss.

    Attributes:
        name: of the table and the command line.
        title: for legends.
        baseline: one of `advantage.BASELINES`.
        standardise: whether its authors divide by the deviation of the group.
        loss: from (logp, old_logp, advantages, tau, LossConfig, keywords of the loss) to a scalar.
        regresses: whether its loss has a minimum at a finite policy, so that tau matters.
        source: where it comes from.
    """

    name: str
    title: str
    baseline: str
    standardise: bool
    loss: Callable[..., Array]
    regresses: bool
    source: str


def _lengths(config: LossConfig, keywords: dict[str, Any]) -> dict[str, Any]:
    mask = keywords.get("mask")
    return {"lengths": mask.sum(-1)} if config.length_normalise and mask is not None else {}


def _pmd(logp: Array, old: Array, signal: Array, tau: Any, config: LossConfig, **keywords: Any) -> Array:
    found: Array = losses.pmd_loss(logp, old, signal / tau, tau=tau, **_lengths(config, keywords), **keywords)
    return found


def _penalised(weight: float | None) -> Callable[..., Array]:
    def call(logp: Array, old: Array, signal: Array, tau: Any, config: LossConfig, **keywords: Any) -> Array:
        c = config.chi2_weight if weight is None else weight
        found: Array = losses.penalised_loss(logp, old, signal, tau=tau, chi2_weight=c, **keywords)
        return found

    return call


def _clipped(function: Callable[..., Any], *, horizon: bool = False) -> Callable[..., Array]:
    def call(logp: Array, old: Array, signal: Array, tau: Any, config: LossConfig, **keywords: Any) -> Array:
        extra = {"horizon": config.horizon} if horizon else {}
        found: Array = function(logp, old, signal, **config.clips, **extra, **keywords)
        return found

    return call


def _policy_gradient(*, corrected: bool) -> Callable[..., Array]:
    def call(logp: Array, old: Array, signal: Array, tau: Any, config: LossConfig, **keywords: Any) -> Array:
        found: Array = losses.rloo_loss(logp, old if corrected else None, signal, **keywords)
        return found

    return call


_PAPER, _OURS = "arXiv:2602.05933", "this project"
_TABLE = (
    Algorithm("pmd-mean", "PMD-mean", "mean-loo", False, _pmd, True, _PAPER),
    Algorithm("pmd-mean-group", "PMD-mean, own reward in the mean", "mean", False, _pmd, True, _PAPER),
    Algorithm("pmd-part", "PMD-part", "partition-loo", False, _pmd, True, _PAPER),
    Algorithm("pmd-part-group", "PMD-part, own reward in the partition", "partition", False, _pmd, True, _PAPER),
    Algorithm("pmd-part-clamped", "PMD-part, clamped", "partition-clamped", False, _pmd, True, "public code"),
    Algorithm("pmd-level", "PMD(b)", "level", False, _pmd, True, _OURS),
    Algorithm("kl-chi2", "explicit KL and chi2", "mean-loo", False, _penalised(None), True, _PAPER),
    Algorithm("kl-pg", "KL-penalised policy gradient", "mean-loo", False, _penalised(0.0), True, "textbook"),
    Algorithm("grpo", "GRPO", "mean", True, _clipped(losses.grpo_loss), False, "arXiv:2402.03300"),
    Algorithm("dapo", "DAPO", "mean", True, _clipped(losses.dapo_loss), False, "arXiv:2503.14476"),
    Algorithm(
        "dr-grpo", "Dr. GRPO", "mean", False, _clipped(losses.dr_grpo_loss, horizon=True), False, "arXiv:2503.20783"
    ),
    Algorithm("gspo", "GSPO", "mean", True, _clipped(losses.gspo_loss), False, "arXiv:2507.18071"),
    Algorithm(
        "rloo", "RLOO, uncorrected", "mean-loo", False, _policy_gradient(corrected=False), False, "arXiv:2402.14740"
    ),
    Algorithm(
        "rloo-is",
        "RLOO, importance-weighted",
        "mean-loo",
        False,
        _policy_gradient(corrected=True),
        False,
        "arXiv:2402.14740",
    ),
    Algorithm("reinforce", "REINFORCE", "level", False, _policy_gradient(corrected=False), False, "textbook"),
)
ALGORITHMS: Final = {algorithm.name: algorithm for algorithm in _TABLE}

_CLIPPED: Final = ("grpo", "dapo", "dr-grpo", "gspo")
READERS: Final[dict[str, tuple[str, ...]]] = {
    "chi2_weight": ("kl-chi2",),
    "level": tuple(row.name for row in _TABLE if row.baseline == "level"),
    "clip_low": _CLIPPED,
    "clip_high": _CLIPPED,
    "horizon": ("dr-grpo",),
    "standardise": tuple(ALGORITHMS),
    "length_normalise": tuple(row.name for row in _TABLE if row.loss is _pmd),
}
"""Which algorithms read a field of `LossConfig`."""


def check_read(name: str, config: LossConfig) -> None:
    """ValueError for an option that is not at its default and that the algorithm does not read.

    >>> check_read("grpo", LossConfig(clip_low=0.1))
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if value != field.default and name not in READERS[field.name]:
            raise ValueError(
                f"{field.name} must be {field.default} for algorithm {name!r}, got {value}; only "
                f"{', '.join(READERS[field.name])} would read it: leave it out"
            )


def advantages(name: str, rewards: Array, tau: Any, config: LossConfig) -> Array:
    """The algorithm's advantages `[..., n]` of `rewards[..., n]`, standardised as config or else its authors say.

    >>> import jax.numpy as jnp
    >>> found = advantages("pmd-mean", jnp.array([[0.0, 0.0, 0.0, 1.0]]), 0.1, LossConfig())
    >>> bool(jnp.allclose(found, jnp.array([[-1 / 3, -1 / 3, -1 / 3, 1.0]])))  # each against the mean of the others
    True
    """
    chosen = ALGORITHMS[choice("algorithm", name, ALGORITHMS)]
    standardise = chosen.standardise if config.standardise is None else config.standardise
    return advantage(rewards, tau, baseline=chosen.baseline, standardise=standardise, level=config.level)


def loss(
    name: str, logp: Array, old_logp: Array, signal: Array, tau: Any, config: LossConfig, **keywords: Any
) -> Array:
    """The algorithm's loss of `logp` and `old_logp`, `[B]` or `[B, T]`, for advantages `signal[B]`.

    `keywords` go to the loss: mask, weights, reduction (see `pmdtheory.losses`).

    >>> import jax.numpy as jnp
    >>> logp, signal = jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, -1.0])
    >>> float(loss("pmd-mean", logp, logp, signal, 0.5, LossConfig()))  # tau / 2 times the mean square target, 2 nats
    1.0
    """
    chosen = ALGORITHMS[choice("algorithm", name, ALGORITHMS)]
    return chosen.loss(logp, old_logp, signal, tau, config, **keywords)
