"""Training curves of the small language model: what each algorithm does to the policy, batch by batch."""

from typing import TYPE_CHECKING

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES, accuracies, arms_of, curve, stored_of, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Name of the record, title of the panel, scale of its axis.
PANELS = (
    ("train_reward", "train reward", "linear"),
    ("groups_without_signal", "groups without signal", "linear"),
    ("response_length", "tokens a response", "linear"),
    ("entropy", "entropy, nats a token", "linear"),
    ("kl_old_new", "KL(old, new), nats", "log"),
    ("log_ratio_rms", "rms log-ratio, nats", "log"),
    ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ("signal_over_log_ratio", r"$E|A|$ / rms log-ratio", "log"),
    ("gradient_norm", "gradient norm", "log"),
    ("clip_fraction", "clipped share", "linear"),
    ("implied_multiplier", r"implied $\lambda$", "linear"),
    ("chi2_share", r"$\chi^2$ share of the penalty", "linear"),
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every panel's numbers."""
    return trained(config["preset"], [name for name, _, _ in PANELS])


def draw(data: Arrays, style: Style) -> "Canvas":
    """Twelve panels of curves, and the accuracies at the end."""
    from matplotlib.ticker import NullFormatter

    canvas, axes = style.panels(7, 2, height=2.75)
    arms = FIGURE.config["arms"]
    for ax, (name, title, scale), letter in zip(axes, PANELS, "abcdefghijkl", strict=False):
        for values, arm in zip(data[name], arms, strict=True):
            curve(ax, values, LOOKS[arm])
        ax.set_yscale(scale)
        if scale == "log":
            ax.yaxis.set_minor_formatter(NullFormatter())
        style.title(ax, letter, title)
    for ax in axes[:12]:
        ax.set_xlim(left=0)
    for ax in axes[10:12]:
        ax.set_xlabel("batch")
    accuracies(axes[12], data, arms)
    style.title(axes[12], "m", "held-out accuracy")
    axes[13].axis("off")
    handles, labels = [], []
    for arm, title in zip(arms, FIGURE.config["titles"], strict=True):
        (line,) = axes[13].plot([], [], **LOOKS[arm])
        handles.append(line)
        labels.append({"part": title, "part-tuned": "PMD-part, tuned"}.get(arm, title.partition(",")[0]))
    axes[13].legend(handles, labels, loc="center left")
    return canvas


FIGURE = Figure(
    name="lm_curves",
    title="Training curves of the small language model",
    caption=r"""Six algorithms on the sums of 4 to 8 digits, from the shipped base, with the same prompts, rollouts
    and updates, each at the best of eight settings (lm_tuning; the last number of a title is the learning rate), and
    PMD-part at $\tau = .1$: mean and range over the seeds, against the rollout batch. l: the share of
    $\frac{\lambda}{2}\chi^2$ in the penalty that PMD-mean's exact step (C1, C2) puts on the observed groups, at the
    arm's $\tau$ (.3 for those without one); k: that step's $\lambda$ (C4). m: accuracy on held-out prompts after the
    last batch, every seed, with the mean; the band is the base's interval. PMD-part meets what C12 and C16 say of few
    rollouts at a low pass rate.""",
    config=arms_of("cpu-full"),
    arrays=stored_of([name for name, _, _ in PANELS]),
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
