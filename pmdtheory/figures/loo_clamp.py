"""A leave-one-out partition that subtracts its own term and clamps the rest: 0.184 instead of 2."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, KL, MARKERS, MEAN, Style
from pmdtheory.finite_sample import one_group_fit
from pmdtheory.problem import Problem
from pmdtheory.variants._recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LOSSES = ("others' partition", "clamped partition")
LABELS = ("exact leave-one-out", "subtracted and clamped")
LOOKS: tuple[dict[str, Any], ...] = (MEAN, KL)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """The advantage of the only success of a group, and the success mass after one exact fit, averaged over groups.

    The success mass over each of tau, p and the mass of a response, the other two as in the configuration's "fixed".
    """
    fixed, sizes = config["fixed"], config["n"]
    (low, high), (first, last), size = config["tau"], config["log_odds"], config["points"]
    axes: dict[str, FloatArray] = {
        "tau": np.exp(np.linspace(np.log(low), np.log(high), size)),
        "p": np.asarray(special.expit(np.linspace(first, last, size))),
        "response": 10.0 ** -np.array(config["decades"], dtype=np.float64),
    }
    marks = np.array(config["marks"])
    return {
        **axes,
        "n": np.array(sizes, dtype=np.float64),
        "advantage": np.array([[_advantage(4, 1, tau, loss)[0] for loss in LOSSES] for tau in axes["tau"]]),
        "mark": marks,
        "mark_advantage": np.array([[_advantage(4, 1, tau, loss)[0] for loss in LOSSES] for tau in marks]),
        **{
            f"mass_over_{name}": np.array([[_mean_mass(n, **(fixed | {name: x})) for x in values] for n in sizes])
            for name, values in axes.items()
        },
    }


def _advantage(n: int, successes: int, tau: float, baseline: str) -> FloatArray:
    """`[n]`, reward less baseline of a group with so many successes first; rewards -1 and 1."""
    rewards = np.where(np.arange(n) < successes, 1.0, -1.0)[None]
    return np.asarray(Recipe(baseline=baseline, tau=tau).advantages(np, rewards)[0])


def _mean_mass(n: int, *, p: float, tau: float, response: float) -> list[float]:
    """Expected success mass after the exact fit of one group with either baseline, all else being equal.

    Every sampled response has the given mass; what was not sampled is one further success and one further failure.
    """
    totals = []
    fits: dict[bytes, float] = {}  # most groups get the same advantages from both
    for baseline in LOSSES:
        total = 0.0
        for k in range(n + 1):
            advantage = _advantage(n, k, tau, baseline)
            key = bytes([k]) + np.round(advantage, 12).tobytes()
            if key not in fits:
                fits[key] = _mass(advantage / tau, k, p, response)
            total += float(special.comb(n, k) * p**k * (1.0 - p) ** (n - k)) * fits[key]
        totals.append(total)
    return totals


def _mass(target: FloatArray, k: int, p: float, response: float) -> float:
    """Success mass after the fit of a group whose first k rollouts are successes."""
    n = target.size
    policy = np.append(np.full(n, response), [p - k * response, 1.0 - p - (n - k) * response])
    problem = Problem.from_policy(policy, np.append(target, [0.0, 0.0]), 1.0)  # what is unsampled has no target
    moved = policy * np.exp(one_group_fit(problem, np.arange(n), baseline=0.0).log_ratio)
    return float(moved[:k].sum() + moved[n])


def draw(data: Arrays, style: Style) -> "Canvas":
    """The advantage over tau (a), and the success mass over tau (b), success mass (c) and mass of a response (d)."""
    from matplotlib.lines import Line2D

    canvas, panels = style.panels(2, 2, height=1.15)
    first, *others = panels
    for look, line in zip(LOOKS, data["advantage"].T, strict=True):
        first.plot(data["tau"], line, **look)
    first.plot(data["mark"], data["mark_advantage"][:, 1], linestyle="none", marker="o", color=BLACK, zorder=5)
    for tau, value in zip(data["mark"], data["mark_advantage"][:, 1], strict=True):
        first.annotate(f"{value:.3f}", (tau, value), (4, -6), textcoords="offset points", fontsize=style.small)
    first.set(ylim=(0.0, 2.25), xlabel=r"$\tau$ (reward units)", ylabel="advantage")
    style.title(first, "a", "only success of 4")
    labels = {"tau": r"$\tau$ (reward units)", "p": "success mass before", "response": "mass of a response"}
    for letter, (name, label), axes in zip("bcd", labels.items(), others, strict=True):
        for which, (marker, lines) in enumerate(zip(MARKERS, data[f"mass_over_{name}"], strict=False)):
            for look, line in zip(LOOKS, lines.T, strict=True):
                every = (4 + 5 * which, 10)
                axes.plot(data[name], line, marker=marker, markerfacecolor="white", markevery=every, **look)
        axes.set(ylim=(-0.04, 1.04), xlabel=label, ylabel="success mass after")
        style.title(axes, letter)
    for axes in panels:
        axes.set_xscale("log")
    others[1].set_xscale("logit")
    others[1].set_xticks([0.01, 0.1, 0.5, 0.9], [".01", ".1", ".5", ".9"])
    others[1].set_xticks([], minor=True)
    others[2].set_xticks([1e-16, 1e-12, 1e-8, 1e-4])
    others[2].set_xticks([], minor=True)
    keys = [
        *(Line2D([], [], label=label, **look) for label, look in zip(LABELS, LOOKS, strict=True)),
        *(
            Line2D([], [], color="0.3", linestyle="none", marker=marker, markerfacecolor="white", label=f"$n={n:g}$")
            for marker, n in zip(MARKERS, data["n"], strict=False)
        ),
    ]
    canvas.legend(handles=keys, loc="outside upper center", ncols=2)
    return canvas


FIGURE = Figure(
    name="loo_clamp",
    title="The clamped leave-one-out partition",
    caption=r"""Public code gets the leave-one-out partition (C12) by subtracting a rollout's own term from the sum,
    relative to the largest, and clamps the mean of the rest at $10^{-8}$. Rewards $-1$ and 1. a: advantage of the only
    success of a group of 4, reward units: 2 whatever $\tau$ is, against $18.42\,\tau$ below $\tau=0.109$: 0.184
    at 0.01 and 1.842 at 0.1. b, c, d: expected success mass after the exact fit of one group (C16), over $\tau$, over
    the success mass $p$ before, and over the mass of a single sampled response; the other two are $\tau=0.01$,
    $p=0.2$ and $10^{-12}$. Groups with one success make the difference: the clamp lets no response grow by more than
    $10^8$.""",
    config={
        "tau": [0.005, 0.3],
        "log_odds": [-5.0, 3.0],
        "decades": [2.5 + 0.35 * k for k in range(42)],
        "points": 40,
        "n": [4, 16],
        "marks": [0.01, 0.1],
        "fixed": {"p": 0.2, "tau": 0.01, "response": 1e-12},
    },
    arrays={
        "tau": "[T], reward units",
        "p": "[P], success mass",
        "response": "[D], mass of a sampled response",
        "n": "[N], rollouts of a group",
        "advantage": "[T, L], of the only success of four, reward units; exact and clamped",
        "mark": "[M], tau of the marked points, reward units",
        "mark_advantage": "[M, L], their advantages, reward units",
        "mass_over_tau": "[N, T, L], success mass after one fit, averaged over groups",
        "mass_over_p": "[N, P, L], the same",
        "mass_over_response": "[N, D, L], the same",
    },
    compute=compute,
    draw=draw,
)
