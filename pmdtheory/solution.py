"""Results as data: a status that explains itself, the record of a step, and the solution that carries both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory._series import weighted_exp
from pmdtheory.divergence import step_sums

if TYPE_CHECKING:
    from pmdtheory.problem import Problem

__all__ = ["SolveError", "Solution", "Status", "Update"]

T = TypeVar("T")


class Status(Enum):
    """Outcome of a solve. Each value is the message a user reads: the cause, then the remedy."""

    SUCCESS = "solved to the stated tolerance"
    ALMOST_SOLVED = (
        "the solver stopped before its tolerance: the value is usable at the reported residual only; "
        "loosen tolerance= where there is one, or take a less extreme problem"
    )
    MAX_STEPS = "the root-finder ran out of steps; this is a defect for valid input, please report the problem"
    SOLVER_FAILED = (
        "the numerical solver gave no point; rescale rewards and tau together (only r/tau matters), or raise max_steps="
    )
    DISAGREEING_STARTS = (
        "different starting points ended at different losses, so the value is not trusted; raise starts= or max_steps="
    )
    PARTITION_INFINITE = (
        "E exp(r/tau) is infinite, so KL-PMD has no solution for this reward law; raise tau, bound the rewards, "
        "or use mean_update, which needs a finite mean only (C19)"
    )
    PARTITION_OUT_OF_REACH = (
        "E exp(r/tau) is finite for this reward law, but decided by rewards beyond its quantile 1e-300, which float64 "
        "cannot name; raise tau, or use mean_update, which does not need it"
    )
    BASELINE_TOO_HIGH = (
        "the baseline exceeds log Z by more than the symmetric local minimum survives (C14): mass is missing and "
        "collapses onto single actions; lower the baseline to log_partition, or use mean_update, which never gets here"
    )
    BLIND_ACTIONS = (
        "the sampler misses actions that the policy has, and the multiplier is not positive, so the loss leaves the "
        "missing mass undetermined on them (C15); lower the baseline, or sample from the policy itself"
    )


class SolveError(RuntimeError):
    """Raised by `Solution.unwrap`, and nowhere else, when a solve did not succeed."""


@dataclass(frozen=True, eq=False)
class Solution(Generic[T]):
    """What every solver returns: a value, or the reason why there is none.

    Attributes:
        value: the result; None where the status leaves nothing that could be trusted.
        status: a `Status`, whose value is a message with a remedy.
        residual: the solver's own measure of what is left, in the unit its docstring states; NaN without a value.
        stats: counters and diagnostics, name to number.

    >>> Solution(value=1.0, status=Status.SUCCESS, residual=0.0).unwrap()
    1.0
    """

    value: T | None
    status: Status
    residual: float = math.nan
    stats: Mapping[str, float] = field(default_factory=dict)

    def unwrap(self) -> T:
        """The value of a successful solve; `SolveError` with the status' message otherwise."""
        if self.status is not Status.SUCCESS or self.value is None:
            raise SolveError(f"{self.status.name}: {self.status.value} (residual {self.residual:.3g})")
        return self.value


@dataclass(frozen=True, eq=False, repr=False)
class Update:
    r"""The record of one step \(\pi \to \pi^+\) of a problem with `A` actions and `K` reward levels.

    Attributes:
        problem: the `Problem` that was solved.
        level_log_ratio: `[K]`, \(\log \pi^+/\pi\) of each reward level, nats.
        multiplier: \(\lambda\), dimensionless; the weight of the implicit chi2.
        baseline: b in nats, for which \(\log\rho + \lambda\rho = r/\tau - b\) (on-policy members).
        expected_reward: \(E_{\pi^+} r\), reward units; inf where it does not exist (C19).
        improvement: \(E_{\pi^+} r - E_\pi r\) without cancellation, reward units.
        kl: \(\mathrm{KL}(\pi^+\|\pi)\), nats.
        reverse_kl: \(\mathrm{KL}(\pi\|\pi^+)\), nats.
        chi2: \(\chi^2(\pi^+\|\pi)\), inf beyond float64.
        mass_defect: \(\sum \pi^+ - 1\), summed without cancellation: how far the step is from normalised.

    The arrays over actions are made when first read.
    """

    problem: "Problem"
    level_log_ratio: FloatArray
    multiplier: float
    baseline: float
    expected_reward: float
    improvement: float
    kl: float
    reverse_kl: float
    chi2: float
    mass_defect: float

    @classmethod
    def from_log_ratio(
        cls, problem: "Problem", level_log_ratio: FloatArray, *, multiplier: float, baseline: float
    ) -> "Update":
        """Record the step with the given log-ratios `[K]` of the problem's levels; divergences are summed here."""
        levels = problem.levels
        sums = step_sums(levels.mass, levels.log_mass, level_log_ratio, levels.advantage)
        improvement = problem.tau * sums.gain
        heavy = not problem.upper_second_moment_finite and multiplier > 0.0
        return cls(
            problem=problem,
            level_log_ratio=level_log_ratio,
            multiplier=multiplier,
            baseline=baseline,
            expected_reward=math.inf if heavy else problem.mean_reward + improvement,
            improvement=math.inf if heavy else improvement,
            kl=sums.kl,
            reverse_kl=sums.reverse_kl,
            chi2=math.inf if heavy else sums.chi2,
            mass_defect=sums.excess,
        )

    @cached_property
    def log_ratio(self) -> FloatArray:
        r"""`[A]`, \(\log \pi^+/\pi\), nats; zero for actions without mass, which stay where they are."""
        return self.problem.expand(self.level_log_ratio)

    @cached_property
    def log_policy(self) -> FloatArray:
        r"""`[A]`, \(\log \pi^+\), nats; -inf for actions without mass."""
        return self.problem.log_policy + self.log_ratio

    @cached_property
    def policy(self) -> FloatArray:
        r"""`[A]`, \(\pi^+\); sums to one within 1e-12."""
        return weighted_exp(self.problem.policy, self.problem.log_policy, self.log_ratio)

    @property
    def step_size(self) -> float:
        r"""Total variation \(\tfrac12 E|\rho - 1|\) of the step, in [0, 1]."""
        levels = self.problem.levels
        with np.errstate(over="ignore"):
            change = np.expm1(self.level_log_ratio)
        with np.errstate(invalid="ignore"):
            moved = np.where(
                np.isfinite(change) & (levels.mass > 0.0),
                levels.mass * np.abs(change),
                weighted_exp(levels.mass, levels.log_mass, self.level_log_ratio),
            )
        return 0.5 * float(moved.sum())

    def __repr__(self) -> str:
        return (
            f"Update(multiplier={self.multiplier:.6g}, expected_reward={self.expected_reward:.6g}, "
            f"kl={self.kl:.6g}, reverse_kl={self.reverse_kl:.6g}, chi2={self.chi2:.6g})"
        )
