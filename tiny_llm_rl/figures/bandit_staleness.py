"""What staleness does to the algorithms: many steps on the same rollouts, an old sampler, filtered groups."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLUE, SKY, Style
from tiny_llm_rl.figures._bandit_runs import LOOKS, interval, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

REUSED = {"pmd-mean": "PMD-mean", "rloo-is": "RLOO, weighted (a)", "rloo": "RLOO, uncorrected", "grpo": "GRPO (a)"}
LAGGING: dict[str, dict[str, Any]] = {
    "_sampler": {"algorithm": "pmd-mean", "anchor": "sampler"},
    "anchor: current (b, c)": {"algorithm": "pmd-mean", "anchor": "current"},
    "current, weights (b, c)": {"algorithm": "pmd-mean", "anchor": "current", "correction": "truncated"},
    "_uncorrected": {"algorithm": "rloo", "anchor": "sampler"},
}
LAG_LOOKS: tuple[dict[str, Any], ...] = (
    {**LOOKS["pmd-mean"], "marker": "o"},
    {"color": BLUE, "linestyle": (0, (4, 1.4)), "linewidth": 1.1, "marker": "s"},
    {"color": SKY, "linestyle": (0, (2, 1)), "linewidth": 1.3, "marker": "^"},
    {**LOOKS["rloo"], "marker": "v"},
)
CHOICES: dict[str, dict[str, Any]] = {
    "all groups": {},
    "filtered": {"filter_groups": True},
    "filtered, replaced": {"filter_groups": True, "oversample": 4.0},
}
CHOSEN = ("pmd-mean", "pmd-part")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """What the mean reward lacks after the last batch, the largest log-ratio, and the successful actions kept."""
    seeds = config["seeds"]

    def shortfall(options: dict[str, Any]) -> tuple[FloatArray, FloatArray]:
        found = rows({**config["bandit"], **options}, seeds)
        return interval(config["best"] - found["reward"][..., -1])[0], interval(found["log_ratio"].max(-1))[0]

    def kept(options: dict[str, Any]) -> FloatArray:
        found: FloatArray = interval(rows({**config["filtered"], **options}, seeds)["diversity"][..., -1])[0]
        return found

    reused = [[shortfall({"algorithm": a, "epochs": n})[0] for n in config["steps"]] for a in REUSED]
    lagging = np.array([[shortfall({**each, "lag": n}) for n in config["lag"]] for each in LAGGING.values()])
    return {
        "steps": np.array(config["steps"], np.float64),
        "reused": np.array(reused),
        "lag": np.array(config["lag"], np.float64),
        "lagging": lagging[:, :, 0],
        "drift": lagging[:, :, 1],
        "kept": np.array([[kept({"algorithm": a, **each}) for each in CHOICES.values()] for a in CHOSEN]),
    }


def draw(data: Arrays, style: Style) -> "Canvas":
    """Shortfall over steps a batch (a) and lag of the sampler (b), drift (c); successes kept of filtered groups (d)."""
    canvas, panels = style.panels(2, 2, height=1.34)
    reused, lagging, drift, kept = panels
    for (name, title), row, marker in zip(REUSED.items(), data["reused"], "o^vs", strict=True):
        _points(reused, data["steps"], row, title, {**LOOKS[name], "marker": marker})
    for title, row, far, look in zip(LAGGING, data["lagging"], data["drift"], LAG_LOOKS, strict=True):
        _points(lagging, data["lag"] + 1.0, row, title, look)
        _points(drift, data["lag"] + 1.0, far, "_", look)
    reused.set(xscale="log", xlabel="steps on a batch", xticks=data["steps"])
    reused.set_xticklabels([f"{n:g}" for n in data["steps"]])
    for axes in (lagging, drift):
        axes.set(xscale="log", xlabel="lag (batches)", xticks=data["lag"] + 1.0)
        axes.set_xticklabels([f"{n:g}" for n in data["lag"]])
    for axes in (reused, lagging):
        axes.set(yscale="log", ylabel="reward lacking")
        axes.yaxis.set_minor_formatter("")
    for axes in (reused, lagging, drift):
        axes.xaxis.set_minor_locator(_none())
    drift.set(yscale="log", ylabel="largest log-ratio (nats)", yticks=[2, 5, 10, 20])
    drift.set_yticklabels(["2", "5", "10", "20"])
    drift.yaxis.set_minor_formatter("")
    _bars(kept, data["kept"])
    kept.set_ylabel("successes kept")
    titles = ("rollouts used again", "an old sampler", "drift", "filtered groups")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = [axes.get_legend_handles_labels() for axes in (reused, lagging, kept)]
    keys = [(key, label) for pair in handles for key, label in zip(*pair, strict=True)]
    canvas.legend(*zip(*keys, strict=True), loc="outside upper center", ncols=2)
    return canvas


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _points(axes: "Axes", x: FloatArray, table: FloatArray, label: str, look: dict[str, Any]) -> None:
    errors = np.clip([table[:, 0] - table[:, 1], table[:, 2] - table[:, 0]], 0.0, None)
    axes.errorbar(x, table[:, 0], yerr=errors, label=label, elinewidth=0.7, markerfacecolor="white", **look)


def _bars(axes: "Axes", table: FloatArray) -> None:
    place = np.arange(len(CHOICES), dtype=np.float64)
    for shift, name, row, title in zip((-0.18, 0.18), CHOSEN, table, ("PMD-mean", "PMD-part"), strict=True):
        errors = np.clip([row[:, 0] - row[:, 1], row[:, 2] - row[:, 0]], 0.0, None)
        hatch = {"hatch": "////", "facecolor": "white"} if name == "pmd-part" else {"facecolor": LOOKS[name]["color"]}
        look = {"edgecolor": LOOKS[name]["color"], "linewidth": 0.7, "ecolor": "0.2", "error_kw": {"elinewidth": 0.7}}
        axes.bar(place + shift, row[:, 0], 0.34, yerr=errors, label=f"{title} (d)", **hatch, **look)
    axes.set_xticks(place, labels=["all", "filtered", "replaced"])


FIGURE = Figure(
    name="bandit_staleness",
    title="Staleness on a bandit",
    caption=r"""a, b, c: softmax policies on a bandit with 100 actions, uniform at the start, whose rewards are
    spread evenly over (0, 1); $\tau = 0.1$ (reward units), 16 groups of 4 rollouts and 16 Adam steps a batch at
    learning rate .05, 40 batches. Means over 20 seeds with 95 % bootstrap intervals. a: best reward less mean
    reward after the last batch, over the number of steps on the same rollouts. RLOO gets worse, with importance
    weights too; PMD-mean does not; the clip of GRPO, with its standardised advantages, does best here. b: over the
    age of the policy that samples. With the log-ratio measured from the sampler, as implementations have it, PMD-
    mean steps from an ever older policy; measured from the current policy, which leaves the $\chi^2$ on the sampler
    (C15), a lag costs little, and truncated weights add nothing. c: the largest log-ratio of a rollout to its
    anchor in any batch. d: on a bandit with 200 actions, 20 successes and binary rewards, the effective number of
    successful actions after 40 batches, where all groups are used, where groups of equal rewards are left out, and
    where they are replaced too. Such groups have no advantage, but they hold their responses in place; without them
    fewer successes are kept.""",
    config={
        "bandit": {
            "reward": "continuous",
            "actions": 100,
            "success_mass": 0.1,
            "success_fraction": 0.1,
            "tau": 0.1,
            "batches": 40,
            "groups": 16,
            "rollouts": 4,
            "epochs": 16,
            "learning_rate": 0.05,
        },
        "best": 0.995,
        "filtered": {
            "actions": 200,
            "success_mass": 0.02,
            "success_fraction": 0.1,
            "tau": 0.1,
            "batches": 40,
            "groups": 32,
            "epochs": 50,
            "learning_rate": 0.01,
        },
        "seeds": 20,
        "steps": [4, 16, 64, 256],
        "lag": [0, 2, 5, 11],
    },
    arrays={
        "steps": "[E], optimiser steps on a batch",
        "reused": "[A, E, I], best reward less the mean reward after the last batch; mean over seeds, its interval",
        "lag": "[L], batches",
        "lagging": "[B, L, I], the same",
        "drift": "[B, L, I], largest |log-ratio| of a rollout to its anchor in any batch, nats",
        "kept": "[M, F, I], successful actions kept by PMD-mean and PMD-part: all groups, filtered, and replaced",
    },
    compute=compute,
    draw=draw,
    packages=("jax", "optax"),
    expensive=True,
)
