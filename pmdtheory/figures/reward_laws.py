r"""Continuous and heavy-tailed laws of rewards: the multiplier exists where the partition function does not."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, KL, LIMIT, MEAN, Style
from pmdtheory.lambertw import tilt
from pmdtheory.problem import Problem
from pmdtheory.update import mean_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAMES = ("uniform", "normal", "exponential", "Student $t$, 3", "lognormal", "Pareto, 2.5")
HEAVY = 3  # from this law on, log Z is infinite for every tau
STUDENT = 3
INFINITE: dict[str, Any] = {"linestyle": (0, (4, 1.4))}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Lambda of the laws in `NAMES` along tau; ratios and densities of Student's t at a few tau."""
    laws = _laws()
    taus = 10.0 ** np.linspace(config["log10_tau"][0], config["log10_tau"][1], config["points"])
    problems = [[Problem.from_distribution(law, tau) for tau in taus] for law in laws]
    steps = [mean_update(Problem.from_distribution(laws[STUDENT], tau)).unwrap() for tau in config["ratio_tau"]]
    scaled = 10.0 ** np.linspace(config["log10_advantage"][0], config["log10_advantage"][1], config["points"])
    reward = 10.0 ** np.linspace(config["log10_reward"][0], config["log10_reward"][1], config["points"])
    last = steps[-1]
    moved = tilt((reward - last.problem.mean_reward) / last.problem.tau, np.log(last.multiplier))
    density = laws[STUDENT].pdf(reward)
    return {
        "tau": taus,
        "multiplier": np.array([[mean_update(problem).unwrap().multiplier for problem in row] for row in problems]),
        "partition_finite": np.array([[np.isfinite(problem.log_partition) for problem in row] for row in problems]),
        "ratio_tau": np.array(config["ratio_tau"]),
        "ratio_multiplier": np.array([step.multiplier for step in steps]),
        "advantage": scaled,
        "log_ratio": np.array([tilt(scaled, np.log(step.multiplier)) for step in steps]),
        "reward": reward,
        "density": np.array([density, density * np.exp(moved)]),
    }


def _laws() -> list[Any]:
    from scipy import stats

    return [stats.uniform(), stats.norm(), stats.expon(), stats.t(3), stats.lognorm(1.0), stats.pareto(2.5)]


def draw(data: Arrays, style: Style) -> "Canvas":
    """Lambda tau along tau (a), the ratio against the advantage (b), a density before and after the step (c)."""
    canvas, panels = style.panels(2, 2, height=1.2, gridspec_kw={"height_ratios": (1.15, 1.0)})
    grid: Any = panels[0].get_gridspec()
    wide = canvas.add_subplot(grid[0, :])
    for axes in panels[:2]:
        axes.remove()
    _multipliers(wide, data, style.ramp(len(NAMES)))
    _ratios(panels[2], data, style)
    _densities(panels[3], data)
    style.title(wide, "a", r"dashed where $\log Z$ is infinite")
    style.title(panels[2], "b", "ratio, Student $t$")
    style.title(panels[3], "c", "upper tail, Student $t$")
    handles = [line for line in wide.get_lines() if line.get_label() in NAMES]
    canvas.legend(handles=handles, loc="outside upper center", ncols=3)
    return canvas


def _multipliers(axes: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    tau, product = data["tau"], data["tau"] * data["multiplier"]
    for i, (name, row, look) in enumerate(zip(NAMES, product, looks, strict=True)):
        dashes = INFINITE if i >= HEAVY else {}
        finite = data["partition_finite"][i] > 0.5
        if 0 < np.count_nonzero(finite) < finite.size:
            change = int(np.argmax(finite))
            axes.plot(tau[change:], row[change:], label=name, markevery=(2, 8), **look)
            axes.plot(tau[: change + 1], row[: change + 1], markevery=(1 + i, 8), **{**look, **INFINITE})
        else:
            axes.plot(tau, row, label=name, markevery=(1 + i, 8), **{**look, **dashes})
    axes.axvline(1.0, **GUIDE)
    axes.set(xscale="log", yscale="log", xlim=(tau[0], tau[-1]), xlabel=r"$\tau$ (reward units)")
    axes.set(ylabel=r"$\lambda\tau$ (reward units)")


def _ratios(axes: "Axes", data: Arrays, style: Style) -> None:
    a, far = data["advantage"], data["advantage"] > 10.0
    axes.plot(a[a < 13.0], np.exp(a[a < 13.0]), label="$e^a$", **KL)
    looks = style.ramp(data["ratio_tau"].size)
    for i, (tau, row, look) in enumerate(zip(data["ratio_tau"], data["log_ratio"], looks, strict=True)):
        axes.plot(a, np.exp(row), label=rf"$\tau={tau:g}$", markevery=(8 + 4 * i, 12), **look)
        axes.plot(a[far], a[far] / data["ratio_multiplier"][i], **LIMIT)
    axes.legend(loc="lower right", labelspacing=0.2, handlelength=1.6, borderaxespad=0.0)
    axes.set(xscale="log", yscale="log", xlim=(a[0], a[-1]), ylim=(1e-3, 1e5), yticks=[1e-2, 1.0, 1e2, 1e4])
    axes.set(xlabel=r"$a=(r-\bar r)/\tau$ (nats)", ylabel=r"$\rho$")


def _densities(axes: "Axes", data: Arrays) -> None:
    r, far = data["reward"], data["reward"] > 10.0
    looks = ({"color": "0.3", "linewidth": 0.9}, MEAN)
    places: tuple[dict[str, Any], ...] = ({"ha": "right", "va": "top"}, {"ha": "left", "va": "bottom"})
    for density, power, look, place in zip(data["density"], (4, 3), looks, places, strict=True):
        name = r"$\pi$" if power == 4 else r"$\pi^+$"
        axes.plot(r, density, label=name, **look)
        tail = density[-1] * (r[-1] / r) ** power
        axes.plot(r[far], tail[far], **LIMIT)
        middle = int(0.72 * r.size)
        axes.text(r[middle], tail[middle], rf"$\,r^{{-{power}}}\,$", **place)
    axes.legend(loc="lower left")
    axes.set(xscale="log", yscale="log", xlabel="reward $r$ (reward units)", ylabel="density", xlim=(r[0], r[-1]))


FIGURE = Figure(
    name="reward_laws",
    title="Continuous and heavy-tailed rewards",
    caption=r"""PMD-mean exists for every law of rewards with a finite mean, KL-PMD only where $\log Z$ is finite (C19).
    a: $\lambda\tau$ against $\tau$ for rewards that are uniform on [0, 1], standard normal, exponential of rate 1,
    Student $t$ with 3 degrees of freedom, lognormal of shape 1, and Pareto of index 2.5. Dashed where $\log Z$ is
    infinite: for the exponential law up to $\tau = 1$, for the last three at every $\tau$; the multiplier does not
    notice. As $\tau \to 0$, $\lambda\tau$ tends to $E(r - \bar r)^+$ (C21). b: the ratio against the scaled advantage
    for Student's $t$: below $e^a$ (dashed), and near the line $a/\lambda$ (dotted) where $\lambda\rho \gg 1$. c: the
    density of the reward before and after the step with $\tau = 0.1$ (reward units): the tail is heavier by one
    power of $r$ (dotted), so that $E_{\pi^+} r$ is finite exactly if $E(r^+)^2$ is.""",
    config={
        "log10_tau": [-1.5, 1.5],
        "points": 49,
        "ratio_tau": [10.0, 1.0, 0.1],
        "log10_advantage": [-1.0, 4.0],
        "log10_reward": [-1.0, 3.0],
    },
    arrays={
        "tau": "[T], reward units",
        "multiplier": "[L, T], lambda of PMD-mean",
        "partition_finite": "[L, T], 1 where log Z is finite",
        "ratio_tau": "[H], reward units",
        "ratio_multiplier": "[H], lambda of PMD-mean",
        "advantage": "[A], a, nats",
        "log_ratio": "[H, A], log-ratio of PMD-mean, nats",
        "reward": "[R], reward units",
        "density": "[D, R], of the reward under the policy before and after the step, per reward unit",
    },
    compute=compute,
    draw=draw,
)
