"""What the figures of the language model share: the runs of a preset, the looks of its arms, curves and sweeps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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

CROSS: dict[str, Any] = {
    "linestyle": "none", "marker": "x", "markersize": 3.2, "markeredgewidth": 0.7, "clip_on": False,
}  # fmt: skip
_FOLDERS: ContextVar[dict[str, Path]] = ContextVar("folders", default={})  # noqa: B039 - never changed in place
PACKAGES = ("jax", "optax", "equinox")  # what training's numbers depend on

__all__ = [
    "LOOKS", "PACKAGES", "accuracies", "arms_of", "comparison", "curve", "endings", "labelled", "runs_in", "stored_of",
    "sweep", "trained",
]  # fmt: skip


@contextmanager
def runs_in(preset: str, folder: Path) -> Iterator[None]:
    """Within it the runs of a preset are those of a folder."""
    before = _FOLDERS.set({**_FOLDERS.get(), preset: folder})
    try:
        yield
    finally:
        _FOLDERS.reset(before)


def trained(preset: str, curves: Sequence[str]) -> Arrays:
    """The runs of a preset, trained where they are missing, and the base's accuracy; in `runs/PRESET` unless told."""
    from tiny_llm_rl import experiments, presets, verdicts

    chosen = presets.preset(preset)
    out = _FOLDERS.get().get(preset, Path("runs") / preset)
    experiments.run(chosen, out)
    base = verdicts.base_accuracy(chosen, experiments.made_base(chosen, out))
    return {**experiments.collected(chosen, out, curves), "base": np.array([base["accuracy"], *base["interval"]])}


def stored_of(curves: Sequence[str]) -> dict[str, str]:
    """The arrays of `trained`, for a figure's record."""
    ends = ("accuracy", "accuracy_low", "accuracy_high", "eval_length", "eval_entropy")
    return {
        **dict.fromkeys(curves, "[R, S, B]"), **dict.fromkeys(ends, "[R, S]"),
        "ended": "[R, S], place in the config's endings", "batches_done": "[R, S]",
        "base": "[3], accuracy and its interval",
    }  # fmt: skip


def endings() -> list[str]:
    """What the codes of the array `ended` mean, as a figure's config."""
    from tiny_llm_rl.experiments import ENDINGS

    return list(ENDINGS)


def arms_of(name: str) -> dict[str, Any]:
    """Names and titles of a preset's arms, as a figure's config."""
    from tiny_llm_rl.presets import preset

    chosen = preset(name)
    return {
        "preset": name,
        "arms": [arm.name for arm in chosen.arms],
        "titles": [arm.title for arm in chosen.arms],
        "endings": endings(),
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
    """Held-out accuracy of every seed, and the mean, an arm after the other; runs that stopped early are crossed."""
    _base(ax, data)
    for index, (arm, values, ended) in enumerate(zip(arms, data["accuracy"], data["ended"], strict=True)):
        colour = LOOKS[arm]["color"]
        ax.plot(np.full(values.size, index), values, "o", color=colour, markerfacecolor="white", clip_on=False)
        if ended.any():
            ax.plot(np.full(values.size, index)[ended != 0], values[ended != 0], color=colour, **CROSS)
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


def comparison(name: str, title: str, caption: str, *, preset: str, panels: Sequence[tuple[str, str, str]]) -> Figure:
    """The figure of a preset that compares arms.

    Args:
        name: of the figure.
        title: a few words.
        caption: what is drawn.
        preset: whose runs.
        panels: three of a curve's name, the panel's title and its scale; the fourth panel is the accuracy at the end.
    """
    config, curves = arms_of(preset), [panel[0] for panel in panels]

    def draw(data: Arrays, style: Style) -> "Canvas":
        canvas, axes = style.panels(2, 2, height=1.3)
        for ax, (curve_name, words, scale), letter in zip(axes, panels, "abc", strict=False):
            for values, arm in zip(data[curve_name], config["arms"], strict=True):
                curve(ax, values, LOOKS[arm])
            ax.set_yscale(scale)
            if scale == "log":
                labelled(ax)
            else:
                ax.set_ylim(bottom=0)
            style.title(ax, letter, words)
            ax.set_xlabel("batch")
        accuracies(axes[3], data, config["arms"])
        style.title(axes[3], "d", "held-out accuracy")
        handles = [axes[3].plot([], [], **LOOKS[arm])[0] for arm in config["arms"]]
        canvas.legend(handles, config["titles"], loc="outside upper center", ncols=2)
        return canvas

    return Figure(
        name=name,
        title=title,
        caption=caption,
        config=config,
        arrays=stored_of(curves),
        compute=lambda given: trained(given["preset"], curves),
        draw=draw,
        packages=PACKAGES,
        expensive=True,
    )


def sweep(
    name: str,
    title: str,
    caption: str,
    *,
    config: Config,
    curves: Sequence[str],
    panels: Sequence[tuple[str, str, str]],
    label: str,
    unit: float = 1.0,
) -> Figure:
    """The figure of a preset that is a grid; `config` names it, and the other arguments are those of `swept`."""
    return Figure(
        name=name,
        title=title,
        caption=caption,
        config={**config, "endings": endings()},
        arrays=stored_of(curves),
        compute=lambda given: trained(given["preset"], curves),
        draw=lambda data, style: swept(data, style, config, panels, label, unit),
        packages=PACKAGES,
        expensive=True,
    )


def swept(
    data: Arrays,
    style: Style,
    config: Config,
    panels: Sequence[tuple[str, str, str]],
    label: str,
    unit: float = 1.0,
) -> "Canvas":
    """Four panels of what a grid of runs ended with, against a setting: every seed, and the mean of each algorithm.

    Of a curve a seed is the mean over the batches it had, and the line the mean over all batches of all seeds, since a
    run that stopped early had fewer. Such runs are crossed.

    Args:
        data: arrays of the runs, arms in the order of `config["settings"]` and, within a setting, of `config["rows"]`.
        style: of the page.
        config: settings (numbers), rows (names of LOOKS), row_titles.
        panels: of each, an array's name, the panel's title and its scale.
        label: of the horizontal axis, which is logarithmic.
        unit: in which its ticks are counted.
    """
    from matplotlib.ticker import NullLocator

    canvas, axes = style.panels(2, 2, height=1.3)
    settings, rows = config["settings"], config["rows"]
    stopped = (data["ended"] != 0).reshape(len(settings), len(rows), -1)
    for ax, (name, title, scale), letter in zip(axes, panels, "abcd", strict=True):
        batches = data[name].reshape(len(settings), len(rows), data[name].shape[1], -1)  # one, of what a run ends with
        table = _mean_known(batches)
        for index, row in enumerate(rows):
            look = {name: value for name, value in LOOKS[row].items() if not name.startswith("mark")}
            values = table[:, index]
            known = np.isfinite(values).any(-1)
            places = np.asarray(settings)[known] * 1.05 ** (index - (len(rows) - 1) / 2)
            pooled = np.nanmean(batches[:, index][known], (-2, -1))
            ax.plot(places, pooled, **look, label=config["row_titles"][index])
            ax.plot(
                places, values[known], "o", color=look["color"], markerfacecolor="white", markersize=2.2,
                clip_on=scale == "log",
            )  # fmt: skip
            crossed = stopped[known, index] & np.isfinite(values[known])
            if crossed.any():
                x = np.broadcast_to(places[:, None], crossed.shape)[crossed]
                ax.plot(x, values[known][crossed], color=look["color"], **{**CROSS, "clip_on": scale == "log"})
        ax.set_xscale("log")
        ax.set_yscale(scale)
        ax.set_xticks(settings, [f"{setting / unit:g}" for setting in settings])
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
    if stopped.any():
        axes[0].plot([], [], color=BLACK, **{**CROSS, "clip_on": True}, label="stopped early")
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return canvas


def _mean_known(values: FloatArray) -> FloatArray:
    """Mean over the batches that a run had, NaN for a run without any."""
    known = np.isfinite(values)
    count = known.sum(-1)
    found: FloatArray = np.where(count > 0, np.where(known, values, 0.0).sum(-1) / np.maximum(count, 1), np.nan)
    return found
