r"""Iterating the step for binary rewards: failure mass against steps with its bound, and the steps that it takes."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import KL, LIMIT, MEAN, ORANGE, Style
from pmdtheory.trajectory import binary_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FLOOR = 1e-8  # of the failure mass drawn
SHOWN = (8, 30)  # steps shown in the panels of trajectories
RATE: dict[str, Any] = {"color": "0.6", "linestyle": "-", "linewidth": 3.0, "alpha": 0.6, "zorder": 0.6}
LOOKS: tuple[dict[str, Any], ...] = (
    {**MEAN, "label": "PMD-mean", "marker": "o", "markerfacecolor": "white"},
    {**KL, "label": "KL-PMD", "marker": "^", "markerfacecolor": "white"},
    {"color": ORANGE, "linewidth": 1.1, "label": "PMD-part, $n=8$", "marker": "s", "markerfacecolor": "white"},
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Trajectories from one p at two tau, and the steps to the goal over starting masses and over tau.

    The bound is C17's, applied from the start on, which holds as \(x e^{-(1-x)/\tau}\) increases with x.
    """
    tau, p0 = np.array(config["tau"]), float(config["p0"])
    start = 10.0 ** _even(config["log10_p0"], config["points"])
    strengths = 10.0 ** _even(config["log10_tau"], config["points"])
    bound = [np.full(tau.size, math.log1p(-p0))]
    for _ in range(config["steps"]):
        bound.append(bound[-1] + np.expm1(bound[-1]) / tau)
    return {
        "tau": tau,
        "p0": np.array(p0),
        "epsilon": np.array(config["epsilon"]),
        "step": np.arange(config["steps"] + 1.0),
        "log_failure": np.stack([run.T for run in _runs(p0, tau, config["steps"], config["n"])]),
        "log_bound": np.stack(bound, axis=1),
        "start": start,
        "steps_by_start": np.stack(
            [_steps(run, config["epsilon"]) for run in _runs(start, tau[:, None], config["longest"], config["n"])]
        ),
        "strength": strengths,
        "steps_by_tau": np.stack(
            [_steps(run, config["epsilon"]) for run in _runs(p0, strengths, config["longest"], config["n"])]
        ),
    }


def _even(ends: tuple[float, float], points: int) -> FloatArray:
    return np.linspace(ends[0], ends[1], points)


def _runs(p0: ArrayLike, tau: ArrayLike, steps: int, n: int) -> list[FloatArray]:
    """Log failure mass `[steps + 1, ...]` of PMD-mean, KL-PMD and PMD-part."""
    return [
        binary_grid(p0, tau, steps=steps).log_failure,
        binary_grid(p0, tau, steps=steps, method="kl").log_failure,
        binary_grid(p0, tau, steps=steps, method="part", n=n).log_failure,
    ]


def _steps(log_failure: FloatArray, epsilon: float) -> FloatArray:
    """First step with at most epsilon of failure mass; NaN where there is none."""
    met = log_failure <= math.log(epsilon)
    return np.where(met.any(axis=0), met.argmax(axis=0), np.nan)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Failure mass against steps at both tau (a, b), steps to the goal against the start (c) and tau (d)."""
    canvas, panels = style.panels(2, 2, height=1.1)
    for t, axes in enumerate(panels[:2]):
        _paths(axes, data, t, style)
        style.title(axes, "ab"[t], rf"$\tau={data['tau'][t]:g},\ p_0={data['p0']:g}$")
    by_start, by_tau = panels[2:]
    goal = rf"steps to $1-p_t\leq 10^{{{math.log10(data['epsilon']):.0f}}}$"
    for which, look in enumerate(LOOKS):
        for t in range(data["tau"].size):
            by_start.plot(
                data["start"],
                data["steps_by_start"][which, t],
                drawstyle="steps-mid",
                markevery=(4 + 4 * which, 15),
                **look,
            )
        by_tau.plot(
            data["strength"], data["steps_by_tau"][which], drawstyle="steps-mid", markevery=(4 + 4 * which, 15), **look
        )
    for t, tau in enumerate(data["tau"]):
        height = data["steps_by_start"][0, t, 0]
        by_start.text(data["start"][0], 1.1 * height, rf"$\tau={tau:g}$", fontsize=style.small)
    by_start.set(xscale="log", yscale="log", xlabel="first success mass $p_0$", ylabel=goal, ylim=(1.5, 36.0))
    by_start.set(xlim=(data["start"][0], data["start"][-1]))
    by_tau.set(xscale="log", yscale="log", xlabel=r"$\tau$ (reward units)", ylabel=goal)
    by_tau.set(xlim=(data["strength"][0], data["strength"][-1]))
    for axes, ticks in ((by_start, (2, 5, 10, 20)), (by_tau, (1, 2, 5, 10, 20, 50))):
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_yticks([], minor=True)
    style.title(by_start, "c", "against the start")
    style.title(by_tau, "d", rf"against $\tau$, $p_0={data['p0']:g}$")
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=3)
    return canvas


def _paths(axes: "Axes", data: Arrays, t: int, style: Style) -> None:
    """Trajectories at one tau, the bound on PMD-mean's, and the final rate beside them."""
    step, tau, last = data["step"], data["tau"][t], SHOWN[t]
    for which, look in enumerate(LOOKS):
        axes.plot(step, np.exp(data["log_failure"][which, t]), markevery=(0, 1 + last // 10), **look)
    axes.plot(step, np.exp(data["log_bound"][t]), label="bound, PMD-mean", **LIMIT)
    fall = np.linspace(0.0, -math.log(FLOOR) * tau, 2)
    axes.plot(last - fall[::-1], np.exp(-fall / tau), label=r"rate $e^{-1/\tau}$", **RATE)
    axes.set(yscale="log", xlim=(0.0, last), ylim=(FLOOR, 2.0), xlabel="step $t$", ylabel="failure mass $1-p_t$")


FIGURE = Figure(
    name="convergence",
    title="Convergence for binary rewards",
    caption=r"""Iterated steps for binary rewards (C17). a, b: failure mass against steps from $p_0 = 0.01$ at two
    $\tau$ (reward units) for PMD-mean, KL-PMD and PMD-part with 8 rollouts, its baseline estimated anew at every
    policy (C12). Dotted: the bound $1 - p_{t+1} \le (1 - p_t)\,e^{-p_t/\tau}$ on PMD-mean, applied from the start
    on. In the end every member falls at KL-PMD's rate $e^{-1/\tau}$ (slope of the grey line); what PMD-mean loses, it
    loses while successes are rare. c, d: steps until the failure mass is at most $10^{-3}$, against $p_0$
    and against $\tau$. One step is enough for KL-PMD where $p_0\,e^{1/\tau}$ is large, for PMD-mean where
    $p_0/\tau$ is.""",
    config={
        "tau": [0.2, 1.0],
        "p0": 0.01,
        "n": 8,
        "epsilon": 1e-3,
        "steps": 30,
        "longest": 70,
        "log10_p0": [-6.0, -0.3],
        "log10_tau": [-3.2, 0.7],
        "points": 61,
    },
    arrays={
        "tau": "[T], reward units",
        "p0": "[], success mass at the start",
        "epsilon": "[], failure mass to reach",
        "step": "[K], steps",
        "log_failure": "[M, T, K], log failure mass, nats; M is PMD-mean, KL-PMD, PMD-part",
        "log_bound": "[T, K], bound on PMD-mean's, nats",
        "start": "[P], success mass at the start, evenly spaced in its logarithm",
        "steps_by_start": "[M, T, P], steps",
        "strength": "[S], tau, reward units, evenly spaced in its logarithm",
        "steps_by_tau": "[M, S], steps",
    },
    compute=compute,
    draw=draw,
)
