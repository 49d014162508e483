"""Learning rates up to where each algorithm breaks."""

from typing import TYPE_CHECKING

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._lm_runs import stored_of, swept, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio")
PANELS = (
    ("accuracy", "held-out accuracy", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ("eval_entropy", "entropy, nats a token", "linear"),
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every run's numbers."""
    return trained(config["preset"], CURVES)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Four panels against the setting."""
    return swept(data, style, FIGURE.config, PANELS, "learning rate")


FIGURE = Figure(
    name="lm_drift",
    title="Learning rate and drift of the small language model",
    caption=r"""Five arms after 16,384 rollouts of the small language model (8 batches of 2,048, 16 updates each) over
    the learning rate of Adam. Every seed, and the mean. a: accuracy on held-out prompts; band: the base. b: KL from
    the policy that sampled a batch to the one after it. c: largest log-ratio of a response of a batch. d: entropy at
    the end. The exact step bounds the log-ratio of every response at a given $\tau$ (C7); a network under a large
    learning rate overshoots it. Runs whose log-ratio passed 1,000 nats stopped there and count with the policy
    before.""",
    config={
        "preset": "cpu-drift",
        "settings": [0.0004, 0.0012, 0.0036],
        "rows": ["mean", "mean3", "none", "grpo", "gspo"],
        "row_titles": ["PMD-mean, $\\tau=.1$", "PMD-mean, $\\tau=.3$", "no regulariser", "GRPO", "GSPO"],
    },
    arrays=stored_of(CURVES),
    compute=compute,
    draw=draw,
    expensive=True,
)
