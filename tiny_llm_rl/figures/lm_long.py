"""Responses of 73 tokens: the algorithms compared where clipping a token and clipping a response differ."""

from tiny_llm_rl.figures._lm_runs import comparison

__all__ = ["FIGURE"]

FIGURE = comparison(
    name="lm_long",
    title="Training with responses of 73 tokens",
    caption=r"""Additions of numbers with 6 or 8 digits, column by column with every carry written down: 73 tokens a
    response, from the base `addition`, 8 batches of 256 prompts with 8 rollouts and 16 updates. PMD-mean, PMD-part,
    GRPO and GSPO at the best of sixteen settings each (lm_tuning), and PMD-part with $\tau = .1$ at a learning rate of
    $10^{-4}$. a–c: mean and range over the seeds. d: accuracy on 1,024 held-out prompts at the end, every seed, with
    the mean; band: the base. PMD-part with $\tau = .1$ stays behind the others, as theory says of few rollouts at a
    low pass rate (C16), but unlike with 14 tokens it is above its base.""",
    preset="cpu-long",
    panels=(
        ("train_reward", "train reward", "linear"),
        ("kl_old_new", "KL(old, new) a batch, nats", "log"),
        ("largest_log_ratio", "largest log-ratio, nats", "log"),
    ),
)
