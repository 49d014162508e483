"""PMD-mean and PMD-part of the language model over the regularisation strength."""

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
    ("eval_entropy", "entropy, nats a token", "linear"),
    ("eval_length", "tokens a response", "linear"),
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every run's numbers."""
    return trained(config["preset"], CURVES)


def draw(data: Arrays, style: Style) -> "Canvas":
    """Four panels against the setting."""
    return swept(data, style, FIGURE.config, PANELS, "$\\tau$")


FIGURE = Figure(
    name="lm_tau",
    title="Regularisation strength on the small language model",
    caption=r"""PMD-mean and PMD-part after 16,384 rollouts of the small language model (8 batches of 256 prompts with
    8 rollouts, 16 updates each) over $\tau$. One seed. a: accuracy on held-out prompts; band: the base. b: KL from
    the policy that sampled a batch to the one after it. c: entropy and d: length of responses at the end. At $\tau =
    1$ and above the two baselines are nearly the same number (C12), and so are the runs; below it PMD-part's targets
    are dominated by the failures of groups with a success (C16). PMD-mean has an interior optimum.""",
    config={
        "preset": "cpu-tau",
        "settings": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        "rows": ["mean", "part"],
        "row_titles": ["PMD-mean", "PMD-part"],
    },
    arrays=stored_of(CURVES),
    compute=compute,
    draw=draw,
    expensive=True,
)
