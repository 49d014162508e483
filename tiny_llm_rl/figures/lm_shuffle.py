"""Single responses or whole groups dealt into minibatches: accuracy and the time of a batch."""

from typing import TYPE_CHECKING

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import LIMIT, Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES, endings, stored_of, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CURVES = ("train_reward", "kl_old_new", "cpu_seconds")
PANELS = (("accuracy", "held-out accuracy"), ("cpu_seconds", "CPU time a batch, s"))

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every run's numbers."""
    return trained(config["preset"], CURVES)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Accuracy (a) and CPU time a batch (b) of every seed under both ways, joined by a line, and the means."""
    canvas, axes = style.panels(1, 2, height=0.85)
    config = FIGURE.config
    settings, rows = config["settings"], config["rows"]
    for ax, (name, title), letter in zip(axes, PANELS, "ab", strict=True):
        table = data[name] if data[name].ndim == 2 else np.median(data[name], -1)
        table = table.reshape(len(settings), len(rows), -1)
        for index, row in enumerate(rows):
            places = np.arange(len(settings)) + len(settings) * index
            look, values = {"color": LOOKS[row]["color"]}, table[:, index]
            ax.plot(places, values, **look, linewidth=0.5, alpha=0.6)
            ax.plot(places, values, "o", **look, markerfacecolor="white", markersize=2.6)
            ax.plot(places, values.mean(-1), **look, linewidth=1.8, label=config["row_titles"][index])
        ax.set_xticks(range(len(settings) * len(rows)), settings * len(rows), rotation=30, ha="right")
        ax.margins(x=0.08)
        ax.set_ylim(0, 1.06 * ax.dataLim.y1)
        style.title(ax, letter, title)
    base, low, high = data["base"]
    axes[0].axhspan(low, high, color="0.85", linewidth=0.0)
    axes[0].axhline(base, **LIMIT)
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return canvas


FIGURE = Figure(
    name="lm_shuffle",
    title="What a minibatch is dealt",
    caption=r"""PMD-mean and GRPO after 16,384 rollouts of the small language model (8 batches of 256 prompts with 8
    rollouts, 16 updates each), with single responses or whole groups dealt into the minibatches: every seed, a line
    joining its two runs, and the mean. a: accuracy on held-out prompts at the end; band: the base. b: CPU time a
    batch, median over the batches of a run, evaluation excluded. The minimum of the loss is the same (C1); a minibatch
    of whole groups holds fewer prompts and its gradient is noisier, but each prompt is computed once.""",
    config={
        "preset": "cpu-shuffle",
        "settings": ["responses", "groups"],
        "rows": ["mean", "grpo"],
        "row_titles": ["PMD-mean, $\\tau=.1$", "GRPO"],
        "endings": endings(),
    },
    arrays=stored_of(CURVES),
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
