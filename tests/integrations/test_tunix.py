"""`GRPOLearner` really trains on the registered losses; target, loss and gradient are those of a second computation."""

import dataclasses
import os
from types import SimpleNamespace

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tunix.rl import function_registry, rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout.base_rollout import RolloutConfig

from pmdtheory.integrations import MEMBERS
from pmdtheory.integrations.tunix import register
from tests.integrations.tiny_jax import PROMPTS, Characters, model, reward
from tests.wrong import refused

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

FLOAT32 = 1e-5  # relative, of a loss and of a gradient summed in another order
TAU = 0.2
register(TAU)


@dataclasses.dataclass(frozen=True)
class Watched:
    """A registered loss that reports what it was given, out of the compiled step."""

    inner: object
    seen: list

    def __call__(self, policy, train_example, algo_config, pad_id, eos_id, **rest):
        loss, aux = self.inner(policy, train_example, algo_config, pad_id, eos_id, **rest)
        given = (nnx.state(policy, nnx.Param), train_example, loss)
        jax.debug.callback(lambda *values: self.seen.append(values), *given, ordered=False)
        return loss, aux


def learner(member="pmd-mean", *, devices=1, loss=None, policy=None, rate=3e-3, steps=4, temperature=1.0, **changes):
    # Not jax.make_mesh, whose axes are of the explicit kind, which Tunix's models do not take.
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]).reshape(devices, 1), ("fsdp", "tp"))
    training = rl_cluster.RLTrainingConfig(
        actor_optimizer=optax.sgd(rate) if changes.pop("sgd", False) else optax.adam(rate), eval_every_n_steps=10**6,
        max_steps=steps, mini_batch_size=4, train_micro_batch_size=changes.pop("micro", 4),
    )  # fmt: skip
    cluster = rl_cluster.RLCluster(
        actor=model() if policy is None else policy, tokenizer=Characters(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys(
                (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT), mesh
            ),
            training_config=training,
            rollout_config=RolloutConfig(
                max_tokens_to_generate=6, max_prompt_length=8, kv_cache_size=32, temperature=temperature,
                seed=1,  # not a key: its buffer is given away in the first batch
            ),
        ),
    )  # fmt: skip
    settings = {"num_generations": 4, "num_iterations": 2, "beta": 0.0} | changes
    config = GRPOConfig(policy_loss_fn=loss or member, advantage_estimator=member, **settings)
    return GRPOLearner(rl_cluster=cluster, algo_config=config, reward_fns=changes.pop("reward_fns", reward))


def data(batches):
    return [{"prompts": np.array(PROMPTS[:4])} for _ in range(batches)]


def weights_of(found):
    return jax.tree.map(np.array, nnx.state(found.rl_cluster.actor_trainer.model, nnx.Param))


def by_hand(graph, rest, weights, example):
    """Mean term: every row alone, without the padding of its prompt, in a loop over tokens; and the log-ratios.

    A random model also says the padding symbol, which then neither counts nor is seen, and takes no position.
    """
    policy = nnx.merge(graph, weights, rest)
    terms, log_ratios = [], []
    for row in range(example.prompt_ids.shape[0]):
        prompt = np.asarray(example.prompt_ids[row])[np.asarray(example.prompt_mask[row]) > 0]
        said, counts = np.asarray(example.completion_ids[row]), np.asarray(example.completion_mask[row])
        real = np.concatenate([np.ones(len(prompt), bool), counts > 0])
        tokens, positions = np.concatenate([prompt, said])[None], np.maximum(np.cumsum(real) - 1, 0)[None]
        visible = np.tril(np.ones((real.size, real.size), bool)) & real
        logits, _ = policy(jnp.asarray(tokens), jnp.asarray(positions), None, jnp.asarray(visible)[None])
        laws = jax.nn.log_softmax(logits[0].astype(jnp.float32), -1)
        log_ratio = sum(
            laws[len(prompt) - 1 + t, said[t]] - example.old_per_token_logps[row, t] for t in np.flatnonzero(counts)
        )
        terms.append(TAU / 2 * (example.advantages[row] / TAU - log_ratio) ** 2)
        log_ratios.append(log_ratio)
    return sum(terms) / len(terms), jnp.stack(log_ratios)


def naive(rewards, member):
    """Advantages by loops: r less tau times the baseline of the others, or of all."""
    found = []
    for group in np.reshape(rewards, (-1, 4)):
        for i, r in enumerate(group):
            pool = (group if member.endswith("group") else np.delete(group, i)) / TAU
            found.append(r - TAU * (pool.mean() if "mean" in member else np.log(np.mean(np.exp(pool)))))
    return np.array(found)


@pytest.mark.parametrize("member", MEMBERS)
def test_trains_on_its_own_loss(member):
    name, seen = f"watched {member}", []
    inner = function_registry.get_policy_loss_fn(member)
    function_registry.register_policy_loss_fn(name)(Watched(inner, seen))
    found = learner(member, loss=name, steps=2)
    before = weights_of(found)
    found.train(data(1))
    jax.effects_barrier()
    assert len(seen) == 2
    graph, _, rest = nnx.split(model(), nnx.Param, ...)
    spread = []
    for weights, example, loss in seen:
        (mean, log_ratios), gradient = jax.value_and_grad(
            lambda weights, example=example: by_hand(graph, rest, weights, example), has_aux=True
        )(weights)
        assert float(loss) == pytest.approx(float(mean), rel=FLOAT32)
        ours = gradient_of(inner, graph, rest, weights, example, member)
        scale = max(float(jnp.abs(part).max()) for part in jax.tree.leaves(gradient))
        assert scale > 1e-4  # there is a gradient to compare
        for got, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(gradient), strict=True):
            assert float(jnp.abs(got - wanted).max()) <= FLOAT32 * scale
        spread.append(float(jnp.abs(log_ratios).max()))
        said = [Characters().decode(row) for row in np.asarray(example.completion_ids)]
        rewards = reward(None, said)
        np.testing.assert_allclose(example.advantages, naive(rewards, member), rtol=1e-6, atol=1e-6)
        for other in set(MEMBERS) - {member}:
            assert np.abs(naive(rewards, other) - naive(rewards, member)).max() > 1e-3  # another one would be seen
    # Two updates a batch: the first starts at ratio one, the second does not, and only there it is a regression.
    assert spread[0] < 1e-4
    assert spread[1] > 1e-2
    moved = jax.tree.map(lambda old, new: float(np.abs(old - new).max()), before, weights_of(found))
    assert max(jax.tree.leaves(moved)) > 1e-3


def gradient_of(inner, graph, rest, weights, example, member):
    config = SimpleNamespace(beta=0.0, loss_algo="grpo", temperature=1.0, advantage_estimator=member)
    return jax.grad(lambda weights: inner(nnx.merge(graph, weights, rest), example, config, pad_id=0, eos_id=2)[0])(
        weights
    )


def test_the_reward_rises():
    """Its own report: mean reward of the first and of the last batches."""
    rewards = []

    def watched(prompts, completions, **rest):
        found = reward(prompts, completions)
        rewards.append(np.mean(found))
        return found

    found = learner("pmd-part", steps=60, rate=1e-2, num_iterations=2)
    found.reward_manager.reward_fns = [watched]
    found.train(data(30))
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 0.1


def example(**changes):
    rng = np.random.default_rng(0)
    ids = {"prompt_ids": rng.integers(3, 10, (4, 3)), "completion_ids": rng.integers(3, 10, (4, 5))}
    parts = {name: jnp.asarray(value) for name, value in ids.items()} | {
        "prompt_mask": jnp.ones((4, 3), bool), "completion_mask": jnp.ones((4, 5), bool),
        "advantages": jnp.array([1.0, 0.0, -1.0, 0.5]), "ref_per_token_logps": None,
        "old_per_token_logps": jnp.full((4, 5), -2.0), "segment_ids": None, "sampler_is_weights": None,
    }  # fmt: skip
    return SimpleNamespace(**parts | changes)


def config(**changes):
    return SimpleNamespace(
        **{"beta": 0.0, "loss_algo": "grpo", "temperature": 1.0, "advantage_estimator": "pmd-mean"} | changes
    )


def call(given, settings):
    return function_registry.get_policy_loss_fn("pmd-mean")(model(), given, settings, pad_id=0, eos_id=2)


def test_parts_add_up():
    """The mean of two micro-batches of one size is the loss of the whole."""
    whole = example()
    halves = [
        SimpleNamespace(**{name: None if value is None else value[part] for name, value in vars(whole).items()})
        for part in (slice(0, 2), slice(2, 4))
    ]
    split = np.mean([float(call(half, config())[0]) for half in halves])
    assert float(call(whole, config())[0]) == pytest.approx(split, rel=FLOAT32)


def test_two_devices_take_the_step_of_one():
    """Data-parallel over a mesh of two: the weights after two updates of plain gradient descent."""
    found = []
    for devices in (1, 2):
        taken = learner("pmd-part", devices=devices, steps=2, sgd=True, rate=0.1)
        taken.train(data(1))
        found.append(weights_of(taken))
    moved = jax.tree.map(lambda old, new: np.abs(old - new).max(), weights_of(learner()), found[0])
    scale = max(jax.tree.leaves(moved))
    assert scale > 1e-3
    apart = jax.tree.map(lambda one, two: np.abs(one - two).max(), *found)
    assert max(jax.tree.leaves(apart)) <= 1e-4 * scale


WRONG = [
    (example(old_per_token_logps=None), config(), "old_per_token_logps", "num_iterations=2"),
    (example(), config(advantage_estimator="grpo"), "advantage_estimator", "'grpo'"),
    (example(), config(beta=0.04), "beta", "0.04"),
    (example(), config(loss_algo="gspo-token"), "loss_algo", "gspo-token"),
    (example(), config(temperature=0.9), "temperature", "0.9"),
    (example(segment_ids=jnp.ones((4, 5), int)), config(), "segment_ids", "packed"),
    (example(advantages=jnp.ones((4, 5))), config(), "segment_ids", "packed"),
    (example(sampler_is_weights=jnp.ones((4, 5))), config(), "sampler_is_weights", "weights"),
]


@pytest.mark.parametrize(("given", "settings", "fragments"), [(one, two, found) for one, two, *found in WRONG])
def test_refuses_another_loss(given, settings, fragments):
    refused(ValueError, lambda: call(given, settings), *fragments)


def test_a_learner_that_records_nothing_is_refused_in_training():
    """With one iteration Tunix leaves the log-probabilities out, and its own loss goes on (the mutant)."""
    stock = learner("grpo", num_iterations=1, steps=1)
    stock.train(data(1))
    found = learner("pmd-mean", num_iterations=1, steps=1)
    before = weights_of(found)
    refused(ValueError, lambda: found.train(data(1)), "old_per_token_logps", "policy gradient")
    jax.tree.map(np.testing.assert_array_equal, before, weights_of(found))


def test_tunix_records_log_probabilities_at_temperature_one():
    """Why another temperature is refused: with one, the first log-ratio of the stock pair is not zero."""
    found = learner("pmd-mean", temperature=0.5, steps=1)
    found._rollout_micro_batch_size = found._compute_logps_micro_batch_size = 1
    made = found._generate_and_compute_advantage({"prompts": np.repeat(PROMPTS[:1], 4)})
    rollout = found.rl_cluster.rollout
    graph, state = nnx.split(found.rl_cluster.actor_trainer.model)
    from tunix.rl.common import compute_per_token_logps

    given = {"prompt_tokens": made.prompt_ids, "completion_tokens": made.completion_ids}
    at = [
        compute_per_token_logps(
            graph, state, **given, pad_id=rollout.pad_id(), eos_id=rollout.eos_id(), temperature=temperature
        )
        for temperature in (1.0, 0.5)
    ]
    mask = np.asarray(made.completion_mask)
    assert np.abs(np.where(mask, at[0] - made.old_per_token_logps, 0)).max() < 1e-4
    assert np.abs(np.where(mask, at[1] - made.old_per_token_logps, 0)).max() > 0.1


def test_registering():
    assert register(TAU) == tuple(MEMBERS)  # again, with the same tau
    refused(ValueError, lambda: register(0.3), "prefix", "pmd-mean")
    assert register(0.3, prefix="warm-")[0] == "warm-pmd-mean"
    warm = function_registry.get_advantage_estimator("warm-pmd-part")(np.array([1.0, 0.0]), num_generations=2)
    np.testing.assert_allclose(warm, [1.0, -1.0], rtol=1e-6)
    refused(ValueError, lambda: register(0.0), "tau", "0.0")
    refused(TypeError, lambda: register(TAU, prefix=3), "prefix", "3")
    function_registry.register_policy_loss_fn("mine-pmd-mean")(lambda *_: None)
    refused(ValueError, lambda: register(TAU, prefix="mine-"), "prefix", "mine-pmd-mean")
    with pytest.raises(LookupError):
        function_registry.get_policy_loss_fn("mine-pmd-part")  # nothing was registered half


def test_examples_are_those_of_tunix():
    """The stand-in of these tests has no field that Tunix's record does not have."""
    from tunix.rl import common

    assert flax.struct is not None
    known = {entry.name for entry in dataclasses.fields(common.TrainExample)}
    assert set(vars(example())) <= known
