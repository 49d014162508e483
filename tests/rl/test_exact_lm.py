"""The enumerated language model: its law, its optimiser, what rollouts make of it, and claim C20."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

import pmdtheory as pmd
from pmdtheory import claims, finite_sample
from pmdtheory.claims import Certificate, Part, Verdict
from pmdtheory.claims._verify import verify
from pmdtheory.divergence import total_variation
from pmdtheory.losses import pmd_loss
from tests.tolerances import RATE, ROOT, SOLVER, exact, monte_carlo
from tests.wrong import refused
from tiny_llm_rl import _regression, _sampling_error, exact_lm
from tiny_llm_rl import claims as trained
from tiny_llm_rl.claims import ExactLM
from tiny_llm_rl.exact_lm import (
    RULES,
    Tabular,
    asymptotic_error,
    exact_problem,
    fit,
    responses,
    sample_rollouts,
    sequence_reward,
)

jax = pytest.importorskip("jax")
jnp = jax.numpy
Enumerated: Any = exact_lm.Enumerated

pytestmark = pytest.mark.jax

REACHED = 1e-4  # total variation within which a trained model counts as the Lambert-W policy
FALSE_ALARM = 1e-6  # of the goodness-of-fit tests
SLOPE = 1e-7  # of a derivative by a fourth-order difference of width 1e-3
KINK = 1e-5  # the same of a transformer, whose squared ReLU has a derivative with kinks
TABULAR, TRANSFORMER = Tabular(3, 3, seed=1), Enumerated(3, 3, width=16, seed=1)
MODELS = pytest.mark.parametrize("model", [TABULAR, TRANSFORMER], ids=["tabular", "transformer"])
(C20,) = trained.CLAIMS


def solved(model: Any, rule: str = "checksum", tau: float = 0.4) -> tuple[pmd.Problem, pmd.Update]:
    problem = exact_problem(model, rule, tau)
    return problem, pmd.mean_update(problem).unwrap()


def member(problem: pmd.Problem, n: int) -> pmd.Update:
    """PMD(b_{n-1}): PMD-part with n rollouts, in population."""
    b = float(finite_sample.expected_baseline(problem, n - 1).value)
    return pmd.baseline_update(problem, baseline=b).unwrap()


def population(model: Any, problem: pmd.Problem) -> Any:
    """The population loss of PMD-mean as a function of the weights."""
    options = {"tau": problem.tau, "weights": problem.policy, "reduction": "sum"}
    goal = problem.scaled_advantage
    return lambda weights: float(pmd_loss(model.log_probs(weights), problem.log_policy, goal, **options))


def slopes(function: Any, at: NDArray[np.float64], entries: Any) -> NDArray[np.float64]:
    """Derivatives by central differences of fourth order."""
    h, found = 1e-3, []
    for nudge in h * np.eye(at.size)[entries]:
        one, two = (function(at + k * nudge) - function(at - k * nudge) for k in (1, 2))
        found.append((8 * one - two) / (12 * h))
    return np.array(found)


# -- the response space and its laws --------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(2, 4))
def test_responses_are_all_there_once_and_in_order(vocabulary: int, length: int) -> None:
    rows = responses(vocabulary, length)
    assert rows.shape == (vocabulary**length, length)
    np.testing.assert_array_equal(rows @ vocabulary ** np.arange(length)[::-1], np.arange(vocabulary**length))
    assert rows.max() == vocabulary - 1


def test_rewards_are_what_a_reader_would_count() -> None:
    for rows, checksum, palindrome in zip(
        responses(3, 4), sequence_reward("checksum", 3, 4), sequence_reward("palindrome", 3, 4), strict=True
    ):
        assert checksum == (sum(rows) in (0, 6))
        assert palindrome == (int(rows[0] == rows[3]) + int(rows[1] == rows[2])) / 2
    # of the sums 0, ..., 15 of five symbols, 0 comes about in one way and 8 in 155
    assert {rule: sequence_reward(rule, 4, 5).mean() for rule in RULES} == {"checksum": 156 / 1024, "palindrome": 0.25}


@MODELS
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_a_law_sums_to_one(model: Any, scale: float) -> None:
    log_probs = model.log_probs(scale * model.base)
    assert log_probs.dtype == np.float64
    assert abs(math.fsum(np.exp(log_probs)) - 1.0) < exact()
    if scale == 0.0:
        np.testing.assert_allclose(log_probs, -3 * math.log(3), rtol=0, atol=exact())
    else:
        assert np.ptp(log_probs) > 1.0  # a base policy that is far from uniform


@given(st.integers(0, 10**6), st.sampled_from([(2, 2), (2, 4), (3, 3), (5, 2)]))
def test_a_table_is_the_product_of_its_conditionals(seed: int, shape: tuple[int, int]) -> None:
    """Read prefix by prefix, in a dictionary; and back again from the law to weights."""
    model = Tabular(*shape, seed=seed)
    rows = iter(model.base.reshape(-1, shape[0]))
    tables = {tuple(prefix): next(rows) for level in range(shape[1]) for prefix in np.ndindex((shape[0],) * level)}
    log_probs = model.log_probs(model.base)
    for response, found in zip(responses(*shape), log_probs, strict=True):
        logits = [tables[tuple(response[:k].tolist())] for k in range(shape[1])]
        terms = [row[v] - np.log(np.exp(row).sum()) for row, v in zip(logits, response, strict=True)]
        assert abs(found - sum(terms)) < exact(found)
    np.testing.assert_allclose(model.log_probs(model.weights_of(log_probs)), log_probs, atol=exact(log_probs))


def test_a_transformer_is_enumerated_as_it_reads_one_response() -> None:
    """Symbol by symbol, each prefix by itself."""
    model = TRANSFORMER
    with jax.enable_x64(True):
        transformer = model.transformer(model.base)
        read = jax.jit(lambda seen: transformer.logits(seen, jnp.arange(seen.size)[None], jnp.ones(seen.shape, bool)))
        for response, found in list(zip(responses(3, 3), model.log_probs(model.base), strict=True))[::5]:
            total = 0.0
            for k in range(3):
                logits = np.array(read(jnp.asarray([[3, *response[:k]]])))[0, -1, :3]
                total += logits[response[k]] - np.log(np.exp(logits).sum())
            assert abs(total - found) < 10 * exact(found)


def drawn(model: Any, weights: Any, rows: int, seed: int) -> NDArray[np.int64]:
    """Counts of the responses that the transformer's own sampling gives, token by token through its cache."""
    v, length = model.vocabulary, model.length

    def tokens(key: Any) -> Any:
        transformer, live = model.transformer(weights), jnp.ones((rows, 1), bool)
        start = jnp.full((rows, 1), v)
        nothing = jnp.zeros_like(start)
        logits, cache = transformer.prefill(start, nothing, live, length + 1, nothing[:, 0])
        found = []
        for slot, one in enumerate(jax.random.split(key, length), start=1):
            token = jax.random.categorical(one, logits[:, :v])
            found.append(token)
            logits, cache = transformer.step(token, jnp.full((rows,), slot), cache, slot)
        return jnp.stack(found, 1)

    with jax.enable_x64(True):
        sample = np.array(jax.jit(tokens)(jax.random.key(seed)))
    return np.bincount(sample @ v ** np.arange(length)[::-1], minlength=v**length)


def test_the_sampler_draws_from_the_enumerated_law() -> None:
    """Pearson's test with 60,000 responses: a correct sampler fails it for one seed in a million."""
    counts = drawn(TRANSFORMER, TRANSFORMER.base, 60_000, seed=0)
    law = np.exp(TRANSFORMER.log_probs(TRANSFORMER.base))
    frequent = law * counts.sum() >= 10.0
    assert frequent.sum() >= 20

    def p_value(law: Any) -> float:
        rare = [x[~frequent].sum() for x in (counts, law * counts.sum())]
        merged = [
            np.append(x[frequent], [rest] if rare[1] > 0.0 else [])
            for x, rest in zip((counts, law * counts.sum()), rare, strict=True)
        ]
        return float(stats.chisquare(*merged).pvalue)

    assert p_value(law) > FALSE_ALARM
    swapped = law.reshape(3, 3, 3).transpose(0, 2, 1).ravel()  # positions mixed up by one
    assert p_value(swapped) < FALSE_ALARM


@MODELS
def test_jacobians_are_derivatives(model: Any) -> None:
    entries = np.arange(0, model.base.size, max(1, model.base.size // 40))
    table = model.jacobian(model.base)
    assert table.shape == (27, model.base.size)
    room = SLOPE if model is TABULAR else KINK
    np.testing.assert_allclose(table[:, entries], slopes(model.log_probs, model.base, entries).T, atol=room)
    mean = np.exp(model.log_probs(model.base)) @ table
    assert np.abs(mean).max() < exact(np.abs(table).max())  # the score has mean zero


def test_float64_is_not_left_on() -> None:
    TRANSFORMER.log_probs(TRANSFORMER.base)
    TRANSFORMER.jacobian(TRANSFORMER.base)
    assert jnp.ones(1).dtype == jnp.float32


# -- the population loss --------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(sorted(RULES)), st.sampled_from([0.1, 0.3, 1.0, 10.0]))
@settings(max_examples=10)
def test_the_loss_is_stationary_at_the_exact_step(seed: int, rule: str, tau: float) -> None:
    """No optimiser: differences of the loss itself at weights that realise the Lambert-W policy, and not at others."""
    model = Tabular(2, 3, seed=seed)
    problem, step = solved(model, rule, tau)
    loss = population(model, problem)
    here = model.weights_of(step.log_policy)
    assert total_variation(model.log_probs(here), step.log_policy) < ROOT
    size = max(1.0, float(np.abs(problem.scaled_advantage).max())) ** 2 * tau
    assert np.abs(slopes(loss, here, slice(None))).max() < SLOPE * size
    ideal = model.weights_of(pmd.kl_update(problem).unwrap().log_policy)
    assert np.abs(slopes(loss, ideal, slice(None))).max() > 1e-3 * step.multiplier * tau * step.step_size
    assert loss(here) < loss(model.base)


@MODELS
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tau", [0.1, 0.3, 3.0])
def test_a_fit_ends_at_the_lambert_w_policy(model: Any, rule: str, tau: float) -> None:
    problem, step = solved(model, rule, tau)
    found = fit(model, problem).unwrap()
    assert total_variation(found.log_policy, step.log_policy) < SOLVER * step.step_size
    np.testing.assert_array_equal(found.log_policy, model.log_probs(found.weights))
    np.testing.assert_array_equal(found.path[0], model.log_probs(model.base))
    np.testing.assert_array_equal(found.path[-1], found.log_policy)
    least = 0.5 * tau * step.multiplier**2 * (1.0 + step.chi2)  # C6
    assert found.loss == pytest.approx(least, rel=ROOT * 100)
    assert found.loss == pytest.approx(population(model, problem)(found.weights), rel=exact())
    assert (
        total_variation(found.log_policy, pmd.kl_update(problem).unwrap().log_policy) > 1e-3 * step.step_size
    )  # a mutant


def test_a_transformer_with_81_responses_reaches_every_member() -> None:
    model = Enumerated(3, 4, width=16, seed=0)
    problem, step = solved(model, tau=0.3)
    assert total_variation(fit(model, problem).unwrap().log_policy, step.log_policy) < REACHED
    part = member(problem, 4)
    found = fit(model, problem, target=problem.reward / problem.tau - part.baseline).unwrap()
    assert total_variation(found.log_policy, part.log_policy) < REACHED
    assert total_variation(found.log_policy, step.log_policy) > 100 * REACHED
    assert total_variation(found.log_policy, pmd.kl_update(problem).unwrap().log_policy) > 100 * REACHED


def test_a_transformer_that_is_too_narrow_does_not() -> None:
    """Realisability, not optimisation: the table gets there from the same base policy."""
    narrow = Enumerated(3, 4, width=2, seed=0)
    problem, step = solved(narrow, tau=0.3)
    found = fit(narrow, problem, max_steps=60).value
    assert found is not None
    assert total_variation(found.log_policy, step.log_policy) > 0.03
    table = Tabular(3, 4)
    start = table.weights_of(problem.log_policy)
    free = fit(table, problem, start=start).unwrap()
    assert total_variation(free.log_policy, step.log_policy) < SOLVER * step.step_size
    assert free.loss < found.loss


def test_another_optimiser_gets_there_too() -> None:
    """L-BFGS of SciPy on the same weights, from differences of nothing but the loss and its gradient."""
    problem, step = solved(TABULAR)
    loss = population(TABULAR, problem)

    def gradient(weights: Any) -> Any:
        miss = problem.policy * (problem.scaled_advantage - TABULAR.log_probs(weights) + problem.log_policy)
        return -problem.tau * (TABULAR.jacobian(weights).T @ miss)

    entries = np.arange(0, TABULAR.base.size, 4)
    np.testing.assert_allclose(gradient(TABULAR.base)[entries], slopes(loss, TABULAR.base, entries), atol=SLOPE)
    options = {"maxiter": 5000, "ftol": 0.0, "gtol": 1e-11, "maxfun": 10_000}
    found = optimize.minimize(loss, TABULAR.base, jac=gradient, method="L-BFGS-B", options=options)
    assert total_variation(TABULAR.log_probs(found.x), step.log_policy) < REACHED


def test_the_gradient_of_a_trainer_is_the_one_that_vanishes() -> None:
    """JAX's derivative of pmd_loss through the transformer, at the base and where the fit ended."""
    problem, _ = solved(TRANSFORMER)
    options = {"tau": problem.tau, "weights": problem.policy, "reduction": "sum"}
    with jax.enable_x64(True):
        slope = jax.jit(
            jax.grad(
                lambda w: pmd_loss(
                    TRANSFORMER.traced(w), jnp.asarray(problem.log_policy), problem.scaled_advantage, **options
                )
            )
        )
        base = np.array(slope(jnp.asarray(TRANSFORMER.base)))
        there = np.array(slope(jnp.asarray(fit(TRANSFORMER, problem).unwrap().weights)))
    by_hand = TRANSFORMER.jacobian(TRANSFORMER.base).T @ (-problem.tau * problem.policy * problem.scaled_advantage)
    np.testing.assert_allclose(base, by_hand, atol=10 * exact(np.abs(by_hand).max()))
    assert np.abs(there).max() < 1e-9 * np.abs(base).max()


def test_a_fit_that_runs_out_of_steps_says_so() -> None:
    problem, _ = solved(TABULAR)
    short = fit(TABULAR, problem, max_steps=1)
    assert short.status is pmd.Status.ALMOST_SOLVED
    assert short.value is not None
    assert len(short.value.path) == 2
    assert short.residual > 1e-22
    with pytest.raises(pmd.SolveError, match="ALMOST_SOLVED"):
        short.unwrap()


def test_the_curvature_is_the_second_derivative_at_the_step() -> None:
    r"""\(J^T \mathrm{diag}(\pi + \lambda\pi^+) J\), against differences of the gradient; without lambda it is not."""
    model = Tabular(2, 3, seed=0)
    problem, step = solved(model, tau=0.2)
    assert step.multiplier > 0.3
    here = model.weights_of(step.log_policy)

    def gradient(weights: Any) -> Any:
        miss = problem.policy * (problem.scaled_advantage - model.log_probs(weights) + problem.log_policy)
        return -(model.jacobian(weights).T @ miss)

    second, table = slopes(gradient, here, slice(None)), model.jacobian(here)
    full = problem.policy + step.multiplier * step.policy
    np.testing.assert_allclose(table.T @ (full[:, None] * table), second, atol=SLOPE * 100)
    assert np.abs(table.T @ (problem.policy[:, None] * table) - second).max() > 0.1 * np.abs(second).max()
    miss = problem.policy * problem.scaled_advantage
    shift, promised = _regression._System(table, miss, full).step(0.0)
    np.testing.assert_allclose(second @ shift, table.T @ miss, atol=SLOPE * 100)  # Newton's step, in its dual form
    assert promised == pytest.approx(0.5 * float(shift @ table.T @ miss), rel=1e-6)


# -- rollouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["mean", "partition"])
def test_rollouts_are_summed_up_without_loss(baseline: str) -> None:
    """The collapsed loss differs from the loss of single rollouts by a constant."""
    problem, step = solved(TABULAR)
    n, groups = 3, 50
    collapsed = sample_rollouts(problem, n=n, groups=groups, rng=np.random.default_rng(5), baseline=baseline)
    edges = np.cumsum(problem.policy)
    edges[-1] = 1.0
    drawn = np.searchsorted(edges, np.random.default_rng(5).random((groups, n)), side="right")
    total, count = np.zeros(27), np.zeros(27)
    losses = []
    for other in (problem.log_policy, step.log_policy):
        value = 0.0
        for group in drawn:
            for i, action in enumerate(group):
                others = problem.reward[np.delete(group, i)] / problem.tau
                b = others.mean() if baseline == "mean" else np.log(np.exp(others).mean())
                target = problem.reward[action] / problem.tau - b
                value += (target - (other[action] - problem.log_policy[action])) ** 2 / drawn.size
                total[action], count[action] = total[action] + target, count[action] + 1
        s = other - problem.log_policy
        losses.append(value - float(np.dot(collapsed.weights, (collapsed.target - s) ** 2)))
    assert abs(losses[0] - losses[1]) < exact(losses[0]) * 10
    np.testing.assert_allclose(collapsed.weights, count / 2 / drawn.size, atol=exact())
    seen = count > 0
    np.testing.assert_allclose(collapsed.target[seen], total[seen] / count[seen], atol=exact(10.0))
    assert (collapsed.target[~seen] == 0.0).all()


def test_chunks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = solved(TABULAR)
    whole = sample_rollouts(problem, n=4, groups=100, rng=np.random.default_rng(0))
    monkeypatch.setattr(exact_lm, "_CHUNK", 12)
    parts = sample_rollouts(problem, n=4, groups=100, rng=np.random.default_rng(0))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=exact(10.0))


def test_the_fit_to_rollouts_solves_their_own_equation() -> None:
    """C15 with the frequencies as sampler and every response's mean target: an equation without a model."""
    problem, _ = solved(TABULAR)
    rollouts = sample_rollouts(problem, n=4, groups=2**14, rng=np.random.default_rng(1))
    assert rollouts.weights.min() > 0.0
    found = fit(TABULAR, problem, **rollouts._asdict()).unwrap()

    def mass(multiplier: float) -> float:
        return float(problem.policy @ np.exp(ratios(multiplier))) - 1.0

    def ratios(multiplier: float) -> Any:
        shift = np.log(multiplier * problem.policy / rollouts.weights)
        return rollouts.target - np.array([float(x) for x in map(omega, rollouts.target + shift)])

    def omega(z: float) -> float:
        return float(optimize.brentq(lambda w: w + math.log(w) - z, 1e-300, max(1.0, z) + 1.0, xtol=1e-15))

    multiplier = float(optimize.brentq(mass, 1e-6, 10.0, xtol=1e-14))
    law = problem.policy * np.exp(ratios(multiplier))
    assert 0.5 * np.abs(law - np.exp(found.log_policy)).sum() < SOLVER


def test_rollouts_that_were_not_drawn_leave_the_loss_blind() -> None:
    problem, _ = solved(TABULAR)
    rollouts = sample_rollouts(problem, n=4, groups=8, rng=np.random.default_rng(0))
    missing = rollouts.weights == 0.0
    assert 5 <= missing.sum() < 27
    found = fit(TABULAR, problem, **rollouts._asdict(), max_steps=40)
    assert found.value is not None
    assert np.isfinite(found.value.log_policy).all()


def test_a_group_mean_of_ones_own_is_another_tau() -> None:
    """C12: the targets shrink to (n-1)/n, which is PMD-mean at tau n/(n-1), not at tau."""
    problem, step = solved(TABULAR)
    found = fit(TABULAR, problem, target=problem.scaled_advantage * 3 / 4).unwrap()
    other = pmd.mean_update(replace(problem, tau=problem.tau * 4 / 3)).unwrap()
    assert total_variation(found.log_policy, other.log_policy) < SOLVER
    assert total_variation(found.log_policy, step.log_policy) > 1e-2


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_covariance_of_the_noise_two_ways(n: int) -> None:
    """The projection for PMD-mean against binomial sums that know none; with two rollouts PMD-part has the same."""
    problem, step = solved(TABULAR)
    first = _sampling_error._mean_covariance(problem, step, n)
    second = _sampling_error._two_levels(problem, step, n, "mean")
    np.testing.assert_allclose(first, second, atol=exact())
    assert np.linalg.eigvalsh(first).min() > -exact()
    wrong = _sampling_error._mean_covariance(problem, step, n + 1)  # a mutant: n for n - 1
    assert np.abs(wrong - second).max() > 1e-3
    part = _sampling_error._two_levels(problem, step, n, "partition")
    assert (np.abs(part - second).max() < exact()) == (n == 2)


@pytest.mark.parametrize("baseline", ["mean", "partition"])
def test_noise_is_what_rollouts_show(baseline: str) -> None:
    """Sample covariance of the sums of 20,000 groups."""
    problem, step = solved(TABULAR)
    n, groups, rng = 4, 20_000, np.random.default_rng(0)
    step = step if baseline == "mean" else member(problem, n)
    edges = np.cumsum(problem.policy)
    edges[-1] = 1.0
    drawn = np.searchsorted(edges, rng.random((groups, n)), side="right")
    reward = problem.reward[drawn]
    miss = reward / problem.tau - _sampling_error.BASELINES[baseline](reward, problem.tau) - step.log_ratio[drawn]
    sums = np.zeros((groups, 27))
    np.add.at(sums, (np.arange(groups)[:, None], drawn), miss)
    expected = step.multiplier * step.policy
    spread = sums.std(axis=0) / n
    assert np.all(np.abs(sums.mean(axis=0) / n - expected) < [monte_carlo(s, groups) for s in spread])
    found = np.cov(sums.T) / n
    exact_one = (
        _sampling_error._mean_covariance(problem, step, n)
        if baseline == "mean"
        else _sampling_error._two_levels(problem, step, n, baseline)
    )
    assert np.abs(found - exact_one).max() < 0.1 * np.abs(exact_one).max()


@pytest.mark.parametrize("baseline", ["mean", "partition"])
def test_the_error_falls_as_the_root_of_the_rollouts(baseline: str) -> None:
    """Slope -1/2 and the constant of the delta method; and PMD-part goes to PMD(b_{n-1}), not to KL-PMD."""
    problem, step = solved(TABULAR)
    n, seeds, sizes = 4, 16, [2**12, 2**14, 2**16, 2**18]
    step = step if baseline == "mean" else member(problem, n)
    ideal = pmd.kl_update(problem).unwrap()
    far = np.empty((len(sizes), seeds))
    last = []
    for i, total in enumerate(sizes):
        for seed in range(seeds):
            rng = np.random.default_rng([seed, total])
            rollouts = sample_rollouts(problem, n=n, groups=total // n, rng=rng, baseline=baseline)
            found = fit(TABULAR, problem, **rollouts._asdict(), max_steps=60).value
            assert found is not None
            far[i, seed] = total_variation(found.log_policy, step.log_policy)
            last.append(total_variation(found.log_policy, ideal.log_policy))
    mean = far.mean(axis=1)
    assert abs(np.polyfit(np.log(sizes), np.log(mean), 1)[0] + 0.5) < RATE
    constant = asymptotic_error(problem, step, n=n, baseline=baseline)
    scaled = far[1:] * np.sqrt(np.array(sizes[1:]))[:, None]
    assert abs(scaled.mean() - constant) < monte_carlo(float(scaled.std()), scaled.size)
    apart = total_variation(step.log_policy, ideal.log_policy)
    assert np.abs(np.array(last[-seeds:]) - apart).max() < 0.2 * apart


# -- the claim ------------------------------------------------------------------------------------------------------


def parts(case: ExactLM) -> dict[str, Part]:
    return {part.name: part for part in C20.check(case)}


def test_the_claim_holds_and_its_mutant_does_not() -> None:
    (report,) = verify([C20], instances=30)
    assert report.failures == ()
    assert report.instances == 30
    assert report.opinions >= 10
    assert report.mutants >= 25
    assert report.caught == report.mutants
    assert report.worst is not None
    assert report.worst.verdict is Verdict.HOLDS


def test_the_claim_is_found_through_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="C20", value="tiny_llm_rl.claims:CLAIMS", load=lambda: trained.CLAIMS)
    monkeypatch.setattr(claims.metadata, "entry_points", lambda group: [entry])
    registry = claims._registry()
    assert registry["C20"] is C20
    monkeypatch.setattr(claims, "CLAIMS", registry)
    assert claims.check("C20", ExactLM(2, 3, 0.5, "checksum")).verdict is Verdict.HOLDS
    assert claims.check("C20", pmd.Problem.binary(0.3, 0.5)).verdict is Verdict.NOT_APPLICABLE


def test_the_claim_speaks_about_the_sampled_algorithm_too() -> None:
    found = parts(ExactLM(3, 3, 0.5, "checksum", n=4, seed=1))
    assert [part.kind for part in found.values()] == ["identity", "identity", "identity", "upper"]
    assert all(part.holds for part in found.values())
    cases = [case for _, case in islice(C20.instances(np.random.default_rng(0)), 60)]
    assert sum(len(C20.check(case)) == 4 for case in cases) > 45


@pytest.mark.parametrize("first", ["tiny_llm_rl.claims", "pmdtheory.claims"])
def test_registry_and_claim_can_be_imported_in_either_order(first: str, tmp_path: Path) -> None:
    """With an installed entry point, which the registry loads while it is being built."""
    info = tmp_path / "bridge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bridge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pmdtheory.claims]\nbridge = tiny_llm_rl.claims:CLAIMS\n")
    code = f"""
import sys
from importlib import metadata
found = metadata.entry_points
ours = metadata.Distribution.at({str(info)!r}).entry_points
metadata.entry_points = lambda group: ours if group == "pmdtheory.claims" else found(group=group)
import {first}
import pmdtheory, tiny_llm_rl.claims
print(pmdtheory.CLAIMS["C20"] is tiny_llm_rl.claims.CLAIMS[0], "jax" in sys.modules)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("mean_update", pmd.kl_update),  # the ideal step for PMD-mean's
        ("expected_baseline", lambda problem, m: finite_sample.expected_baseline(problem, m + 1)),  # b_n for b_{n-1}
        (
            "sample_rollouts",
            lambda problem, **options: sample_rollouts(problem, **{**options, "baseline": "partition"}),
        ),
    ],
)
def test_a_false_claim_is_reported(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ExactLM(3, 3, 0.2, "checksum", n=4, seed=1)
    if name == "expected_baseline":  # the fit keeps its targets, the theorem gets the wrong member
        right = trained.baseline_update
        monkeypatch.setattr(
            trained,
            "baseline_update",
            lambda problem, baseline: right(problem, baseline=float(wrong(problem, case.n - 1).value)),
        )
    else:
        monkeypatch.setattr(trained, name, wrong)
    trained._solved.cache_clear()
    try:
        certificate = Certificate.of("C20", C20.kind, C20.check(case))
    finally:
        trained._solved.cache_clear()
    assert certificate.verdict is Verdict.FAILS
    assert certificate.residual > 10 * certificate.tolerance or name == "sample_rollouts"


def test_the_claim_needs_no_jax() -> None:
    """Without it the second opinion is left out, visibly, and the rest is checked."""
    code = """
import sys
for name in ("jax", "equinox", "optax"):
    sys.modules[name] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("jax", "equinox") else find(name, package)
from tiny_llm_rl.claims import CLAIMS, ExactLM
(claim,) = CLAIMS
print(claim.opinion, all(part.holds for part in claim.check(ExactLM(2, 3, 0.5, "checksum"))))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["None", "True"]


@pytest.mark.slow
def test_the_claim_holds_at_the_default_size() -> None:
    (report,) = verify([C20], instances=200, seed=1)
    assert report.failures == ()
    assert report.ok
    assert report.opinions >= 50


@pytest.mark.slow
def test_a_transformer_with_1024_responses_reaches_the_step() -> None:
    model = Enumerated(4, 5, width=32, layers=2, heads=2, seed=0)
    problem, step = solved(model, tau=0.3)
    found = fit(model, problem, max_steps=80, tolerance=1e-10).value
    assert found is not None
    assert total_variation(found.log_policy, step.log_policy) < REACHED


# -- wrong inputs ---------------------------------------------------------------------------------------------------

PROBLEM = exact_problem(TABULAR, "checksum", 0.4)
SMALLER = exact_problem(Tabular(2, 3), "checksum", 0.4)
RNG = np.random.default_rng(0)
WRONG: dict[str, tuple[type[Exception], Any, tuple[str, ...]]] = {
    "one symbol": (ValueError, lambda: responses(1, 3), ("vocabulary", "1")),
    "half a token": (TypeError, lambda: responses(3, 2.5), ("length", "2.5")),
    "too many": (ValueError, lambda: responses(10, 9), ("vocabulary and length", "10^9")),
    "no such rule": (ValueError, lambda: sequence_reward("sum", 3, 3), ("rule", "sum", "palindrome")),
    "no seed": (ValueError, lambda: Tabular(3, 3, seed=-1), ("seed", "-1")),
    "no spread": (ValueError, lambda: Tabular(3, 3, spread=0.0), ("spread", "0.0")),
    "odd width": (ValueError, lambda: Enumerated(3, 3, width=5), ("width", "5")),
    "transformer's spread": (ValueError, lambda: Enumerated(3, 3, spread=-1.0), ("spread", "-1.0")),
    "transformer's seed": (TypeError, lambda: Enumerated(3, 3, seed=0.5), ("seed", "0.5")),
    "a law of others": (ValueError, lambda: TABULAR.weights_of(SMALLER.log_policy), ("log_policy", "27", "(8,)")),
    "no mass": (ValueError, lambda: TABULAR.weights_of(np.full(27, -np.inf)), ("log_policy", "27 finite")),
    "no tau": (ValueError, lambda: exact_problem(TABULAR, "checksum", 0.0), ("tau", "0.0")),
    "another problem": (ValueError, lambda: fit(TABULAR, SMALLER), ("problem", "8", "27")),
    "short target": (ValueError, lambda: fit(TABULAR, PROBLEM, target=[1.0]), ("target", "27", "1")),
    "infinite target": (ValueError, lambda: fit(TABULAR, PROBLEM, target=np.full(27, np.inf)), ("target", "finite")),
    "negative weight": (ValueError, lambda: fit(TABULAR, PROBLEM, weights=np.full(27, -1.0)), ("weights", "-1.0")),
    "no weight": (ValueError, lambda: fit(TABULAR, PROBLEM, weights=np.zeros(27)), ("weights", "0.0")),
    "start of others": (ValueError, lambda: fit(TABULAR, PROBLEM, start=[0.0]), ("start", "1", "39")),
    "no steps": (ValueError, lambda: fit(TABULAR, PROBLEM, max_steps=0), ("max_steps", "0")),
    "no tolerance": (ValueError, lambda: fit(TABULAR, PROBLEM, tolerance=0.0), ("tolerance", "0.0")),
    "one rollout": (ValueError, lambda: sample_rollouts(PROBLEM, n=1, groups=2, rng=RNG), ("n", "1", "leave-one-out")),
    "no group": (ValueError, lambda: sample_rollouts(PROBLEM, n=2, groups=0, rng=RNG), ("groups", "0")),
    "no such baseline": (
        ValueError,
        lambda: sample_rollouts(PROBLEM, n=2, groups=1, rng=RNG, baseline="group"),
        ("baseline", "group", "partition"),
    ),
    "error of one rollout": (ValueError, lambda: asymptotic_error(PROBLEM, None, n=1), ("n", "1")),  # type: ignore[arg-type]
    "graded partition": (
        ValueError,
        lambda: asymptotic_error(
            exact_problem(Tabular(2, 4), "palindrome", 1.0),
            None,  # type: ignore[arg-type]
            n=2,
            baseline="partition",
        ),
        ("problem", "two levels", "3"),
    ),
    "case without tau": (ValueError, lambda: ExactLM(3, 3, -1.0, "checksum"), ("tau", "-1.0")),
    "case without rule": (ValueError, lambda: ExactLM(3, 3, 1.0, "none"), ("rule", "none")),
    "case of one rollout": (ValueError, lambda: ExactLM(3, 3, 1.0, "checksum", n=1), ("n", "1")),
    "case without seed": (TypeError, lambda: ExactLM(3, 3, 1.0, "checksum", seed="0"), ("seed", "'0'")),  # type: ignore[arg-type]
    "case too large": (ValueError, lambda: ExactLM(9, 9, 1.0, "checksum"), ("9^9",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_refused(name: str) -> None:
    kind, call, fragments = WRONG[name]
    refused(kind, call, *fragments)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = exact_lm.nonsense  # type: ignore[attr-defined]
