"""PMD-mean and PMD-part of the language model over the number of rollouts of a prompt."""

from tiny_llm_rl.figures._lm_runs import sweep

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio", "signal_size")
PANELS = (
    ("accuracy", "held-out accuracy", "linear"),
    ("signal_size", "mean size of the advantage", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("eval_entropy", "entropy, nats a token", "linear"),
)

__all__ = ["FIGURE"]

FIGURE = sweep(
    name="lm_partition_failure",
    title="The partition baseline of a language model over the rollouts of a prompt",
    caption=r"""PMD-mean and PMD-part with $\tau = .1$ after 16,384 rollouts of the small language model, over the
    rollouts n of a prompt at 2,048 rollouts a batch (512, 128 and 32 prompts). Every seed, and the mean. a: accuracy
    on held-out prompts; band: the base. b: mean size of the advantage, reward units. c: KL from the policy that
    sampled a batch to the one after it. d: entropy at the end. PMD-mean's targets average zero; PMD-part's average
    minus the Jensen gap (C7), so that sampled responses are told to lose probability, and with more rollouts fewer
    groups lack the success that makes them say so. In a network, unlike in a table (C16), more rollouts do not
    help.""",
    config={
        "preset": "cpu-partition",
        "settings": [4, 16, 64],
        "rows": ["mean", "part"],
        "row_titles": ["PMD-mean", "PMD-part"],
    },
    curves=CURVES,
    panels=PANELS,
    label="rollouts of a prompt",
)
