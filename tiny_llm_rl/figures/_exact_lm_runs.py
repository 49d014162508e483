"""The runs behind the figure `exact_lm`: each function makes the arrays of one panel."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pmdtheory._checks import FloatArray
from pmdtheory.divergence import total_variation
from pmdtheory.figures._record import Config
from pmdtheory.finite_sample import expected_baseline
from pmdtheory.losses import pmd_loss
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import baseline_update, kl_update, mean_update
from tiny_llm_rl._enumerated import Enumerated
from tiny_llm_rl.exact_lm import Rollouts, asymptotic_error, exact_problem, fit, sample_rollouts

BASELINES = ("mean", "partition")

__all__ = ["BASELINES", "descents", "first_order", "means", "members", "realised", "sampled", "slopes"]


def members(problem: Problem, n: int) -> tuple[Update, Update]:
    """What PMD-mean and PMD-part with n rollouts are in population."""
    b = float(expected_baseline(problem, n - 1).value)
    return mean_update(problem).unwrap(), baseline_update(problem, baseline=b).unwrap()


def _far(path: FloatArray, step: Update) -> FloatArray:
    """Total variation of each row of log-probabilities from a step."""
    return np.array([total_variation(row, step.log_policy) for row in np.atleast_2d(path)])


def descents(config: Config) -> dict[str, FloatArray]:
    """The population loss, minimised over a transformer's weights: the law after each step, for both targets."""
    model = Enumerated(**config["model"])
    problem = exact_problem(model, config["rule"], config["tau"])
    distance = np.full((len(BASELINES), config["steps"] + 1), np.nan)
    for row, step in zip(distance, members(problem, config["n"]), strict=True):
        target = problem.reward / problem.tau - step.baseline
        found = fit(model, problem, target=target, max_steps=config["steps"], tolerance=config["tolerance"]).value
        assert found is not None
        row[: len(found.path)] = _far(found.path, step)
    apart = [total_variation(step.log_policy, problem.log_policy) for step in members(problem, config["n"])]
    return {"descent": distance, "descent_step": np.array(apart)}


def first_order(config: Config) -> dict[str, FloatArray]:
    """Adam on the loss of N rollouts, and on the population loss: the distance after so many inner steps."""
    model = Enumerated(**config["model"])
    problem = exact_problem(model, config["rule"], config["tau"])
    step = mean_update(problem).unwrap()
    sizes = config["rollouts"]
    drawn = [_drawn(problem, config["n"], total, seed, "mean") for total in sizes for seed in range(config["seeds"])]
    drawn.append(Rollouts(problem.policy, problem.scaled_advantage))
    with jax.enable_x64(True):
        laws = _adam(model, problem, drawn, config["checkpoints"], config["rate"])
    far = np.array([_far(path, step) for path in laws])
    return {
        "inner": np.array(config["checkpoints"], dtype=np.float64),
        "inner_rollouts": np.array(sizes, dtype=np.float64),
        "inner_sampled": far[:-1].reshape(len(sizes), config["seeds"], -1),
        "inner_population": far[-1],
    }


def _drawn(problem: Problem, n: int, total: int, seed: int, baseline: str) -> Rollouts:
    """Rollouts with a stream of their own for every size and seed."""
    rng = np.random.default_rng([seed, total])
    return sample_rollouts(problem, n=n, groups=total // n, rng=rng, baseline=baseline)


def _adam(
    model: Enumerated, problem: Problem, drawn: Sequence[Rollouts], checkpoints: Sequence[int], rate: float
) -> FloatArray:
    """`[R, K, A]`, the law of each run at the checkpoints; every run starts from the base."""
    rule = optax.adam(rate)
    weights, target = (jnp.asarray(np.array(part)) for part in zip(*drawn, strict=True))
    anchor = jnp.asarray(problem.log_policy)

    def loss(at: jax.Array, law: jax.Array, goal: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"tau": problem.tau, "weights": law, "reduction": "sum"}
        value: jax.Array = pmd_loss(model.traced(at), anchor, goal, **options)
        return value

    def move(carry: Any, law: jax.Array, goal: jax.Array) -> Any:
        at, memory = carry
        change, memory = rule.update(jax.grad(loss)(at, law, goal), memory)
        return optax.apply_updates(at, change), memory

    def run(carry: Any, steps: jax.Array) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, now: jax.vmap(move)(now, weights, target), carry)

    at = jnp.tile(jnp.asarray(model.base), (len(drawn), 1))
    carry, compiled, law, laws = (at, jax.vmap(rule.init)(at)), jax.jit(run), jax.jit(jax.vmap(model.traced)), []
    for steps in np.diff([0, *checkpoints]):
        carry = compiled(carry, jnp.asarray(steps))
        laws.append(np.array(law(carry[0])))
    return np.stack(laws, axis=1)


def sampled(config: Config) -> dict[str, FloatArray]:
    """The loss of N rollouts, minimised: how far its law is from each population step, and what theory expects."""
    model = Enumerated(**config["model"])
    problem = exact_problem(model, config["rule"], config["tau"])
    steps, ideal = members(problem, config["n"]), kl_update(problem).unwrap()
    shape = (len(config["rollouts"]), config["seeds"])
    own, other, blind = np.empty((len(BASELINES), *shape)), np.empty(shape), np.empty(shape)
    for i, total in enumerate(config["rollouts"]):
        for seed in range(config["seeds"]):
            for k, (baseline, step) in enumerate(zip(BASELINES, steps, strict=True)):
                rollouts = _drawn(problem, config["n"], total, seed, baseline)
                # where responses were not drawn the loss has no minimum, and the steps run out on the way to none
                found = fit(model, problem, **rollouts._asdict(), max_steps=config["steps"]).value
                assert found is not None
                own[k, i, seed] = _far(found.log_policy, step)[0]
                other[i, seed] = _far(found.log_policy, ideal)[0]  # PMD-part's in the end, the last of the two
                blind[i, seed] = problem.policy[rollouts.weights == 0.0].sum()
    errors = [
        asymptotic_error(problem, step, n=config["n"], baseline=baseline)
        for baseline, step in zip(BASELINES, steps, strict=True)
    ]
    return {
        "rollouts": np.array(config["rollouts"], dtype=np.float64),
        "sampled": own,
        "sampled_to_kl": other,
        "unsampled_mass": blind,
        "apart": np.array(_far(steps[1].log_policy, ideal)[0]),
        "asymptote": np.array(errors),
        "sampled_mean": means(np.concatenate([own, other[None]])),
        "slope": slopes(own, np.array(config["rollouts"]), config["fitted"]),
    }


def means(far: FloatArray, draws: int = 2000) -> FloatArray:
    """`[..., 3]`: the mean over seeds, the last axis, with its bootstrap 95 % interval."""
    again = np.random.default_rng(0).integers(far.shape[-1], size=(draws, far.shape[-1]))
    low, high = np.quantile(far[..., again].mean(axis=-1), [0.025, 0.975], axis=-1)
    return np.stack([far.mean(axis=-1), low, high], axis=-1)


def slopes(far: FloatArray, rollouts: FloatArray, last: int, draws: int = 2000) -> FloatArray:
    """`[B, 3]`: slope of the logarithm of the mean distance over the last sizes, with its bootstrap 95 % interval.

    Seeds are drawn again, each size by itself, since its rollouts are its own.
    """
    rng = np.random.default_rng(0)
    x = np.log(rollouts[-last:].astype(np.float64))
    rows = []
    for table in far[:, -last:]:
        again = rng.integers(table.shape[1], size=(draws, *table.shape))
        means = np.take_along_axis(table[None], again, axis=2).mean(axis=2)
        found = [np.polyfit(x, np.log(y), 1)[0] for y in (table.mean(axis=1), *means)]
        rows.append([found[0], *np.quantile(found[1:], [0.025, 0.975])])
    return np.array(rows)


def realised(config: Config) -> dict[str, FloatArray]:
    """The best law that a transformer of each width reaches, from its own base policy, by several restarts."""
    shape = (len(config["rules"]), len(config["widths"]), config["seeds"])
    far, excess, gain = np.empty(shape), np.empty(shape), np.empty(shape)
    for q, w, seed in np.ndindex(shape):
        model = Enumerated(config["vocabulary"], config["length"], width=config["widths"][w], seed=seed)
        problem = exact_problem(model, config["rules"][q], config["tau"])
        step = mean_update(problem).unwrap()
        rng = np.random.default_rng(seed)
        found = []
        for restart in range(config["restarts"][w]):  # the first from the base itself
            start = model.base + (config["jitter"] if restart else 0.0) * rng.normal(size=model.base.size)
            found.append(fit(model, problem, start=start, max_steps=config["steps"][w], tolerance=1e-12).value)
        best = min((one for one in found if one is not None), key=lambda one: one.loss)
        miss = problem.scaled_advantage - step.log_ratio
        far[q, w, seed] = _far(best.log_policy, step)[0]
        excess[q, w, seed] = best.loss - 0.5 * problem.tau * float(np.dot(problem.policy, miss * miss))
        reached = float(np.dot(np.exp(best.log_policy), problem.reward)) - problem.mean_reward
        gain[q, w, seed] = reached / step.improvement
    return {
        "width": np.array(config["widths"], dtype=np.float64),
        "width_distance": far,
        "width_excess": excess,
        "width_gain": gain,
    }
