"""What was measured of a loss, and the temperatures and names that follow from it."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from pmdtheory.variants._advantage import Fit
from pmdtheory.variants._classification import Population
from pmdtheory.variants._description import Description
from pmdtheory.variants._probe import Probe
from pmdtheory.variants._rewards import Pairwise, Rewards
from pmdtheory.variants._shape import Shape
from pmdtheory.variants._structure import Anchor, Lengths
from pmdtheory.variants._weights import Dropped, Weights

SMALLEST: Final = 3  # rollouts of a group that tell leave-one-out baselines apart, and of the populations

__all__ = ["SMALLEST", "Findings", "Named", "other_size"]


def other_size(n: int) -> int:
    """The second group size at which a loss is probed."""
    return SMALLEST if n > SMALLEST else SMALLEST + 2


@dataclass(frozen=True)
class Named:
    """A fitted advantage by name: `baseline`, `tau`, `effective_tau` and `tau_power` as in `Classification`.

    `scale` is the factor of r - baseline in the gradient of a term at the old policy.
    """

    baseline: str
    tau: float
    effective_tau: float
    tau_power: float
    scale: float


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that was measured; the verdict is read from it."""

    tested: Probe
    n: int
    unit: float
    shape: Shape
    anchor: Anchor
    share: float = math.nan
    detached: bool = False
    leaks: bool = False
    batch: bool = False
    equal_finite: bool = True
    rewards: Rewards | None = None
    pairwise: Pairwise | None = None
    lengths: Lengths | None = None
    populations: tuple[Population, ...] = ()
    policy_gradient: tuple[float, float] = (math.nan, math.nan)

    @property
    def near(self) -> float:
        """Relative size of differences between parameters that count as none."""
        return 1e-3 if self.tested.tolerance < 1e-4 else 0.03

    @cached_property
    def named(self) -> Named | None:
        """The baseline by name, from how its scale goes with the group size; None before rewards were probed."""
        if self.rewards is None:
            return None
        found, n, m = self.rewards.target, self.n, other_size(self.n)
        slope, scale = found.scale, self.rewards.gradient_scale
        if found.kind == "unknown":
            return Named("unknown", math.nan, math.nan, math.nan, math.nan)
        growth = self.rewards.other.scale / slope if self.rewards.other.kind == found.kind else math.nan
        own = n / (n - 1)
        if not self.rewards.square:
            growth *= 1.0 if self.per_sequence else n / m
        if found.kind == "mean":
            others = (m / (m - 1)) / own
            if abs(growth / others - 1.0) < self.near:
                tau = own / slope
                return self._with("mean of the others", tau, tau, 0.0, scale / own)
            power = -math.log(abs(growth)) / math.log(m / n) if growth > 0.0 else math.nan
            return self._with("mean of the group", 1.0 / slope, own / slope, self._rounded(power), scale)
        power = self._rounded(-math.log(abs(growth)) / math.log(m / n) if growth > 0.0 else math.nan)
        if found.kind == "standardised":
            return self._with("standardised", math.nan, math.nan, power, scale)
        names = {
            "constant": "constant",
            "others' partition": "partition of the others",
            "clamped partition": "clamped partition of the others",
            "group partition": "partition of the group",
        }
        effective = math.nan if found.kind == "group partition" else 1.0 / slope
        return self._with(names[found.kind], 1.0 / slope, effective, power, scale)

    @property
    def per_sequence(self) -> bool:
        """Whether a group's terms are averaged over its rollouts, and not summed."""
        if self.lengths is None or self.rewards is None:
            return True
        if self.rewards.square:
            return abs(self.lengths.sequences - 1.0) < 0.05
        # without a square only the gradient tells, whose advantage may grow by n/(n - 1) with its own baseline
        n, m = self.n, other_size(self.n)
        growth = self.rewards.other.scale / self.rewards.target.scale
        if not growth > 0.0:
            return True
        others = (m / (m - 1)) / (n / (n - 1))
        miss = {
            mean: min(abs(math.log(growth / factor)) for factor in (part, others * part))
            for mean, part in ((True, 1.0), (False, m / n))
        }
        return miss[True] <= miss[False]

    def description(self, n: int) -> Description | None:
        """What the exact updates need at one of both group sizes; None where the form or the rewards are unknown."""
        none = Dropped()
        if self.pairwise is not None:
            fit = Fit("mean", 1.0 / self.pairwise.tau, (), 0.0, self.pairwise.residual)
            equal = Weights("equal", math.inf, 1.0, 0.0)
            return Description("pairwise", False, fit, equal, none, 0.0, 0.0, 0.0, self.pairwise.tau)
        if self.rewards is None or self.lengths is None or self.shape.form not in ("regression", "penalised"):
            return None
        target = self.rewards.target if n == self.n else self.rewards.other
        if "unknown" in (target.kind, self.rewards.weights.kind):
            return None
        return Description(
            self.shape.form,
            abs(self.share) < 0.05,
            target,
            self.rewards.weights,
            self.rewards.dropped,
            self.lengths.policy,
            self.lengths.square,
            self.rewards.chi2_weight,
            1.0 / target.scale,
        )

    def _with(self, baseline: str, tau: float, effective: float, power: float, scale: float) -> Named:
        """A name; without a square there is no temperature."""
        if self.rewards is None or not self.rewards.square:
            tau = effective = power = math.nan
        return Named(baseline, tau, effective, power, scale)

    def _rounded(self, power: float) -> float:
        return 0.0 if abs(power) < 10.0 * self.near else power
