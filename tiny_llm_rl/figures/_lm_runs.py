"""What the figures of the language model share: the runs of a preset, the looks of its arms, curves and sweeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, GREEN, LIMIT, MEAN, ORANGE, SKY, VERMILLION, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LOOKS: dict[str, dict[str, Any]] = {
    "mean": MEAN,
    "part": {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1)), "linewidth": 1.3},
    "part-tuned": {"color": ORANGE, "linestyle": (0, (1, 1)), "linewidth": 1.3},
    "mean3": {**MEAN, "linestyle": (0, (4, 1.2)), "linewidth": 1.1, "marker": "D", "markevery": 5},
    "penalty": {"color": GREEN, "linestyle": (0, (3, 1, 1, 1)), "linewidth": 1.1},
    "none": {"color": BLACK, "linestyle": (0, (1, 1.2)), "linewidth": 1.1},
    "grpo": {"color": VERMILLION, "linestyle": (0, (4, 1.4)), "linewidth": 1.1},
    "gspo": {"color": SKY, "linestyle": "-", "linewidth": 1.1, "marker": "s", "markevery": 5},
}  # fmt: skip

__all__ = ["LOOKS", "accuracies", "arms_of", "curve", "labelled", "stored_of", "sweep", "trained"]


def trained(preset: str, curves: Sequence[str]) -> Arrays:
    """The runs of a preset, trained where they are missing (in `runs/PRESET`), and the base's accuracy."""
    from tiny_llm_rl import experiments, presets, verdicts

    chosen = presets.preset(preset)
    out = Path("runs") / chosen.name
    experiments.run(chosen, out)
    base = verdicts.base_accuracy(chosen)
    return {**experiments.collected(chosen, out, curves), "base": np.array([base["accuracy"], *base["interval"]])}


def stored_of(curves: Sequence[str]) -> dict[str, str]:
    """The arrays of `trained`, for a figure's record."""
    ends = ("accuracy", "accuracy_low", "accuracy_high", "eval_length", "eval_entropy", "finished")
    return {
        **dict.fromkeys(curves, "[R, S, B]"), **dict.fromkeys(ends, "[R, S]"), "base": "[3], accuracy and its interval"
    }  # fmt: skip


def arms_of(name: str) -> dict[str, Any]:
    """Names and titles of a preset's arms, as a figure's config."""
    from tiny_llm_rl.presets import preset

    chosen = preset(name)
    return {
        "preset": name,
        "arms": [arm.name for arm in chosen.arms],
        "titles": [arm.title for arm in chosen.arms],
    }


def curve(ax: "Axes", values: FloatArray, look: dict[str, Any]) -> None:
    """Mean and range over the seeds of `values[S, B]`, as far as there are any."""
    known = ~np.isnan(values).all(0)
    if not known.any():
        return
    batches = np.flatnonzero(known)
    ax.plot(batches, np.nanmean(values[:, known], 0), **look)
    ax.fill_between(
        batches, np.nanmin(values[:, known], 0), np.nanmax(values[:, known], 0),
        color=look["color"], alpha=0.2, linewidth=0.0,
    )  # fmt: skip


def _base(ax: "Axes", data: Arrays) -> None:
    """The accuracy of the base, with its interval."""
    base, low, high = data["base"]
    ax.axhspan(low, high, color="0.85", linewidth=0.0)
    ax.axhline(base, **LIMIT)


def accuracies(ax: "Axes", data: Arrays, arms: Sequence[str]) -> None:
    """Held-out accuracy of every seed, and the mean, an arm after the other."""
    _base(ax, data)
    for index, (arm, values) in enumerate(zip(arms, data["accuracy"], strict=True)):
        colour = LOOKS[arm]["color"]
        ax.plot(np.full(values.size, index), values, "o", color=colour, markerfacecolor="white")
        ax.plot([index - 0.25, index + 0.25], [np.nanmean(values)] * 2, color=colour, linewidth=1.5)
    ax.set_xticks(range(len(arms)), arms, rotation=30, ha="right")
    ax.set_ylim(bottom=0)


def labelled(ax: "Axes") -> None:
    """Numbers on a logarithmic vertical axis: at 1, 2 and 5 where it spans few decades, at decades otherwise."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    if high / low < 300:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def sweep(
    name: str,
    title: str,
    caption: str,
    *,
    config: Config,
    curves: Sequence[str],
    panels: Sequence[tuple[str, str, str]],
    label: str,
) -> Figure:
    """The figure of a preset that is a grid; `config` names it, and the other arguments are those of `swept`."""
    return Figure(
        name=name,
        title=title,
        caption=caption,
        config=config,
        arrays=stored_of(curves),
        compute=lambda given: trained(given["preset"], curves),
        draw=lambda data, style: swept(data, style, config, panels, label),
        expensive=True,
    )


def swept(
    data: Arrays,
    style: Style,
    config: Config,
    panels: Sequence[tuple[str, str, str]],
    label: str,
) -> "Canvas":
    """Four panels of what a grid of runs ended with, against a setting: every seed, and the mean of each algorithm.

    Args:
        data: arrays of the runs, arms in the order of `config["settings"]` and, within a setting, of `config["rows"]`.
        style: of the page.
        config: settings (numbers), rows (names of LOOKS), row_titles.
        panels: of each, an array's name, the panel's title and its scale. Of curves the mean over the batches is shown.
        label: of the horizontal axis, which is logarithmic.
    """
    from matplotlib.ticker import NullLocator

    canvas, axes = style.panels(2, 2, height=1.3)
    settings, rows = config["settings"], config["rows"]
    for ax, (name, title, scale), letter in zip(axes, panels, "abcd", strict=True):
        table = data[name] if data[name].ndim == 2 else _mean_known(data[name])
        table = table.reshape(len(settings), len(rows), -1)
        for index, row in enumerate(rows):
            look = {name: value for name, value in LOOKS[row].items() if not name.startswith("mark")}
            values = table[:, index]
            known = np.isfinite(values).any(-1)
            places = np.asarray(settings)[known] * 1.05 ** (index - (len(rows) - 1) / 2)
            ax.plot(places, np.nanmean(values[known], -1), **look, label=config["row_titles"][index])
            ax.plot(places, values[known], "o", color=look["color"], markerfacecolor="white", markersize=2.2)
        ax.set_xscale("log")
        ax.set_yscale(scale)
        ax.set_xticks(settings, [f"{setting:g}" for setting in settings])
        ax.xaxis.set_minor_locator(NullLocator())
        if scale == "log":
            labelled(ax)
        else:
            ax.set_ylim(0, 1.06 * ax.dataLim.y1)
        if name == "accuracy":
            _base(ax, data)
        style.title(ax, letter, title)
    for ax in axes[2:]:
        ax.set_xlabel(label)
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return canvas


def _mean_known(values: FloatArray) -> FloatArray:
    """Mean over the batches that a run had, NaN for a run without any."""
    known = np.isfinite(values)
    count = known.sum(-1)
    found: FloatArray = np.where(count > 0, np.where(known, values, 0.0).sum(-1) / np.maximum(count, 1), np.nan)
    return found
