"""The configuration of a training run of a language model."""

from dataclasses import dataclass, field

from tiny_llm_rl._checks import choice, positive_scalar, whole
from tiny_llm_rl.algorithm import ALGORITHMS, LossConfig, check_read
from tiny_llm_rl.correction import CORRECTIONS

__all__ = ["ANCHORS", "SHUFFLES", "TrainConfig"]

ANCHORS = ("sampler", "current")
SHUFFLES = ("responses", "groups")


@dataclass(frozen=True)
class TrainConfig:
    r"""One run: what is trained, by which algorithm, on how stale rollouts.

    Args:
        base: name of a base that comes with the package, or path of a `.safetensors` file.
        algorithm: one of `algorithm.ALGORITHMS`.
        tau: regularisation strength, reward units.
        prompts: G of a batch.
        rollouts: n of a prompt.
        batches: rollout batches of the run.
        minibatches: M updates an epoch; divides G n, or G where whole groups are shuffled.
        epochs: E passes over a batch.
        shuffle: what is dealt into minibatches in a random order: single "responses", or whole "groups", whose prompts
            are then computed once for all n responses.
        lag: whole batches by which the sampling policy is older than the trained one.
        anchor: where the log-ratio starts: at the policy that sampled ("sampler", what implementations do), or at the
            one that starts the batch ("current", C15), whose log-probabilities are then computed as the updates compute
            them. They differ when lag > 0, and by rounding otherwise, which in bfloat16 is no small thing.
        correction: "truncated" weighs each response by min(anchor / sampler, truncation); needs anchor "current".
        truncation: the cap, at least 1.
        filter_groups: use only groups whose rewards differ.
        oversample: sample so many times the prompts, to replace the groups that are filtered out.
        learning_rate: of Adam.
        warm_up: updates over which it rises from zero.
        clip_norm: global norm at which gradients are clipped.
        difficulty: sizes the task draws from; empty takes those of the base.
        graded: rewards between 0 and 1 where the task gives them (datasets of reasoning-gym); otherwise 1 for a full
            score and 0 for less.
        evaluate_every: batches between evaluations; the last batch is always evaluated.
        measure_every: batches between measurements of what the updates did to the policy (KL, chi2, by pass rate),
            each of which reads all responses once more; the last batch is always measured.
        save_every: batches between checkpoints, what a kill can cost; the last batch, and the one after which a run is
            stopped or fails, are always saved.
        patience: batches in a row in which every group has equal rewards that end the run; fewer are recorded and
            passed over, with the weights as they were.
        evaluation_prompts: held-out prompts of an evaluation.
        evaluation_samples: k of Avg@k, Best@k, Maj@k.
        diverge_at: largest log-ratio of a response, nats, at which the run stops; of a batch that is not measured, the
            largest that its updates saw.
        seed: of prompts, samples and the order of minibatches.
        loss: what the losses can be told.

    Raises:
        ValueError: for a value out of range, or one that would do nothing, naming field, value and remedy.
        TypeError: for what is no number.

    >>> TrainConfig(algorithm="pmd-part", tau=0.1).batch
    512
    """

    base: str = "digit-sum"
    algorithm: str = "pmd-mean"
    tau: float = 0.3
    prompts: int = 64
    rollouts: int = 8
    batches: int = 30
    minibatches: int = 16
    epochs: int = 1
    shuffle: str = "responses"
    lag: int = 0
    anchor: str = "sampler"
    correction: str = "none"
    truncation: float = 2.0
    filter_groups: bool = False
    oversample: int = 1
    learning_rate: float = 1e-4
    warm_up: int = 0
    clip_norm: float = 1.0
    difficulty: tuple[int, ...] = ()
    graded: bool = False
    evaluate_every: int = 10
    measure_every: int = 1
    save_every: int = 1
    patience: int = 1
    evaluation_prompts: int = 512
    evaluation_samples: int = 1
    diverge_at: float = 1000.0
    seed: int = 0
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is compiled."""
        chosen = ALGORITHMS[choice("algorithm", self.algorithm, ALGORITHMS)]
        for name in ("tau", "truncation", "learning_rate", "clip_norm", "diverge_at"):
            positive_scalar(name, getattr(self, name), "give a positive number")
        for name in (
            "prompts", "rollouts", "batches", "minibatches", "epochs", "oversample", "evaluate_every", "measure_every",
            "save_every", "patience", "evaluation_prompts", "evaluation_samples",
        ):  # fmt: skip
            whole(name, getattr(self, name), "take at least one")
        for name in ("lag", "warm_up", "seed"):
            whole(name, getattr(self, name), "take 0 for none", least=0)
        choice("anchor", self.anchor, ANCHORS)
        choice("correction", self.correction, CORRECTIONS)
        if self.rollouts < 2 and chosen.baseline != "level":
            raise ValueError(
                f"rollouts must be at least 2 for algorithm {self.algorithm!r}, got {self.rollouts}; its baseline "
                "needs other rollouts of the prompt"
            )
        choice("shuffle", self.shuffle, SHUFFLES)
        dealt, words = (self.batch, "prompts x rollouts") if self.shuffle == "responses" else (self.prompts, "prompts")
        if dealt % self.minibatches:
            raise ValueError(f"minibatches must divide {words} = {dealt}, got {self.minibatches}; take a divisor of it")
        if self.oversample > 1 and not self.filter_groups:
            raise ValueError(
                f"oversample must be 1 without filter_groups, got {self.oversample}; nothing would be replaced: "
                "filter groups too"
            )
        if self.truncation < 1:
            raise ValueError(f"truncation must be at least 1, got {self.truncation}; 1 caps every weight at one")
        if self.truncation != TrainConfig.truncation and self.correction == "none":
            raise ValueError(
                f"truncation must be {TrainConfig.truncation} with correction 'none', got {self.truncation}; nothing "
                "would be capped: take correction 'truncated'"
            )
        check_read(self.algorithm, self.loss)
        if self.correction != "none" and self.anchor != "current":
            raise ValueError(
                f"correction must be 'none' with anchor 'sampler', got {self.correction!r}; the weight "
                "anchor / sampler is one there: take anchor 'current'"
            )

    @property
    def batch(self) -> int:
        """Responses B = G n that a batch trains on."""
        return self.prompts * self.rollouts
