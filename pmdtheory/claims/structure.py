"""C10, C11: only the law of the reward matters; and what the update is when the signal is weak."""

from typing import Any, Final

import mpmath
import numpy as np

from pmdtheory.claims._base import EXACT, RATE, ROOT, Claim, Part
from pmdtheory.claims._instances import discrete
from pmdtheory.claims._steps import MOVES, largest_advantage, mean_step, moves
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update, mean_update

__all__ = ["CLAIMS"]

_DIGITS: Final = 80
_SCALE: Final = 1e-4  # max|a| at which the remainders are measured
_CONSTANT: Final = 100.0  # a remainder of order k is at most this times m2 max|a|^(k-2)


def _distance(problem: Problem, other: Any, original: Any, extra: float = 0.0) -> tuple[float, float]:
    """Largest difference of two log-ratios `[A]`, and its tolerance."""
    return float(np.max(np.abs(other - original))), ROOT * max(1.0, largest_advantage(problem)) + extra


def _c10(problem: Problem) -> list[Part]:
    rng = np.random.default_rng(problem.reward.size)
    step = mean_step(problem)
    copies = rng.integers(1, 4, problem.reward.size)
    owner = np.repeat(np.arange(problem.reward.size), copies)
    share = rng.dirichlet(np.ones(3), problem.reward.size)
    share = np.concatenate([row[:k] / row[:k].sum() for row, k in zip(share, copies, strict=True)])
    split = Problem.from_policy(problem.policy[owner] * share, problem.reward[owner], problem.tau).atomic()
    parts = [
        Part(
            "split actions",
            "identity",
            *_distance(problem, mean_update(split).unwrap().log_ratio, step.log_ratio[owner]),
        )
    ]
    b = problem.mean_reward / problem.tau + 0.5 * min(problem.jensen_gap, 1.0)
    pair = baseline_update(split, baseline=b).unwrap(), baseline_update(problem, baseline=b).unwrap()
    room = EXACT * abs(b)
    distance = _distance(problem, pair[0].log_ratio, pair[1].log_ratio[owner], room)
    parts.append(Part("split actions, PMD(b)", "identity", *distance))
    order = rng.permutation(problem.reward.size)
    moved = mean_update(Problem.from_policy(problem.policy[order], problem.reward[order], problem.tau)).unwrap()
    parts.append(Part("permuted actions", "identity", *_distance(problem, moved.log_ratio, step.log_ratio[order])))
    spread = float(np.ptp(problem.reward)) or 1.0
    shifted = mean_update(Problem.from_policy(problem.policy, problem.reward + spread, problem.tau)).unwrap()
    room = EXACT * (float(np.abs(problem.reward).max()) + spread) / problem.tau
    parts.append(Part("r + c", "identity", *_distance(problem, shifted.log_ratio, step.log_ratio, room)))
    return [*parts, _scaled(problem, 3.0, 3.0)]


def _scaled(problem: Problem, of_reward: float, of_tau: float) -> Part:
    scaled = mean_update(Problem.from_policy(problem.policy, of_reward * problem.reward, of_tau * problem.tau)).unwrap()
    room = EXACT * float(np.abs(problem.reward).max()) / problem.tau  # 3r rounds, and what differs little shows it
    distance = _distance(problem, scaled.log_ratio, mean_step(problem).log_ratio, room)
    return Part("(kr, k tau)", "identity", *distance)


def _c10_mutant(problem: Problem) -> list[Part]:
    return [_scaled(problem, 3.0, 1.0)] if moves(problem) else []


def _series(moments: dict[int, Any], fourth: int) -> Any:
    """The expansion of C11 with the coefficient of m2^2 in the fourth order open."""
    m2, m3, m4, m5, m6, m7 = (moments[k] for k in range(2, 8))
    return (
        m2 / 2
        + m3 / 6
        + (m4 - fourth * m2**2) / 24
        + (m5 - 90 * m2 * m3) / 120
        + (m6 - 255 * m2 * m4 - 130 * m3**2 + 1200 * m2**3) / 720
        + (m7 / 5040 - 7 * m3 * m4 / 48 - 11 * m2 * m5 / 80 + 27 * m2**2 * m3 / 8)
    )


def _remainders(problem: Problem, fourth: int) -> tuple[Any, Any, Any]:
    """Remainders over m2, in 80 digits: lambda's series, the series of J - lambda; and max|v - a|."""
    levels = problem.levels
    mass = [mpmath.mpf(float(m)) for m in levels.mass]
    total = mpmath.fsum(mass)
    reward = [mpmath.mpf(float(r)) for r in levels.reward]
    mean = mpmath.fsum(m * r for m, r in zip(mass, reward, strict=True)) / total
    tau = max(abs(r - mean) for r in reward) / mpmath.mpf(_SCALE)
    a = [(r - mean) / tau for r in reward]
    moments = {k: mpmath.fsum(m * x**k for m, x in zip(mass, a, strict=True)) / total for k in range(2, 8)}
    weight = _series(moments, 15)
    for _ in range(4):  # from an error of scale^8, four Newton steps on the mass reach all digits
        ratio = [mpmath.lambertw(weight * mpmath.exp(x)).real / weight for x in a]
        excess = mpmath.fsum(m * (y - 1) for m, y in zip(mass, ratio, strict=True))
        slope = mpmath.fsum(m * y * y / (1 + weight * y) for m, y in zip(mass, ratio, strict=True))
        weight += excess / slope
    gap = mpmath.log(mpmath.fsum(m * mpmath.exp(x) for m, x in zip(mass, a, strict=True)) / total)
    m2, m3 = moments[2], moments[3]
    step = max(abs(mpmath.log(y) - x) for y, x in zip(ratio, a, strict=True))
    return abs(weight - _series(moments, fourth)) / m2, abs(gap - weight - m2**2 / 2 - 2 * m2 * m3 / 3) / m2, step


def _orders(problem: Problem, fourth: int) -> tuple[float, float, float]:
    """The orders k that the remainders keep with a fixed constant: log(remainder/constant)/log max|a|.

    Slopes between two scales fail where a leading coefficient happens to vanish; these do not.
    """
    with mpmath.workdps(_DIGITS):
        series, gap, step = (
            float(mpmath.log(remainder / _CONSTANT) / mpmath.log(_SCALE)) for remainder in _remainders(problem, fourth)
        )
    return series + 2.0, gap + 2.0, step


def _c11(problem: Problem) -> list[Part]:
    if not _small(problem):
        return []
    series, gap, step = _orders(problem, 15)
    return [
        Part("series of lambda: remainder of order 8", "rate", max(8.0 - series, 0.0), RATE),
        Part("series of J - lambda: remainder of order 6", "rate", max(6.0 - gap, 0.0), RATE),
        Part("log rho = a: remainder of order 2", "rate", max(2.0 - step, 0.0), RATE),
    ]


def _small(problem: Problem) -> bool:
    """Laws that high-precision arithmetic handles in milliseconds, and whose moments stand out of 80 digits."""
    return 2 <= problem.levels.mass.size <= 8 and float(problem.levels.mass.min()) > 1e-9


def _c11_mutant(problem: Problem) -> list[Part]:
    if not _small(problem):
        return []
    return [Part("the coefficient of J's series", "rate", max(8.0 - _orders(problem, 3)[0], 0.0), RATE)]


CLAIMS: Final = (
    Claim(
        id="C10",
        title="Reward-law reduction",
        statement=(
            r"\rho_i = \rho(r_i):\ \text{merging equal rewards commutes with the update};\quad"
            r" (r, \tau) \mapsto (r + c, \tau),\ (kr, k\tau)\ \text{change nothing}"
        ),
        source="this project",
        kind="identity",
        assumes="b <= log Z, k > 0",
        instances=discrete,
        check=_c10,
        mutant=_c10_mutant,
        mistake="(kr, tau) for (kr, k tau)",
        blunt=MOVES,
    ),
    Claim(
        id="C11",
        title="Weak-signal expansion",
        statement=(
            r"\lambda = \tfrac{m_2}{2} + \tfrac{m_3}{6} + \tfrac{m_4 - 15m_2^2}{24} + \dots + O(\tau^{-8}),\quad"
            r" J - \lambda = \tfrac{m_2^2}{2} + \tfrac23 m_2m_3 + O(\tau^{-6}),\quad m_k = \mathrm{E}a^k"
        ),
        source="this project",
        kind="rate",
        assumes="tau large; checked on laws of 2 to 8 levels in 80 digits",
        instances=discrete,
        check=_c11,
        mutant=_c11_mutant,
        mistake="3 for 15 in the fourth order (J's coefficient)",
        blunt="laws of more than 8 levels, or with masses below 1e-9",
    ),
)
