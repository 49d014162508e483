"""What one group of rollouts does to one prompt: the spread of its exact fit, with either leave-one-out baseline."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, BLUE, GUIDE, ORANGE, Style
from pmdtheory.finite_sample import expected_baseline, fit_distribution
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

BASELINES = ("mean", "partition")
ROWS = {"expected_reward": r"$\mathrm{E}r$", "kl": "KL (nats)", "unsampled_mass": "unsampled mass"}
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "markerfacecolor": "white"},
    {"color": ORANGE, "marker": "s", "markerfacecolor": "white"},
)
# median, mean and reference of a panel are one line each, per baseline
REFERENCE: dict[str, Any] = {"color": BLACK, "linestyle": "none", "marker": "_", "markersize": 8, "zorder": 4}
MEAN: dict[str, Any] = {"color": BLACK, "linestyle": "none", "marker": "x", "markersize": 3.2, "zorder": 5}
APART = 0.36  # of the two baselines of one n

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Quantiles and means over groups, for every success mass, tau, n and baseline; and the same in population.

    The masses of the actions are one Dirichlet draw, scaled so that the successes have the mass asked for.
    """
    rng = np.random.default_rng(config["seed"])
    weight = rng.dirichlet(np.ones(config["actions"]))
    success = np.arange(config["actions"]) < config["successes"]
    drawn: list[dict[str, np.ndarray[Any, Any]]] = []
    step, before = [], []
    for p in config["p"]:
        share = np.where(success, p / weight[success].sum(), (1.0 - p) / weight[~success].sum())
        for tau in config["tau"]:
            problem = Problem.from_policy(weight * share, success.astype(np.float64), tau)
            for n in config["n"]:
                before.append(np.sum(problem.policy * (1.0 - problem.policy) ** n))
                for which, baseline in enumerate(BASELINES):
                    drawn.append(
                        fit_distribution(problem, n, baseline=baseline, groups=config["groups"], seed=config["seed"])
                    )
                    others = n - 1 if which else 1  # a partition of one rollout has the mean's expectation
                    b = float(expected_baseline(problem, others).value)
                    update = baseline_update(problem, baseline=b).unwrap()
                    step.append([np.sum(update.policy[success]), update.kl])
    shape = (len(config["p"]), len(config["tau"]), len(config["n"]), len(BASELINES))
    levels = np.array(config["quantile"])
    return {
        "p": np.array(config["p"]),
        "tau": np.array(config["tau"]),
        "n": np.array(config["n"], dtype=np.float64),
        "quantile": levels,
        **{name: _quantiles(name, drawn, levels).reshape(*shape, levels.size) for name in ROWS},
        **{f"{name}_mean": np.array([fits[name].mean() for fits in drawn]).reshape(shape) for name in ROWS},
        "unmoved": np.array([np.mean(fits["kl"] < 1e-12) for fits in drawn]).reshape(shape),
        "expected_reward_step": np.array(step)[:, 0].reshape(shape),
        "kl_step": np.array(step)[:, 1].reshape(shape),
        "unsampled_mass_before": np.array(before).reshape(shape[:-1]),
    }


def _quantiles(name: str, drawn: "list[dict[str, Any]]", levels: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return np.array([np.quantile(fits[name], levels) for fits in drawn])


def draw(data: Arrays, style: Style) -> "Canvas":
    """A column per success mass, a row per quantity; in each panel an interval per tau, n and baseline."""
    canvas, panels = style.panels(3, 2, height=1.38, sharex=True, sharey="row")
    size = data["tau"].size * data["n"].size
    for i, axes in enumerate(panels):
        row, column = divmod(i, 2)
        name = list(ROWS)[row]
        _panel(axes, data, name, column)
        for t in range(1, data["tau"].size):
            axes.axvline(t * data["n"].size - 0.5, **GUIDE)
        axes.set_xticks(range(size), [f"{n:g}" for n in np.tile(data["n"], data["tau"].size)])
        axes.set_xlim(-0.5, size - 0.5)
        if column == 0:
            axes.set_ylabel(ROWS[name])
        style.title(axes, "abcdef"[i], rf"$p={data['p'][column]:g}$" if row == 0 else "")
    for axes in panels[:2]:
        for t, tau in enumerate(data["tau"]):
            axes.text(data["n"].size * (t + 0.5) - 0.5, 1.06, rf"$\tau={tau:g}$", ha="center", fontsize=style.small)
        axes.set_ylim(0.0, 1.2)
        axes.set_yticks([0.0, 0.5, 1.0])
    panels[2].set_ylim(-0.15, None)
    panels[4].set_ylim(-0.03, 1.03)
    canvas.supxlabel("rollouts $n$", fontsize=style.font)
    _legend(canvas)
    return canvas


def _panel(axes: "Axes", data: Arrays, name: str, column: int) -> None:
    known = f"{name}_step" in data
    place = np.arange(data["tau"].size * data["n"].size)
    for which, look in enumerate(LOOKS):
        x = place + APART * (which - 0.5)
        low, first, median, third, high = data[name][column, :, :, which].reshape(place.size, -1).T
        axes.vlines(x, low, high, colors=look["color"], linewidths=0.8)
        axes.vlines(x, first, third, colors=look["color"], linewidths=3.2)
        axes.plot(x, median, linestyle="none", markersize=3.4, zorder=3, **look)
        axes.plot(x, data[f"{name}_mean"][column, :, :, which].ravel(), **MEAN)
        reference = data[f"{name}_step"][column, :, :, which] if known else data[f"{name}_before"][column]
        axes.plot(x, reference.ravel(), **REFERENCE)


def _legend(canvas: "Canvas") -> None:
    from matplotlib.lines import Line2D

    keys = [
        Line2D([], [], label=label, markersize=3.4, linewidth=3.2, **look)
        for label, look in zip(("PMD-mean", "PMD-part"), LOOKS, strict=True)
    ]
    keys.append(Line2D([], [], label="mean over groups", **MEAN))
    keys.append(Line2D([], [], label="population (a–d), before (e, f)", **REFERENCE))
    canvas.legend(handles=keys, loc="outside upper center", ncols=2)


FIGURE = Figure(
    name="one_group_fit",
    title="What one group does to a prompt",
    caption=r"""What one group of $n$ rollouts does to a prompt: the exact fit to the sampled actions, with
    PMD-mean's and PMD-part's leave-one-out baselines (C12), over 1000 groups. 100 actions, 20 of them successes of
    mass $p$ in all, binary rewards, two $\tau$ (reward units). Thin bars span the 5 to 95 % quantiles, thick bars the
    quartiles, markers are medians. a, b: expected reward after the fit. c, d: KL of the new policy to the old one.
    e, f: mass left on actions that the group did not hold. Short black bars: the population steps, PMD-mean's and
    PMD($b_{n-1}$) (a to d); the expected unsampled mass before the fit (e, f). A group of equal rewards moves nothing;
    its probability is $p^n + (1-p)^n$. At $\tau = 0.1$ one success among failures asks for more than all the mass
    and nothing is left for what was not sampled. With more successes PMD-part's baseline is near $\log Z$, its
    targets are met, and some mass is left; PMD-mean's targets stay as high.""",
    config={
        "p": [0.1, 0.5],
        "tau": [0.1, 0.5],
        "n": [4, 16],
        "actions": 100,
        "successes": 20,
        "groups": 1000,
        "quantile": [0.05, 0.25, 0.5, 0.75, 0.95],
        "seed": 0,
    },
    arrays={
        "p": "[S], success mass",
        "tau": "[T], reward units",
        "n": "[N], rollouts of a group",
        "quantile": "[Q], levels",
        "expected_reward": "[S, T, N, B, Q], after the fit, reward units; B is PMD-mean, PMD-part",
        "kl": "[S, T, N, B, Q], new policy to old, nats",
        "unsampled_mass": "[S, T, N, B, Q], after the fit",
        "expected_reward_mean": "[S, T, N, B], over groups, reward units",
        "kl_mean": "[S, T, N, B], over groups, nats",
        "unsampled_mass_mean": "[S, T, N, B], over groups",
        "unmoved": "[S, T, N, B], share of groups that move nothing",
        "expected_reward_step": "[S, T, N, B], of the population step, reward units",
        "kl_step": "[S, T, N, B], of the population step, nats",
        "unsampled_mass_before": "[S, T, N], expected before the fit",
    },
    compute=compute,
    draw=draw,
)
