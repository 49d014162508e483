"""Responses of 73 tokens: the algorithms compared where clipping a token and clipping a response differ."""

from typing import TYPE_CHECKING

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._lm_runs import LOOKS, accuracies, arms_of, curve, labelled, stored_of, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PANELS = (
    ("train_reward", "train reward", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("largest_log_ratio", "largest log-ratio, nats", "log"),
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every run's numbers."""
    return trained(config["preset"], [name for name, _, _ in PANELS])


def draw(data: Arrays, style: Style) -> "Canvas":
    """Three panels of curves, and the accuracies at the end."""
    canvas, axes = style.panels(2, 2, height=1.3)
    arms = FIGURE.config["arms"]
    for ax, (name, title, scale), letter in zip(axes, PANELS, "abc", strict=False):
        for values, arm in zip(data[name], arms, strict=True):
            curve(ax, values, LOOKS[arm])
        ax.set_yscale(scale)
        if scale == "log":
            labelled(ax)
        else:
            ax.set_ylim(bottom=0)
        style.title(ax, letter, title)
        ax.set_xlabel("batch")
    accuracies(axes[3], data, arms)
    style.title(axes[3], "d", "held-out accuracy")
    handles = [axes[3].plot([], [], **LOOKS[arm])[0] for arm in arms]
    canvas.legend(handles, FIGURE.config["titles"], loc="outside upper center", ncols=2)
    return canvas


FIGURE = Figure(
    name="lm_long",
    title="Training with responses of 73 tokens",
    caption=r"""Additions of numbers with 6 or 8 digits, column by column with every carry written down: 73 tokens a
    response, from the base `addition`, 8 batches of 256 prompts with 8 rollouts and 16 updates. PMD-mean, PMD-part,
    GRPO and GSPO at the best of twelve settings each (lm_tuning), and PMD-part with $\tau = .1$ at a learning rate of
    $10^{-4}$. a–c: mean and range over the seeds. d: accuracy on 1,024 held-out prompts at the end, every seed, with
    the mean; band: the base. PMD-part meets what theory says of few rollouts at a low pass rate (C16).""",
    config={"preset": "cpu-long", **arms_of("cpu-long")},
    arrays=stored_of([name for name, _, _ in PANELS]),
    compute=compute,
    draw=draw,
    expensive=True,
)
