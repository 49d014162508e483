r"""An exactly solvable language model: its whole response space is enumerated, so that theorem and trainer meet.

A small autoregressive model over V symbols and L tokens has V^L responses. Their law under the model is known, so the
population step of the family is (`pmdtheory.mean_update` and the others on `exact_problem`), and so is what n rollouts
make of it. `fit` minimises the same regression that a trainer minimises, over the same weights.

`Tabular` needs NumPy alone; `Enumerated`, the transformer, is imported with JAX when it is first asked for.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator

from pmdtheory._checks import FloatArray
from pmdtheory.problem import Problem
from tiny_llm_rl._checks import choice, whole
from tiny_llm_rl._regression import Fit as Fit
from tiny_llm_rl._regression import fit as fit
from tiny_llm_rl._sampling_error import BASELINES
from tiny_llm_rl._sampling_error import asymptotic_error as asymptotic_error
from tiny_llm_rl._tabular import RULES as RULES
from tiny_llm_rl._tabular import SequenceModel as SequenceModel
from tiny_llm_rl._tabular import Tabular as Tabular
from tiny_llm_rl._tabular import responses as responses
from tiny_llm_rl._tabular import sequence_reward as sequence_reward

if TYPE_CHECKING:
    from tiny_llm_rl._enumerated import Enumerated as Enumerated

__all__ = [
    "RULES",
    "Enumerated",
    "Fit",
    "Rollouts",
    "SequenceModel",
    "Tabular",
    "asymptotic_error",
    "exact_problem",
    "fit",
    "responses",
    "sample_rollouts",
    "sequence_reward",
]

_CHUNK: Final = 2**20  # rollouts drawn at once


def __getattr__(name: str) -> Any:
    """`Enumerated`, which needs JAX."""
    if name == "Enumerated":
        from tiny_llm_rl._enumerated import Enumerated

        return Enumerated
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def exact_problem(model: SequenceModel, rule: str, tau: float) -> Problem:
    """The step of a sequence model from its base weights, over every response.

    Args:
        model: `Tabular` or `Enumerated`.
        rule: of the reward, a name of `RULES`.
        tau: greater than zero, reward units.

    Returns:
        A `Problem` of V^L actions, in the order of `responses`.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C20).

    >>> problem = exact_problem(Tabular(3, 4, seed=0), "checksum", tau=0.5)
    >>> problem.log_policy.size, 0.05 < problem.mean_reward < 0.2
    (81, True)
    """
    reward = sequence_reward(rule, model.vocabulary, model.length)
    return Problem.from_log_policy(model.log_probs(model.base), reward, tau)


class Rollouts(NamedTuple):
    """What the regression keeps of many rollouts: their loss depends on nothing else.

    Attributes:
        weights: `[A]`, frequency of each response.
        target: `[A]`, the mean leave-one-out target of its rollouts, nats; zero where it was never drawn.
    """

    weights: FloatArray
    target: FloatArray


def sample_rollouts(problem: Problem, *, n: int, groups: int, rng: Generator, baseline: str = "mean") -> Rollouts:
    r"""Draw groups of rollouts from the policy and sum up their regression.

    Formula: \(\frac1N\sum_i (t_i - s_{y_i})^2 = \sum_y \hat\mu_y(\bar t_y - s_y)^2 + \text{const}\), with
    \(t_i = r_i/\tau - \hat b_i\), \(\hat b_i\) from the other rollouts of the group.

    Args:
        problem: of `A` responses.
        n: rollouts of a group, at least 2.
        groups: how many, at least 1.
        rng: NumPy generator.
        baseline: "mean" (PMD-mean) or "partition" (PMD-part), leave-one-out.

    Returns:
        `Rollouts`: pass it on as `fit(model, problem, **rollouts._asdict())`.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C12, C20).

    >>> problem = exact_problem(Tabular(2, 3, seed=0), "palindrome", tau=0.5)
    >>> drawn = sample_rollouts(problem, n=4, groups=2**15, rng=np.random.default_rng(0))
    >>> bool(np.abs(drawn.target - problem.scaled_advantage).max() < 0.05)  # the target is unbiased
    True
    """
    whole("n", n, "leave-one-out needs at least 2 rollouts in a group", least=2)
    whole("groups", groups, "pass the number of groups")
    estimate = BASELINES[choice("baseline", baseline, BASELINES)]
    size = problem.policy.size
    edges = np.cumsum(problem.policy)
    edges[-1] = 1.0
    count, total = np.zeros(size), np.zeros(size)
    for first in range(0, groups, max(1, _CHUNK // n)):
        rows = min(groups - first, max(1, _CHUNK // n))
        drawn = np.searchsorted(edges, rng.random((rows, n)), side="right")
        reward = problem.reward[drawn]
        target = reward / problem.tau - estimate(reward, problem.tau)
        count += np.bincount(drawn.ravel(), minlength=size)
        total += np.bincount(drawn.ravel(), target.ravel(), minlength=size)
    return Rollouts(count / (n * groups), np.divide(total, count, out=np.zeros(size), where=count > 0))
