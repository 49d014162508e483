"""Bandits: exact where they can be, random in the right way, and refused when they make no sense."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmdtheory as pmd
from tests.tolerances import RATE, monte_carlo
from tests.wrong import refused

jax = pytest.importorskip("jax")
jnp = jax.numpy
bandit = pytest.importorskip("tiny_llm_rl.bandit")
from tiny_llm_rl import _bandit_population as population  # noqa: E402
from tiny_llm_rl import _bandit_sampling, _bandit_world, correction, selection  # noqa: E402
from tiny_llm_rl.algorithm import READERS, LossConfig  # noqa: E402

BanditConfig, make_step, make_train, make_world = (
    bandit.BanditConfig,
    bandit.make_step,
    bandit.make_train,
    bandit.make_world,
)
pytestmark = pytest.mark.jax

F32 = 5e-5  # of a float32 policy against the float64 reference, times max(1, max|a|)
# Plain gradient steps: Adam turns the rounding of a gradient that vanishes into whole steps.
TINY = BanditConfig(
    actions=12,
    success_fraction=0.25,
    success_mass=0.2,
    tau=0.3,
    groups=8,
    batches=4,
    epochs=5,
    optimizer="sgd",
    learning_rate=0.3,
)


def log_laws(rng, size, actions):
    table = rng.normal(size=(size, actions))
    return table - np.logaddexp.reduce(table, axis=-1, keepdims=True)


# -- worlds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", bandit.REWARDS)
@pytest.mark.parametrize("actions", [2, 7, 1000])
def test_worlds_are_as_announced(kind, actions):
    found = make_world(BanditConfig(reward=kind, actions=actions, success_fraction=0.4, contexts=5, spread=1.0))
    law = np.exp(found.log_policy)
    np.testing.assert_allclose(law.sum(-1), 1.0, atol=1e-12)
    mass = law[:, -found.successes :].sum(-1)
    odds = np.log(mass) - np.log1p(-mass)
    assert abs(odds[2] - np.log(0.01 / 0.99)) < 1e-9  # the middle one of the contexts
    assert np.all(np.diff(odds) > 0)
    assert found.successes == round(0.4 * actions)
    assert np.all(np.diff(found.reward) >= 0)
    assert found.reward[-1] > found.reward[0]
    assert sum(found.sizes) == actions
    np.testing.assert_array_equal(np.repeat(found.levels, found.sizes), found.reward)


def test_levels_carry_the_whole_law():
    log_policy = log_laws(np.random.default_rng(0), 3, 9)
    levels = np.asarray(_bandit_world.by_level(jnp.asarray(log_policy), (2, 4, 3)))
    want = [np.logaddexp.reduce(log_policy[:, a:b], axis=-1) for a, b in ((0, 2), (2, 6), (6, 9))]
    np.testing.assert_allclose(levels, np.stack(want, -1), atol=1e-6)
    back = np.asarray(_bandit_world.from_level(jnp.arange(3.0)[None], (2, 4, 3)))
    assert back.tolist() == [[0, 0, 1, 1, 1, 1, 2, 2, 2]]


# -- sampling, selection, correction --------------------------------------------------------------------------------


def test_draws_follow_the_softmax():
    """A size that fills no square of blocks, two contexts, an action without mass."""
    log_policy = log_laws(np.random.default_rng(1), 2, 11)
    log_policy[0, 3] = -np.inf
    draws = 40_000
    found = np.asarray(_bandit_sampling.draw(jax.random.key(0), jnp.asarray(log_policy), jnp.array([0, 1]), draws))
    for context in (0, 1):
        law = np.exp(log_policy[context]) / np.exp(log_policy[context]).sum()
        share = np.bincount(found[context], minlength=11) / draws
        assert np.all(np.abs(share - law) <= monte_carlo(np.sqrt(law * (1 - law)), draws))
    assert share.size == 11
    assert not np.any(found[0] == 3)


def test_rare_actions_among_many_are_drawn_as_often_as_they_should():
    """Masses of 1e-7 in float32: one cumulative sum would round them away or round them up."""
    actions, draws = 10_000, 50_000
    law = np.full(actions, 1e-7)
    law[0] = 1.0 - law[1:].sum()
    found = np.asarray(_bandit_sampling.draw(jax.random.key(1), jnp.log(jnp.asarray(law))[None], jnp.array([0]), draws))
    rare = law[1:].sum()
    assert abs(np.mean(found != 0) - rare) <= monte_carlo(np.sqrt(rare), draws)


@settings(max_examples=25)
@given(rewards=st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3), min_size=5, max_size=5))
def test_selection_keeps_the_first_groups_with_a_signal(rewards):
    chosen = selection.select(jnp.array(rewards), 3, filtered=True)
    useful = [index for index, group in enumerate(rewards) if len(set(group)) > 1]
    assert np.asarray(chosen.index)[np.asarray(chosen.used)].tolist() == useful[:3]
    assert len(set(np.asarray(chosen.index).tolist())) == 3
    plain = selection.select(jnp.array(rewards), 3, filtered=False)
    assert plain.index.tolist() == [0, 1, 2]
    assert plain.used.all()
    assert sorted(selection.select(jnp.array(rewards), 5, filtered=True).index.tolist()) == list(range(5))  # all drawn


def test_weights_are_unbiased_and_capped():
    rng = np.random.default_rng(2)
    law, mu = (jnp.asarray(row) for row in log_laws(rng, 2, 6))
    weights = correction.importance_weights(law, mu, cap=1e6)
    np.testing.assert_allclose(jnp.exp(mu) @ weights, 1.0, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(mu) * weights, jnp.exp(law), atol=1e-6)
    assert correction.importance_weights(law, mu, cap=1.2).max() <= 1.2 * (1 + 1e-6)
    assert correction.importance_weights(law, mu, correction="none").tolist() == [1.0] * 6
    assert correction.importance_weights(jnp.array([200.0]), jnp.array([-200.0]), cap=2.0).tolist() == [2.0]
    assert float(jax.grad(lambda x: correction.importance_weights(x, mu).sum())(law).max()) == 0.0
    refused(ValueError, lambda: correction.importance_weights(law, mu, correction="full"), "correction", "'full'")
    refused(ValueError, lambda: selection.select(jnp.zeros((2, 3)), 3, filtered=True), "groups", "3")


# -- population steps -----------------------------------------------------------------------------------------------


def reference(name, problem, config):
    if name == "level":
        return pmd.baseline_update(problem, baseline=config.loss.level)
    if name == "mixed":
        return pmd.mixed_update(problem, weight=config.loss.chi2_weight)
    tau = problem.tau * config.rollouts / (config.rollouts - 1) if name == "mean-group" else problem.tau
    problem = pmd.Problem.from_log_policy(problem.log_policy, problem.reward, tau)
    return pmd.kl_update(problem) if name == "kl" else pmd.mean_update(problem)


def options_of(algorithm, **options):
    """Those that the algorithm reads."""
    return LossConfig(**{name: value for name, value in options.items() if algorithm in READERS[name]})


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[pytest.mark.slow] * (name == "pmd-level")) for name in population.MEMBER]
)
def test_what_an_algorithm_aims_at_is_the_exact_step(algorithm):
    config = BanditConfig(
        algorithm=algorithm,
        reward="graded",
        actions=20,
        contexts=3,
        tau=0.4,
        loss=options_of(algorithm, level=0.3, chi2_weight=0.7),
    )
    world, log_policy = make_world(config), log_laws(np.random.default_rng(3), 3, 20)
    found = population.aim(config, world, jnp.float32(0.4), jnp.asarray(log_policy, jnp.float32), None)
    for row, old in zip(np.asarray(found), log_policy, strict=True):
        problem = pmd.Problem.from_log_policy(old, world.reward, 0.4)
        exact = reference(population.MEMBER[algorithm], problem, config).unwrap()
        assert np.abs(row - exact.log_policy).max() <= F32 * max(1.0, np.abs(problem.scaled_advantage).max())


@pytest.mark.parametrize(
    ("anchor", "correction"),
    [("sampler", "none"), ("current", "none"), ("current", "truncated"), ("sampler", "truncated")],
)
def test_stale_rollouts_aim_at_the_mismatched_step(anchor, correction):
    """C15: the KL on the anchor, the chi2 against what counts, the baseline of the sampler."""
    config = replace(TINY, lag=1, anchor=anchor, correction=correction)
    world = make_world(config)
    current, sampler = log_laws(np.random.default_rng(4), 2, 12)
    if np.exp(sampler) @ world.reward > np.exp(current) @ world.reward:
        current, sampler = sampler, current  # a sampler that does worse leaves lambda positive
    found = population.aim(
        config, world, jnp.float32(0.3), *(jnp.asarray(x, jnp.float32)[None] for x in (current, sampler))
    )
    start, counted = sampler if anchor == "sampler" else current, sampler if correction == "none" else current
    problem = pmd.Problem.from_log_policy(start, world.reward, 0.3)
    baseline = float(np.exp(sampler) @ world.reward) / 0.3
    exact = pmd.mismatched_update(problem, log_sampler=counted, baseline=baseline).unwrap()
    assert np.abs(np.asarray(found)[0] - exact.log_policy).max() <= F32 * 10
    if anchor != "sampler" or correction != "none":
        assert np.abs(pmd.mean_update(problem).unwrap().log_policy - exact.log_policy).max() > 0.01  # the mutant


def test_algorithms_without_a_minimum_aim_at_nothing():
    for name in ("grpo", "dapo", "dr-grpo", "gspo", "rloo", "rloo-is", "reinforce"):
        assert population.member(replace(TINY, algorithm=name)) is None
    assert population.member(replace(TINY, loss=LossConfig(standardise=True))) is None
    assert population.member(replace(TINY, algorithm="kl-pg", lag=1, anchor="current")) is None
    assert {name for name in bandit.NAMES if population.member(replace(TINY, algorithm=name))} == set(population.MEMBER)


def test_exact_algorithms_are_trajectories_of_the_reference():
    config = BanditConfig(algorithm="exact-mean", actions=50, batches=4, contexts=3, spread=1.0, tau=0.2)
    found = make_train(config)(0)
    world = make_world(config)
    for old, logits in zip(world.log_policy, np.asarray(found.state.logits), strict=True):
        for _ in range(config.batches):
            old = pmd.mean_update(pmd.Problem.from_log_policy(old, world.reward, 0.2)).unwrap().log_policy
        assert np.abs(logits - np.logaddexp.reduce(logits) - old).max() <= 20 * F32
    assert float(np.abs(found.metrics["distance"]).max()) <= F32


# -- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return make_train(TINY)


@pytest.fixture(scope="module")
def steps():
    return make_step(TINY)


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def test_the_same_key_gives_the_same_bits(tiny):
    one, two, other = leaves(tiny(0)), leaves(tiny(jax.random.key(0))), leaves(tiny(1))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
    assert any(a.tobytes() != b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_compiling_anew_changes_no_bit(tiny):
    one, again = leaves(tiny(0)), leaves(make_train(TINY)(0))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, again, strict=True))


@pytest.mark.slow
def test_vmap_is_a_loop(tiny):
    keys, taus, rates = jax.random.split(jax.random.key(5), 3), jnp.array([0.1, 0.3, 1.0]), jnp.array([0.1, 1.0, 0.3])
    mapped = jax.vmap(lambda key, tau, rate: tiny(key, tau=tau, learning_rate=rate))(keys, taus, rates)
    for index in range(3):
        alone = tiny(keys[index], tau=float(taus[index]), learning_rate=float(rates[index]))
        for name, row in mapped.metrics.items():
            np.testing.assert_allclose(row[index], alone.metrics[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_batch_by_batch_is_the_same_training(tiny, steps):
    start, step = steps
    state, key = start(), jax.random.key(0)
    whole = tiny(0)
    for batch in range(TINY.batches):
        state, metrics = step(state, key, batch, TINY.tau, TINY.learning_rate)
        for name, value in metrics.items():
            np.testing.assert_allclose(value, whole.metrics[name][batch], rtol=1e-4, atol=1e-5, err_msg=name)


def test_metrics_are_what_they_say(steps):
    start, step = steps
    key, world = jax.random.key(2), make_world(TINY)
    state, _ = step(start(), key, 0, TINY.tau, 0.3)
    after, found = step(state, key, 1, TINY.tau, 0.3)
    old, new = (np.asarray(x, np.float64)[0] for x in (after.before, after.logits))
    old, new = old - np.logaddexp.reduce(old), new - np.logaddexp.reduce(new)
    law, before = np.exp(new), np.exp(old)
    best = law[-3:] / law[-3:].sum()
    exact = pmd.mean_update(pmd.Problem.from_log_policy(old, world.reward, TINY.tau)).unwrap()
    want = {
        "reward": law @ world.reward,
        "success": law[-3:].sum(),
        "entropy": -law @ new,
        "diversity": np.exp(-best @ np.log(best)),
        "kl": law @ (new - old),
        "reverse_kl": before @ (old - new),
        "distance": 0.5 * np.abs(law - exact.policy).sum(),
        "realised": (law - before) @ world.reward,
        "predicted": exact.improvement,
    }
    for name, value in want.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-5), name
    assert 0.0 <= float(found["without_signal"]) <= 1.0
    assert 0.0 < float(found["log_ratio"]) <= np.abs(new - old).max() + 1e-5


@pytest.fixture(scope="module")
def stale():
    """A sampler two batches behind, with every option that goes with it."""
    options = {"lag": 2, "correction": "truncated", "anchor": "current", "filter_groups": True, "oversample": 2.0}
    return make_step(replace(TINY, algorithm="rloo-is", minibatches=2, **options))


def test_a_lagging_sampler_is_that_many_batches_old(stale):
    start, step = stale
    state, seen = start(), []
    for batch in range(4):
        seen.append(np.asarray(jax.nn.log_softmax(state.logits)))
        np.testing.assert_array_equal(np.asarray(state.past[0]), seen[max(batch - 2, 0)])
        state, metrics = step(state, jax.random.key(0), batch, 0.3, 0.3)
    assert np.abs(seen[3] - seen[1]).max() > 0.01
    assert metrics["distance"].dtype == np.float32


def test_a_batch_without_any_signal_moves_nothing_when_filtered(stale):
    start, step = stale
    state = start()
    hopeless = state.past.at[:, :, -3:].set(-60.0)
    after, metrics = step(state._replace(past=hopeless), jax.random.key(0), 0, 0.3, 0.3)
    assert float(metrics["without_signal"]) == 1.0
    np.testing.assert_array_equal(after.logits, state.logits)
    after, metrics = step(state, jax.random.key(0), 0, 0.3, 0.3)
    assert float(metrics["without_signal"]) < 1.0
    assert np.abs(after.logits - state.logits).max() > 0.01


@pytest.mark.slow
def test_with_two_rollouts_partition_is_mean():
    """C12: with one other there is nothing to take a logarithm of."""
    mean, part = (make_train(replace(TINY, algorithm=name, rollouts=2))(0) for name in ("pmd-mean", "pmd-part"))
    np.testing.assert_allclose(mean.metrics["reward"], part.metrics["reward"], rtol=1e-5)
    np.testing.assert_allclose(mean.state.logits, part.state.logits, atol=1e-4)
    assert abs(float(mean.metrics["distance"][0] - part.metrics["distance"][0])) > 1e-3  # but they aim at two steps


def distances(config, groups, seeds=64):
    train = make_train(replace(config, groups=groups))
    return jax.vmap(train)(jax.random.split(jax.random.key(0), seeds))


@pytest.mark.slow
def test_many_rollouts_find_the_exact_step_at_the_rate_of_a_mean():
    """One batch, its loss minimised by plain gradient steps: the distance falls as groups^-1/2."""
    config = BanditConfig(
        actions=4,
        success_fraction=0.5,
        success_mass=0.4,
        tau=1.0,
        batches=1,
        epochs=60,
        optimizer="sgd",
        learning_rate=2.0,
    )
    sizes = (32, 512)
    found = [float(distances(config, size).metrics["distance"].mean()) for size in sizes]
    slope = np.log(found[1] / found[0]) / np.log(sizes[1] / sizes[0])
    assert abs(slope + 0.5) <= RATE, found
    # the mutant: one's own reward in the mean is another step, whatever the number of groups
    other = distances(replace(config, algorithm="pmd-mean-group"), sizes[1])
    world = make_world(config)
    exact = pmd.mean_update(pmd.Problem.from_log_policy(world.log_policy[0], world.reward, 1.0)).unwrap().policy
    away = 0.5 * np.abs(np.asarray(jax.nn.softmax(other.state.logits)).mean(0)[0] - exact).sum()
    assert away > 3 * found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", bandit.NAMES)
def test_every_algorithm_learns_an_easy_bandit(name):
    loss = options_of(name, clip_low=0.2, clip_high=0.2)
    options = {"batches": 40, "groups": 32, "optimizer": "adam", "learning_rate": 0.03, "loss": loss}
    found = make_train(replace(TINY, algorithm=name, **options))(0)
    assert float(found.metrics["success"][-1]) > 0.6
    assert all(np.isfinite(leaf).all() for leaf in leaves(found.state))


@pytest.mark.slow
@pytest.mark.parametrize("kind", bandit.REWARDS)
def test_many_actions_and_contexts(kind):
    config = BanditConfig(actions=100_000, contexts=4, reward=kind, epochs=2)
    start, step = make_step(config)
    state, rest = start(), (jax.random.key(0), jnp.int32(0), jnp.float32(0.03), jnp.float32(0.1))
    ready = step.lower(state, *rest).compile()
    assert ready.memory_analysis().temp_size_in_bytes <= 32 * state.logits.nbytes  # some tables, not one per rollout
    after, metrics = ready(state, *rest)
    assert all(np.isfinite(leaf).all() for leaf in leaves(after))
    assert 0.0 < float(metrics["kl"]) < 1.0


@pytest.mark.slow
def test_the_bandit_of_rare_successes():
    """1,000 actions, success mass .01 on a tenth, 4 rollouts: PMD-part fails at tau = .03 and not at tau = 1."""
    keys, taus = jax.random.split(jax.random.key(0), 20), jnp.array([0.03, 1.0])
    final = {}
    for name in ("pmd-mean", "pmd-part"):
        train = make_train(BanditConfig(algorithm=name))
        found = jax.vmap(lambda tau, t=train: jax.vmap(lambda key: t(key, tau=tau))(keys))(taus)
        final[name] = np.asarray(found.metrics["success"])[:, :, -1]
    assert final["pmd-mean"][0].mean() >= 0.99
    assert final["pmd-part"][0].max() < 0.5
    assert abs(final["pmd-mean"][1].mean() - final["pmd-part"][1].mean()) < 0.02


# -- wrong configs --------------------------------------------------------------------------------------------------

WRONG = [
    (ValueError, {"algorithm": "ppo"}, ("algorithm", "'ppo'", "pmd-mean")),
    (ValueError, {"reward": "normal"}, ("reward", "'normal'", "heavy-tailed")),
    (ValueError, {"actions": 1}, ("actions", "got 1")),
    (TypeError, {"actions": 10.0}, ("actions", "10.0")),
    (ValueError, {"contexts": 0}, ("contexts", "got 0")),
    (ValueError, {"success_mass": 0.0}, ("success_mass", "0.0")),
    (ValueError, {"success_fraction": 1.0}, ("success_fraction", "1.0")),
    (ValueError, {"actions": 2}, ("success_fraction", "0.1", "2 actions")),
    (ValueError, {"spread": -1.0}, ("spread", "-1.0")),
    (ValueError, {"tau": -0.1}, ("tau", "-0.1")),
    (ValueError, {"tau": float("inf")}, ("tau", "inf")),
    (ValueError, {"tau": 1e-50}, ("tau", "1e-50")),
    (ValueError, {"learning_rate": 1e39}, ("learning_rate", "1e+39")),
    (ValueError, {"rollouts": 1}, ("rollouts", "got 1", "pmd-mean", "reinforce")),
    (ValueError, {"rollouts": 1, "algorithm": "grpo"}, ("rollouts", "got 1", "grpo")),
    (ValueError, {"groups": 0}, ("groups", "got 0")),
    (ValueError, {"batches": 0}, ("batches", "got 0")),
    (ValueError, {"minibatches": 0}, ("minibatches", "got 0")),
    (ValueError, {"minibatches": 5}, ("minibatches", "groups=32", "got 5")),
    (ValueError, {"epochs": 0}, ("epochs", "got 0")),
    (ValueError, {"lag": -1}, ("lag", "got -1")),
    (ValueError, {"lag": 1, "algorithm": "exact-kl"}, ("lag", "exact-kl", "got 1")),
    (ValueError, {"anchor": "old"}, ("anchor", "'old'")),
    (ValueError, {"correction": "full"}, ("correction", "'full'")),
    (ValueError, {"cap": 0.5}, ("cap", "0.5")),
    (TypeError, {"filter_groups": 1}, ("filter_groups", "1")),
    (ValueError, {"filter_groups": True, "rollouts": 1, "algorithm": "reinforce"}, ("filter_groups", "1 rollout")),
    (ValueError, {"oversample": 2.0}, ("oversample", "2.0", "filter_groups")),
    (ValueError, {"oversample": 0.5}, ("oversample", "0.5")),
    (ValueError, {"optimizer": "lion"}, ("optimizer", "'lion'")),
    (ValueError, {"learning_rate": 0.0}, ("learning_rate", "0.0")),
    (ValueError, {"seed": -1}, ("seed", "got -1")),
    (ValueError, {"actions": 10**6, "contexts": 100}, ("actions times contexts", "100000000")),
]


@pytest.mark.parametrize(("kind", "change", "words"), WRONG, ids=[str(case[1]) for case in WRONG])
def test_wrong_configs_are_refused_in_one_line(kind, change, words):
    refused(kind, lambda: BanditConfig(**change), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": LossConfig(clip_low=0.1)}, ("clip_low", "pmd-mean", "0.1", "grpo")),
        ({"algorithm": "grpo", "loss": LossConfig(chi2_weight=0.5)}, ("chi2_weight", "grpo", "0.5", "kl-chi2")),
        ({"algorithm": "exact-mean", "loss": LossConfig(standardise=True)}, ("loss", "exact-mean", "standardise=True")),
        ({"loss": LossConfig(length_normalise=True)}, ("length_normalise", "True", "one token")),
        ({"cap": 3.0}, ("cap", "3.0", "truncated")),
    ],
)
def test_options_that_nothing_would_read_are_refused(change, words):
    refused(ValueError, lambda: BanditConfig(**change), *words)


def test_options_that_are_read_are_taken():
    assert BanditConfig(algorithm="kl-chi2", loss=LossConfig(chi2_weight=0.5)).loss.chi2_weight == 0.5
    assert BanditConfig(loss=LossConfig(standardise=True)).loss.standardise
    assert BanditConfig(lag=1, anchor="current", correction="truncated", cap=3.0).cap == 3.0


def test_one_rollout_is_enough_without_a_group_baseline():
    assert BanditConfig(rollouts=1, algorithm="reinforce").rollouts == 1
