"""The settings tried for each algorithm before they were compared: the same number for each."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES, arms_of, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

JUDGED = 5  # last batches
TITLES = {
    "mean": "PMD-mean",
    "part": "PMD-part",
    "none": "no regulariser",
    "penalty": r"KL and $\chi^2$ penalty",
    "grpo": "GRPO",
    "gspo": "GSPO",
}
PRESETS = ("cpu-tune", "cpu-long-tune")
MARKS = "os^D"  # of the values of a dial, in their order

__all__ = ["FIGURE", "best", "scores"]


def scores(rewards: FloatArray) -> FloatArray:
    """Mean reward `[arms]` of the last five batches of `rewards[arms, seeds, batches]`; 0 for a run that broke down.

    >>> scores(np.array([[[0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2]], [[0.5] * 6 + [np.nan]]])).round(3).tolist()
    [0.2, 0.0]
    """
    found: FloatArray = np.nan_to_num(rewards[..., -JUDGED:].mean(-1), nan=0.0).mean(-1)
    return found


def best(names: list[str], judged: FloatArray) -> dict[str, str]:
    """The arm of each algorithm with the highest score.

    >>> best(["mean-a", "mean-b", "grpo-a"], np.array([0.1, 0.2, 0.1]))
    {'mean': 'mean-b', 'grpo': 'grpo-a'}
    """
    found: dict[str, tuple[float, str]] = {}
    for name, value in zip(names, judged.tolist(), strict=True):
        row = name.partition("-")[0]
        if row not in found or value > found[row][0]:
            found[row] = value, name
    return {row: name for row, (_, name) in found.items()}


def compute(config: Config) -> Arrays:
    """Scores of all arms of both presets."""
    found: dict[str, Any] = {}
    for each in PRESETS:
        runs = trained(each, ("train_reward",))
        found[each.replace("-", "_")] = scores(runs["train_reward"])
    return found


def draw(data: Arrays, style: Style) -> "Canvas":
    """Score against learning rate, a line for each setting of the algorithm's own dial: short (a), long (b)."""
    from matplotlib.ticker import NullLocator

    canvas, axes = style.panels(1, 2, height=0.95)
    for ax, each, letter, title in zip(axes, PRESETS, "ab", ("14 tokens", "73 tokens"), strict=True):
        judged, names = data[each.replace("-", "_")], FIGURE.config[each]
        chosen = set(best(names, judged).values())
        for row in TITLES:
            dials: dict[str, list[tuple[float, float, bool]]] = {}
            for name, value in zip(names, judged, strict=True):
                own, dial, rate = name.split("-", 2)
                if own == row:
                    dials.setdefault(dial, []).append((float(rate), float(value), name in chosen))
            for size, points in enumerate(dials.values()):
                rates, values, marks = zip(*points, strict=True)
                look = {key: value for key, value in LOOKS[row].items() if not key.startswith("mark")}
                rates = tuple(1e4 * rate for rate in rates)
                ax.plot(rates, values, **look, marker=MARKS[size], markersize=3, markerfacecolor="white")
                for rate, value, mark in zip(rates, values, marks, strict=True):
                    if mark:
                        ax.plot(
                            rate, value, marker=MARKS[size], markersize=5.0, color=look["color"],
                            markeredgecolor="white", markeredgewidth=0.6, zorder=5 - 0.1 * list(TITLES).index(row),
                        )  # fmt: skip
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_ylim(bottom=0)
        ticks = (0.125, 0.5, 1, 2, 4, 8) if letter == "a" else (0.5, 1, 2, 4)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xlabel(r"learning rate $\times 10^4$")
        style.title(ax, letter, title)
    axes[0].set_ylabel("reward, last five batches")
    for row, title in TITLES.items():
        axes[0].plot([], [], **{k: v for k, v in LOOKS[row].items() if not k.startswith("mark")}, label=title)
    axes[0].plot([], [], "o", color=BLACK, markersize=4.5, label="taken")
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return canvas


FIGURE = Figure(
    name="lm_tuning",
    title="Settings tried for each algorithm",
    caption=r"""The settings among which those of the comparisons were chosen: for every algorithm the same
    number of runs, over the learning rate and its own dial: eight for responses of 14 tokens (a), sixteen for 73
    (b). Dials, in the order circle, square, triangle, diamond: $\tau$ = .1, .3 for PMD-mean and the explicit penalty
    (b: .1, .3, .03, 1 for PMD-mean), .3, 1 for PMD-part (b: and 3, .1); clip .1, .2 for GRPO (b: and .4, .8),
    .02/.027, .06/.08 for GSPO (b: .004/.0054, .02/.027, .001/.00135, .06/.08); nothing for the regression without a
    regulariser, which got eight learning rates. Each was run once, with a seed that no comparison uses, and judged by
    its reward on fresh training prompts in the last five batches. What $\tau$ does to PMD-mean and PMD-part differs
    (C12), so neither is tuned with the other's.""",
    config={each: arms_of(each)["arms"] for each in PRESETS},
    arrays={"cpu_tune": "[R]", "cpu_long_tune": "[L]"},
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
