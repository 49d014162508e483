"""The table of algorithms: every loss starts as the policy gradient, and ends where theory says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmdtheory as pmd
from tests.strategies import taus
from tests.tolerances import exact
from tests.wrong import refused

jax = pytest.importorskip("jax")
jnp = jax.numpy
algorithm = pytest.importorskip("tiny_llm_rl.algorithm")
ALGORITHMS, LossConfig = algorithm.ALGORITHMS, algorithm.LossConfig

pytestmark = pytest.mark.jax
REWARD = np.array([[0.0, 0.25, 1.0, 0.0], [1.0, 1.0, 0.0, 0.5]])


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def gradient(name, logp, old, signal, tau, config=None, **keywords):
    config = LossConfig() if config is None else config
    return np.asarray(
        jax.grad(lambda x: algorithm.loss(name, x, old, signal, tau, config, **keywords))(jnp.asarray(logp))
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_at_the_old_policy_it_is_the_policy_gradient(name):
    """Minus the mean of A grad log pi, whatever the regulariser or the clip: they vanish there."""
    tau, old = 0.3, jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4]))
    signal = algorithm.advantages(name, REWARD, tau, LossConfig(level=0.2)).reshape(-1)
    np.testing.assert_allclose(gradient(name, old, old, signal, tau), -np.asarray(signal) / 8, atol=exact(4.0))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_advantages_are_those_of_the_table(name):
    from tiny_llm_rl.advantage import advantage

    row, config = ALGORITHMS[name], LossConfig(level=0.2)
    want = advantage(REWARD, 0.3, baseline=row.baseline, standardise=row.standardise, level=0.2)
    np.testing.assert_array_equal(algorithm.advantages(name, REWARD, 0.3, config), want)
    other = algorithm.advantages(name, REWARD, 0.3, LossConfig(level=0.2, standardise=not row.standardise))
    assert np.abs(np.asarray(other) - np.asarray(want)).max() > 0.01


def population_gradient(name, problem, logits, signal, config=None):
    """Of the expected loss under the old policy, with respect to logits."""
    config = LossConfig() if config is None else config

    def objective(x):
        keywords = {"weights": jnp.asarray(problem.policy), "reduction": "sum"}
        logp, old = jax.nn.log_softmax(x), jnp.asarray(problem.log_policy)
        return algorithm.loss(name, logp, old, jnp.asarray(signal), problem.tau, config, **keywords)

    return np.asarray(jax.grad(objective)(jnp.asarray(logits)))


STEPS = {
    "pmd-mean": lambda q: (pmd.mean_update(q).unwrap(), q.mean_reward / q.tau, {}),
    "pmd-part": lambda q: (pmd.kl_update(q).unwrap(), q.log_partition, {}),
    "kl-pg": lambda q: (pmd.kl_update(q).unwrap(), q.mean_reward / q.tau, {}),
    "kl-chi2": lambda q: (
        pmd.mean_update(q).unwrap(),
        q.mean_reward / q.tau,
        {"chi2_weight": pmd.mean_update(q).unwrap().multiplier},  # C2
    ),
}


@settings(max_examples=12)
@given(
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    reward=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4),
    tau=taus(-1, 1),
)
def test_the_population_loss_is_stationary_at_the_exact_step(weights, reward, tau):
    problem = pmd.Problem.from_policy(np.array(weights) / sum(weights), reward, tau)
    for name, step in STEPS.items():
        update, baseline, options = step(problem)
        signal = problem.reward - problem.tau * baseline
        found = population_gradient(name, problem, update.log_policy, signal, LossConfig(**options))
        assert np.abs(found).max() <= 1e-10 * max(1.0, 1.0 / tau), name


def test_another_step_is_not_stationary():
    """The mutants: each loss at the step of another member."""
    problem = pmd.Problem.from_policy([0.4, 0.3, 0.2, 0.1], [0.0, 0.5, 0.0, 1.0], 0.2)
    ideal, mean = pmd.kl_update(problem).unwrap(), pmd.mean_update(problem).unwrap()
    for name, other in (("pmd-mean", ideal), ("pmd-part", mean), ("kl-pg", mean), ("kl-chi2", ideal)):
        _, baseline, options = STEPS[name](problem)
        signal = problem.reward - problem.tau * baseline
        found = population_gradient(name, problem, other.log_policy, signal, LossConfig(**options))
        assert np.abs(found).max() > 1e-3, name


LOGP, OLD = np.log([0.5, 0.3, 0.2, 0.6]), np.log([0.2, 0.4, 0.3, 0.1])
SIGNAL = np.array([1.0, -0.5, 0.5, 2.0])


def moves(name, one, other, **keywords):
    here, there = (float(algorithm.loss(name, LOGP, OLD, SIGNAL, 0.3, each, **keywords)) for each in (one, other))
    return abs(here - there) > 1e-6


@pytest.mark.parametrize(
    ("option", "users"),
    [
        ({"chi2_weight": 3.0}, {"kl-chi2"}),
        ({"clip_low": 0.01}, {"grpo", "dapo", "dr-grpo", "gspo"}),
        ({"clip_high": 0.9}, {"grpo", "dapo", "dr-grpo", "gspo"}),
        ({"horizon": 7.0}, {"dr-grpo"}),
    ],
    ids=["chi2_weight", "clip_low", "clip_high", "horizon"],
)
def test_options_reach_their_losses_and_no_others(option, users):
    assert {name for name in ALGORITHMS if moves(name, LossConfig(), LossConfig(**option))} == users
    assert set(algorithm.READERS[next(iter(option))]) == users


def test_lengths_divide_the_terms_of_regressions():
    """Of those of PMD, and of no other loss."""
    logp, old = np.tile(LOGP[:, None] / 3, 3), np.tile(OLD[:, None] / 3, 3)
    mask = np.ones((4, 3), bool)
    for name in ALGORITHMS:
        plain, short = (
            float(algorithm.loss(name, logp, old, SIGNAL, 0.3, LossConfig(length_normalise=by), mask=mask))
            for by in (False, True)
        )
        reads = name in algorithm.READERS["length_normalise"]
        assert reads == name.startswith("pmd-")
        assert short == pytest.approx(plain / 3 if reads else plain, rel=1e-12)


def test_a_level_reaches_the_advantages_that_have_one():
    found = {
        name for name in ALGORITHMS
        if not np.array_equal(*(algorithm.advantages(name, REWARD, 0.3, LossConfig(level=b)) for b in (0.0, 1.0)))
    }  # fmt: skip
    assert found == set(algorithm.READERS["level"]) == {"pmd-level", "reinforce"}


OTHER = {
    "chi2_weight": 3.0, "level": 1.0, "clip_low": 0.1, "clip_high": 0.1, "horizon": 7.0, "standardise": True,
    "length_normalise": True,
}  # fmt: skip


def test_options_that_would_do_nothing_are_refused():
    """Each by name, with the algorithms that would read it; what is read, and every default, is not."""
    assert set(OTHER) == set(algorithm.READERS) == set(LossConfig.__dataclass_fields__)
    for option, value in OTHER.items():
        for name in ALGORITHMS:
            config = LossConfig(**{option: value})
            if name in algorithm.READERS[option]:
                algorithm.check_read(name, config)
            else:
                words = (option, repr(name), str(value), algorithm.READERS[option][0])
                refused(ValueError, lambda n=name, c=config: algorithm.check_read(n, c), *words)
    for name in ALGORITHMS:
        algorithm.check_read(name, LossConfig())


def test_tau_matters_where_a_minimum_exists():
    for name, row in ALGORITHMS.items():
        one, other = (float(algorithm.loss(name, LOGP, OLD, SIGNAL, tau, LossConfig())) for tau in (0.1, 1.0))
        assert (abs(one - other) > 1e-6) == row.regresses, name


def test_rows_are_what_they_are_filed_under():
    assert all(name == row.name and row.source and row.title for name, row in ALGORITHMS.items())
    assert len({row.title for row in ALGORITHMS.values()}) == len(ALGORITHMS)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (ValueError, {"chi2_weight": -1.0}, ("chi2_weight", "-1.0")),
        (ValueError, {"level": float("nan")}, ("level", "nan")),
        (ValueError, {"clip_low": 1.5}, ("clip_low", "1.5")),
        (ValueError, {"clip_high": -0.1}, ("clip_high", "-0.1")),
        (ValueError, {"horizon": 0.0}, ("horizon", "0.0")),
        (TypeError, {"clip_low": "0.2"}, ("clip_low", "'0.2'")),
    ],
)
def test_wrong_options(kind, options, words):
    refused(kind, lambda: LossConfig(**options), *words)


def test_unknown_algorithms():
    refused(
        ValueError, lambda: algorithm.advantages("ppo", REWARD, 0.3, LossConfig()), "algorithm", "'ppo'", "pmd-mean"
    )
    refused(ValueError, lambda: algorithm.loss("ppo", LOGP, OLD, SIGNAL, 0.3, LossConfig()), "algorithm", "'ppo'")
