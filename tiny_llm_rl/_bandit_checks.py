"""Configurations of bandits that make no sense are refused in one line, before anything is compiled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tiny_llm_rl._bandit_world import REWARDS
from tiny_llm_rl._checks import choice, finite_scalar, positive_scalar, whole
from tiny_llm_rl.algorithm import ALGORITHMS, LossConfig, check_read
from tiny_llm_rl.correction import CORRECTIONS

if TYPE_CHECKING:
    from tiny_llm_rl.bandit import BanditConfig

MOST: Final = 2**26  # numbers in all tables of log-probabilities that are kept: 256 MiB each time they are copied
CAP: Final = 2.0
TINIEST: Final = 1e-37  # of float32, nearly
WHOLE: Final = {
    "actions": (2, "a bandit needs a choice: take 2 actions or more"),
    "contexts": (1, "take 1 for a plain bandit"),
    "rollouts": (1, "sample several responses a group, for instance 4"),
    "groups": (1, "take as many as a batch has prompts, for instance 32"),
    "batches": (1, "take for instance 60"),
    "minibatches": (1, "take 1 for one step an epoch"),
    "epochs": (1, "take 1 to use every rollout once"),
    "lag": (0, "take 0 to sample from the policy that is trained"),
    "seed": (0, "take a non-negative integer"),
}

__all__ = ["check"]


def _unit(name: str, value: float, remedy: str) -> None:
    """Strictly between 0 and 1."""
    if not 0.0 < finite_scalar(name, value, remedy) < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}; {remedy}")


def _at_least(name: str, value: float, least: float, remedy: str) -> None:
    if finite_scalar(name, value, remedy) < least:
        raise ValueError(f"{name} must be at least {least:g}, got {value}; {remedy}")


def _single(name: str, value: float, remedy: str) -> None:
    """Greater than zero, and a number in float32 too, in which everything is trained."""
    if not TINIEST <= positive_scalar(name, value, remedy) <= 1.0 / TINIEST:
        raise ValueError(f"{name} must lie between {TINIEST} and {1.0 / TINIEST:g}, got {value}; {remedy}")


def check(config: "BanditConfig", names: Sequence[str]) -> None:
    """ValueError or TypeError naming the field, its value and the remedy."""
    choice("algorithm", config.algorithm, names)
    choice("reward", config.reward, REWARDS)
    choice("anchor", config.anchor, ("sampler", "current"))
    choice("correction", config.correction, CORRECTIONS)
    choice("optimizer", config.optimizer, ("adam", "sgd"))
    for name, (least, remedy) in WHOLE.items():
        whole(name, getattr(config, name), remedy, least=least, most=2**32 - 1 if name == "seed" else None)
    _unit("success_mass", config.success_mass, "give the mass of the successes under the initial policy")
    _unit("success_fraction", config.success_fraction, "give the share of the actions that are successes")
    _at_least("spread", config.spread, 0.0, "take 0 for contexts that are alike")
    _single("tau", config.tau, "give a strength in reward units, for instance 0.1")
    _single("learning_rate", config.learning_rate, "give a step size, for instance 0.005")
    _at_least("cap", config.cap, 1.0, "weights are capped above one, for instance at 2")
    _at_least("oversample", config.oversample, 1.0, "take 1 to draw as many groups as are used")
    if not isinstance(config.filter_groups, bool):
        raise TypeError(f"filter_groups must be True or False, got {config.filter_groups!r}; True leaves groups out")
    _together(config)


def _together(config: "BanditConfig") -> None:
    """Fields that are fine alone and not together."""
    successes = round(config.actions * config.success_fraction)
    if not 0 < successes < config.actions:
        raise ValueError(
            f"success_fraction must leave a success and a failure among {config.actions} actions, got "
            f"{config.success_fraction}; take for instance 0.5, or more actions"
        )
    kept = config.actions * config.contexts * (1 + config.lag)
    if kept > MOST:
        raise ValueError(
            f"actions times contexts times (1 + lag) must be at most {MOST}, got {kept}; take fewer of one of them"
        )
    if config.algorithm not in ALGORITHMS:
        if config.lag:
            raise ValueError(
                f"lag must be 0 for {config.algorithm}, which samples nothing, got {config.lag}; leave it out"
            )
        if config.loss != LossConfig():
            raise ValueError(
                f"loss must have its defaults for {config.algorithm}, which has none, got {config.loss}; leave it out"
            )
        return
    check_read(config.algorithm, config.loss)
    if config.loss.length_normalise:
        raise ValueError("length_normalise must be False for bandits, got True; all their responses have one token")
    if config.correction == "none" and config.cap != CAP:
        raise ValueError(
            f"cap must be {CAP} with correction 'none', got {config.cap}; nothing would be capped: take correction "
            "'truncated'"
        )
    baseline = ALGORITHMS[config.algorithm].baseline
    if config.rollouts < 2 and baseline != "level":
        raise ValueError(
            f"rollouts must be at least 2 for {config.algorithm}, whose baseline is that of a group, got "
            f"{config.rollouts}; sample more, or take reinforce or pmd-level"
        )
    if config.groups % config.minibatches:
        raise ValueError(
            f"minibatches must divide groups={config.groups}, got {config.minibatches}; take a divisor of it"
        )
    if config.rollouts < 2 and config.filter_groups:
        raise ValueError(
            "filter_groups would leave out every group of 1 rollout, got True; take more rollouts, or drop it"
        )
    if config.oversample > 1.0 and not config.filter_groups:
        raise ValueError(
            f"oversample must be 1 unless groups are filtered, got {config.oversample}; "
            "add filter_groups, or take more groups"
        )
