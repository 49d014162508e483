"""Accuracy against time over the size of a rollout batch."""

from typing import TYPE_CHECKING

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES, arms_of, endings, stored_of, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SIZES = (1, 8, 64)
ARMS = {"mean": r"PMD-mean, $\tau=.1$", "grpo": "GRPO", "gspo": "GSPO"}
DASHES = ((0, (1, 1)), (0, (4, 1.4)), "-")
MARKS = ("o", "s", "^")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Accuracy at the end and CPU time of every run."""
    return trained(config["preset"], ("train_reward", "cpu_seconds"))


def draw(data: Arrays, style: Style) -> "Canvas":
    """Train reward against CPU time (a), and accuracy at the end against CPU time a rollout (b)."""
    canvas, (curves, ends) = style.panels(1, 2, height=1.0)
    names = FIGURE.config["arms"]
    for size, dash, mark in zip(SIZES, DASHES, MARKS, strict=True):
        for arm, title in ARMS.items():
            index = names.index(f"{arm}-{size}")
            reward, seconds = data["train_reward"][index], data["cpu_seconds"][index]
            known = np.isfinite(seconds).all(0)
            time = np.cumsum(seconds[:, known], -1)
            colour = LOOKS[arm]["color"]
            if arm == "mean":
                middle = reward[:, known].mean(0)
                if size == 1:  # 128 rewards a batch: a moving mean of eight batches
                    middle = np.convolve(middle, np.ones(8) / 8, "valid")
                    time = time[:, 7:]
                curves.plot(time.mean(0), middle, color=colour, linestyle=dash, marker=mark if size == 64 else None,
                            label=f"{128 * size} rollouts")  # fmt: skip
            per = time[:, -1] / (128 * 128) * 1e3
            ends.plot(per, data["accuracy"][index], linestyle="none", marker=mark, color=colour,
                      markerfacecolor="white", label=title if size == 1 else None)  # fmt: skip
    curves.set_xlabel("CPU time, s")
    curves.set_ylim(bottom=0)
    ends.set_xlabel("CPU time a rollout, ms")
    ends.set_ylim(bottom=0)
    ends.set_xlim(left=0)
    style.title(curves, "a", "train reward, PMD-mean")
    style.title(ends, "b", "held-out accuracy")
    handles = [*curves.get_legend_handles_labels()[0], *ends.get_legend_handles_labels()[0]]
    labels = [*curves.get_legend_handles_labels()[1], *ends.get_legend_handles_labels()[1]]
    canvas.legend(handles, labels, loc="outside upper center", ncols=3)
    return canvas


FIGURE = Figure(
    name="lm_time",
    title="Accuracy and time over the size of a rollout batch",
    caption=r"""The runs of lm_stability with PMD-mean, GRPO and GSPO: batches of 128 (circles), 1,024 (squares) and
    8,192 (triangles) rollouts with 1, 8 and 64 updates. a: reward on training prompts against CPU time (the first:
    mean of eight batches), evaluation excluded. b: accuracy at the end against the CPU time a rollout. On a CPU the
    time a token hardly depends on the batch, so a larger batch saves only what is done once a batch; on an
    accelerator, where decoding waits for memory, it saves most of the time. That PMD-mean stays near its
    fresh-rollout accuracy when batches grow (C4, C15) is what would be traded for that time.""",
    config={"preset": "cpu-stability", "arms": arms_of("cpu-stability")["arms"], "endings": endings()},
    arrays=stored_of(("train_reward", "cpu_seconds")),
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
