"""Comparisons as data: which arms, how many seeds, and what may differ between the arms.

An arm is an algorithm with its settings. Tables and grids share everything but the fields a preset names in `varies`,
so that what differs can be read off here; a test holds them to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tiny_llm_rl._checks import choice
from tiny_llm_rl.algorithm import LossConfig
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.pretrain import PretrainConfig

__all__ = ["PRESETS", "Arm", "Preset", "preset"]


@dataclass(frozen=True)
class Arm:
    """One line of a comparison: a name for directories, a title for legends, and what is run (seed 0)."""

    name: str
    title: str
    config: TrainConfig


@dataclass(frozen=True)
class Preset:
    """A comparison: its arms, seeds `first_seed ... first_seed + seeds - 1`, and what it is for.

    Attributes:
        name: of the command line.
        about: what the comparison answers.
        seeds: of every arm.
        arms: in the order of tables; the first is the one the others are held against.
        varies: fields of TrainConfig that differ between arms besides algorithm, tau and loss.
        first_seed: of the runs.
        pretrain: makes the base, `base.safetensors` beside the runs, where the package ships none.
    """

    name: str
    about: str
    seeds: int
    arms: tuple[Arm, ...]
    varies: tuple[str, ...] = ()
    first_seed: int = 0
    pretrain: PretrainConfig | None = None


Row = tuple[str, str, dict[str, Any]]

# A log-ratio of a token is small where that of a response is not: GSPO's clip scales with the length of responses.
_GSPO = LossConfig(clip_low=0.02, clip_high=0.027)
_STD, _NO_STD = LossConfig(standardise=True), LossConfig(standardise=False)

_SMOKE = TrainConfig(
    prompts=16, rollouts=8, batches=3, minibatches=4, learning_rate=1e-4, evaluate_every=3, evaluation_prompts=128
)
_QUICK = TrainConfig(prompts=64, rollouts=8, batches=50, minibatches=16, learning_rate=1e-4, evaluate_every=50)
_FULL = TrainConfig(
    prompts=256, rollouts=8, batches=20, minibatches=16, learning_rate=2e-4, evaluate_every=10, evaluation_prompts=2048
)
_GRID = replace(_FULL, batches=8, evaluate_every=8, evaluation_prompts=512)  # cheaper, for grids
# Responses of 73 tokens: 8-column additions with every carry written down.
_LONG = replace(_FULL, base="addition", batches=8, evaluate_every=8, evaluation_prompts=1024)

MEAN: Row = ("mean", r"PMD-mean, $\tau=.1$", {"algorithm": "pmd-mean", "tau": 0.1})
MEAN3: Row = ("mean3", r"PMD-mean, $\tau=.3$", {"algorithm": "pmd-mean", "tau": 0.3})
PART: Row = ("part", r"PMD-part, $\tau=.1$", {"algorithm": "pmd-part", "tau": 0.1})
NONE: Row = ("none", "no regulariser", {"algorithm": "rloo"})
GRPO: Row = ("grpo", "GRPO", {"algorithm": "grpo"})
GSPO: Row = ("gspo", "GSPO", {"algorithm": "gspo", "loss": _GSPO})


def _arms(shared: TrainConfig, *rows: Row) -> tuple[Arm, ...]:
    return tuple(Arm(name, title, replace(shared, **options)) for name, title, options in rows)


def _crossed(shared: TrainConfig, rows: Sequence[Row], settings: Sequence[Row]) -> tuple[Arm, ...]:
    """Every row under every setting, named `row-setting`."""
    both = [
        (f"{row}-{setting}", f"{title}, {words}", {**options, **fields})
        for setting, words, fields in settings
        for row, title, options in rows
    ]
    return _arms(shared, *both)


def _chosen(shared: TrainConfig, grid: dict[str, list[Row]], names: dict[str, str]) -> tuple[Arm, ...]:
    """The settings of a grid that were taken, under the algorithm's own name (PMD-part's tuned one is `part-tuned`)."""
    rows = {name: (title, options) for each in grid.values() for name, title, options in each}
    return _arms(shared, *(("part-tuned" if row == "part" else row, *rows[name]) for row, name in names.items()))


def _rates(*rates: float) -> list[Row]:
    return [(f"{rate:g}", f"learning rate {rate:g}", {"learning_rate": rate}) for rate in rates]


def _tuned(shared: TrainConfig, grid: dict[str, list[Row]]) -> tuple[Arm, ...]:
    return tuple(arm for rows in grid.values() for arm in _arms(shared, *rows))


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


# The same budget for every algorithm: six settings, one seed that no comparison uses, judged by the reward of the last
# five batches on training prompts.
_THREE = (1e-4, 2e-4, 4e-4)
TUNING: Final[dict[str, list[Row]]] = {
    "mean": _dial("mean", "PMD-mean", _regressed("pmd-mean", 0.1, 0.3), _THREE),
    "part": _dial("part", "PMD-part", _regressed("pmd-part", 0.3, 1.0), _THREE),
    "none": _dial(
        "none", "no regulariser", [("0", "", {"algorithm": "rloo"})], (1.25e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4)
    ),
    "penalty": _dial("penalty", "KL and chi2", _regressed("kl-chi2", 0.1, 0.3), _THREE),
    "grpo": _dial("grpo", "GRPO", _clips("grpo", (0.1, 0.1), (0.2, 0.2)), _THREE),
    "gspo": _dial("gspo", "GSPO", _clips("gspo", (0.02, 0.027), (0.06, 0.08)), _THREE),
}

TUNED: Final = {
    "mean": "mean-0.1-0.0004",
    "part": "part-0.3-0.0002",
    "none": "none-0-5e-05",
    "penalty": "penalty-0.1-0.0002",
    "grpo": "grpo-0.2-0.0002",
    "gspo": "gspo-0.06-0.0004",
}

# Six settings each for the long responses. GSPO's .004 is the short one's .02 scaled to the length; the third value of
# each dial was added on the side where the first two had been better.
_TWO = (1e-4, 2e-4)
LONG_TUNING: Final[dict[str, list[Row]]] = {
    "mean": _dial("mean", "PMD-mean", _regressed("pmd-mean", 0.1, 0.3, 0.03), _TWO),
    "grpo": _dial("grpo", "GRPO", _clips("grpo", (0.1, 0.1), (0.2, 0.2), (0.4, 0.4)), _TWO),
    "gspo": _dial("gspo", "GSPO", _clips("gspo", (0.004, 0.0054), (0.02, 0.027), (0.001, 0.00135)), _TWO),
}

LONG_TUNED: Final = {"mean": "mean-0.1-0.0001", "grpo": "grpo-0.4-0.0001", "gspo": "gspo-0.02-0.0002"}

_STALE: list[Row] = [
    (
        f"{updates}",
        f"{updates} updates a batch",
        {"prompts": 16 * updates, "minibatches": updates, "batches": 128 // updates, "evaluate_every": 128 // updates},
    )
    for updates in (1, 8, 64)
]
_GROUPS: list[Row] = [
    (f"n{size}", f"{size} rollouts", {"rollouts": size, "prompts": 2048 // size}) for size in (4, 16, 64)
]
_TEMPERATURES: list[Row] = [(f"{tau:g}", rf"$\tau={tau:g}$", {"tau": tau}) for tau in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)]

_PRESETS = (
    Preset(
        "smoke",
        "that every part works; says nothing about the algorithms",
        1,
        _arms(_SMOKE, MEAN3, PART),
    ),
    Preset(
        "cpu-quick",
        "PMD-mean against PMD-part, a regression without a regulariser, and GRPO, in minutes on two cores",
        3,
        _arms(_QUICK, ("mean", *MEAN3[1:]), PART, NONE, GRPO),
    ),
    Preset(
        "gpu",
        "five million parameters and responses of 90 tokens, on an accelerator (--processes 1)",
        2,
        _arms(
            replace(_FULL, base="", prompts=512, batches=60, evaluate_every=20, learning_rate=1e-4),
            MEAN,
            PART,
            GRPO,
            ("gspo", "GSPO", {"algorithm": "gspo", "loss": LossConfig(clip_low=0.004, clip_high=0.0054)}),
        ),
        pretrain=PretrainConfig(
            task="addition",
            difficulty=(8, 10),
            width=256,
            layers=6,
            heads=8,
            compute="bfloat16",
            batch=512,
            clean_steps=2000,
            learning_rate=1e-3,
            careless_rate=5e-4,
            noise=0.15,
            check_every=1,
        ),
    ),
    Preset(
        "cpu-tune",
        "six settings for each of six algorithms, to choose those of cpu-full",
        1,
        _tuned(replace(_FULL, evaluate_every=20, evaluation_prompts=256), TUNING),
        ("learning_rate",),
        first_seed=100,
    ),
    Preset(
        "cpu-long-tune",
        "six settings for each of three algorithms, to choose those of cpu-long",
        1,
        _tuned(replace(_LONG, batches=6, evaluate_every=6, evaluation_prompts=128), LONG_TUNING),
        ("learning_rate",),
        first_seed=100,
    ),
    Preset(
        "cpu-stability",
        "one, 8 and 64 updates a batch at the same number of rollouts and updates",
        2,
        _crossed(_GRID, (MEAN, PART, NONE, GRPO, GSPO), _STALE),
        ("prompts", "minibatches", "batches", "evaluate_every"),
    ),
    Preset(
        "cpu-tau",
        "PMD-mean and PMD-part over the regularisation strength",
        1,
        _crossed(
            _GRID,
            (("mean", "PMD-mean", {"algorithm": "pmd-mean"}), ("part", "PMD-part", {"algorithm": "pmd-part"})),
            _TEMPERATURES,
        ),
    ),
    Preset(
        "cpu-partition",
        "PMD-mean and PMD-part over the rollouts of a prompt, at the same number of rollouts in all",
        2,
        _crossed(_GRID, (MEAN, PART), _GROUPS),
        ("rollouts", "prompts"),
    ),
    Preset(
        "cpu-drift",
        "the learning rate at which each algorithm breaks",
        2,
        _crossed(_GRID, (MEAN, MEAN3, NONE, GRPO, GSPO), _rates(4e-4, 1.2e-3, 3.6e-3)),
        ("learning_rate",),
    ),
    Preset(
        "cpu-full",
        "six algorithms at the settings that cpu-tune chose for each, and PMD-part at a small tau",
        5,
        (*_chosen(_FULL, TUNING, TUNED), *_arms(_FULL, PART)),
        ("learning_rate",),
    ),
    Preset(
        "cpu-long",
        "responses of 73 tokens at the settings that cpu-long-tune chose, and PMD-part at a small tau",
        3,
        (
            *_chosen(_LONG, LONG_TUNING, LONG_TUNED),
            *_arms(_LONG, ("part", PART[1], {**PART[2], "learning_rate": 1e-4})),
        ),
        ("learning_rate",),
    ),
    Preset(
        "cpu-ablation",
        "each loss with and without dividing the advantage by the deviation of its group",
        3,
        _arms(
            _FULL,
            MEAN,
            ("mean-std", r"PMD-mean, std, $\tau=.3$", {"algorithm": "pmd-mean", "tau": 0.3, "loss": _STD}),
            ("grpo", "GRPO", {"algorithm": "grpo", "loss": _NO_STD}),
            ("grpo-std", "GRPO, std", {"algorithm": "grpo"}),
            ("gspo", "GSPO", {"algorithm": "gspo", "loss": replace(_GSPO, standardise=False)}),
            ("gspo-std", "GSPO, std", {"algorithm": "gspo", "loss": _GSPO}),
        ),
    ),
)
PRESETS: Final = {each.name: each for each in _PRESETS}


def preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ValueError: for an unknown name.

    >>> len(preset("cpu-quick").arms)
    4
    """
    return PRESETS[choice("preset", name, PRESETS)]
