"""What `classify` returns: the parameters it found, the policies it compared and the verdict in words."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pmdtheory._checks import FloatArray

__all__ = ["Classification", "Population"]


@dataclass(frozen=True, eq=False)
class Population:
    """A probe bandit: where the loss itself comes to rest, and where its description says it should.

    Attributes:
        bandit: "flat", "lengths" or "tree".
        group_size: rollouts in a group; every group is enumerated.
        reward: `[A]`, reward units.
        old_policy: `[A]`.
        policy: `[A]`, found from the loss's own gradients; None where it has no stationary policy in the simplex.
        predicted: `[A]`, by the exact updates from the recovered parameters; None where none applies.
        residual: total variation between the two; NaN where one is missing.
        distances: total variation between `policy` and the exact steps "PMD-mean", "PMD-part" (of this group size)
            and "KL-PMD" at the effective tau.
    """

    bandit: str
    group_size: int
    reward: FloatArray
    old_policy: FloatArray
    policy: FloatArray | None
    predicted: FloatArray | None
    residual: float
    distances: dict[str, float]


@dataclass(frozen=True, eq=False)
class Classification:
    r"""What a loss is, found from its values and gradients alone.

    Attributes:
        verdict: in words.
        member: "PMD-mean", "PMD-part", "PMD(b)", "standardised PMD", "KL-chi2 step", "pairwise PMD", with what
            weights or tokens make of it in front; or "none of the family".
        reason: why it is none; empty for members.
        form: how the gradient depends on the log-ratio: "regression", "penalised", "policy gradient",
            "importance-weighted", "mixed", "clipped", "pairwise", "coupled", "no gradient" or "other".
        level: "sequence", "token", "sequence and token", or "none" where nothing depends on the log-ratio.
        uses_old_logp: whether the gradient depends on old_logp.
        detached: whether the gradient is not that of the value.
        baseline: "mean of the group", "mean of the others", "partition of the group", "partition of the others",
            "clamped partition of the others", "constant", "standardised" or "unknown".
        tau: the temperature in the loss, reward units: 1/(slope of the target in r - baseline). NaN without a square.
        effective_tau: the temperature of the population step at this group size: tau n/(n-1) for a mean that
            includes the rollout itself (C12), tau otherwise; NaN where there is no single one.
        baseline_tau: tau inside a partition, reward units; NaN elsewhere.
        baseline_value: b of a constant baseline, nats (reward units without a square); NaN elsewhere.
        floor: where a partition is clamped; NaN elsewhere.
        epsilon: added to a standard deviation; NaN elsewhere.
        weights: "equal", "exponential", "exponential, unnormalised" or "unknown".
        weight_tau: of exponential weights, reward units; inf for equal ones.
        dropped: groups without a gradient: "none", "equal rewards" or "mean reward outside".
        dropped_range: the means between which groups count.
        length_rule: what each sequence is divided by: "none", "own length", "length^q", "all tokens",
            "padded length" or "unknown".
        length_exponent: q: the gradient at the old policy goes as length^-q.
        log_ratio_exponent: power of 1/length inside the square: 0 for a sum over tokens, 1 for a mean.
        reduction: "mean over sequences", "mean over tokens", "sum", or sums over one axis.
        group_size: rollouts in a group at which everything was measured.
        tau_power: power of the group size in tau: 0 for one that does not depend on it.
        chi2_weight: c of an explicit chi2; 0 without one. The implicit one of a regression is `multiplier`.
        multiplier: lambda of the step on the flat bandit, KL(old||new); NaN without a stationary policy.
        gradient_scale: factor k of the gradient -k A grad log pi of a term at the old policy, A = r - baseline.
        policy_gradient_scale: factor between the population gradient there and that of the expected reward.
        policy_gradient_residual: what is left of that, relative.
        clip: ratios beyond which the gradient is exactly zero, below and above; NaN for none.
        populations: one for every probe bandit.
        residual: worst misfit of parameters, and total variation on the bandits; NaN for none of the family.
        library: which differentiated it: "numpy" (differences), "jax" or "torch".
        notes: further findings, one sentence each.
    """

    verdict: str
    member: str
    reason: str = ""
    form: str = "other"
    level: str = "none"
    uses_old_logp: bool = False
    detached: bool = False
    baseline: str = "unknown"
    tau: float = math.nan
    effective_tau: float = math.nan
    baseline_tau: float = math.nan
    baseline_value: float = math.nan
    floor: float = math.nan
    epsilon: float = math.nan
    weights: str = "equal"
    weight_tau: float = math.inf
    dropped: str = "none"
    dropped_range: tuple[float, float] = (-math.inf, math.inf)
    length_rule: str = "unknown"
    length_exponent: float = math.nan
    log_ratio_exponent: float = math.nan
    reduction: str = "unknown"
    group_size: int = 0
    tau_power: float = math.nan
    chi2_weight: float = 0.0
    multiplier: float = math.nan
    gradient_scale: float = math.nan
    policy_gradient_scale: float = math.nan
    policy_gradient_residual: float = math.nan
    clip: tuple[float, float] = (math.nan, math.nan)
    populations: tuple[Population, ...] = ()
    residual: float = math.nan
    library: str = "numpy"
    notes: tuple[str, ...] = ()

    @property
    def in_family(self) -> bool:
        """Whether some member reproduces the loss."""
        return self.member != "none of the family"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values: arrays as lists, NaN as None, infinities as "inf" and "-inf".

        >>> Classification(verdict="example", member="PMD-mean").to_dict()["tau"] is None
        True
        """
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    """A value made of what JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return None if math.isnan(number) else number if math.isfinite(number) else ("inf" if number > 0 else "-inf")
    return value
