"""Memory of an update of SmolLM2-135M with 128 prompts x 8 responses x 128 tokens: traced and compiled, never run."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jaxprs import equations
from tests.test_architecture import ROOT
from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.model import picked
from tiny_llm_rl.smollm import _turns
from tiny_llm_rl.smollm.config import LlamaConfig
from tiny_llm_rl.smollm.model import Llama, random_llama

pytestmark = pytest.mark.jax

SMOLLM2 = LlamaConfig(49152, 576, 30, 9, 3, 64, 1536, compute="bfloat16", remat=True)
CONFIG = TrainConfig(prompts=128, rollouts=8, minibatches=1, learning_rate=1e-5)
ROWS, PROMPT, SLOTS = CONFIG.batch, 64, 128
ACCELERATOR = 80e9 / 2**30  # GiB


def traced(rows=0, config=CONFIG):
    """The update as a function of shapes, and them: batch, key, model, state."""
    shape = jax.ShapeDtypeStruct
    key = jax.eval_shape(lambda: jax.random.key(0))
    model = eqx.filter_eval_shape(random_llama, dataclasses.replace(SMOLLM2, rows=rows), jax.random.key(0))
    state = eqx.filter_eval_shape(lambda m: make_optimiser(config).init(eqx.filter(m, eqx.is_inexact_array)), model)
    group = (config.prompts, config.rollouts)
    numbers = [shape((*group, SLOTS), kind) for kind in (jnp.int32, bool, jnp.float32)]
    texts = shape((group[0], PROMPT), jnp.int32), shape(group[:1], jnp.int32)
    batch = Batch(*texts, *numbers, shape(group, jnp.float32), shape(group, jnp.float32))
    arrays, rest = eqx.partition((batch, key, model, state), lambda leaf: isinstance(leaf, shape))

    def act(*arrays):
        batch, key, model, state = eqx.combine(arrays, rest)
        return eqx.filter(update((compiled(config), batch, key), model, state), eqx.is_array)

    return act, arrays


def largest(jaxpr):
    """Elements of the largest array in a program with a vocabulary's axis."""
    values = (value for equation in equations(jaxpr) for value in (*equation.invars, *equation.outvars))
    shapes = (getattr(value.aval, "shape", ()) for value in values)
    return max((int(np.prod(shape)) for shape in shapes if SMOLLM2.vocabulary in shape), default=0)


@pytest.mark.parametrize("rows", [0, 16])
def test_logits_are_never_whole(rows):
    act, arrays = traced(rows)
    assert SMOLLM2.vocabulary * SMOLLM2.width < largest(jax.make_jaxpr(act)(*arrays).jaxpr) <= _turns.LOGITS


def test_whole_logits_are_seen(monkeypatch):
    """A mutant: the path of a small vocabulary."""
    monkeypatch.setattr(Llama, "chosen", lambda model, *text: picked(model.logits(*text[:3]), text[3]))
    act, arrays = traced(config=dataclasses.replace(CONFIG, tau=0.5))  # the trace of the other one is kept
    assert largest(jax.make_jaxpr(act)(*arrays).jaxpr) == ROWS * SLOTS * SMOLLM2.vocabulary


def temporary(rows=0, config=CONFIG):
    """GiB that the compiled update wants beside its arguments, and those."""
    act, arrays = traced(rows, config)
    found = jax.jit(act, donate_argnums=(2, 3)).lower(*arrays).compile().memory_analysis()
    return found.temp_size_in_bytes / 2**30, found.argument_size_in_bytes / 2**30


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 16])
def test_an_update_fits_an_accelerator(rows):
    """As the page says, and with room for the state and a copy of it to go back to in less than half."""
    needed, given = temporary(rows)
    written = re.search(rf"`--rows {rows}` +\| ([\d.]+) GiB", (ROOT / "docs" / "smollm.md").read_text())
    assert needed == pytest.approx(float(written[1]), rel=0.05)
    assert needed + 2 * given < ACCELERATOR / 2
