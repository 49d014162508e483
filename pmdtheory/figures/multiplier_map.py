r"""The multiplier for binary rewards over success mass and tau, between its two asymptotes."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from pmdtheory._binary import gain_terms, mean_gain
from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import LIMIT, MEAN, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NEAR = 1.25  # an asymptote's contours are drawn where it is within this factor of lambda
ODDS_LABELS = ((-6, "$10^{-6}$"), (-4, "$10^{-4}$"), (-2, "0.01"), (0, "0.5"), (2, "0.99"), (4, "0.9999"))
DECADES = (-10, 2)  # of the contours of lambda

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Lambda on a grid of log-odds and tau, and along tau for a few success masses."""
    odds = np.linspace(config["log10_odds"][0], config["log10_odds"][1], config["points"]) * np.log(10.0)
    tau = 10.0 ** np.linspace(config["log10_tau"][0], config["log10_tau"][1], config["points"])
    cut = np.array(config["p"])
    return {
        "log_odds": odds,
        "tau": tau,
        "multiplier": _multiplier(odds[None, :], tau[:, None]),
        "p": cut,
        "multiplier_cut": _multiplier(special.logit(cut)[:, None], tau[None, :]),
    }


def _multiplier(log_odds: FloatArray, tau: FloatArray) -> FloatArray:
    r"""\(\lambda = \mathrm{KL}(\pi\|\pi^+) = \log D - pu\) (C4, C9), from the rarer outcome and without cancellation.

    With the rarer outcome's mass q, its log-ratio to the other v and x = q (e^v - 1), lambda is log(1 + x) - qv.
    """
    odds, strength = (np.ravel(x) for x in np.broadcast_arrays(log_odds, 1.0 / tau))
    side = np.where(odds > 0.0, -1.0, 1.0)
    rare, v = special.expit(-np.abs(odds)), side * mean_gain(odds, strength)
    log_d, _, _ = gain_terms(side * odds, v)
    x = np.expm1(log_d)
    small = rare * exp_remainder(np.minimum(v, 30.0)) - (x - log_d)
    found = np.where(np.abs(x) < 0.1, small, log_d - rare * v)
    result: FloatArray = found.reshape(np.broadcast_shapes(log_odds.shape, tau.shape))
    return result


def _asymptotes(log_odds: FloatArray, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of large tau (C11) and of small tau (C21)."""
    variance = special.expit(log_odds) * special.expit(-log_odds)
    return variance / (2.0 * tau**2), variance / tau


def draw(data: Arrays, style: Style) -> "Canvas":
    """Contours of lambda with those of its asymptotes (a), and lambda over p(1 - p) along tau (b)."""
    canvas, panels = style.panels(2, 1, height=1.35)
    _map(panels[0], data, style)
    _cuts(panels[1], data, style)
    return canvas


def _map(axes: "Axes", data: Arrays, style: Style) -> None:
    from matplotlib import colormaps

    x, tau, value = data["log_odds"] / np.log(10.0), data["tau"], np.log10(data["multiplier"])
    levels = list(range(*DECADES))
    tints = colormaps["Blues"](np.linspace(0.0, 0.5, len(levels) + 1))
    axes.contourf(x, tau, value, levels=levels, colors=tints, extend="both")
    axes.contour(x, tau, value, levels=levels, colors=[MEAN["color"]], linewidths=0.8, linestyles="solid")
    weak, strong = _asymptotes(data["log_odds"][None, :], tau[:, None])
    for asymptote, side in ((weak, tau >= 0.5), (strong, tau <= 0.5)):
        off = np.abs(np.log10(asymptote) - value)
        seen = np.ma.masked_where((off > np.log10(NEAR)) | ~side[:, None], np.log10(asymptote))
        looks = {"linewidths": LIMIT["linewidth"], "linestyles": [LIMIT["linestyle"]], "colors": [LIMIT["color"]]}
        axes.contour(x, tau, seen, levels=levels, **looks)
    middle = value[:, x.size // 2]
    for level in levels:
        if middle[-1] < level < middle[0]:
            place = np.interp(-level, -middle, np.log10(tau))
            box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            text = rf"$\lambda=10^{{{level}}}$"
            axes.text(0.0, 10.0**place, text, ha="center", va="center", fontsize=style.small, bbox=box)
    axes.set(yscale="log", xlabel="success mass $p$ (log-odds scale)", ylabel=r"$\tau$ (reward units)")
    axes.set_xticks([place for place, _ in ODDS_LABELS], [label for _, label in ODDS_LABELS])
    style.title(axes, "a", r"$\lambda$ of PMD-mean, one contour a decade")


def _number(p: float) -> str:
    return f"{p:g}" if p >= 0.01 else rf"10^{{{np.log10(p):.0f}}}"


def _cuts(axes: "Axes", data: Arrays, style: Style) -> None:
    tau = data["tau"]
    for i, (p, row, look) in enumerate(zip(data["p"], data["multiplier_cut"], style.ramp(data["p"].size), strict=True)):
        every = (6 + 4 * i, tau.size // 3)
        axes.plot(tau, row / (p * (1.0 - p)), label=rf"$p={_number(p)}$", markevery=every, **look)
    for limit in (1.0 / (2.0 * tau**2), 1.0 / tau):
        axes.plot(tau, limit, **LIMIT)
    axes.set(xscale="log", yscale="log", xlim=(tau[0], tau[-1]), xlabel=r"$\tau$ (reward units)")
    axes.set(ylabel=r"$\lambda/[p(1-p)]$", ylim=(1e-4, 1e5))
    axes.legend()
    style.title(axes, "b", r"$\lambda$ over $p(1-p)$, between the asymptotes")


FIGURE = Figure(
    name="multiplier_map",
    title="The multiplier for binary rewards",
    caption=r"""The multiplier $\lambda$ of PMD-mean for binary rewards. a: contours over success mass $p$ and $\tau$
    (reward units), one a decade; dotted, those of its two asymptotes where they are within a factor of 1.25:
    $p(1-p)/(2\tau^2)$ for a weak signal (C11), and $p(1-p)/\tau$ for $\tau \to 0$ (C21). b: $\lambda$ over $p(1-p)$
    against $\tau$. The asymptotes (dotted) meet at $\tau = 1/2$. Successes that are rarer than $e^{-2/\tau}$ are in
    neither regime: there the step is KL-PMD's, $\lambda \approx p\,(e^{1/\tau} - 1 - 1/\tau)$, and the smaller $p$
    is, the smaller is the $\tau$ from which on the second asymptote holds (C9).""",
    config={"log10_odds": [-6.0, 6.0], "log10_tau": [-2.0, 2.0], "points": 81, "p": [1e-6, 1e-4, 0.01, 0.5, 0.99]},
    arrays={
        "log_odds": "[P], log-odds of the success mass, nats",
        "tau": "[T], reward units",
        "multiplier": "[T, P], lambda of PMD-mean",
        "p": "[C], success mass",
        "multiplier_cut": "[C, T], lambda of PMD-mean",
    },
    compute=compute,
    draw=draw,
)
