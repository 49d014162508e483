"""No product is left to JAX's default precision, which on a GPU is TF32: ten bits of each factor."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from tests.jaxprs import equations
from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
from tiny_llm_rl.bandit import NAMES, BanditConfig, make_train
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.rollout import sample
from tiny_llm_rl.smollm.config import LlamaConfig
from tiny_llm_rl.smollm.lora import adapted
from tiny_llm_rl.smollm.model import random_llama

pytestmark = pytest.mark.jax

FULL = (jax.lax.Precision.HIGHEST,) * 2


def products(function, *arguments):
    """Precisions of all products of a function of arrays and other things."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    run = lambda arrays: eqx.filter(function(*eqx.combine(arrays, rest)), eqx.is_array)  # noqa: E731
    traced = equations(jax.make_jaxpr(run)(arrays).jaxpr)
    return [equation.params["precision"] for equation in traced if equation.primitive.name == "dot_general"]


def models():
    key = jax.random.key(0)
    llama = random_llama(LlamaConfig(9, 8, 2, 2, 2, 4, 8, remat=True), key)
    return {
        "transformer": Transformer(ModelConfig(9, 8, 2, 2), key),
        "llama": llama,
        "llama with adapters": adapted(llama, key, rank=2),
    }


MODELS = models()
PROMPTS, LENGTHS = jnp.ones((2, 3), jnp.int32), jnp.array([3, 2])


@pytest.mark.parametrize("name", MODELS)
def test_sampling(name):
    found = products(lambda model: sample(model, PROMPTS, LENGTHS, jax.random.key(0), slots=4, copies=2), MODELS[name])
    assert len(found) >= 8
    assert set(found) == {FULL}


@pytest.mark.parametrize("name", MODELS)
def test_an_update_and_its_gradient(name):
    model, config = MODELS[name], TrainConfig(prompts=2, rollouts=2, minibatches=2, shuffle="groups")
    ones = jnp.ones((2, 2, 4))
    batch = Batch(PROMPTS, LENGTHS, ones.astype(jnp.int32), ones > 0, -ones, ones[:, :, 0], ones[:, :, 0])
    state = make_optimiser(config).init(eqx.filter(model, eqx.is_inexact_array))
    given = compiled(config), batch, jax.random.key(1)
    found = products(update, given, model, state)
    assert len(found) >= 24
    assert set(found) == {FULL}


@pytest.mark.parametrize("algorithm", NAMES)
def test_bandits(algorithm):
    config = BanditConfig(algorithm=algorithm, actions=100, contexts=2, groups=2, batches=1)
    found = products(make_train(config), jax.random.key(0))
    assert len(found) >= 1
    assert set(found) == {FULL}


def test_a_product_left_to_itself_is_seen():
    """A mutant."""
    found = products(lambda x: jax.lax.scan(lambda c, row: (c @ c, row), x, x)[0], jnp.ones((2, 2)))
    assert found == [None]
