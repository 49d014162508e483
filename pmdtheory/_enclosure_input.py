"""What `enclose` is given, checked and read exactly: a float, a Fraction or a Decimal is one rational number."""

import math
import numbers
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import real_vector, shown
from pmdtheory._enclosure_law import ExactLaw, LawKind
from pmdtheory.problem import Problem

__all__ = ["exact_law", "exact_number"]

_SAMPLER: Final = "pass the sampler's log-probabilities, one per action (-inf where it never goes)"
_WEIGHTS: Final = "pass one exact number per action (int, Fraction, Decimal or float), proportional to the policy"
_NORMAL: Final = float(np.finfo(np.float64).tiny)


def exact_number(name: str, value: Any, remedy: str) -> Fraction:
    """The value as a rational; TypeError for what is no real number, ValueError for NaN and infinities."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, Decimal)):
        raise TypeError(f"{name} must be a real number, got {shown(value)}; {remedy}")
    if isinstance(value, (numbers.Rational, Decimal)):
        if isinstance(value, Decimal) and not value.is_finite():
            raise ValueError(f"{name} must be finite, got {value}; {remedy}")
        return Fraction(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {float(value)}; {remedy}")
    return Fraction(float(value))


def exact_law(
    problem: Problem, law: LawKind | None, weights: Sequence[Any] | None, log_sampler: ArrayLike | None
) -> tuple[ExactLaw, list[int]]:
    """The exact law, and the indices of the actions that have mass under it."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {shown(problem)}; build one with Problem.from_policy")
    if law not in (None, "policy", "log_policy"):
        raise ValueError(f"law must be 'policy' or 'log_policy', got {shown(law)}; or leave it out")
    policy, log_policy = problem.policy, problem.log_policy
    terms: list[Fraction]
    if weights is not None:
        if law is not None:
            raise ValueError(f"law={law!r} and weights were both given; pass one of them")
        terms = _weights(problem, weights)
        kind: LawKind = "weights"
        live = [i for i, w in enumerate(terms) if w > 0]
    else:
        lost = bool(np.any((policy < _NORMAL) & (log_policy > -math.inf)))
        kind = law or ("log_policy" if lost else "policy")
        source = policy if kind == "policy" else log_policy
        nothing = 0.0 if kind == "policy" else -math.inf
        live = np.flatnonzero(source > nothing).tolist()
        terms = [Fraction(x) if x > nothing else Fraction(0) for x in source.tolist()]
    sampler = None if log_sampler is None else _sampler(log_sampler, len(terms), set(live))
    reward = problem.reward.tolist()
    exact = ExactLaw.build(
        kind,
        [terms[i] for i in live],
        [reward[i] + 0.0 for i in live],  # -0.0 is 0.0
        problem.tau,
        None if sampler is None else [sampler[i] for i in live],
    )
    return exact, live


def _weights(problem: Problem, weights: Sequence[Any]) -> list[Fraction]:
    """Exact weights, which must say what the problem's policy says."""
    if isinstance(weights, (str, bytes)) or not isinstance(weights, (Sequence, np.ndarray)):
        raise TypeError(f"weights must be a sequence, got {shown(weights)}; {_WEIGHTS}")
    if len(weights) != problem.policy.size:
        raise ValueError(f"weights has {len(weights)} entries for {problem.policy.size} actions; {_WEIGHTS}")
    found = [exact_number(f"weights[{i}]", w, _WEIGHTS) for i, w in enumerate(weights)]
    if min(found) < 0 or sum(found) == 0:
        raise ValueError(f"weights hold {float(min(found))} and sum to {float(sum(found))}; {_WEIGHTS}")
    total = sum(found)
    for i, (w, p) in enumerate(zip(found, problem.policy.tolist(), strict=True)):
        if abs(float(w / total) - p) > max(1e-9, 1e-9 * p):
            raise ValueError(f"weights say {float(w / total)!r} for action {i} and the policy {p!r}; {_WEIGHTS}")
    return found


def _sampler(log_sampler: ArrayLike, size: int, live: set[int]) -> list[float]:
    """The sampler's log-probabilities as floats, read exactly and renormalised later."""
    log_mu, eps = real_vector("log_sampler", log_sampler, _SAMPLER)
    if log_mu.size != size:
        raise ValueError(f"log_sampler has {log_mu.size} entries for {size} actions; {_SAMPLER}")
    with np.errstate(over="ignore", under="ignore"):
        total = float(np.exp(log_mu).sum())
    if not abs(total - 1.0) <= max(1e-9, size * eps):
        raise ValueError(f"log_sampler sums to {total!r}, not to one; {_SAMPLER}")
    values: list[float] = log_mu.tolist()
    for i, value in enumerate(values):
        if value > -math.inf and i not in live:
            raise ValueError(
                f"log_sampler has mass on action {i}, where the policy has none; "
                "give the policy mass on every action that was sampled"
            )
    return values
