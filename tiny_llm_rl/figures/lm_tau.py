"""PMD-mean and PMD-part of the language model over the regularisation strength."""

from tiny_llm_rl.figures._lm_runs import sweep

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio")
PANELS = (
    ("accuracy", "held-out accuracy", "linear"),
    ("kl_old_new", "KL(old, new) a batch, nats", "log"),
    ("eval_entropy", "entropy, nats a token", "linear"),
    ("eval_length", "tokens a response", "linear"),
)

__all__ = ["FIGURE"]

FIGURE = sweep(
    name="lm_tau",
    title="Regularisation strength on the small language model",
    caption=r"""PMD-mean and PMD-part after 16,384 rollouts of the small language model (8 batches of 256 prompts
    with 8 rollouts, 16 updates each) over $\tau$. Every seed, and the mean. a: accuracy on held-out prompts; band:
    the base. b: KL from the policy that sampled a batch to the one after it. c: entropy and d: length of responses at
    the end. At $\tau = 1$ and above the two baselines are nearly the same number (C12), and so are the runs; below it
    PMD-part's targets are dominated by the failures of groups with a success (C16). PMD-mean has an interior
    optimum. Crossed
    runs stopped early, without a group that held both right and wrong answers.""",
    config={
        "preset": "cpu-tau",
        "settings": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        "rows": ["mean", "part"],
        "row_titles": ["PMD-mean", "PMD-part"],
    },
    curves=CURVES,
    panels=PANELS,
    label="$\\tau$",
)
