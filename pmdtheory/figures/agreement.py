"""How well the closed form, its identities and independent solvers agree on random laws, by provenance."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import LIMIT, Style
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.subproblem import gap_certificate, solve_regression, solve_subproblem
from pmdtheory.update import mean_update, mixed_update

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ROWS = (
    "stationarity (C1)",
    "gap identity (C3)",
    "mass is one (C1)",
    r"$\lambda=\mathrm{KL}(\pi\|\pi^+)$ (C4)",
    "mixed step at $c=\\lambda$ (C2)",
    "conic program (C2)",
    "regression (C1)",
)
KINDS = ("identity", "identity", "root-find", "root-find", "root-find", "conic solver", "generic optimiser")
TOLERANCES = ("EXACT", "ROOT", "ROOT", "ROOT", "ROOT", "SOLVER", "SOLVER")
FLOOR = 1e-18  # where residuals of exactly zero are drawn

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Residuals `[R, L]` in the order of `ROWS`, and the tolerances that the claims check them with."""
    from pmdtheory.claims import _base

    cases = list(islice(_moving(config), config["laws"]))
    return {
        "residual": np.array([_residuals(problem, step) for problem, step in cases]).T,
        "tolerance": np.array([getattr(_base, name) for name in TOLERANCES]),
    }


def _moving(config: Config) -> Iterator[tuple[Problem, Update]]:
    """The random laws of the claims that generic solvers are asked about, with their steps."""
    from pmdtheory.claims._instances import discrete

    for _, problem in discrete(np.random.default_rng(config["seed"])):
        if problem.levels.mass.size > 1 and np.abs(problem.levels.advantage).max() <= config["largest_advantage"]:
            step = mean_update(problem).unwrap()
            if step.step_size >= config["least"]:
                yield problem, step


def _residuals(problem: Problem, step: Update) -> list[float]:
    levels, v = problem.levels, step.level_log_ratio
    a = levels.advantage
    stationarity = np.abs(v + step.multiplier * np.exp(v) - a) / np.maximum(1.0, np.abs(a))
    certificate = gap_certificate(problem, step, _points(problem, step))
    others = (
        mixed_update(problem, weight=step.multiplier).value,
        solve_subproblem(problem, weight=step.multiplier).value,
        solve_regression(problem, starts=1).value,
    )
    return [
        float(stationarity.max()),
        certificate.residual,
        abs(step.mass_defect),
        abs(step.multiplier / step.reverse_kl - 1.0),
        *(math.nan if other is None else _distance(other.policy, step) for other in others),
    ]


def _points(problem: Problem, step: Update) -> FloatArray:
    """The policy, the point half-way to the step, and that point mirrored towards the largest action."""
    middle = 0.5 * (problem.policy + step.policy)
    corner = np.eye(problem.policy.size)[int(np.argmax(problem.policy))]
    return np.stack([problem.policy, middle, 0.5 * (middle + corner)])


def _distance(policy: FloatArray, step: Update) -> float:
    """Total variation from the step's policy, relative to the step."""
    return 0.5 * float(np.abs(policy - step.policy).sum()) / step.step_size


def draw(data: Arrays, style: Style) -> "Canvas":
    """A strip of dots per kind of evidence, with its median and its tolerance."""
    canvas, (axes,) = style.panels(1, 1, height=0.85)
    looks = dict(zip(dict.fromkeys(KINDS), style.ramp(4), strict=True))
    height = 0.62 * (np.modf(np.arange(data["residual"].shape[1]) * 0.6180339887)[0] - 0.5)
    for i, (kind, row, tolerance) in enumerate(zip(KINDS, data["residual"], data["tolerance"], strict=True)):
        known = ~np.isnan(row)
        x, y = np.maximum(row[known], FLOOR), i + height[known]
        look = {**looks[kind], "markersize": 1.9, "markeredgewidth": 0.4, "linestyle": "none"}
        axes.plot(x, y, label=kind if kind not in KINDS[:i] else None, **look)
        axes.plot([np.median(x)] * 2, [i - 0.42, i + 0.42], color="black", linewidth=1.2)
        axes.plot([tolerance] * 2, [i - 0.42, i + 0.42], label="tolerance" if i == len(ROWS) - 1 else None, **LIMIT)
    axes.set(xscale="log", xlim=(FLOOR / 2.0, 1e-4), ylim=(len(ROWS) - 0.4, -0.6), xlabel="relative residual")
    axes.set_yticks(range(len(ROWS)), ROWS)
    axes.tick_params(axis="y", length=0.0)
    canvas.legend(loc="outside upper center", ncols=3, markerscale=1.8)
    return canvas


FIGURE = Figure(
    name="agreement",
    title="Agreement by provenance",
    caption=r"""What is left of each piece of evidence for PMD-mean's step on 150 laws, named and random, by how it was
    obtained; the bar is the median, dotted is the tolerance that the checks of the claims allow, and residuals of
    exactly zero are drawn at $10^{-18}$. Identities in float64: stationarity, $\log\rho + \lambda\rho = a$ relative to
    $\max(1, |a|)$ (C1), and the gap identity at three points, relative to its terms (C3). After a root-find:
    $|E\rho - 1|$; $\lambda$ against $\mathrm{KL}(\pi\|\pi^+)$, relative (C4). The others are solutions that are
    found in another way, by their total variation from the step's policy over that of the step itself: the mixed
    step of $\chi^2$ weight $\lambda$, the same as a conic program (C2), and the regression by a generic optimiser,
    which is given no $\lambda$ (C1). Laws have $\max|a| \le 1000$ and steps of total variation above 0.001.""",
    config={"seed": 3, "laws": 150, "least": 1e-3, "largest_advantage": 1000.0},
    arrays={
        "residual": "[R, L], relative: stationarity, gap, mass, lambda, TV of three other solutions",
        "tolerance": "[R], what the claims' checks allow each kind of evidence, before scaling with max|a|",
    },
    compute=compute,
    draw=draw,
    floors={"residual": 1.0},
)
