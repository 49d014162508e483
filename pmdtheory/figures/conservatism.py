r"""PMD-mean's step against KL-PMD's on random laws: smaller in every f-divergence, and ordered in the baseline."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory import divergence
from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, Style
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import baseline_update, kl_update, mean_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

UNBOUNDED = 3  # the first sizes; the others are between 0 and 1
SIZES = ("KL", "reverse KL", "Rényi, order 2", "total variation", "Hellinger", "improvement")
FAMILIES = {"binary": "o", "graded": "s", "tied": "^", "signed": "D", "rare": "v"}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Sizes of both steps on random laws, in the order of `SIZES`; those of PMD(b) between them for one law."""
    cases = list(islice(_moving(config), config["laws"]))
    law = config["law"]
    problem = Problem.from_policy(law["policy"], law["reward"], law["tau"])
    share = np.linspace(config["share"][0], config["share"][1], config["points"])
    low, gap = problem.mean_reward / problem.tau, problem.jensen_gap
    return {
        "family": np.array([list(FAMILIES).index(label) for label, _ in cases]),
        "tau": np.array([problem.tau for _, problem in cases]),
        "kl_size": np.array([_sizes(kl_update(problem).unwrap()) for _, problem in cases]).T,
        "mean_size": np.array([_sizes(mean_update(problem).unwrap()) for _, problem in cases]).T,
        "share": share,
        "baseline_size": np.array(
            [_sizes(baseline_update(problem, baseline=low + s * gap).unwrap()) for s in share[:-1]]
            + [_sizes(kl_update(problem).unwrap())]
        ).T,
    }


def _moving(config: Config) -> Iterator[tuple[str, Problem]]:
    """The random laws of the claims, those that KL-PMD moves by a total variation of `least` or more."""
    from pmdtheory.claims._instances import discrete

    for label, problem in discrete(np.random.default_rng(config["seed"])):
        if label in FAMILIES and kl_update(problem).unwrap().step_size >= config["least"]:
            yield label, problem


def _sizes(step: Update) -> FloatArray:
    """Divergences of the step from the policy, and its share of the largest possible improvement."""
    new, old = step.log_policy, step.problem.log_policy
    return np.array(
        [
            step.kl,
            step.reverse_kl,
            divergence.renyi(new, old, 2.0),
            step.step_size,
            divergence.hellinger(new, old),
            step.improvement / (step.problem.tau * step.problem.levels.advantage.max()),
        ]
    )


def draw(data: Arrays, style: Style) -> "Canvas":
    """A scatter per size (a-f), and the sizes of PMD(b) against b (g)."""
    canvas, panels = style.panels(3, 3, height=1.3, gridspec_kw={"height_ratios": (1.0, 1.0, 1.3)})
    sizes = zip("abcdef", SIZES, panels, data["kl_size"], data["mean_size"], strict=False)
    for i, (letter, name, axes, x, y) in enumerate(sizes):
        _scatter(axes, x, y, data["family"], bounded=i >= UNBOUNDED)
        style.title(axes, letter, name)
    panels[0].set_ylabel("PMD-mean")
    panels[3].set_ylabel("PMD-mean")
    panels[4].set_xlabel("KL-PMD")
    grid: Any = panels[0].get_gridspec()
    for axes in panels[6:]:
        axes.remove()
    _baselines(canvas.add_subplot(grid[2, :]), data, style)
    dots = panels[0].collections
    spacing = {"handletextpad": 0.0, "columnspacing": 1.0, "markerscale": 1.4}
    canvas.legend(handles=dots, labels=list(FAMILIES), loc="outside upper center", ncols=len(FAMILIES), **spacing)
    return canvas


def _scatter(axes: "Axes", x: FloatArray, y: FloatArray, family: FloatArray, *, bounded: bool) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 0.82, len(FAMILIES)))
    if bounded:
        ends = (-0.04, 1.04)
        axes.set(xticks=[0.0, 0.5, 1.0], yticks=[0.0, 0.5, 1.0])
    else:
        ends = (0.5 * float(y.min()), 2.0 * float(x.max()))
        ticks = [10.0**k for k in range(-2, int(np.log10(ends[1])) + 1, 2)]
        axes.set(xscale="log", yscale="log", xticks=ticks, yticks=ticks)
        axes.minorticks_off()
    axes.plot(ends, ends, **GUIDE)
    for i, marker in enumerate(FAMILIES.values()):
        own = family == i
        axes.scatter(x[own], y[own], s=4.0, marker=marker, facecolors="none", edgecolors=[colours[i]], linewidths=0.5)
    axes.set(xlim=ends, ylim=ends)


def _baselines(axes: "Axes", data: Arrays, style: Style) -> None:
    share, ratio = data["share"], data["baseline_size"] / data["baseline_size"][:, -1:]
    for place, name, side in ((0.0, "PMD-mean", "left"), (1.0, "KL-PMD", "right")):
        axes.axvline(place, **GUIDE)
        axes.text(place, 0.02, f" {name} ", ha=side, va="bottom", fontsize=style.small)
    for i, (name, row, look) in enumerate(zip(SIZES, ratio, style.ramp(len(SIZES)), strict=True)):
        axes.plot(share, row, label=name, markevery=(4 + 2 * i, share.size // 4), **look)
    axes.set(xlim=(share[0], share[-1]), ylim=(0.0, 1.02), ylabel="relative to KL-PMD")
    axes.set_xlabel(r"baseline as $(b - \bar r/\tau)/J$")
    axes.legend(loc="upper left", borderaxespad=0.1, labelspacing=0.2)
    style.title(axes, "g", "PMD($b$) for one law")


_LAW: dict[str, Any] = {"policy": [0.5, 0.3, 0.15, 0.05], "reward": [0.0, 0.3, 0.6, 1.0], "tau": 0.1}

FIGURE = Figure(
    name="conservatism",
    title="Conservatism in every f-divergence",
    caption=r"""The step of PMD-mean is smaller than KL-PMD's in every f-divergence from the policy, and improves
    the expected reward less (C8). a-f: both steps on 300 random laws of five families, with 2 to 29 actions and
    $\tau$ log-uniform over nine decades, as far as KL-PMD's total variation is at least 0.03; no point is above the
    diagonal. KL, reverse KL and Rényi divergence in nats; improvement as a fraction of the largest possible,
    $(E_{\pi^+} r - \bar r)/(\max r - \bar r)$. Where KL-PMD is greedy, on the right of f, PMD-mean need not be.
    g: the same sizes of PMD($b$), relative to KL-PMD's, for rewards 0, 0.3, 0.6, 1 with masses 0.5, 0.3, 0.15,
    0.05 and $\tau = 0.1$ (reward units): each grows with the baseline $b$, up to KL-PMD's at $b = \log Z$.""",
    config={"seed": 8, "laws": 300, "least": 0.03, "law": _LAW, "share": [-1.5, 1.0], "points": 61},
    arrays={
        "family": "[L], index of the family of laws: binary, graded, tied, signed, rare",
        "tau": "[L], reward units",
        "kl_size": "[S, L], KL-PMD: KL, reverse KL, Rényi (nats), TV, Hellinger, share of the largest improvement",
        "mean_size": "[S, L], PMD-mean: the same",
        "share": "[B], (b - mean/tau)/J",
        "baseline_size": "[S, B], PMD(b) on one law: the same; KL-PMD at share 1",
    },
    compute=compute,
    draw=draw,
)
