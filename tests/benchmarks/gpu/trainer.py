"""Parts: training steps of a large bandit; sampling and training throughput of a language model of a few million
parameters, with the bytes and operations that bound both."""

import statistics
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.gpu._registry import part
from tests.benchmarks.gpu.updates import REPEATS, timed
from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
from tiny_llm_rl.bandit import BanditConfig, make_train
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.rollout import log_probs, sample
from tiny_llm_rl.tasks import make
from tiny_llm_rl.tokenizer import Tokenizer

MODEL: dict[str, dict[str, Any]] = {
    "full": {"width": 256, "layers": 8, "heads": 8, "compute": "bfloat16"},
    "tiny": {"width": 16, "layers": 1, "heads": 1, "compute": "float32"},
}
ROWS = {"full": (128, 1024, 4096), "tiny": (16,)}
DIGITS = {"full": (8,), "tiny": (2,)}  # of the sums: responses of 80 or 30 tokens
BANDIT: dict[str, dict[str, Any]] = {
    "full": {"actions": 100_000, "contexts": 64, "groups": 256, "batches": 5},
    "tiny": {"actions": 100, "contexts": 2, "groups": 8, "batches": 2},
}


@part("bandit")
def bandit(size: str) -> dict[str, Any]:
    config = BanditConfig(**BANDIT[size])
    train = jax.jit(make_train(config))
    times = timed(lambda: train(jax.random.key(0)), REPEATS[size])
    median = statistics.median(times)
    steps = config.batches * config.epochs * config.minibatches
    return {**BANDIT[size], "median": median, "repetitions": len(times), "steps a second": steps / median}


def floors(config: ModelConfig, slots: int) -> dict[str, float]:
    """Bytes that one step of the sampler must read, `slots` of the cache among them, and operations of one token."""
    width = jnp.dtype(config.compute).itemsize
    cache = 2.0 * config.layers * slots * config.width * width
    weights = 4.0 * config.parameters  # stored in float32
    return {"bytes a step": cache + weights, "operations a token": 2.0 * config.parameters}


@part("language-model")
def language_model(size: str) -> dict[str, Any]:
    task = make("addition", DIGITS[size])
    tokenizer = Tokenizer(task.alphabet)
    config = ModelConfig(tokenizer.size, **MODEL[size])
    model = Transformer(config, jax.random.key(0))
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for rows in ROWS[size]:
        texts = [task.prompt(rng) for _ in range(rows // 8)]
        prompts, lengths = map(jnp.asarray, tokenizer.rows(texts, task.prompt_slots))
        slots = task.response_slots

        def sampled(prompts: Any = prompts, lengths: Any = lengths, slots: int = slots) -> Any:
            return sample(model, prompts, lengths, jax.random.key(1), slots=slots, copies=8)

        times = timed(sampled, REPEATS[size])
        rollouts = sampled()
        tokens = int(rollouts.mask.sum())
        longest = int(rollouts.mask.sum(-1).max())
        train = TrainConfig(prompts=rows // 8, rollouts=8, minibatches=1, shuffle="groups")
        whole = jnp.ones_like(rollouts.mask)
        old = log_probs(model, prompts, lengths, rollouts.tokens, whole)
        responses = (x.reshape(-1, 8, slots) for x in (rollouts.tokens, whole, old))
        signal = jax.random.normal(jax.random.key(2), (rows // 8, 8), jnp.float32)
        batch = Batch(prompts, lengths, *responses, signal, jnp.ones_like(signal))
        state = make_optimiser(train).init(eqx.filter(model, eqx.is_array))

        def trained(batch: Any = batch, state: Any = state, train: Any = train) -> Any:
            copies = jax.tree.map(jnp.copy, (model, state))  # the update takes over what it is given
            return update((compiled(train), batch, jax.random.key(3)), *copies)[0].head

        median, step = statistics.median(times), statistics.median(timed(trained, REPEATS[size]))
        found[str(rows)] = {
            "sampled tokens a second": tokens / median,
            "trained tokens a second": rows * slots / step,
            "sampling, seconds a step": median / longest,
            "update, seconds": step,
            **floors(config, rows * slots + rows // 8 * task.prompt_slots),  # a group's prompt is read once
        }
    return {"parameters": config.parameters, **MODEL[size], "rows": found, "wanted sampled tokens a second": 1e6}
