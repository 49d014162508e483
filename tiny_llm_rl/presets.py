"""Comparisons as data: which arms, how many seeds, and what may differ between the arms.

An arm is an algorithm with its settings. Tables and grids share everything but the fields a preset names in `varies`,
so that what differs can be read off here; a test holds them to it.
"""

from dataclasses import dataclass, replace
from typing import Final

from tiny_llm_rl._checks import choice
from tiny_llm_rl.algorithm import LossConfig
from tiny_llm_rl.arms import (
    FULL,
    GRID,
    GROUPS,
    GRPO,
    GSPO,
    GSPO_CLIP,
    LONG,
    LONG_TUNED,
    LONG_TUNING,
    MEAN,
    MEAN3,
    NO_STD,
    NONE,
    PART,
    QUICK,
    SHUFFLED,
    SMOKE,
    STALE,
    STD,
    TEMPERATURES,
    TUNED,
    TUNING,
    Arm,
    arms,
    chosen,
    crossed,
    rates,
    tuned,
)
from tiny_llm_rl.pretrain import PretrainConfig

__all__ = ["PRESETS", "Arm", "Preset", "preset"]


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


_PRESETS = (
    Preset(
        "smoke",
        "that every part works; says nothing about the algorithms",
        1,
        arms(SMOKE, MEAN3, PART),
    ),
    Preset(
        "cpu-quick",
        "PMD-mean against PMD-part, a regression without a regulariser, and GRPO, in minutes on two cores",
        5,
        arms(QUICK, ("mean", *MEAN3[1:]), PART, NONE, GRPO),
    ),
    Preset(
        "gpu",
        "five million parameters and responses of 90 tokens, on an accelerator (--processes 1)",
        2,
        arms(
            replace(FULL, base="", prompts=512, batches=60, evaluate_every=20, learning_rate=1e-4),
            MEAN,
            PART,
            GRPO,
            ("gspo", "GSPO", {"algorithm": "gspo", "loss": LossConfig(clip_low=0.004, clip_high=0.0054)}),
        ),
        pretrain=PretrainConfig(
            task="addition",
            difficulty=(8, 10),
            width=256,
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
        "eight settings for each of six algorithms, to choose those of cpu-full",
        1,
        tuned(replace(FULL, evaluate_every=20, evaluation_prompts=256), TUNING),
        ("learning_rate",),
        first_seed=100,
    ),
    Preset(
        "cpu-long-tune",
        "sixteen settings for each of four algorithms, to choose those of cpu-long",
        1,
        tuned(replace(LONG, batches=6, evaluate_every=6, evaluation_prompts=128), LONG_TUNING),
        ("learning_rate",),
        first_seed=100,
    ),
    Preset(
        "cpu-stability",
        "one, 8 and 64 updates a batch at the same number of rollouts and updates",
        10,
        crossed(GRID, (MEAN, PART, NONE, GRPO, GSPO), STALE),
        ("prompts", "minibatches", "batches", "evaluate_every"),
    ),
    Preset(
        "cpu-shuffle",
        "single responses or whole groups dealt into minibatches",
        10,
        crossed(GRID, (MEAN, GRPO), SHUFFLED),
        ("shuffle",),
    ),
    Preset(
        "cpu-tau",
        "PMD-mean and PMD-part over the regularisation strength",
        5,
        crossed(
            GRID,
            (("mean", "PMD-mean", {"algorithm": "pmd-mean"}), ("part", "PMD-part", {"algorithm": "pmd-part"})),
            TEMPERATURES,
        ),
    ),
    Preset(
        "cpu-partition",
        "PMD-mean and PMD-part over the rollouts of a prompt, at the same number of rollouts in all",
        5,
        crossed(GRID, (MEAN, PART), GROUPS),
        ("rollouts", "prompts"),
    ),
    Preset(
        "cpu-drift",
        "the learning rate at which each algorithm breaks",
        5,
        crossed(GRID, (MEAN, MEAN3, PART, NONE, GRPO, GSPO), rates(1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)),
        ("learning_rate",),
    ),
    Preset(
        "cpu-full",
        "six algorithms at the settings that cpu-tune chose for each, and PMD-part at a small tau",
        20,
        (*chosen(FULL, TUNING, TUNED), *arms(FULL, PART)),
        ("learning_rate",),
    ),
    Preset(
        "cpu-long",
        "responses of 73 tokens at the settings that cpu-long-tune chose, and PMD-part at a small tau",
        20,
        (
            *chosen(LONG, LONG_TUNING, LONG_TUNED),
            *arms(LONG, ("part", PART[1], {**PART[2], "learning_rate": 1e-4})),
        ),
        ("learning_rate",),
    ),
    Preset(
        "cpu-ablation",
        "each loss with and without dividing the advantage by the deviation of its group",
        5,
        arms(
            FULL,
            MEAN,
            ("mean-std", r"PMD-mean, std, $\tau=.3$", {"algorithm": "pmd-mean", "tau": 0.3, "loss": STD}),
            ("grpo", "GRPO", {"algorithm": "grpo", "loss": NO_STD}),
            ("grpo-std", "GRPO, std", {"algorithm": "grpo"}),
            ("gspo", "GSPO", {"algorithm": "gspo", "loss": replace(GSPO_CLIP, standardise=False)}),
            ("gspo-std", "GSPO, std", {"algorithm": "gspo", "loss": GSPO_CLIP}),
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
