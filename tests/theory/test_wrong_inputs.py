"""Bad input raises at the door: the right type, one line, with the argument, its value and a remedy."""

import math

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory import Problem, divergence

NAN, INF = math.nan, math.inf
LAW, REWARD, TAU = [0.5, 0.5], [0.0, 1.0], 0.1


class Awkward:
    """Converts to nothing."""

    def __repr__(self):
        return "Awkward\n()"


def refused(kind, call, *fragments):
    """The call raises exactly this kind, in one line that holds every fragment and a remedy after a semicolon."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert "\n" not in message
    assert len(message) < 300
    for fragment in fragments:
        assert fragment in message, message
    cause, _, remedy = message.partition("; ")
    assert len(cause) > 10
    assert len(remedy) > 10, message


# -- tau, for every constructor ---------------------------------------------------------------------------------

TAUS = {
    "zero": (ValueError, 0.0, "got 0.0"),
    "negative": (ValueError, -0.1, "got -0.1"),
    "nan": (ValueError, NAN, "got nan"),
    "inf": (ValueError, INF, "got inf"),
    "minus-inf": (ValueError, -INF, "got -inf"),
    "string": (TypeError, "0.1", "got '0.1'"),
    "bytes": (TypeError, b"1", "got b'1'"),
    "none": (TypeError, None, "got None"),
    "complex": (TypeError, 0.1 + 0j, "got (0.1+0j)"),
    "bool": (TypeError, True, "got True"),
    "numpy-bool": (TypeError, np.True_, "got np.True_"),
    "list": (TypeError, [0.1], "got [0.1]"),
    "array": (TypeError, np.array([0.1, 0.2]), "got array([0.1, 0.2])"),
    "object": (TypeError, Awkward(), "got Awkward ()"),
    "dict": (TypeError, {}, "got {}"),
}

CONSTRUCTORS = {
    "from_policy": lambda tau: Problem.from_policy(LAW, REWARD, tau),
    "from_log_policy": lambda tau: Problem.from_log_policy(np.log(LAW), REWARD, tau),
    "binary": lambda tau: Problem.binary(0.5, tau),
    "from_rollouts": lambda tau: Problem.from_rollouts(REWARD, tau),
    "from_distribution": lambda tau: Problem.from_distribution(uniform(), tau),
    "constructor": lambda tau: Problem(np.log(LAW), np.array(REWARD), tau),
}


def uniform():
    from scipy import stats

    return stats.uniform()


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
@pytest.mark.parametrize("wrong", TAUS)
def test_tau(constructor, wrong):
    kind, value, shown = TAUS[wrong]
    refused(kind, lambda: CONSTRUCTORS[constructor](value), "tau must be", shown, "reward units")


def test_a_tau_that_makes_the_targets_overflow():
    refused(ValueError, lambda: Problem.from_policy(LAW, [-1e300, 1e300], 1e-10), "tau=1e-10", "overflow")


# -- rewards ------------------------------------------------------------------------------------------------------

REWARDS = {
    "nan": (ValueError, [0.0, NAN], "NaN at index 1"),
    "inf": (ValueError, [0.0, INF], "holds inf"),
    "minus-inf": (ValueError, [-INF, 0.0], "holds -inf"),
    "complex": (TypeError, [0.0, 1j], "1j"),
    "short": (ValueError, [1.0], "1 entries for 2 actions"),
    "long": (ValueError, [1.0, 2.0, 3.0], "3 entries for 2 actions"),
    "two-dimensional": (ValueError, [[0.0, 1.0]], "shape (1, 2)"),
    "scalar": (ValueError, 1.0, "shape ()"),
    "empty": (ValueError, [], "shape (0,)"),
    "ragged": (ValueError, [[0.0], [1.0, 2.0]], "ragged, got [[0.0], [1.0, 2.0]]"),
    "strings": (TypeError, ["a", "b"], "['a', 'b']"),
    "none": (TypeError, None, "None"),
    "objects": (TypeError, [None, 1.0], "[None, 1.0]"),
    "dates": (TypeError, np.array(["2020-01-01", "2021-01-01"], dtype="M8[D]"), "2020-01-01"),
}


@pytest.mark.parametrize("wrong", REWARDS)
def test_reward(wrong):
    kind, value, shown = REWARDS[wrong]
    refused(kind, lambda: Problem.from_policy(LAW, value, TAU), "reward", shown, "one finite real reward per action")


@pytest.mark.parametrize("wrong", [name for name in REWARDS if name not in ("short", "long")])
def test_rollouts(wrong):
    kind, value, shown = REWARDS[wrong]
    refused(kind, lambda: Problem.from_rollouts(value, TAU), "reward", shown, "pass")


def test_reward_length_with_log_policy():
    refused(ValueError, lambda: Problem.from_log_policy(np.log(LAW), [1.0], TAU), "reward has 1 entries for 2 actions")


# -- policies -------------------------------------------------------------------------------------------------------

POLICIES = {
    "negative": (ValueError, [1.5, -0.5], "-0.5 at index 1"),
    "nan": (ValueError, [0.5, NAN], "NaN at index 1"),
    "inf": (ValueError, [0.5, INF], "inf"),
    "sums-to-more": (ValueError, [0.5, 0.6], "sums to 1.1"),
    "sums-to-less": (ValueError, [0.5, 0.4], "sums to 0.9"),
    "just-outside": (ValueError, [0.5, 0.5 + 2e-9], "sums to 1.000000002"),
    "all-zero": (ValueError, [0.0, 0.0], "sums to 0.0"),
    "empty": (ValueError, [], "shape (0,)"),
    "two-dimensional": (ValueError, [[0.5, 0.5]], "shape (1, 2)"),
    "scalar": (ValueError, 1.0, "shape ()"),
    "ragged": (ValueError, [[0.5], [0.25, 0.25]], "ragged"),
    "strings": (TypeError, ["0.5", "0.5"], "['0.5', '0.5']"),
    "string": (TypeError, "half", "'half'"),
    "complex": (TypeError, [0.5, 0.5 + 0j], "(0.5+0j)"),
    "none": (TypeError, None, "None"),
}


@pytest.mark.parametrize("wrong", POLICIES)
def test_policy(wrong):
    kind, value, shown = POLICIES[wrong]
    refused(kind, lambda: Problem.from_policy(value, REWARD, TAU), "policy", shown, "probabilities")


LOG_POLICIES = {
    "probabilities": (ValueError, [0.5, 0.5], "sums to 3.29"),
    "nan": (ValueError, [NAN, 0.0], "NaN at index 0"),
    "plus-inf": (ValueError, [INF, 0.0], "+inf"),
    "nowhere": (ValueError, [-INF, -INF], "sums to 0.0"),
    "logits": (ValueError, [800.0, 1.0], "inf"),
    "two-dimensional": (ValueError, np.zeros((1, 1)), "shape (1, 1)"),
    "empty": (ValueError, [], "shape (0,)"),
    "strings": (TypeError, ["a"], "['a']"),
    "complex": (TypeError, [0j], "0j"),
}


@pytest.mark.parametrize("wrong", LOG_POLICIES)
def test_log_policy(wrong):
    kind, value, shown = LOG_POLICIES[wrong]
    refused(kind, lambda: Problem.from_log_policy(value, REWARD, TAU), "log_policy", shown, "log-probabilities")


# -- binary ---------------------------------------------------------------------------------------------------------

PROBABILITIES = {
    "below": (ValueError, -1e-9, "p must lie in [0, 1], got -1e-09"),
    "above": (ValueError, 1.5, "p must lie in [0, 1], got 1.5"),
    "nan": (ValueError, NAN, "p must be finite, got nan"),
    "inf": (ValueError, INF, "p must be finite, got inf"),
    "string": (TypeError, "0.5", "p must be a real number, got '0.5'"),
    "bool": (TypeError, True, "p must be a real number, got True"),
    "none": (TypeError, None, "p must be a real number, got None"),
    "array": (TypeError, [0.5], "p must be a real number, got [0.5]"),
}


@pytest.mark.parametrize("wrong", PROBABILITIES)
def test_probability(wrong):
    kind, value, shown = PROBABILITIES[wrong]
    refused(kind, lambda: Problem.binary(value, TAU), shown, "probability of success")


@pytest.mark.parametrize(
    ("kind", "p", "failure", "shown"),
    [
        (ValueError, 0.5, 0.6, "p + failure sums to 1.1"),
        (ValueError, 1.0, -0.1, "failure must lie in [0, 1], got -0.1"),
        (ValueError, 1.0, NAN, "failure must be finite, got nan"),
        (TypeError, 1.0, "0", "failure must be a real number, got '0'"),
        (ValueError, 0.0, 0.0, "p + failure sums to 0.0"),
    ],
    ids=["not-the-rest", "negative", "nan", "string", "nothing"],
)
def test_failure(kind, p, failure, shown):
    refused(kind, lambda: Problem.binary(p, TAU, failure=failure), shown)


@pytest.mark.parametrize(
    ("kind", "rewards", "shown"),
    [
        (ValueError, (0, 1, 2), "(0, 1, 2)"),
        (ValueError, 1.0, "1.0"),
        (ValueError, (0, NAN), "NaN at index 1"),
        (ValueError, (0, INF), "inf"),
        (TypeError, ("a", "b"), "'a'"),
        (TypeError, (0, 1j), "+1.j"),
    ],
    ids=["three", "one", "nan", "inf", "strings", "complex"],
)
def test_binary_rewards(kind, rewards, shown):
    refused(kind, lambda: Problem.binary(0.5, TAU, rewards=rewards), "reward", shown)


# -- updates --------------------------------------------------------------------------------------------------------

PROBLEM = Problem.from_policy([0.5, 0.5, 0.0], [0.0, 1.0, 2.0], TAU)
SCALARS = {
    "nan": (ValueError, NAN, "must be finite, got nan"),
    "inf": (ValueError, INF, "must be finite, got inf"),
    "minus-inf": (ValueError, -INF, "must be finite, got -inf"),
    "string": (TypeError, "1", "must be a real number, got '1'"),
    "bool": (TypeError, False, "must be a real number, got False"),
    "complex": (TypeError, 1j, "must be a real number, got 1j"),
    "list": (TypeError, [1.0], "must be a real number, got [1.0]"),
    "array": (TypeError, np.ones(2), "must be a real number, got array([1., 1.])"),
}
ON_SAMPLER = np.array([math.log(0.5), math.log(0.5), -INF])
SCALAR_ARGUMENTS = {
    "baseline": lambda value: pmd.baseline_update(PROBLEM, baseline=value),
    "weight": lambda value: pmd.mixed_update(PROBLEM, weight=value),
    "mismatched-baseline": lambda value: pmd.mismatched_update(PROBLEM, log_sampler=ON_SAMPLER, baseline=value),
}


@pytest.mark.parametrize("argument", SCALAR_ARGUMENTS)
@pytest.mark.parametrize("wrong", SCALARS)
def test_scalar_arguments(argument, wrong):
    kind, value, shown = SCALARS[wrong]
    refused(kind, lambda: SCALAR_ARGUMENTS[argument](value), argument.rpartition("-")[2], shown, "pass")


@pytest.mark.parametrize("argument", ["baseline", "weight"])
def test_scalar_arguments_are_not_optional(argument):
    refused(TypeError, lambda: SCALAR_ARGUMENTS[argument](None), argument, "got None", "pass")


@pytest.mark.parametrize("weight", [-1.0, -1e-300])
def test_negative_weight(weight):
    refused(ValueError, lambda: pmd.mixed_update(PROBLEM, weight=weight), "weight must be at least zero", str(weight))


SAMPLERS = {
    "short": (ValueError, np.log(LAW), "log_sampler has 2 entries for 3 actions"),
    "probabilities": (ValueError, [0.5, 0.5, 0.0], "log_sampler sums to 4.2"),
    "nan": (ValueError, [NAN, 0.0, -INF], "log_sampler holds NaN at index 0"),
    "plus-inf": (ValueError, [INF, 0.0, -INF], "log_sampler sums to inf"),
    "nowhere": (ValueError, [-INF] * 3, "log_sampler sums to 0.0"),
    "outside": (ValueError, np.log([0.5, 0.25, 0.25]), "where the policy has none"),
    "two-dimensional": (ValueError, np.zeros((3, 1)), "log_sampler must be a non-empty array"),
    "strings": (TypeError, ["a", "b", "c"], "log_sampler must hold real numbers"),
    "complex": (TypeError, [0j, 0j, 0j], "log_sampler must hold real numbers"),
    "none": (TypeError, None, "log_sampler must hold real numbers, got None"),
}


@pytest.mark.parametrize("wrong", SAMPLERS)
def test_sampler(wrong):
    kind, value, shown = SAMPLERS[wrong]
    refused(kind, lambda: pmd.mismatched_update(PROBLEM, log_sampler=value), shown)


# -- divergences ----------------------------------------------------------------------------------------------------

DIVERGENCES = {
    "kl": divergence.kl,
    "reverse_kl": divergence.reverse_kl,
    "chi2": divergence.chi2,
    "total_variation": divergence.total_variation,
    "hellinger": divergence.hellinger,
    "renyi": lambda p, q: divergence.renyi(p, q, 2.0),
}
LOG_LAW = np.log(LAW)
PAIRS = {
    "shapes": (ValueError, LOG_LAW, np.log([0.2, 0.3, 0.5]), "one shape, got "),
    "nan": (ValueError, [NAN, 0.0], LOG_LAW, "NaN at index 0"),
    "probability-above-one": (ValueError, LOG_LAW, [0.5, -1.0], "holds 0.5, a probability above one"),
    "two-dimensional": (ValueError, np.zeros((1, 2)), LOG_LAW, "shape (1, 2)"),
    "empty": (ValueError, [], [], "shape (0,)"),
    "strings": (TypeError, ["a", "b"], LOG_LAW, "['a', 'b']"),
    "complex": (TypeError, LOG_LAW, [0j, 0j], "0j"),
}


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("wrong", PAIRS)
def test_divergences(name, wrong):
    kind, p, q, shown = PAIRS[wrong]
    refused(kind, lambda: DIVERGENCES[name](p, q), "log_", shown, "logarithms")


@pytest.mark.parametrize("order", [-0.5, NAN, -INF], ids=["negative", "nan", "minus-inf"])
def test_renyi_order(order):
    refused(ValueError, lambda: divergence.renyi(LOG_LAW, LOG_LAW, order), "order must be at least zero", repr(order))


# -- distributions --------------------------------------------------------------------------------------------------


class Named:
    def __init__(self, ppf, isf):
        self.ppf, self.isf = ppf, isf


DISTRIBUTIONS = {
    "number": (TypeError, 1.0, "distribution must have ppf and isf, got float"),
    "none": (TypeError, None, "distribution must have ppf and isf, got NoneType"),
    "string": (TypeError, "norm", "got str"),
    "half": (TypeError, Named(lambda u: u, None), "got Named"),
    "nan-tails": (ValueError, Named(lambda u: u * NAN, lambda u: u * NAN), "not finite in its tails"),
    "nan-inside": (
        ValueError,
        Named(lambda u: np.where((u > 0.2) & (u < 0.4), NAN, u), lambda u: 1.0 - u),
        "quantile function",
    ),
}


@pytest.mark.parametrize("wrong", DISTRIBUTIONS)
def test_distribution(wrong):
    kind, value, shown = DISTRIBUTIONS[wrong]
    refused(kind, lambda: Problem.from_distribution(value, TAU), "distribution", shown)


def test_cauchy_has_no_mean():
    from scipy import stats

    refused(ValueError, lambda: Problem.from_distribution(stats.cauchy(), TAU), "distribution has no finite mean")


def test_long_values_are_cut():
    refused(TypeError, lambda: Problem.from_policy(LAW, REWARD, "x" * 500), "tau", "...")
