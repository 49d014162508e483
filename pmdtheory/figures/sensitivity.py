r"""How much the step moves with its baseline: less in PMD-mean for small ratios, in no general order for large ones."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, KL, MEAN, Style
from pmdtheory.problem import Problem
from pmdtheory.update import kl_update, mean_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FAMILIES = ("binary", "graded", "tied", "signed", "rare")
FLOOR = 1e-6  # where smaller sensitivities are drawn
TICKS = ((-6, "$10^{-6}$"), (-3, "$10^{-3}$"), (0, "0.5"), (3, "0.999"))
BANDS = (5.0, 10.0, 30.0)  # of the range of the rewards over tau
DOT: dict[str, Any] = {"markersize": 2.0, "markeredgewidth": 0.5, "markerfacecolor": "none"}
STAR: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 6, "color": "black"}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Sensitivities, KL-PMD's first: over the reward, over p for binary rewards, and at the ends of random laws."""
    node, weight = np.polynomial.legendre.leggauss(config["nodes"])
    law = Problem.from_policy(weight / weight.sum(), (node + 1.0) / 2.0, config["tau"])
    odds = np.linspace(config["log10_odds"][0], config["log10_odds"][1], config["points"]) * np.log(10.0)
    masses = zip(special.expit(odds), special.expit(-odds), strict=True)
    binary = np.array([_both(Problem.binary(p, config["tau"], failure=q)) for p, q in masses])
    cases = list(islice(_moving(config), config["laws"]))
    random = np.array([_both(problem)[:, [0, -1]] for problem in cases])
    return {
        "reward": law.levels.reward[np.argsort(law.levels.reward)],
        "uniform": _both(law),
        "log_odds": odds,
        "binary": np.moveaxis(binary, 0, -1),
        "p": np.array(config["p"]),
        "counterexample": _both(Problem.binary(config["p"], config["tau"])),
        "spread": np.array([_spread(problem) for problem in cases]),
        "random": np.moveaxis(random, 0, -1),
    }


def _moving(config: Config) -> Iterator[Problem]:
    """The random laws of the claims, with rewards at most `spread` tau apart, that KL-PMD moves by `least` or more."""
    from pmdtheory.claims._instances import discrete

    for label, problem in discrete(np.random.default_rng(config["seed"])):
        spread = float(np.ptp(problem.reward)) / problem.tau
        if (
            label in FAMILIES
            and spread <= config["spread"]
            and kl_update(problem).unwrap().step_size >= config["least"]
        ):
            yield problem


def _spread(problem: Problem) -> float:
    return float(np.ptp(problem.levels.reward)) / problem.tau


def _both(problem: Problem) -> FloatArray:
    r"""The derivative of log rho in -b `[2, K]`, KL-PMD's and PMD-mean's, in ascending order of the reward.

    Both are \(E[w(\rho - \rho_i)]/E[w\rho]/(1 + \lambda\rho_i)\) with \(w = \rho/(1 + \lambda\rho)\) (C13).
    """
    order = np.argsort(problem.levels.reward)
    mass = problem.levels.mass[order]
    rows = []
    for step in (kl_update(problem).unwrap(), mean_update(problem).unwrap()):
        v = step.level_log_ratio[order]
        ratio = np.exp(v)
        weight = mass * ratio / (1.0 + step.multiplier * ratio)
        apart = v[None, :] - v[:, None]
        near = ratio[:, None] * np.expm1(np.clip(apart, -1.0, 1.0))
        above = np.where(np.abs(apart) < 1.0, near, ratio[None, :] - ratio[:, None])
        rows.append(above @ weight / (weight @ ratio) / (1.0 + step.multiplier * ratio))
    return np.array(rows)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Over the reward (a), over p (b), at the smallest and at the largest ratio of random laws (c, d)."""
    canvas, panels = style.panels(2, 2, height=1.0)
    for row, look, name in zip(data["uniform"], (KL, MEAN), ("KL-PMD", "PMD-mean"), strict=True):
        panels[0].plot(data["reward"], row, label=name, **look)
    panels[0].axhline(0.0, **GUIDE)
    panels[0].set(xlim=(0.0, 1.0), xlabel="reward $r$ (reward units)", ylabel=r"$-\partial\log\rho/\partial b$")
    _binary(panels[1], data)
    _random(panels[2], data["spread"], np.abs(data["random"][:, 0]), style, log=False)
    shares = _random(panels[3], data["spread"], np.abs(data["random"][:, 1]), style, log=True)
    labels = [f"$\\leq${band:g}: {share:.0%}" for band, share in zip(BANDS, shares, strict=True)]
    panels[3].legend(
        panels[3].get_lines()[1:], labels, handletextpad=0.0, handlelength=1.4, labelspacing=0.2, loc="lower right"
    )
    titles = ("uniform rewards", "binary rewards", "at the smallest ratio", "at the largest ratio")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = panels[0].get_lines()[:2]
    canvas.legend(handles=[*handles, *panels[1].get_lines()[-1:]], loc="outside upper center", ncols=3)
    return canvas


def _binary(axes: "Axes", data: Arrays) -> None:
    x = data["log_odds"] / np.log(10.0)
    for rows, look in zip(data["binary"], (KL, MEAN), strict=True):
        axes.plot(x, np.abs(rows[0]), **{**look, "linewidth": 0.7})
        axes.plot(x, np.abs(rows[1]), **look)
    place = [np.log10(data["p"] / (1.0 - data["p"]))] * 2
    axes.plot(place, np.abs(data["counterexample"][:, 1]), label=f"$p={data['p']:g}$", **STAR)
    axes.set(yscale="log", xlim=(x[0], x[-1]), ylim=(1e-4, 1e3), xlabel="success mass $p$")
    axes.set(ylabel=r"$|\partial\log\rho/\partial b|$")
    axes.set_xticks([place for place, _ in TICKS], [label for _, label in TICKS])


def _random(axes: "Axes", spread: FloatArray, both: FloatArray, style: Style, *, log: bool) -> list[float]:
    """Dots for each band of max r - min r over tau; the share of them that lies above the diagonal."""
    ends = (FLOOR / 2.0, 2.0 * float(both.max())) if log else (-0.04, 1.04)
    axes.plot(ends, ends, **GUIDE)
    shares = []
    for low, high, look in zip((0.0, *BANDS), BANDS, style.ramp(len(BANDS)), strict=False):
        x, y = both[:, (low < spread) & (spread <= high)]
        shares.append(float(np.mean(y > x)))
        axes.plot(np.maximum(x, FLOOR), np.maximum(y, FLOOR), linestyle="none", **{**look, **DOT})
    axes.set(xscale="log" if log else "linear", yscale="log" if log else "linear", xlim=ends, ylim=ends)
    axes.set(xlabel="KL-PMD", ylabel="PMD-mean")
    return shares


FIGURE = Figure(
    name="sensitivity",
    title="Sensitivity to the baseline",
    caption=r"""How the step moves with its baseline $b$ (nats), at PMD-mean's and at KL-PMD's own (C13): the
    derivative is $-(1 - \kappa\rho)/(1 + \lambda\rho)$ with
    $\kappa = E[\rho/(1 + \lambda\rho)]/E[\rho^2/(1 + \lambda\rho)]$, for KL-PMD $-(1 - \rho/E\rho^2)$. a: rewards
    uniform on [0, 1]. b: binary rewards, successes thick and failures thin. Both with $\tau = 0.2$ (reward units).
    c, d: its size on 300 random laws; the markers are bands of $(\max r - \min r)/\tau$, up to 5, 10 and 30.
    At the smallest ratio PMD-mean is always the less sensitive. At the largest there is no general order: for
    binary rewards with $p = 0.05$ (stars) PMD-mean's derivative is 0.839, KL-PMD's 0.127; among the random laws
    PMD-mean is the more sensitive in the percentage printed for each band, more often the smaller $\tau$. So this
    derivative is no argument for robustness. Values below $10^{-6}$ are drawn there.""",
    config={
        "tau": 0.2,
        "nodes": 129,
        "log10_odds": [-6.0, 4.0],
        "points": 101,
        "p": 0.05,
        "seed": 13,
        "laws": 300,
        "least": 0.03,
        "spread": 30.0,
    },
    arrays={
        "reward": "[R], reward units",
        "uniform": "[U, R], -d log rho/d b, KL-PMD's and PMD-mean's, rewards uniform on [0, 1]",
        "log_odds": "[P], log-odds of the success mass, nats",
        "binary": "[U, E, P], the same for binary rewards: failure, success",
        "p": "[], success mass of the counterexample",
        "counterexample": "[U, E], the same there",
        "spread": "[L], (max r - min r)/tau of the random laws, nats",
        "random": "[U, E, L], the same on random laws: smallest ratio, largest ratio",
    },
    compute=compute,
    draw=draw,
)
