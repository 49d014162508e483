"""Where PMD-part fails on rare successes and PMD-mean does not: over tau, rollouts, and the size of a step."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._bandit_runs import LOOKS, band, interval, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

ALGORITHMS = ("pmd-mean", "pmd-part")
TITLES = ("PMD-mean", "PMD-part")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Success mass over batches for every tau; after the last batch over rollouts a group and learning rates."""
    base, seeds = config["bandit"], config["seeds"]
    curves, sizes, rates = [], [], []
    for algorithm in ALGORITHMS:
        options = {**base, "algorithm": algorithm}
        curves.append(interval(rows(options, seeds, tau=config["tau"])["success"]))
        final = []
        for n in config["rollouts"]:
            found = rows({**options, "rollouts": n, "groups": config["total"] // n}, seeds)["success"]
            final.append(interval(found[..., -1])[0])
        sizes.append(np.array(final))
        steps = [
            interval(rows({**options, "groups": groups}, seeds, learning_rate=config["rates"])["success"][..., -1])
            for groups in config["groups"]
        ]
        rates.append(np.array(steps))
    return {
        "tau": np.array(config["tau"]),
        "success": np.array(curves),
        "rollouts": np.array(config["rollouts"], np.float64),
        "rollouts_success": np.array(sizes),
        "groups": np.array(config["groups"], np.float64),
        "rate": np.array(config["rates"]),
        "rate_success": np.array(rates),
    }


def draw(data: Arrays, style: Style) -> "Canvas":
    """Success mass over batches for PMD-mean (a) and PMD-part (b), after the last over n (c) and step sizes (d)."""
    canvas, panels = style.panels(2, 2, height=1.2, sharey=True)
    batches = np.arange(data["success"].shape[2], dtype=np.float64)
    for axes, table in zip(panels[:2], data["success"], strict=True):
        looks = style.ramp(data["tau"].size)
        for i, (tau, row, look) in enumerate(zip(data["tau"], table, looks, strict=True)):
            band(axes, batches, row, label=rf"$\tau={tau:g}$", markevery=(4 + 4 * i, 20), **look)
        axes.set(xlabel="batches")
    for table, name in zip(data["rollouts_success"], ALGORITHMS, strict=True):
        _points(panels[2], data["rollouts"], table, name, "o")
    for table, name in zip(data["rate_success"], ALGORITHMS, strict=True):
        for row, marker in zip(table, "os^", strict=False):
            _points(panels[3], data["rate"], row, name, marker)
    panels[2].set_xscale("log", base=2)
    panels[2].set(xlabel="rollouts a group, $n$", xticks=data["rollouts"])
    panels[2].set_xticklabels([f"{n:g}" for n in data["rollouts"]])
    panels[3].set(xscale="log", xlabel="learning rate (Adam)")
    for axes in (panels[0], panels[2]):
        axes.set(ylim=(-0.02, 1.05), ylabel="success mass")
    titles = (*TITLES, r"$128$ rollouts a batch", r"$n=4$")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = [line for line in panels[0].get_lines() if str(line.get_label())[0] != "_"]
    canvas.legend(handles=handles, loc="outside upper center", ncols=4)
    canvas.legend(handles=_keys(data["groups"]), loc="outside lower center", ncols=3)
    return canvas


def _points(axes: "Axes", x: FloatArray, table: FloatArray, name: str, marker: str) -> None:
    look = {**LOOKS[name], "marker": marker, "markerfacecolor": "white"}
    errors = np.clip([table[:, 0] - table[:, 1], table[:, 2] - table[:, 0]], 0.0, None)
    axes.errorbar(x, table[:, 0], yerr=errors, elinewidth=0.7, **look)


def _keys(groups: FloatArray) -> "list[Line2D]":
    """Of panels c and d: algorithms by their lines, numbers of groups by their markers."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": "0.3", "markerfacecolor": "white", "linestyle": ""}
    lines = [
        Line2D([], [], label=f"{title} (c, d)", **LOOKS[name]) for name, title in zip(ALGORITHMS, TITLES, strict=True)
    ]
    sizes = [
        Line2D([], [], marker=marker, label=f"{size:g} groups (d)", **look)
        for size, marker in zip(groups, "os^", strict=False)
    ]
    return [*lines, *sizes]


FIGURE = Figure(
    name="bandit_partition_failure",
    title="Rare successes: PMD-part against PMD-mean",
    caption=r"""Success mass of softmax policies on a bandit with 1,000 actions of which a tenth succeed, with a mass of
    .01 in all at the start; means over 20 seeds with 95 % bootstrap intervals. A batch has 32 groups of $n = 4$
    rollouts and takes 50 Adam steps on the logits at learning rate .005, unless stated. a, b: over batches. For
    $\tau \le 0.3$ (reward units) PMD-mean finds the successes, while PMD-part loses what mass they had: few groups hold
    a success, and the partition sends the failures of those $-1/\tau$ nats away (C12, C16). At $\tau = 1$ both succeed.
    c: after 60 batches at $\tau = 0.03$, for groups of other sizes at equal numbers of rollouts; with two they are one
    algorithm (C12), from 16 on both succeed. d: for other learning rates and numbers of groups: the failure is one of
    small steps and small batches. Where 50 steps are long enough to minimise the loss PMD-part reaches 1 too, as its
    population step is the bolder one (C8).""",
    config={
        "bandit": {"actions": 1000, "success_mass": 0.01, "success_fraction": 0.1, "tau": 0.03, "batches": 60},
        "seeds": 20,
        "tau": [0.03, 0.1, 0.3, 1.0],
        "rollouts": [2, 4, 8, 16, 32],
        "total": 128,
        "groups": [8, 32, 128],
        "rates": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1],
    },
    arrays={
        "tau": "[U], reward units",
        "success": "[M, U, T, I], PMD-mean and PMD-part; mean over seeds, ends of its interval",
        "rollouts": "[N], of a group",
        "rollouts_success": "[M, N, I], after the last batch",
        "groups": "[G], of a batch",
        "rate": "[R], learning rate, logits a step",
        "rate_success": "[M, G, R, I], after the last batch",
    },
    compute=compute,
    draw=draw,
    packages=("jax", "optax"),
    expensive=True,
)
