r"""Which leave-one-out baseline is the easier quantity: the boundary between PMD-mean's and PMD-part's."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special
from scipy.optimize import brentq

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, BLUE, LIMIT, VERMILLION, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COARSE, FINE = ((2.0, 5.0, 20.0, 50.0), (0.5, 0.1)), ((1.5, 1.25), (0.8,))  # ratios of the contours above, below one
ROLLOUTS = (2, 4, 8, 16, 32, 64, 128)
MASSES = {1e-3: ".001", 1e-2: ".01", 0.1: ".1", 0.5: ".5", 0.9: ".9", 0.99: ".99"}
WINS = "#D6E4F0"  # where the partition wins
EQUAL: dict[str, Any] = {"color": BLACK, "linestyle": "-", "linewidth": 1.5}
MANY: dict[str, Any] = {"color": VERMILLION, "linestyle": (0, (5, 1.5)), "linewidth": 0.9}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Log-ratio of the rmse on a grid of (p, n) for every tau, the p where it vanishes, and both limits of that p.

    Binomial sums, vectorised over p. With two rollouts there is no boundary: the partition then has the variance
    of the mean, and a bias.
    """
    low, high = config["log_odds"]
    taus, p = np.array(config["tau"]), special.expit(np.linspace(low, high, config["points"]))
    rollouts = np.array(config["n"], dtype=np.float64)
    return {
        "tau": taus,
        "p": p,
        "n": rollouts,
        "log_rmse_ratio": np.array([[_log_ratio(p, n, tau) for n in config["n"]] for tau in config["tau"]]),
        "p_boundary": np.array([[_boundary(n, tau) for n in config["n"]] for tau in config["tau"]]),
        "p_cold": np.array([_cold(n) for n in config["n"]]),
        "p_many": np.asarray(taus - 1.0 / np.expm1(1.0 / taus)),
    }


def _log_ratio(p: FloatArray, n: int, tau: float) -> FloatArray:
    """Log of the rmse of the partition over that of the mean, at each success mass."""
    m, s = n - 1, 1.0 / tau
    k = np.arange(m + 1.0)
    with np.errstate(divide="ignore"):
        value = np.logaddexp(np.log(k / m) + s, np.log1p(-k / m))
    count = special.gammaln(m + 1.0) - special.gammaln(k + 1.0) - special.gammaln(m - k + 1.0)
    log_weight = count + k * np.log(p)[:, None] + (m - k) * np.log1p(-p)[:, None]
    log_partition = np.logaddexp(np.log(p) + s, np.log1p(-p))
    with np.errstate(under="ignore"):
        weight = np.exp(log_weight)
        square = (weight * (value - log_partition[:, None]) ** 2).sum(axis=1) / weight.sum(axis=1)
    result: FloatArray = 0.5 * np.log(square * m * tau**2 / (p * (1.0 - p)))
    return result


def _boundary(n: int, tau: float) -> float:
    """The p at which both errors are equal; NaN for two rollouts."""
    if n == 2:
        return math.nan

    def excess(log_p: float) -> float:
        return float(_log_ratio(np.array([math.exp(log_p)]), n, tau)[0])

    return math.exp(brentq(excess, math.log(1e-4), math.log(0.999), xtol=1e-14, rtol=1e-14))


def _cold(n: int) -> float:
    """That p in the limit of small tau; NaN for two rollouts, where it would be one."""
    if n == 2:
        return math.nan
    return float(brentq(lambda p: math.log(n - 1) + (n - 2) * math.log1p(-p) - math.log(p), 1e-9, 1 - 1e-9, xtol=1e-15))


def draw(data: Arrays, style: Style) -> "Canvas":
    """One panel per tau: contours of the ratio, the boundary, its limits, and the partition's region shaded."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    canvas, panels = style.panels(2, 2, height=1.13, sharex=True, sharey=True)
    for t, axes in enumerate(panels):
        _panel(axes, data, t, style)
        style.title(axes, "abcd"[t], rf"$\tau={data['tau'][t]:g}$")
    canvas.supxlabel("success mass $p$", fontsize=style.font)
    canvas.supylabel("rollouts $n$", fontsize=style.font)
    keys = [
        Line2D([], [], label="equal error", **EQUAL),
        Patch(facecolor=WINS, label="PMD-part smaller"),
        Line2D([], [], label=r"equal, $\tau\to0$", **LIMIT),
        Line2D([], [], label=r"equal, $n\to\infty$", **MANY),
    ]
    canvas.legend(handles=keys, loc="outside upper center", ncols=2)
    return canvas


def _panel(axes: "Axes", data: Arrays, t: int, style: Style) -> None:
    n, p, boundary = data["n"], data["p"], data["p_boundary"][t]
    known = ~np.isnan(boundary)
    axes.set(xscale="logit", yscale="log", xlim=(p[0], p[-1]), ylim=(n[0], n[-1]))
    axes.set_xticks(list(MASSES), list(MASSES.values()))
    axes.set_yticks(ROLLOUTS, [str(n) for n in ROLLOUTS])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([], minor=True)
    axes.fill_betweenx(n[known], boundary[known], p[-1], color=WINS, linewidth=0.0)
    ratio = data["log_rmse_ratio"][t]
    levels = COARSE if ratio.max() > math.log(COARSE[0][0]) else FINE
    for chosen, dashes, first in zip(levels, ("-", (0, (3, 1.2))), (0, 1), strict=True):
        for level in chosen:
            lines = axes.contour(
                p, n[first:], ratio[first:], [math.log(level)], colors=BLUE, linewidths=0.6, linestyles=[dashes]
            )
            if (place := _place(data, t, math.log(level))) is not None:
                name = {math.log(level): f"{level:g}"}
                axes.clabel(lines, fmt=name, fontsize=style.small, inline_spacing=1, manual=[place])
    axes.plot(boundary, n, **EQUAL)
    axes.plot(data["p_cold"], n, **LIMIT)
    axes.axvline(data["p_many"][t], **MANY)


def _place(data: Arrays, t: int, level: float) -> tuple[float, float] | None:
    """Where a contour carries its ratio: well inside the panel and as far from the boundary as it goes."""
    n, p, ratio, boundary = data["n"], data["p"], data["log_rmse_ratio"][t], data["p_boundary"][t]
    inner = slice(p.size // 12, -p.size // 12)
    found = []
    for row in np.flatnonzero((n >= 4) & (n <= 64)):
        crossed = np.flatnonzero(np.diff(np.sign(ratio[row, inner] - level)))
        if crossed.size:
            at = p[inner][crossed[-1]]
            found.append((abs(special.logit(at) - special.logit(boundary[row])), at, n[row]))
    return max(found)[1:] if found else None


FIGURE = Figure(
    name="target_error",
    title="Error of the leave-one-out baselines",
    caption=r"""Root mean square error of PMD-part's leave-one-out baseline around $\log Z$ over that of PMD-mean's
    around $\bar r/\tau$, for binary rewards of success mass $p$, $n$ rollouts and four $\tau$ (reward units) (C16):
    exact binomial sums, thin contours with their ratio (dashed below 1). Neither estimator wins everywhere. Left of
    the boundary (black) the partition is the harder quantity, at small $\tau$ since groups without a success miss it
    altogether; in the shaded region it is the easier one. Dotted: the boundary as $\tau \to 0$,
    $(n-1)(1-p)^{n-2} = p$, or $pn \approx W_0(n^2)$. Dashed: its limit as $n \to \infty$ at fixed $\tau$,
    $p = \tau - 1/(e^{1/\tau} - 1)$. With two rollouts the mean wins at every $p$.""",
    config={
        "tau": [0.03, 0.1, 0.3, 1.0],
        "log_odds": [-7.0, 5.0],
        "points": 73,
        "n": [2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 108, 128],
    },
    arrays={
        "tau": "[T], reward units",
        "p": "[P], success mass, evenly spaced in its log-odds",
        "n": "[N], rollouts of a group",
        "log_rmse_ratio": "[T, N, P], log of PMD-part's rmse over PMD-mean's, nats",
        "p_boundary": "[T, N], success mass of equal errors; none for two rollouts",
        "p_cold": "[N], the same as tau falls to 0",
        "p_many": "[T], the same as n grows",
    },
    compute=compute,
    draw=draw,
)
