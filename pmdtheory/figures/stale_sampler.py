r"""What the chi2 against a stale sampler does: it holds back what the sampler rarely draws, whatever its reward."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, LIMIT, Style
from pmdtheory.problem import Problem
from pmdtheory.update import mean_update, mismatched_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NEGATIVE: dict[str, Any] = {"marker": "", "linestyle": (0, (2, 1)), "linewidth": 0.7}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Ratios over how the sampler sees an action (success, failure); success mass and lambda over the sampler's."""
    lag = np.linspace(config["log_lag"][0], config["log_lag"][1], config["points"])
    p, taus = config["p"], config["tau"]
    sampler = special.expit(
        np.linspace(config["sampler_log10_odds"][0], config["sampler_log10_odds"][1], config["points"]) * math.log(10.0)
    )
    steps = np.array([[_step(p, q, tau) for q in sampler] for tau in taus])
    fine = 10.0 ** np.linspace(config["log10_tau"][0], config["log10_tau"][1], config["points"])
    return {
        "tau": np.array(taus),
        "p": np.array(p),
        "log_lag": lag,
        "log_ratio": np.array([_spread(p, lag, config["lag_sd"], tau) for tau in taus]),
        "on_policy": np.array([mean_update(Problem.binary(p, tau)).unwrap().log_ratio for tau in taus]),
        "sampler": sampler,
        "multiplier": steps[:, :, 0],
        "success": steps[:, :, 1],
        "anchors": np.array(config["anchors"]),
        "tau_root": fine,
        "sampler_root": np.array(
            [[tau * Problem.binary(anchor, tau).log_partition for tau in fine] for anchor in config["anchors"]]
        ),
    }


def _spread(p: float, lag: FloatArray, sd: float, tau: float) -> FloatArray:
    """Log-ratios `[2, G]` of failures and successes whose log(pi/mu) is normal around +-sd^2/2, alike for both."""
    shape = -0.5 * (lag / sd) ** 2
    log_policy, log_sampler = (special.log_softmax(shape + side * lag / 2.0) for side in (1.0, -1.0))
    masses = np.log([[1.0 - p], [p]])
    reward = np.repeat([0.0, 1.0], lag.size)
    problem = Problem.from_log_policy((masses + log_policy).ravel(), reward, tau)
    step = mismatched_update(problem, log_sampler=(masses + log_sampler).ravel()).unwrap()
    return step.log_ratio.reshape(2, lag.size)


def _step(p: float, q: float, tau: float) -> tuple[float, float]:
    """Lambda and the new success mass of a binary step whose sampler succeeds with probability q; NaN for no step."""
    step = mismatched_update(Problem.binary(p, tau), log_sampler=np.log([1.0 - q, q])).value
    return (math.nan, math.nan) if step is None else (step.multiplier, float(step.policy[1]))


def draw(data: Arrays, style: Style) -> "Canvas":
    """Ratios over pi/mu (a), success mass and lambda over the sampler's success mass (b, c), the root tau* (d)."""
    canvas, panels = style.panels(2, 2, height=1.05)
    looks = style.ramp(data["tau"].size)
    _ratios(panels[0], data, looks)
    _over_sampler(panels[1], data, data["success"], looks)
    panels[1].set(ylim=(0.0, 1.02), ylabel="$p^+$")
    _over_sampler(panels[2], data, data["multiplier"], looks)
    panels[2].axhline(0.0, **GUIDE)
    panels[2].set(ylabel=r"$\lambda$")
    _roots(panels[3], data, style)
    titles = ("ratio of successes", "new success mass", "multiplier", r"root $\tau^*$")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = [line for line in panels[0].get_lines() if str(line.get_label())[0] != "_"]
    canvas.legend(handles=handles, loc="outside upper center", ncols=4)
    return canvas


def _ratios(axes: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    x = np.exp(data["log_lag"])
    axes.axhline(1.0, **GUIDE)
    rows = zip(data["tau"], data["log_ratio"], data["on_policy"], looks, strict=True)
    for i, (tau, ratio, same, look) in enumerate(rows):
        axes.axhline(np.exp(same[1]), **{**LIMIT, "color": look["color"]})
        axes.plot(x, np.exp(ratio[1]), label=rf"$\tau={tau:g}$", markevery=(6 + 5 * i, 25), **look)
    axes.set(xscale="log", yscale="log", xlabel=r"$\pi/\mu$", ylabel=r"$\rho$", xlim=(x[0], x[-1]))


def _over_sampler(axes: "Axes", data: Arrays, rows: FloatArray, looks: list[dict[str, Any]]) -> None:
    """A line per tau, dashed where lambda is negative."""
    q = data["sampler"]
    axes.axvline(float(data["p"]), **GUIDE)
    for i, (row, multiplier, look) in enumerate(zip(rows, data["multiplier"], looks, strict=True)):
        penalised = multiplier >= 0.0
        axes.plot(q, np.where(penalised, row, np.nan), markevery=(16 + 6 * i, 24), **look)
        beyond = ~penalised | np.append(~penalised[1:], False)  # from the last point before on
        axes.plot(q, np.where(beyond, row, np.nan), **{**look, **NEGATIVE})
    axes.set(xlabel=r"$E_\mu r$ (reward units)", xlim=(0.0, 1.0))


def _roots(axes: "Axes", data: Arrays, style: Style) -> None:
    size = data["anchors"].size
    for i, (anchor, row, look) in enumerate(zip(data["anchors"], data["sampler_root"], style.ramp(size), strict=True)):
        axes.plot(row, data["tau_root"], label=f"$p={anchor:g}$", markevery=(4 + 6 * i, 24), **look)
    axes.text(0.05, 0.05, r"$\lambda\geq0$", transform=axes.transAxes, ha="left", va="bottom")
    axes.set(yscale="log", xlim=(0.0, 1.0), xlabel=r"$E_\mu r$ (reward units)", ylabel=r"$\tau^*$ (reward units)")
    axes.legend(loc="upper right", handlelength=1.4, labelspacing=0.2, borderaxespad=0.0)


FIGURE = Figure(
    name="stale_sampler",
    title="A stale sampler",
    caption=r"""PMD-mean anchored at $\pi$ with rollouts from another sampler $\mu$: the KL stays on the anchor, while
    the $\chi^2$ is measured against what was sampled (C15). Binary rewards of success mass $p = 0.3$ under $\pi$,
    three $\tau$ (reward units). a: successes that differ only in how often $\mu$ draws them, $\log(\pi/\mu)$ being
    normal with deviation 1 and independent of the reward. On-policy all of them have one ratio (dotted); here those
    that $\mu$ hardly draws lose mass although they succeed. b, c: success mass after the step, and $\lambda$, against
    the mean reward of a sampler that differs in the success mass alone; the vertical line is $\mu = \pi$. A sampler
    that hardly succeeds holds the step back. One that succeeds more often than the anchor leaves $\lambda \ge 0$ only
    for $E_\mu r \le \tau\log Z$; beyond, the $\chi^2$ is rewarded, and dashed is the local minimum that is left, as far
    as there is one. d: the root $\tau^*$ up to which $\lambda \ge 0$, for three anchors; for $E_\mu r \le p$ it is
    infinite.""",
    config={
        "p": 0.3,
        "tau": [1.0, 0.3, 0.1],
        "log_lag": [-5.0, 5.0],
        "lag_sd": 1.0,
        "sampler_log10_odds": [-3.0, 3.0],
        "log10_tau": [-1.5, 1.5],
        "anchors": [0.1, 0.3, 0.5],
        "points": 81,
    },
    arrays={
        "tau": "[T], reward units",
        "p": "[], success mass of the anchor",
        "log_lag": "[G], log(pi/mu), nats",
        "log_ratio": "[T, E, G], nats: failures, successes",
        "on_policy": "[T, E], log-ratio of PMD-mean, nats",
        "sampler": "[Q], success mass of the sampler",
        "multiplier": "[T, Q], lambda; NaN where the loss has no such minimum",
        "success": "[T, Q], success mass after the step; NaN there",
        "anchors": "[A], success mass of the anchor",
        "tau_root": "[F], reward units",
        "sampler_root": "[A, F], mean reward of the sampler at which lambda vanishes, reward units",
    },
    compute=compute,
    draw=draw,
)
