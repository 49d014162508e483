"""Learning rates up to where each algorithm breaks."""

from tiny_llm_rl.figures._lm_runs import sweep

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio")
PANELS = (
    ("accuracy", "held-out accuracy", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ("eval_entropy", "entropy, nats a token", "linear"),
)

__all__ = ["FIGURE"]

FIGURE = sweep(
    name="lm_drift",
    title="Learning rate and drift of the small language model",
    caption=r"""Six arms after 16,384 rollouts of the small language model (8 batches of 2,048, 16 updates each) over
    the learning rate of Adam. Every seed, and the mean. a: accuracy on held-out prompts; band: the base. b: KL from
    the policy that sampled a batch to the one after it. c: largest log-ratio of a response of a batch. d: entropy at
    the end. The exact step bounds the log-ratio of every response at a given $\tau$ (C1); a network under a large
    learning rate overshoots it. In b and c a seed is the mean over its batches, the line that over all batches of all
    seeds. Crossed runs stopped before the eighth batch, most since no group held both right and wrong answers; they
    count with the policy before, and the data say why and after how many batches.""",
    config={
        "preset": "cpu-drift",
        "settings": [0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032],
        "rows": ["mean", "mean3", "part", "none", "grpo", "gspo"],
        "row_titles": [
            "PMD-mean, $\\tau=.1$",
            "PMD-mean, $\\tau=.3$",
            "PMD-part, $\\tau=.1$",
            "no regulariser",
            "GRPO",
            "GSPO",
        ],
    },
    curves=CURVES,
    panels=PANELS,
    label=r"learning rate $\times 10^4$",
    unit=1e-4,
)
