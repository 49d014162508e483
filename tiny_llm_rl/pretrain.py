"""Base models from procedural demonstrations: clean ones first, then careless ones, until the pass rate has fallen.

Reinforcement learning sharpens a skill that is there. A base that was merely stopped early cannot be improved by it;
one that learned the task and then saw careless work can, as large models can.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from tiny_llm_rl._checks import positive_scalar, unit_interval, whole
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.rollout import END_TOKEN, log_probs, sample
from tiny_llm_rl.tasks import Task, make
from tiny_llm_rl.tokenizer import Tokenizer

__all__ = ["PretrainConfig", "measured", "missed", "pretrain", "rehearsed", "shape"]

_MEASURED: Final = 2048  # held-out prompts that the pass rates of a record are means over


@dataclass(frozen=True)
class PretrainConfig:
    """What makes a base model.

    Args:
        task: name of a task.
        difficulty: sizes the task draws from; empty takes its own.
        width: of the model; the dial of its size.
        layers: of the model; 0 takes what goes with the width, 3 up to 128.
        heads: of the model; 0 takes what goes with the width, one for 32.
        compute: precision of the model's products, "float32" or "bfloat16".
        batch: demonstrations a step.
        clean_steps: steps on right demonstrations.
        learning_rate: peak of Adam's, reached after a twentieth of the clean steps and brought down to a tenth.
        careless_rate: learning rate of the careless phase.
        noise: probability that a step of a careless demonstration is wrong.
        pass_rate: the careless phase ends at this sampled pass rate, or below; `missed` says whether it was reached.
        careless_steps: most steps of the careless phase; 0 stays with the clean model, whatever its pass rate.
        check_every: careless steps between two measurements of the pass rate.
        seed: of weights and demonstrations.

    Raises:
        ValueError: for a number out of range, naming field, value and remedy.
        TypeError: for what is no number.

    >>> PretrainConfig(pass_rate=0.2).pass_rate
    0.2
    """

    task: str = "digit-sum"
    difficulty: tuple[int, ...] = ()
    width: int = 64
    layers: int = 0
    heads: int = 0
    compute: str = "float32"
    batch: int = 256
    clean_steps: int = 1000
    learning_rate: float = 3e-3
    careless_rate: float = 1e-3
    noise: float = 0.4
    pass_rate: float = 0.12
    careless_steps: int = 200
    check_every: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for name in ("batch", "clean_steps", "check_every"):
            whole(name, getattr(self, name), "take a positive number")
        whole("careless_steps", self.careless_steps, "take 0 to stay with the clean model", least=0)
        whole("seed", self.seed, "take a number such as 0", least=0)
        whole("width", self.width, "64 is a good start")
        for name in ("layers", "heads"):
            whole(name, getattr(self, name), "take 0 for what goes with the width", least=0)
        positive_scalar("learning_rate", self.learning_rate, "3e-3 is a good start")
        positive_scalar("careless_rate", self.careless_rate, "1e-3 is a good start")
        unit_interval("noise", self.noise, "a third of the steps wrong is a good start")
        unit_interval("pass_rate", self.pass_rate, "take the share of right answers the base should give")


def shape(config: PretrainConfig) -> tuple[int, int]:
    """Layers and heads, where they are 0 what goes with the width.

    Three layers up to a width of 128, in proportion to it beyond; heads of 32 coordinates, or of the next larger number
    that divides the width.

    >>> [shape(PretrainConfig(width=width)) for width in (64, 80, 128, 256)]
    [(3, 2), (3, 2), (3, 4), (6, 8)]
    """
    fitting = (heads for heads in range(max(config.width // 32, 1), 0, -1) if config.width % (2 * heads) == 0)
    return config.layers or max(3, 3 * config.width // 128), config.heads or next(fitting, 1)


class Batch(eqx.Module):
    """Demonstrations: prompts `[B, P]`, their lengths `[B]`, responses and their mask `[B, R]`."""

    prompts: Array
    lengths: Array
    responses: Array
    mask: Array


def demonstrations(task: Task, tokenizer: Tokenizer, size: int, rng: np.random.Generator, wrong: float) -> Batch:
    """A batch of demonstrations on training prompts."""
    texts = [task.prompt(rng) for _ in range(size)]
    prompts, lengths = tokenizer.rows(texts, task.prompt_slots)
    responses, ends = tokenizer.rows([task.demonstration(text, rng, wrong) for text in texts], task.response_slots)
    responses[np.arange(size), ends] = END_TOKEN
    mask = np.arange(task.response_slots) <= ends[:, None]
    return Batch(*map(jnp.asarray, (prompts, lengths, responses, mask)))


def _make_step(optimiser: optax.GradientTransformation) -> Callable[..., tuple[Transformer, optax.OptState, Array]]:
    """A compiled step of maximum likelihood, (batch, model, state) to (model, state, loss); takes over the last two."""

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: Batch, model: Transformer, state: optax.OptState) -> tuple[Transformer, optax.OptState, Array]:
        def negative_log_likelihood(model: Transformer) -> Array:
            logp = log_probs(model, batch.prompts, batch.lengths, batch.responses, batch.mask)
            loss: Array = -logp.sum() / batch.mask.sum()
            return loss

        loss, gradient = eqx.filter_value_and_grad(negative_log_likelihood)(model)
        updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(model, updates), state, loss

    return step


def rehearsed(
    base: tuple[Transformer, Task, Tokenizer],
    steps: int,
    *,
    batch: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Transformer:
    """A base after so many steps on right demonstrations: its pass rate rises with them.

    Raises:
        ValueError: for a number out of range.

    >>> from tiny_llm_rl.train import load_base
    >>> base = load_base("digit-sum")
    >>> rehearsed(base, 0).config == base[0].config
    True
    """
    whole("steps", steps, "take 0 for the base itself", least=0)
    whole("batch", batch, "take a positive number")
    positive_scalar("learning_rate", learning_rate, "1e-3 is a good start")
    start, task, tokenizer = base
    model = jax.tree.map(jnp.copy, start)  # the compiled step takes over its buffers
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))
    state, step = optimiser.init(eqx.filter(model, eqx.is_array)), _make_step(optimiser)
    for done in range(steps):
        part = demonstrations(task, tokenizer, batch, np.random.default_rng([seed, 4, done]), 0.0)
        model, state, _ = step(part, model, state)
    found: Transformer = model
    return found


def measured(
    model: Transformer,
    task: Task,
    tokenizer: Tokenizer,
    prompts: int,
    key: Array,
    *,
    evaluation: bool = False,
    temperature: float = 1.0,
) -> NDArray[np.float64]:
    """Rewards `[prompts]` of one sampled response each, on fresh prompts."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    texts = [task.prompt(rng, evaluation=evaluation) for _ in range(prompts)]
    rows, lengths = map(jnp.asarray, tokenizer.rows(texts, task.prompt_slots))
    found = sample(model, rows, lengths, key, slots=task.response_slots, temperature=temperature)
    said = tokenizer.texts(np.asarray(found.tokens))
    return np.array([task.reward(text, response) for text, response in zip(texts, said, strict=True)])


def missed(config: PretrainConfig, record: dict[str, Any]) -> str:
    """How a base missed the pass rate that was asked for, and the remedy; empty where it did not.

    It did when the careless steps ran out above it, when the clean model is below it, or when the careless phase fell
    to less than half of it between two measurements. Two standard errors of the measured rates are let pass.

    Args:
        config: that was asked for.
        record: what `pretrain` returned with the model.

    >>> missed(PretrainConfig(pass_rate=0.5), {"pass_rate": 0.49, "clean_pass_rate": 0.9, "careless_steps": 20})
    ''
    """
    asked, found, clean = config.pass_rate, record["pass_rate"], record["clean_pass_rate"]
    spread = 2 * math.sqrt(asked * (1 - asked) / _MEASURED)
    if config.careless_steps == 0:
        return ""
    if found > asked + spread and record["careless_steps"] == config.careless_steps:
        return f"pass rate {found:.3f} is above pass_rate={asked:g}; raise careless_steps, careless_rate or noise"
    if clean < asked - spread:
        return (
            f"pass rate {found:.3f} is below pass_rate={asked:g}, and so is that of the clean model, {clean:.3f}; "
            "raise clean_steps, layers or width"
        )
    if found < min(asked - spread, asked / 2):
        return f"pass rate {found:.3f} fell past pass_rate={asked:g}; lower check_every or careless_rate"
    return ""


def pretrain(
    config: PretrainConfig, report: Callable[[dict[str, Any]], None] = lambda record: None
) -> tuple[Transformer, dict[str, Any]]:
    """Make a base model.

    Args:
        config: what to make.
        report: called with a record now and then: phase, step, loss, pass_rate where it was measured.

    Returns:
        The model and its record: task, difficulty, alphabet, pass rates of the clean and of the final model on
        2,048 held-out prompts, steps and seed.
    """
    task = make(config.task, config.difficulty)
    tokenizer = Tokenizer(task.alphabet)
    key = jax.random.key(config.seed)
    model = Transformer(ModelConfig(tokenizer.size, config.width, *shape(config), compute=config.compute), key)
    rise = max(1, config.clean_steps // 20)
    rate = optax.join_schedules(
        [
            optax.warmup_cosine_decay_schedule(
                0.0, config.learning_rate, rise, max(config.clean_steps, rise + 1), 0.1 * config.learning_rate
            ),
            optax.constant_schedule(config.careless_rate),
        ],
        [config.clean_steps],
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    state = optimiser.init(eqx.filter(model, eqx.is_array))

    step = _make_step(optimiser)

    def pass_rate(model: Transformer, index: int, *, prompts: int = 1024, evaluation: bool = False) -> float:
        seed = jax.random.fold_in(key, 10**6 + index)
        return float(measured(model, task, tokenizer, prompts, seed, evaluation=evaluation).mean())

    started, done = time.perf_counter(), 0
    loss = jnp.asarray(jnp.nan)
    for done in range(1, config.clean_steps + 1):
        batch = demonstrations(task, tokenizer, config.batch, np.random.default_rng([config.seed, 1, done]), 0.0)
        model, state, loss = step(batch, model, state)
        if done % 25 == 0 or done == config.clean_steps:
            report({"phase": "clean", "step": done, "of": config.clean_steps, "loss": float(loss)})
    clean = pass_rate(model, 0, prompts=_MEASURED, evaluation=True)
    careless, now = 0, clean
    while careless < config.careless_steps and now > config.pass_rate:
        careless += 1
        rng = np.random.default_rng([config.seed, 2, careless])
        model, state, loss = step(demonstrations(task, tokenizer, config.batch, rng, config.noise), model, state)
        if careless % config.check_every == 0:
            now = pass_rate(model, careless)
            report(
                {
                    "phase": "careless",
                    "step": careless,
                    "of": config.careless_steps,
                    "loss": float(loss),
                    "pass_rate": now,
                }
            )
    record = {
        "task": config.task,
        "difficulty": list(task.difficulty),
        "alphabet": task.alphabet,
        "clean_pass_rate": clean,
        "pass_rate": pass_rate(model, 1, prompts=_MEASURED, evaluation=True),
        "clean_steps": done,
        "careless_steps": careless,
        "seed": config.seed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    return model, record
