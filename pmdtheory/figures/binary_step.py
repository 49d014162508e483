r"""The step for binary rewards, in closed form and in its limits: ratios, success mass and the log-odds fraction."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, LIMIT, Style
from pmdtheory.problem import Problem
from pmdtheory.update import kl_update, mean_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

FAR = 5.0  # p/tau from which on phi is near p + tau log(1/p)
KL_DASHES: dict[str, Any] = {"linestyle": (0, (4, 1.4)), "linewidth": 0.7}
STAR: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 5, "color": "black"}
KEY_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # the legend fills column by column: tau above, kinds of line below
TITLES = (
    "ratio of successes",
    "ratio of failures",
    "new success mass",
    "new failure mass",
    "log-odds fraction",
    "log-odds fraction",
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Steps on three grids of p: logarithmic, linear, and linear in \(\tau\log(1/p)\), for every tau.

    The minimum of phi and the curve it moves along come from the parametric form of C9, not from the updates.
    """
    taus = np.array(config["tau"])
    grid = {name: _even(config[name], config["points"]) for name in ("log10_p", "p", "depth", "u")}
    rare, even, depth, u = 10.0 ** grid["log10_p"], grid["p"], grid["depth"], grid["u"]
    steps = np.array([[_step(p, tau) for p in rare] for tau in taus])
    minimum = np.array([_minimum(tau) for tau in taus])
    return {
        "tau": taus,
        "p_log": rare,
        **{name: steps[:, :, i] for i, name in enumerate(("log_success", "log_failure", "kl_success", "kl_failure"))},
        "p": even,
        "failure_log_ratio": np.array([[_step(p, tau)[1] for p in even] for tau in taus]),
        "fraction": np.array([[_fraction(p, tau) for p in even] for tau in taus]),
        "depth": depth,
        "fraction_depth": np.array([[_fraction(math.exp(-x / tau), tau) for x in depth] for tau in taus]),
        "p_min": minimum[:, 0],
        "fraction_min": minimum[:, 1],
        "p_curve": _p_star(u),
        "fraction_curve": u / _inverse_tau(u),
    }


def _even(ends: tuple[float, float], points: int) -> FloatArray:
    return np.linspace(ends[0], ends[1], points)


def _step(p: float, tau: float) -> tuple[float, float, float, float]:
    """Log-ratios of success and failure, of PMD-mean and of KL-PMD."""
    problem = Problem.binary(p, tau)
    mean, kl = mean_update(problem).unwrap().log_ratio, kl_update(problem).unwrap().log_ratio
    return float(mean[1]), float(mean[0]), float(kl[1]), float(kl[0])


def _fraction(p: float, tau: float) -> float:
    log_failure, log_success = mean_update(Problem.binary(p, tau)).unwrap().log_ratio
    return tau * float(log_success - log_failure)


def _p_star(u: FloatArray) -> FloatArray:
    """The p at which phi is smallest, where the log-odds move by u (C9)."""
    m = np.expm1(u)
    result: FloatArray = np.expm1(1.0 - u / m) / m
    return result


def _inverse_tau(u: FloatArray) -> FloatArray:
    """1/tau along the curve of minima (C9)."""
    m, p = np.expm1(u), _p_star(u)
    log_mass = 1.0 - u / m
    result: FloatArray = u + (log_mass - p * u) * m / np.exp(log_mass)
    return result


def _minimum(tau: float) -> tuple[float, float]:
    """The point (p, phi) of that curve that belongs to tau."""

    def excess(u: float) -> float:
        return float(_inverse_tau(np.array(u))) - 1.0 / tau

    u = float(brentq(excess, 1e-3, 1.0 / tau, xtol=1e-14, rtol=1e-14))
    return float(_p_star(np.array(u))), tau * u


def _lines(axes: "Axes", x: FloatArray, rows: FloatArray, looks: list[dict[str, Any]], first: float) -> None:
    """A line per tau, with markers staggered from the share `first` of the axis on."""
    for i, (row, look) in enumerate(zip(rows, looks, strict=True)):
        axes.plot(x, row, markevery=(int(x.size * (first + 0.07 * i)), x.size // 3), **look)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Ratios and success mass against p (a-c), the failure mass and its bound (d), phi in its two regimes (e, f)."""
    canvas, panels = style.panels(3, 2, height=1.45)
    tau, p = data["tau"], data["p_log"]
    looks = [{**look, "label": rf"$\tau={t:g}$"} for t, look in zip(tau, style.ramp(tau.size), strict=True)]
    kl = [{"color": look["color"], **KL_DASHES} for look in looks]
    for axes, mean_rows, kl_rows in (
        (panels[0], np.exp(data["log_success"]), np.exp(data["kl_success"])),
        (panels[1], np.exp(data["log_failure"]), np.exp(data["kl_failure"])),
        (panels[2], p * np.exp(data["log_success"]), p * np.exp(data["kl_success"])),
    ):
        _lines(axes, p, kl_rows, kl, 0.05)
        _lines(axes, p, mean_rows, looks, 0.05)
        axes.set(xscale="log", yscale="log", xlim=(p[0], 1.0), xlabel="success mass $p$")
    panels[0].set(ylabel=r"$\rho_1$", ylim=(0.5, 1e13), yticks=[1.0, 1e4, 1e8, 1e12])
    panels[1].set(ylabel=r"$\rho_0$", ylim=(1e-6, 3.0), yticks=[1.0, 1e-2, 1e-4, 1e-6])
    panels[2].set(ylabel="$p^+$", ylim=(p[0], 8.0), yticks=[1.0, 1e-4, 1e-8, 1e-12])
    _failure(panels[3], data, looks)
    _scaled(panels[4], data, looks)
    _fractions(panels[5], data, looks)
    for letter, title, axes in zip("abcdef", TITLES, panels, strict=True):
        style.title(axes, letter, title)
    keys = [*panels[3].get_lines()[tau.size :], *_keys()]
    canvas.legend(handles=[keys[i] for i in KEY_ORDER], loc="outside upper center", ncols=4, columnspacing=1.0)
    return canvas


def _keys() -> "list[Line2D]":
    """What the looks mean that are the same for every tau."""
    from matplotlib.lines import Line2D

    kinds = {"PMD-mean": {"color": "0.3"}, "KL-PMD": {"color": "0.3", **KL_DASHES}, "limit, bound": LIMIT}
    return [Line2D([], [], label=label, **look) for label, look in {**kinds, r"minimum of $\varphi$": STAR}.items()]


def _failure(axes: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    p = data["p"]
    for tau in data["tau"]:
        axes.plot(p, (1.0 - p) * np.exp(-p / tau), **LIMIT)
    _lines(axes, p, (1.0 - p) * np.exp(data["failure_log_ratio"]), looks, 0.1)
    axes.set(yscale="log", xlim=(0.0, 1.0), ylim=(1e-8, 2.0), xlabel="success mass $p$", ylabel="$1-p^+$")


def _scaled(axes: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    x = data["depth"]
    _lines(axes, x, data["fraction_depth"], looks, 0.05)
    axes.plot(x, np.minimum(x / 2.0, 1.0), **LIMIT)
    axes.set(xlim=(x.max(), 0.0), ylim=(0.0, 1.05), xlabel=r"$\tau\,\log(1/p)$ (reward units)", ylabel=r"$\varphi$")


def _fractions(axes: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    p = data["p"]
    _lines(axes, p, data["fraction"], looks, 0.22)
    for tau in data["tau"]:
        if tau <= 0.1:
            far = p >= FAR * tau
            axes.plot(p[far], p[far] + tau * np.log(1.0 / p[far]), **LIMIT)
    axes.plot(data["p_curve"], data["fraction_curve"], **GUIDE)
    axes.plot(data["p_min"], data["fraction_min"], **STAR)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05), xlabel="success mass $p$", ylabel=r"$\varphi$")


FIGURE = Figure(
    name="binary_step",
    title="The step for binary rewards",
    caption=r"""The step for binary rewards against the success mass $p$ at four $\tau$ (reward units) (C9).
    PMD-mean is solid, KL-PMD dashed. a, b: ratios of successes and of failures. c: success mass after the step.
    d: failure mass after it, and its bound $(1-p)\,e^{-p/\tau}$, dotted. e, f: the fraction $\varphi$ of KL-PMD's
    gain $1/\tau$ in log-odds. It is 1 for $p \ll e^{-2/\tau}$, falls to one minimum (stars, on the curve that it
    follows as $\tau$ varies) and rises to 1 again. Dotted in e, where $p$ grows to the right: its limit for small
    $\tau$ along $p = e^{-x/\tau}$, which is $\min(x/2, 1)$. Dotted in f: $p + \tau\log(1/p)$, for $\tau \le 0.1$
    and $p \ge 5\tau$.""",
    config={
        "tau": [1.0, 0.3, 0.1, 0.03],
        "log10_p": [-12.0, -0.002],
        "p": [0.001, 0.999],
        "depth": [0.0005, 3.0],
        "u": [0.05, 8.0],
        "points": 181,
    },
    arrays={
        "tau": "[T], reward units",
        "p_log": "[P], success mass, evenly spaced in its logarithm",
        "log_success": "[T, P], log-ratio of successes, PMD-mean, nats",
        "log_failure": "[T, P], log-ratio of failures, PMD-mean, nats",
        "kl_success": "[T, P], log-ratio of successes, KL-PMD, nats",
        "kl_failure": "[T, P], log-ratio of failures, KL-PMD, nats",
        "p": "[E], success mass, evenly spaced",
        "failure_log_ratio": "[T, E], log-ratio of failures, PMD-mean, nats",
        "fraction": "[T, E], phi",
        "depth": "[X], tau log(1/p), reward units",
        "fraction_depth": "[T, X], phi",
        "p_min": "[T], where phi is smallest",
        "fraction_min": "[T], the smallest phi",
        "p_curve": "[U], where phi is smallest, along tau",
        "fraction_curve": "[U], the smallest phi, along tau",
    },
    compute=compute,
    draw=draw,
    floors=dict.fromkeys(("log_success", "log_failure", "kl_success", "kl_failure", "failure_log_ratio"), 1e-3),
)
