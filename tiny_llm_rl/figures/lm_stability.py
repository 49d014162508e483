"""Staleness: one to 64 updates on each batch of rollouts, at the same number of rollouts and updates."""

from tiny_llm_rl.figures._lm_runs import sweep

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio", "cpu_seconds")
PANELS = (
    ("accuracy", "held-out accuracy", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ("eval_entropy", "entropy, nats a token", "linear"),
)

__all__ = ["FIGURE"]

FIGURE = sweep(
    name="lm_stability",
    title="Staleness of the small language model's rollouts",
    caption=r"""Five algorithms on 16,384 rollouts of the small language model, taken in 128 batches of 128 with one
    update each, 16 batches of 1,024 with 8 updates, and 2 batches of 8,192 with 64: always 128 updates on 128
    responses at one learning rate. Every seed, and the mean. a: accuracy on held-out prompts at the end; band: the
    base. b: KL from the policy that sampled a batch to the one after it (mean over the batches). c: largest log-ratio
    of a response of a batch (mean over the batches). d: entropy at the end. Crossed runs stopped early, without a
    group that held both right and wrong answers. The regression has its minimum at a
    finite policy, the exact step (C1), so many updates on a batch lead there and no further; without the regulariser
    they lead away.""",
    config={
        "preset": "cpu-stability",
        "settings": [1, 8, 64],
        "rows": ["mean", "part", "none", "grpo", "gspo"],
        "row_titles": ["PMD-mean, $\\tau=.1$", "PMD-part, $\\tau=.1$", "no regulariser", "GRPO", "GSPO"],
    },
    curves=CURVES,
    panels=PANELS,
    label="updates a batch",
)
