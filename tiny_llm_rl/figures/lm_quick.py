"""The comparison that two cores finish in minutes: PMD-mean, PMD-part, no regulariser and GRPO, untuned."""

from tiny_llm_rl.figures._lm_runs import comparison

__all__ = ["FIGURE"]

FIGURE = comparison(
    name="lm_quick",
    title="A quick comparison on the small language model",
    caption=r"""What `tiny-llm-rl reproduce --preset cpu-quick` trains in minutes on two cores: sums of 4 to 8 digits
    from the shipped base, 60 batches of 64 prompts with 8 rollouts and 16 updates, learning rate $2\cdot 10^{-4}$ for
    all, nothing tuned. a–c: mean and range over the seeds, as far as there are any: a run in which no group held both
    right and wrong answers stopped before that batch and counts with the policy before (crossed in d). d: accuracy on
    512 held-out prompts at the end, every seed, with the mean; band: the base. PMD-part at $\tau = .1$ and the
    regression without a regulariser fall below it (C16, C15).""",
    preset="cpu-quick",
    panels=(
        ("train_reward", "train reward", "linear"),
        ("kl_old_new", "KL(old, new) a batch, nats", "log"),
        ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ),
)
