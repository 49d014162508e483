r"""How much of the penalty that PMD-mean pays is chi2 and how much is KL."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, LIMIT, Style
from pmdtheory.problem import Problem
from pmdtheory.update import mean_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TICKS = ((-6, "$10^{-6}$"), (-4, "$10^{-4}$"), (-2, "0.01"), (0, "0.5"), (2, "0.99"), (4, "0.9999"))
LAWS = ("binary, $p=0.5$", "binary, $p=0.01$", "five equal levels", "five levels, rare top")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""The ratio \((\lambda/2)\chi^2/\mathrm{KL}\) for binary rewards over p, for other laws over tau, and its limits.

    The limit policy of small tau gives chi2 and KL there (C21); for large tau both are half the variance of a (C11).
    """
    odds = np.linspace(config["log10_odds"][0], config["log10_odds"][1], config["points"]) * np.log(10.0)
    masses = list(zip(special.expit(odds), special.expit(-odds), strict=True))
    fine = 10.0 ** np.linspace(config["log10_tau"][0], config["log10_tau"][1], config["points"])
    laws = [(np.array(law["policy"]), np.array(law["reward"])) for law in config["laws"]]
    return {
        "tau": np.array(config["tau"]),
        "log_odds": odds,
        "chi2_per_kl": np.array(
            [[_ratio(Problem.binary(p, tau, failure=q)) for p, q in masses] for tau in config["tau"]]
        ),
        "tau_fine": fine,
        "chi2_per_kl_law": np.array([[_ratio(Problem.from_policy(*law, tau)) for tau in fine] for law in laws]),
        "variance": np.array([np.dot(policy, (reward - policy @ reward) ** 2) for policy, reward in laws]),
        "never_greedy": np.array([_limit(policy, reward - policy @ reward) for policy, reward in laws]),
    }


def _ratio(problem: Problem) -> float:
    step = mean_update(problem).unwrap()
    return 0.5 * step.multiplier * step.chi2 / step.kl


def _limit(policy: FloatArray, above: FloatArray) -> float:
    """Tau times the ratio, as tau falls to 0: half of E(r - mean)+ chi2/KL of the limit policy."""
    gain = np.maximum(above, 0.0)
    mean = float(policy @ gain)
    ratio = gain / mean
    kl = float(np.sum(policy * special.xlogy(ratio, ratio)))
    return 0.5 * mean * float(np.sum(policy * (ratio - 1.0) ** 2)) / kl


def draw(data: Arrays, style: Style) -> "Canvas":
    """The share over p (a), and over tau with its asymptotes (b)."""
    canvas, panels = style.panels(2, 1, height=1.2)
    _shares(panels[0], data, style)
    _laws(panels[1], data, style)
    return canvas


def _shares(axes: "Axes", data: Arrays, style: Style) -> None:
    x, size = data["log_odds"] / np.log(10.0), data["tau"].size
    for i, (tau, row, look) in enumerate(zip(data["tau"], data["chi2_per_kl"], style.ramp(size), strict=True)):
        axes.plot(x, row / (1.0 + row), label=rf"$\tau={tau:g}$", markevery=[40 + 4 * i, 56 + 4 * i], **look)
    axes.axhline(1.0, **GUIDE)
    axes.set(
        xlim=(x[0], x[-1]), ylim=(0.0, 1.02), xlabel="success mass $p$ (log-odds scale)", ylabel=r"share of $\chi^2$"
    )
    axes.set_xticks([place for place, _ in TICKS], [label for _, label in TICKS])
    axes.legend(loc="upper right")
    style.title(axes, "a", "binary rewards")


def _laws(axes: "Axes", data: Arrays, style: Style) -> None:
    tau = data["tau_fine"]
    looks = style.ramp(len(LAWS))
    for i, (label, row, look) in enumerate(zip(LAWS, data["chi2_per_kl_law"], looks, strict=True)):
        axes.plot(tau, row / (1.0 + row), label=label, markevery=(16 + 6 * i, tau.size // 4), **look)
    axes.axhline(1.0, **GUIDE)
    for variance, limit in zip(data["variance"], data["never_greedy"], strict=True):
        for side, odds in ((tau > 0.5, variance / (2.0 * tau**2)), (tau < 0.1, limit / tau)):
            axes.plot(tau[side], (odds / (1.0 + odds))[side], **LIMIT)
    axes.set(xscale="log", xlim=(tau[0], tau[-1]), ylim=(0.0, 1.02), xlabel=r"$\tau$ (reward units)")
    axes.set(ylabel=r"share of $\chi^2$")
    axes.legend(loc="upper right")
    style.title(axes, "b", "four laws of rewards")


FIGURE = Figure(
    name="chi2_share",
    title="The share of the chi2 in the penalty",
    caption=r"""The penalty that PMD-mean pays is $\mathrm{KL} + (\lambda/2)\,\chi^2$ (C2), each from the policy after
    the step to the one before. a: the $\chi^2$'s share of it for binary rewards, over success mass $p$, at five
    $\tau$ (reward units). For fixed $\tau$ the share falls to 0 in proportion to $1 - p$ as $p \to 1$, and to $p$
    once $p \ll e^{-2/\tau}$, since $\lambda$ does (C9); in between it tends to 1 as $\tau \to 0$. b: the share
    against $\tau$ for four laws of rewards between 0 and 1, with the asymptotes of its odds,
    $(\lambda/2)\,\chi^2/\mathrm{KL}$, dotted. For large $\tau$ the odds tend to $\lambda$ itself,
    $\mathrm{Var}(r)/(2\tau^2)$, and the penalty to all KL (C11). For $\tau \to 0$ the odds grow as $1/\tau$, since
    $\lambda\tau \to E(r - \bar r)^+$ while the policy tends to a limit, and the penalty to all $\chi^2$ (C21).""",
    config={
        "tau": [3.0, 1.0, 0.3, 0.1, 0.03],
        "log10_odds": [-6.0, 6.0],
        "log10_tau": [-3.0, 1.0],
        "points": 121,
        "laws": [
            {"policy": [0.5, 0.5], "reward": [0.0, 1.0]},
            {"policy": [0.99, 0.01], "reward": [0.0, 1.0]},
            {"policy": [0.2, 0.2, 0.2, 0.2, 0.2], "reward": [0.0, 0.25, 0.5, 0.75, 1.0]},
            {"policy": [0.6, 0.25, 0.1, 0.04, 0.01], "reward": [0.0, 0.25, 0.5, 0.75, 1.0]},
        ],
    },
    arrays={
        "tau": "[T], reward units",
        "log_odds": "[P], log-odds of the success mass, nats",
        "chi2_per_kl": "[T, P], (lambda/2) chi2 over KL, binary rewards",
        "tau_fine": "[F], reward units",
        "chi2_per_kl_law": "[L, F], (lambda/2) chi2 over KL",
        "variance": "[L], of the reward, reward units squared",
        "never_greedy": "[L], limit of tau (lambda/2) chi2/KL as tau falls to 0, reward units",
    },
    compute=compute,
    draw=draw,
)
