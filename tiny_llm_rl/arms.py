"""Arms of comparisons: an algorithm with its settings, alone, crossed with others, or in a grid to tune over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tiny_llm_rl.algorithm import LossConfig
from tiny_llm_rl.config import SHUFFLES, TrainConfig

__all__ = [
    "Arm", "FULL", "GRID", "GROUPS", "GRPO", "GSPO", "GSPO_CLIP", "LONG", "LONG_TUNED", "LONG_TUNING", "MEAN",
    "MEAN3", "NONE", "NO_STD", "PART", "QUICK", "Row", "SHUFFLED", "SMOKE", "STALE", "STD", "TEMPERATURES", "TUNED",
    "TUNING", "arms", "chosen", "crossed", "rates", "tuned",
]  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One line of a comparison: a name for directories, a title for legends, and what is run (seed 0)."""

    name: str
    title: str
    config: TrainConfig


Row = tuple[str, str, dict[str, Any]]

# A log-ratio of a token is small where that of a response is not: GSPO's clip scales with the length of responses.
GSPO_CLIP = LossConfig(clip_low=0.02, clip_high=0.027)
STD, NO_STD = LossConfig(standardise=True), LossConfig(standardise=False)

SMOKE = TrainConfig(
    prompts=16, rollouts=8, batches=3, minibatches=4, learning_rate=1e-4, evaluate_every=3, evaluation_prompts=128
)
QUICK = TrainConfig(prompts=64, rollouts=8, batches=60, minibatches=16, learning_rate=2e-4, evaluate_every=60)
FULL = TrainConfig(
    prompts=256, rollouts=8, batches=20, minibatches=16, learning_rate=2e-4, evaluate_every=10, evaluation_prompts=2048
)
GRID = replace(FULL, batches=8, evaluate_every=8, evaluation_prompts=512)  # cheaper, for grids
# Responses of 73 tokens: 8-column additions with every carry written down.
LONG = replace(FULL, base="addition", batches=8, evaluate_every=8, evaluation_prompts=1024)

MEAN: Row = ("mean", r"PMD-mean, $\tau=.1$", {"algorithm": "pmd-mean", "tau": 0.1})
MEAN3: Row = ("mean3", r"PMD-mean, $\tau=.3$", {"algorithm": "pmd-mean", "tau": 0.3})
PART: Row = ("part", r"PMD-part, $\tau=.1$", {"algorithm": "pmd-part", "tau": 0.1})
NONE: Row = ("none", "no regulariser", {"algorithm": "rloo"})
GRPO: Row = ("grpo", "GRPO", {"algorithm": "grpo"})
GSPO: Row = ("gspo", "GSPO", {"algorithm": "gspo", "loss": GSPO_CLIP})


def arms(shared: TrainConfig, *rows: Row) -> tuple[Arm, ...]:
    """Rows with what they share."""
    return tuple(Arm(name, title, replace(shared, **options)) for name, title, options in rows)


def crossed(shared: TrainConfig, rows: Sequence[Row], settings: Sequence[Row]) -> tuple[Arm, ...]:
    """Every row under every setting, named `row-setting`."""
    both = [
        (f"{row}-{setting}", f"{title}, {words}", {**options, **fields})
        for setting, words, fields in settings
        for row, title, options in rows
    ]
    return arms(shared, *both)


def chosen(shared: TrainConfig, grid: dict[str, list[Row]], names: dict[str, str]) -> tuple[Arm, ...]:
    """The settings of a grid that were taken, under the algorithm's own name (PMD-part's tuned one is `part-tuned`)."""
    rows = {name: (title, options) for each in grid.values() for name, title, options in each}
    return arms(shared, *(("part-tuned" if row == "part" else row, *rows[name]) for row, name in names.items()))


def rates(*rates: float) -> list[Row]:
    """Learning rates to cross with."""
    return [(f"{rate:g}", f"learning rate {rate:g}", {"learning_rate": rate}) for rate in rates]


def tuned(shared: TrainConfig, grid: dict[str, list[Row]]) -> tuple[Arm, ...]:
    """Every arm of a grid."""
    return tuple(arm for rows in grid.values() for arm in arms(shared, *rows))


def _dial(name: str, title: str, options: Sequence[Row], rates: Sequence[float]) -> list[Row]:
    """The settings of an algorithm's own dial, each at every learning rate."""
    return [
        (
            f"{name}-{dial}-{rate:g}",
            ", ".join(filter(None, (title, words, f"{rate:g}"))),
            {**fields, "learning_rate": rate},
        )
        for dial, words, fields in options
        for rate in rates
    ]


def _regressed(algorithm: str, *temperatures: float) -> list[Row]:
    return [(f"{tau:g}", rf"$\tau={tau:g}$", {"algorithm": algorithm, "tau": tau}) for tau in temperatures]


def _clips(algorithm: str, *clips: tuple[float, float]) -> list[Row]:
    return [
        (
            f"{low:g}",
            f"clip {low:g} / {high:g}",
            {"algorithm": algorithm, "loss": LossConfig(clip_low=low, clip_high=high)},
        )
        for low, high in clips
    ]


# The same budget for every algorithm: eight settings, one seed that no comparison uses, judged by the reward of the
# last five batches on training prompts.
_RATES = (1e-4, 2e-4, 4e-4, 8e-4)
TUNING: Final[dict[str, list[Row]]] = {
    "mean": _dial("mean", "PMD-mean", _regressed("pmd-mean", 0.1, 0.3), _RATES),
    "part": _dial("part", "PMD-part", _regressed("pmd-part", 0.3, 1.0), _RATES),
    "none": _dial(
        "none",
        "no regulariser",
        [("0", "", {"algorithm": "rloo"})],
        (1.25e-5, 2.5e-5, 3.5e-5, 5e-5, 7e-5, 1e-4, 2e-4, 4e-4),
    ),
    "penalty": _dial("penalty", "KL and chi2", _regressed("kl-chi2", 0.1, 0.3), _RATES),
    "grpo": _dial("grpo", "GRPO", _clips("grpo", (0.1, 0.1), (0.2, 0.2)), _RATES),
    "gspo": _dial("gspo", "GSPO", _clips("gspo", (0.02, 0.027), (0.06, 0.08)), _RATES),
}

TUNED: Final = {
    "mean": "mean-0.1-0.0004",
    "part": "part-1-0.0002",
    "none": "none-0-3.5e-05",
    "penalty": "penalty-0.1-0.0002",
    "grpo": "grpo-0.2-0.0004",
    "gspo": "gspo-0.02-0.0004",
}

# Sixteen settings each for the long responses. GSPO's .004 is the short one's .02 scaled to the length; the third and
# the fourth value of each dial, and the fourth rate, were added where the best of the others lay at the end of its
# grid, and for the other algorithms so that all have as many.
_LONG_RATES = (5e-5, 1e-4, 2e-4, 4e-4)
LONG_TUNING: Final[dict[str, list[Row]]] = {
    "mean": _dial("mean", "PMD-mean", _regressed("pmd-mean", 0.1, 0.3, 0.03, 1.0), _LONG_RATES),
    "part": _dial("part", "PMD-part", _regressed("pmd-part", 0.3, 1.0, 3.0, 0.1), _LONG_RATES),
    "grpo": _dial("grpo", "GRPO", _clips("grpo", (0.1, 0.1), (0.2, 0.2), (0.4, 0.4), (0.8, 0.8)), _LONG_RATES),
    "gspo": _dial(
        "gspo", "GSPO", _clips("gspo", (0.004, 0.0054), (0.02, 0.027), (0.001, 0.00135), (0.06, 0.08)), _LONG_RATES
    ),
}

LONG_TUNED: Final = {
    "mean": "mean-0.1-0.0002",
    "part": "part-0.3-0.0001",
    "grpo": "grpo-0.4-0.0001",
    "gspo": "gspo-0.004-0.0002",
}

STALE: list[Row] = [
    (
        f"{updates}",
        f"{updates} updates a batch",
        {"prompts": 16 * updates, "minibatches": updates, "batches": 128 // updates, "evaluate_every": 128 // updates},
    )
    for updates in (1, 8, 64)
]
SHUFFLED: list[Row] = [(how, f"{how} shuffled", {"shuffle": how}) for how in SHUFFLES]
GROUPS: list[Row] = [
    (f"n{size}", f"{size} rollouts", {"rollouts": size, "prompts": 2048 // size}) for size in (4, 16, 64)
]
TEMPERATURES: list[Row] = [(f"{tau:g}", rf"$\tau={tau:g}$", {"tau": tau}) for tau in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)]
