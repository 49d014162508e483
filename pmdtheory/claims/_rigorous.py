"""Proven enclosures as the oracle of the floating-point updates: how many units in the last place are they off?

Each case is solved in floats and enclosed in balls; the error is the distance of the float from the enclosure, which is
narrower than 1e-20, so that it is known to all the digits that are shown. The two paths share no formula.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.claims._instances import problems
from pmdtheory.enclosure import Enclosure, enclose
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status, Update
from pmdtheory.update import baseline_update, kl_update, mean_update, mismatched_update, mixed_update

__all__ = ["LOG_RATIO", "MEMBERS", "QUANTITIES", "RELATIVE", "Accuracy", "Trial", "examine", "rigorous"]

LOG_RATIO: Final = 2e-15  # of log-ratios, times max(1, max|a|) and what a baseline or a sampler adds
RELATIVE: Final = 1e-11  # of the multiplier, divergences and the improvement
QUANTITIES: Final = ("log_ratio", "multiplier", "kl", "reverse_kl", "chi2", "improvement")
MEMBERS: Final = ("mean", "kl", "mixed", "baseline below log Z", "baseline above log Z", "mismatched")
_WIDTH: Final = 1e-20


@dataclass(frozen=True, eq=False)
class Trial:
    """One step in floats next to its enclosure: the error of each quantity in ulps, and over its tolerance."""

    member: str
    agreed: bool
    solved: bool
    ulps: dict[str, float]
    excess: dict[str, float]


@dataclass(frozen=True)
class Accuracy:
    """Errors of one quantity of one member over all cases.

    Attributes:
        member: of the family; `quantity` the field of the update.
        quantity: see `member`.
        cases: solved in floats and proved.
        median: of the errors, units in the last place.
        worst: of the errors, units in the last place, with the label of its case.
        worst_case: see `worst`.
        excess: the largest error over its tolerance, at most one where the promise is kept.
        disagreements: labels of the cases where one path finds a step and the other proves that there is none, or
            where nothing is proved.
    """

    member: str
    quantity: str
    cases: int
    median: float
    worst: float
    worst_case: str
    excess: float
    disagreements: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every case is solved, proved and within its tolerance."""
        return self.cases > 0 and self.excess <= 1.0 and not self.disagreements


def rigorous(
    *, instances: int = 50, seed: int = 0, progress: Callable[[str], None] = lambda member: None
) -> list[Accuracy]:
    """Compare every member of the family with its enclosures on named and random cases.

    Args:
        instances: cases per member, named ones first, continuous laws by their nodes.
        seed: of the random cases, samplers, weights and baselines.
        progress: called with the member after every case.

    Returns:
        One `Accuracy` per member and quantity.

    Raises:
        ValueError: for fewer than one instance, or a negative seed.
    """
    if instances < 1:
        raise ValueError(f"instances must be at least 1, got {instances}; 50 is the default")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}; pass any whole number from 0 on")
    rng = np.random.default_rng([seed, 0])
    found: list[tuple[str, Trial]] = []
    for number, (label, problem) in enumerate(islice(problems(rng), instances), start=1):
        for member in MEMBERS:
            trial = examine(member, problem, rng)
            if trial is not None:
                found.append((f"{label} #{number}", trial))
            progress(member)
    return [_summary(member, quantity, found) for member in MEMBERS for quantity in QUANTITIES]


def examine(
    member: str,
    problem: Problem,
    rng: np.random.Generator,
    change: Callable[[Update], Update] = lambda update: update,
) -> Trial | None:
    """One member on one problem; None where it does not apply. `change` is for mutants."""
    if member != "mean" and not math.isfinite(problem.jensen_gap):
        return None
    solution, options = _solved(member, problem, rng)
    proof = enclose(problem, width=_WIDTH, **options)
    if solution.status is not Status.SUCCESS:
        same = proof.status.name == solution.status.name
        return Trial(member, same, False, {}, {})
    if not proof.proved:
        return Trial(member, False, False, {}, {})
    update = change(solution.unwrap())
    ulps, excess = {}, {}
    log_error, log_ulps = _log_ratio_errors(update, proof)
    allowed = _log_ratio_tolerance(member, problem, update, options)
    ulps["log_ratio"], excess["log_ratio"] = log_ulps, log_error / allowed
    conditioned = member not in ("mean", "kl", "mixed")
    for name in QUANTITIES[1:]:
        value, (low, high) = getattr(update, name), getattr(proof, name)
        if math.isinf(low) or math.isinf(value):
            wrong = not (low <= value <= high)
            heavy = not problem.upper_second_moment_finite  # the law has no such moment, its nodes have
            ulps[name] = excess[name] = math.inf if wrong and not heavy else 0.0
            continue
        error, ulps[name] = _error(value, proof, name)
        unit = problem.tau if name == "improvement" else 1.0
        slack = 8.0 * allowed * max(1.0, abs(high / unit)) * unit if conditioned else 0.0
        tolerance = RELATIVE * abs(high) + slack
        excess[name] = error / tolerance if tolerance > 0.0 else math.inf if error > 0.0 else 0.0
    return Trial(member, True, True, ulps, excess)


def _solved(member: str, problem: Problem, rng: np.random.Generator) -> tuple[Solution[Update], dict[str, Any]]:
    """The step in floats, and the same question for `enclose`."""
    options: dict[str, Any] = {}
    if member == "mean":
        return mean_update(problem), options
    if member == "kl":
        return kl_update(problem), {"ideal": True}
    if member == "mixed":
        options["weight"] = float(10.0 ** rng.uniform(-3.0, 3.0))
        return mixed_update(problem, **options), options
    if member == "mismatched":
        mixture = 0.1 * problem.policy + 0.9 * rng.dirichlet(np.ones(problem.policy.size)) * (problem.policy > 0.0)
        live = np.flatnonzero(problem.policy)
        if live.size > 1 and rng.random() < 0.25:
            mixture[rng.choice(live)] = 0.0  # a blind action
        with np.errstate(divide="ignore"):
            options["log_sampler"] = np.log(mixture / mixture.sum())
        return mismatched_update(problem, **options), options
    share = rng.uniform(-2.0, 0.9) if member == "baseline below log Z" else 1.0 + 10.0 ** rng.uniform(-3.0, 1.0)
    options["baseline"] = problem.mean_reward / problem.tau + share * problem.jensen_gap
    return baseline_update(problem, **options), options


def _log_ratio_tolerance(member: str, problem: Problem, update: Update, options: dict[str, Any]) -> float:
    """The promise for log-ratios: rounding of the targets, amplified where the step is ill-conditioned."""
    size = max(1.0, float(np.max(np.abs(problem.scaled_advantage))))
    if member in ("mean", "kl", "mixed"):
        return LOG_RATIO * size
    size += abs(problem.mean_reward / problem.tau) + abs(update.baseline)
    live = np.isfinite(problem.log_policy) & np.isfinite(update.log_ratio)
    scale: FloatArray | float = 0.0
    if "log_sampler" in options:
        live &= np.isfinite(options["log_sampler"])
        scale = problem.log_policy[live] - options["log_sampler"][live]
        size += float(np.max(np.abs(scale)))
    with np.errstate(over="ignore", under="ignore"):
        slope = 1.0 + update.multiplier * np.exp(scale + update.log_ratio[live])
    worst = max(1.0, 1.0 / float(np.min(np.abs(slope))))
    return 8.0 * LOG_RATIO * size * worst**2


def _log_ratio_errors(update: Update, proof: Enclosure) -> tuple[float, float]:
    """Largest error of a log-ratio, nats, and largest in ulps of the largest log-ratio: rounding is relative to it."""
    low, high, value = proof.log_ratio_lo, proof.log_ratio_hi, update.log_ratio
    finite = np.isfinite(low)
    if not np.array_equal(np.isfinite(value), finite):
        return math.inf, math.inf
    outside = np.maximum(np.maximum(low[finite] - value[finite], value[finite] - high[finite]), 0.0)
    error = float(outside.max(initial=0.0))
    largest = float(np.abs(value[finite]).max(initial=0.0))
    return error, error / math.ulp(largest)


def _error(value: float, proof: Enclosure, name: str) -> tuple[float, float]:
    """Distance of a float from an enclosure, and the same in units of its last place."""
    low, high = proof.interval(name)
    number = Fraction(value)
    distance = float(max(low - number, number - high, Fraction(0)))
    return distance, distance / math.ulp(float((low + high) / 2))


def _summary(member: str, quantity: str, found: list[tuple[str, Trial]]) -> Accuracy:
    mine = [(label, trial) for label, trial in found if trial.member == member]
    solved = [(trial.ulps[quantity], label, trial.excess[quantity]) for label, trial in mine if trial.solved]
    split = tuple(label for label, trial in mine if not trial.agreed)
    if not solved:
        return Accuracy(member, quantity, 0, math.nan, math.nan, "", math.nan, split)
    worst, where, _ = max(solved)
    median = statistics.median(ulps for ulps, _, _ in solved)
    return Accuracy(member, quantity, len(solved), median, worst, where, max(row[2] for row in solved), split)
