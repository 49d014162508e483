"""Each loss with and without dividing the advantage by the deviation of its group."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import LIMIT, Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES, endings, stored_of, trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LOSSES = ("mean", "grpo", "gspo")
TITLES = ("PMD-mean", "GRPO", "GSPO")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every arm's numbers."""
    return trained(config["preset"], ("train_reward", "kl_old_new"))


def draw(data: Arrays, style: Style) -> "Canvas":
    """Accuracy (a) and KL a batch (b) of three losses, plain (open) and standardised (filled)."""
    canvas, (accuracy, distance) = style.panels(1, 2, height=0.72)
    _pairs(accuracy, data["accuracy"])
    base, low, high = data["base"]
    accuracy.axhspan(low, high, color="0.85", linewidth=0.0)
    accuracy.axhline(base, **LIMIT)
    accuracy.set_ylim(bottom=0)
    _pairs(distance, data["kl_old_new"].mean(-1))
    distance.set_ylim(bottom=0)
    style.title(accuracy, "a", "held-out accuracy")
    style.title(distance, "b", "KL(old, new) a batch, nats")
    for face, label in (("white", "plain"), ("0.4", "standardised")):
        distance.plot([], [], "o", color="0.4", markerfacecolor=face, label=label)
    canvas.legend(*distance.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return canvas


def _pairs(ax: "Axes", table: Any) -> None:
    """`table[arms, seeds]`, the arms in the order loss, loss with std, next loss."""
    for index, values in enumerate(table):
        loss, standard = divmod(index, 2)
        look, place = LOOKS[LOSSES[loss]], loss + (0.18 if standard else -0.18)
        colour = look["color"]
        ax.plot(np.full(values.size, place), values, "o", color=colour, markerfacecolor=colour if standard else "white")
        ax.plot([place - 0.14, place + 0.14], [values.mean()] * 2, color=colour, linewidth=1.3)
    ax.set_xticks(range(len(TITLES)), TITLES)


FIGURE = Figure(
    name="lm_ablation",
    title="Standardised advantages",
    caption=r"""Three losses on the small language model, each with the advantage of a group as it is (open) and
    divided by the deviation of the group's rewards (filled): every seed, and the mean. PMD-mean with $\tau = .1$ plain
    and $\tau = .3$ standardised, whose advantages are about 2.5 times as large, so that their quotient, which sets the
    exact step (C1), is about the same. a: held-out accuracy after the last batch; band: the base. b: KL between the
    policies before and after a batch, mean over the batches.""",
    config={"preset": "cpu-ablation", "endings": endings()},
    arrays=stored_of(("train_reward", "kl_old_new")),
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
