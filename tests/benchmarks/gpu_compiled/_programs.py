"""The programs, as functions of shapes: what `make gpu` times, and the update whose memory docs/smollm.md gives."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from pmdtheory._fast_updates import jitted_mean
from tests.benchmarks.gpu.trainer import DIGITS, MODEL, ROWS
from tests.benchmarks.gpu.updates import ACTIONS, PROMPTS, ROLLOUTS, WANTED
from tests.benchmarks.gpu_smollm.__main__ import OPTIONS
from tests.smollm import test_memory as smollm
from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.rollout import sample
from tiny_llm_rl.tasks import make
from tiny_llm_rl.tokenizer import Tokenizer

Shape = jax.ShapeDtypeStruct


class Program(NamedTuple):
    """A function of arrays, the shapes of its arguments, those whose memory it takes over, and what was wanted."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    donated: tuple[int, ...] = ()
    x64: bool = True  # as in `make gpu`
    wanted: dict[str, Any] = {}  # noqa: RUF012  read only


def updates() -> Iterator[tuple[str, Program]]:
    """PMD-mean of very many actions, and of very many prompts."""
    sizes = ((ACTIONS["full"][-1],), (PROMPTS["full"], ROLLOUTS))
    for shape in sizes:
        for dtype in ("float64", "float32"):
            laws, tau = Shape(shape, jnp.dtype(dtype)), Shape((), jnp.dtype(dtype))
            wanted = {"seconds": WANTED[dtype]} if len(shape) == 1 else {}
            name = " x ".join(f"{length:.0e}" for length in shape)
            yield f"mean_update, {name}, {dtype}", Program(jitted_mean, (laws, laws, tau, None), wanted=wanted)


def _split(tree: Any) -> tuple[Any, Any]:
    return eqx.partition(tree, lambda leaf: isinstance(leaf, Shape))  # type: ignore[no-any-return]


def language_model() -> Iterator[tuple[str, Program]]:
    """Sampling and an update of the model of a few million parameters, at the most rows."""
    task = make("addition", DIGITS["full"])
    tokenizer = Tokenizer(task.alphabet)
    config = ModelConfig(tokenizer.size, **MODEL["full"])
    rows, slots = ROWS["full"][-1], task.response_slots
    model, fixed = _split(eqx.filter_eval_shape(Transformer, config, jax.random.key(0)))
    prompts, lengths = Shape((rows // 8, task.prompt_slots), jnp.int32), Shape((rows // 8,), jnp.int32)
    seed = Shape((2,), jnp.uint32)

    def sampled(model: Any, prompts: Any, lengths: Any, seed: Any) -> Any:
        key = jax.random.wrap_key_data(seed)
        return sample(eqx.combine(model, fixed), prompts, lengths, key, slots=slots, copies=8)

    yield f"sample, {rows} rows", Program(sampled, (model, prompts, lengths, seed))
    train = TrainConfig(prompts=rows // 8, rollouts=8, minibatches=1, shuffle="groups")
    state = jax.eval_shape(make_optimiser(train).init, model)
    group = (rows // 8, 8)
    numbers = [Shape((*group, slots), kind) for kind in (jnp.int32, bool, jnp.float32)]
    batch = Batch(prompts, lengths, *numbers, Shape(group, jnp.float32), Shape(group, jnp.float32))  # type: ignore[arg-type]

    def updated(model: Any, state: Any, batch: Batch, seed: Any) -> Any:
        given = compiled(train), batch, jax.random.wrap_key_data(seed)
        return eqx.filter(update(given, eqx.combine(model, fixed), state), eqx.is_array)

    yield f"update, {rows} rows", Program(updated, (model, state, batch, seed), donated=(0, 1))


def smollm2() -> Iterator[tuple[str, Program]]:
    """An update of SmolLM2-135M on 128 prompts, 8 responses each, 128 tokens, in one minibatch."""
    assert (OPTIONS.compute, OPTIONS.remat) == (smollm.SMOLLM2.compute, smollm.SMOLLM2.remat)
    for rows in (0, 16):
        with jax.enable_x64(False):
            function, arguments = smollm.traced(rows)
        yield f"SmolLM2, update, --rows {rows}", Program(function, tuple(arguments), donated=(2, 3), x64=False)


def programs() -> Iterator[tuple[str, Program]]:
    """All of them, by name."""
    for each in (updates, language_model, smollm2):
        yield from each()
