"""The bridge from the theorem to a trained transformer, over a response space that is enumerated."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, BLUE, KL, LIMIT, MEAN, ORANGE, SKY, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PART: dict[str, Any] = {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1)), "linewidth": 1.3}
GOAL = 1e-4  # total variation that counts as reached
RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("checksum", {"color": BLUE, "marker": "o", "markerfacecolor": "white"}),
    ("palindrome", {"color": SKY, "marker": "s", "markerfacecolor": "white"}),
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every panel's runs; they need JAX, which is imported here."""
    from tiny_llm_rl.figures import _exact_lm_runs as runs

    return {
        **runs.descents(config["population"]),
        **runs.first_order(config["inner"]),
        **runs.sampled(config["sampled"]),
        **runs.realised(config["width"]),
    }


def draw(data: Arrays, style: Style) -> "Canvas":
    """Total variation from the exact step against optimiser steps (a), inner steps (b), rollouts (c), width (d)."""
    canvas, (descent, inner, rollouts, width) = style.panels(2, 2, height=1.34)
    _descent(descent, data)
    _inner(inner, data, style)
    _rollouts(rollouts, data)
    _width(width, data)
    titles = ("population loss", "Adam", "loss of $N$ rollouts", "best of each width")
    for letter, title, axes in zip("abcd", titles, canvas.axes, strict=True):
        style.title(axes, letter, title)
    for axes in (descent, rollouts):
        axes.set_ylabel("TV from the step")
    return canvas


def _descent(axes: "Axes", data: Arrays) -> None:
    for row, look, label in zip(data["descent"], (MEAN, PART), ("PMD-mean", "PMD-part"), strict=True):
        known = ~np.isnan(row)
        axes.plot(np.flatnonzero(known), row[known], label=label, **look)
    axes.axhline(GOAL, **LIMIT)
    axes.set(yscale="log", xlabel="Newton steps")
    axes.legend(loc="lower left")


def _inner(axes: "Axes", data: Arrays, style: Style) -> None:
    for total, table, look in zip(
        data["inner_rollouts"], data["inner_sampled"], style.ramp(data["inner_rollouts"].size), strict=True
    ):
        low, middle, high = np.quantile(table, [0.25, 0.5, 0.75], axis=0)
        axes.plot(data["inner"], middle, label=rf"$N=2^{{{np.log2(total):.0f}}}$", **look)
        axes.fill_between(data["inner"], low, high, color=look["color"], alpha=0.25, linewidth=0.0)
    axes.plot(data["inner"], data["inner_population"], color=BLACK, linestyle=(0, (3, 1)), label="population")
    axes.set(xscale="log", yscale="log", xlabel="inner steps")
    axes.legend(loc="lower left")


def _rollouts(axes: "Axes", data: Arrays) -> None:
    total = data["rollouts"]
    looks = ({**MEAN, "marker": "o"}, {**PART, "marker": "s"}, {**KL, "marker": "^"})
    labels = ("mean", "part", "part to KL-PMD")
    for table, look, label in zip(data["sampled_mean"], looks, labels, strict=True):
        middle, low, high = table.T
        axes.errorbar(total, middle, yerr=[middle - low, high - middle], label=label, markerfacecolor="white", **look)
    for constant in data["asymptote"]:
        axes.plot(total, constant / np.sqrt(total), **{**LIMIT, "zorder": 3.0})
    axes.set(xscale="log", yscale="log", xlabel="rollouts $N$")
    axes.legend(loc="lower left")


def _width(axes: "Axes", data: Arrays) -> None:
    for (label, look), table in zip(RULES, data["width_distance"], strict=True):
        axes.plot(data["width"], np.median(table, axis=1), label=label, linestyle="-", **look)
        for column in table.T:
            axes.plot(data["width"], column, **{**look, "marker": ".", "markersize": 2.0, "linestyle": "none"})
    axes.axhline(GOAL, **LIMIT)
    axes.set(xscale="log", yscale="log", xlabel="width")
    axes.set_xticks(data["width"], [f"{w:g}" for w in data["width"]])
    axes.set_xticks([], minor=True)
    axes.legend(loc="lower left")


_SMALL = {"vocabulary": 3, "length": 4, "width": 16}

FIGURE = Figure(
    name="exact_lm",
    title="A language model whose responses are enumerated",
    caption=r"""How far a transformer is from the exact step over every one of its responses (C20), in total variation
    (TV). Its base policy is random, the reward is 1 where the symbols sum to a multiple of twice the vocabulary,
    $\tau = 0.3$ (reward units). a: the population loss over the weights of a transformer of 2 layers and width 32, on
    the 1,024 responses of 5 tokens over 4 symbols; PMD-mean to its Lambert W policy (C1), PMD-part with 4 rollouts to
    PMD($b_3$) (C12); dotted, $10^{-4}$. b: one layer of width 16 on 81 responses, trained by Adam on the loss of $N$
    rollouts in groups of 4, and on the population loss: median and quartiles over 8 seeds. More inner steps help until
    the rollouts are used up. c: the same loss minimised, against $N$: mean over 20 seeds with bootstrap 95 % intervals.
    Both fall with slope $-1/2$ onto the constants of the delta method, dotted; PMD-part goes to PMD($b_3$) and not to
    KL-PMD, from which it keeps its distance. d: the best law found by one layer of each width on 256 responses of 4
    tokens over 4 symbols, from 4 random base policies that the same model realises, for two rewards (palindrome:
    share of mirrored pairs that agree); the line is the median. Widths 2 and 4 have 74 and 244 weights for 255 degrees
    of freedom, and more steps do not help them; from width 8 on, with 872 and more, what is left after 80 to 160
    steps is at least in part the optimiser's.""",
    config={
        "population": {
            "model": {"vocabulary": 4, "length": 5, "width": 32, "layers": 2, "heads": 2},
            "rule": "checksum",
            "tau": 0.3,
            "n": 4,
            "steps": 80,
            "tolerance": 1e-10,
        },
        "inner": {
            "model": _SMALL,
            "rule": "checksum",
            "tau": 0.3,
            "n": 4,
            "rollouts": [2**8, 2**12, 2**16],
            "seeds": 8,
            "checkpoints": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
            "rate": 1e-3,
        },
        "sampled": {
            "model": _SMALL,
            "rule": "checksum",
            "tau": 0.3,
            "n": 4,
            "rollouts": [2**6, 2**8, 2**10, 2**12, 2**14, 2**16, 2**18],
            "seeds": 20,
            "steps": 40,
            "fitted": 4,
        },
        "width": {
            "vocabulary": 4,
            "length": 4,
            "rules": ["checksum", "palindrome"],
            "widths": [2, 4, 8, 16, 32],
            "restarts": [3, 3, 2, 1, 1],
            "steps": [80, 80, 80, 120, 160],
            "tau": 0.3,
            "seeds": 4,
            "jitter": 0.3,
        },
    },
    arrays={
        "descent": "[B, T], TV after each optimiser step, none after the last; B is PMD-mean, PMD-part",
        "descent_step": "[B], TV of the exact steps themselves",
        "inner": "[I], Adam steps",
        "inner_rollouts": "[M], rollouts",
        "inner_sampled": "[M, K, I], TV for every seed",
        "inner_population": "[I], TV on the population loss",
        "rollouts": "[N], rollouts",
        "sampled": "[B, N, S], TV of the fit from its own population step, for every seed",
        "sampled_to_kl": "[N, S], TV of PMD-part's fit from KL-PMD",
        "sampled_mean": "[C, N, E], mean of these over seeds, and its bootstrap 95 % interval",
        "unsampled_mass": "[N, S], mass of the responses that were not drawn",
        "apart": "[], TV of PMD(b) from KL-PMD",
        "asymptote": "[B], limit of the root of N times the expected TV",
        "slope": "[B, E], of log mean TV against log N over the last sizes, and its bootstrap 95 % interval",
        "width": "[W], of the transformer",
        "width_distance": "[Q, W, U], smallest TV found, for every base policy; Q is checksum, palindrome",
        "width_excess": "[Q, W, U], its population loss less the exact minimum, reward units",
        "width_gain": "[Q, W, U], its improvement of the expected reward over the exact one",
    },
    compute=compute,
    draw=draw,
    floors={"descent": 1.0},
    packages=("jax", "equinox", "optax"),
    expensive=True,
)
