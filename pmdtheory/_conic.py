r"""The mixed KL-chi2 step as a conic program for Clarabel, with a certificate of its own.

In units of tau and nats, with \(\rho = x/\pi\) and curvature \(c_k = c\,\pi_k/\mu_k\) (just c on-policy), the step is

\(\max_\rho \sum_k m_k [a_k \rho_k - \rho_k\log\rho_k - \tfrac{c_k}{2}\rho_k^2]\) subject to
\(\sum_k m_k \rho_k = 1\).

Its accuracy has to be relative to the size of the step, which can be 1e-15 (a success of mass 1e-12 at tau = 1e3),
while an exponential cone near the point (0, 1, 1) resolves nothing below an absolute 1e-12: the curvature of the
entropy is lost in the rounding of the cone. So the program is solved twice over:

1. `cone_program`: the program itself, quadratic objective plus one exponential cone a level, columns scaled by the
   largest mass that a level can reach. It is right to about 1e-12 in mass.
2. `recentred_program`: the same program about the point found, in the change of log-ratio, where the cones have
   become their second-order terms: a quadratic program whose size is what was left. It is repeated until the change
   is below the tolerance relative to the step (once or twice, as a rule).

`Program.relative_gap` then measures the duality gap of the *conic* program as a sum of terms of one sign.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory._program import Program
from pmdtheory.divergence import step_sums

__all__ = ["Outcome", "Program", "solve_program"]

_LIGHT: Final = -46.0  # log of the mass (1e-20) below which a level does not show in a program of order one
_FLOOR: Final = -60.0  # log of the smallest mass that the cone program is taken to have said anything about
_NOISE: Final = -23.0  # log of the mass (1e-10) that the cone program may leave on a level by rounding alone
_LEAP: Final = 20.0  # nats that a level may rise in one recentring, where the chi2 may bend the way
_SETTLED: Final = 1e-6  # nats; the next change would be about its square
_ROUNDS: Final = 30


@dataclass(frozen=True, eq=False)
class Outcome:
    """Log-ratios `[K]` and shift (None when there is no point), convergence, relative gap and counters."""

    log_ratio: FloatArray | None
    shift: float
    converged: bool
    residual: float
    stats: dict[str, float]


def solve_program(program: Program, tolerance: float) -> Outcome:
    """Cone program, then recentred programs until the change is below `tolerance` relative to the step."""
    started = time.perf_counter()
    if float(np.ptp(program.pull)) == 0.0:  # nothing to gain: the step is none
        return Outcome(np.zeros_like(program.mass), float(program.pull[0]), True, 0.0, {"levels": program.mass.size})
    point, cone = cone_program(program, tolerance)
    stats: dict[str, float] = {
        "iterations": cone.iterations,
        "cone_iterations": cone.iterations,
        "cone_solved": float(str(cone.status) == "Solved"),
        "levels": program.mass.size,
    }
    if point is None:
        return Outcome(None, math.nan, False, math.nan, stats | {"solve_time": time.perf_counter() - started})
    log_ratio, shift = point, _best_shift(program, point)
    stats["cone_residual"] = program.relative_gap(log_ratio, shift)
    converged, rounds = False, 0
    while not converged and rounds < _ROUNDS:
        change, shift, quadratic = recentred_program(program, log_ratio, shift)
        rounds += 1
        stats["iterations"] += quadratic.iterations
        if not np.isfinite(change).all():
            break
        log_ratio = log_ratio + change
        with np.errstate(under="ignore", over="ignore"):
            moved = float(np.sum(np.exp(program.log_mass + log_ratio) * np.abs(change)))
            step = float(np.sum(program.mass * np.abs(np.expm1(log_ratio))))
        # the light levels too, whose mass no sum shows
        settled = bool(np.all(np.abs(change) <= _SETTLED * (1.0 + np.abs(log_ratio))))
        converged = settled and moved <= tolerance * step
    residual = program.relative_gap(log_ratio, shift)
    stats["refinements"] = rounds
    stats["duality_gap"] = program.gap(log_ratio, shift)
    stats["solve_time"] = time.perf_counter() - started
    return Outcome(log_ratio, shift, converged and residual <= tolerance, residual, stats)


def _settings(tolerance: float) -> Any:
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
    return settings


def cone_program(program: Program, tolerance: float) -> tuple[FloatArray | None, Any]:
    r"""Solve with one exponential cone a level; the log-ratios `[K]` (None without a point), and Clarabel's answer.

    Mass is counted in units d of the largest that a level can reach (one, or where its chi2 alone would cost the
    whole spread of the rewards): x = d u. The entropy is \(x\log(x/m) = d\,(s + u\log(d/m))\) with (-s, u, 1) in the
    exponential cone, so that the logarithm of a mass of 1e-12 stands in the objective and not in a cone.
    """
    import clarabel
    from scipy import sparse

    size = program.mass.size
    spread = float(np.ptp(program.advantage)) + 1.0
    with np.errstate(divide="ignore"):
        reach = 0.5 * (program.log_mass + math.log(spread) - np.log(program.curvature))
    log_unit = np.clip(reach, program.log_mass, 0.0)
    anchor = log_unit - program.log_mass
    with np.errstate(under="ignore"):
        unit = np.exp(log_unit)
    quadratic = sparse.diags(np.concatenate([program.curvature * unit * np.exp(anchor), np.zeros(size)]), format="csc")
    linear = np.concatenate([unit * (anchor - program.advantage), unit])
    length = float(np.linalg.norm(unit))
    level = np.arange(size)
    rows = np.concatenate([np.zeros(size, dtype=np.intp), 1 + 3 * level, 2 + 3 * level])
    columns = np.concatenate([level, size + level, level])
    entries = np.concatenate([unit / length, np.ones(size), -np.ones(size)])
    matrix = sparse.csc_matrix((entries, (rows, columns)), shape=(1 + 3 * size, 2 * size))
    right = np.concatenate([[1.0 / length], np.tile([0.0, 0.0, 1.0], size)])
    cones = [clarabel.ZeroConeT(1), *[clarabel.ExponentialConeT()] * size]
    answer = clarabel.DefaultSolver(quadratic, linear, matrix, right, cones, _settings(tolerance)).solve()
    unknown = np.asarray(answer.x[:size])
    if not np.isfinite(unknown).all() or "Infeasible" in str(answer.status) or not float(unknown.max()) > 0.0:
        return None, answer
    with np.errstate(divide="ignore"):
        log_mass_found = log_unit + np.log(np.maximum(unknown, 0.0))
    log_ratio = np.maximum(log_mass_found, _FLOOR) - program.log_mass
    lost = (program.log_mass < _FLOOR) & (log_mass_found < _NOISE)  # what was found there is rounding: start anew
    return np.where(lost, 0.0, log_ratio), answer


def _best_shift(program: Program, log_ratio: FloatArray) -> float:
    """The shift that balances the slack of a point on average under that point."""
    with np.errstate(under="ignore"):
        heavy = np.exp(program.log_mass + log_ratio)
    return float(np.sum(heavy * program.slack(log_ratio, 0.0)) / np.sum(heavy))


def recentred_program(program: Program, log_ratio: FloatArray, shift: float) -> tuple[FloatArray, float, Any]:
    r"""The program about a point, to second order: change of log-ratio `[K]`, new shift, and Clarabel's answer.

    \(\min_v \sum_k x_k [\tfrac12 (1 + c_k\rho_k) v_k^2 - s_k v_k]\) subject to
    \(\sum_k x_k v_k = 1 - \sum_k x_k\), in the unknowns \(\sqrt{x(1 + c\rho)}\,v\), which make the quadratic form
    the identity, and divided by the size of its data, so that Clarabel's absolute tolerances are relative ones.
    Levels too light to be seen follow the program's dual variable.
    """
    import clarabel
    from scipy import sparse

    with np.errstate(under="ignore"):
        heavy = np.exp(program.log_mass + log_ratio)
        bend = 1.0 + program.curvature * np.exp(log_ratio)
    column = np.sqrt(heavy / bend)
    slack = program.slack(log_ratio, shift)
    centre = float(np.dot(column * column, slack) / np.dot(column, column))
    slack = slack - centre
    defect = step_sums(program.mass, program.log_mass, log_ratio).excess
    length = float(np.linalg.norm(column))
    size = max(float(np.linalg.norm(column * slack)), abs(defect) / length)
    if size == 0.0:
        size = 1.0
    answer = clarabel.DefaultSolver(
        sparse.identity(heavy.size, format="csc"),
        -column * slack / size,
        sparse.csc_matrix(column / length),
        np.array([-defect / length / size]),
        [clarabel.ZeroConeT(1)],
        _settings(1e-12),
    ).solve()
    multiplier = answer.z[0] * size / length
    light = program.log_mass + log_ratio < _LIGHT
    seen = np.where(light, 1.0, column * bend)
    change = np.where(light, (slack - multiplier) / bend, np.asarray(answer.x) * size / seen)
    return np.minimum(change, _LEAP), shift + centre + multiplier, answer
