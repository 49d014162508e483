r"""Evaluation on held-out prompts: Avg@k, Best@k and Maj@k, with bootstrap intervals over prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from numpy.typing import NDArray

from tiny_llm_rl import mesh, processes
from tiny_llm_rl._checks import whole
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.rollout import END_TOKEN, Rollouts, sample
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer

__all__ = ["Evaluation", "evaluate", "in_parts", "interval"]

_ROWS = 2048  # sampled at once


def interval(
    values: NDArray[np.float64], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values[N]`, which are independent.

    >>> interval(np.array([0.0, 1.0] * 200)) == interval(np.array([0.0, 1.0] * 200))  # the same bits every time
    True
    """
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(values.size, np.full(values.size, 1.0 / values.size), resamples)
    low, high = np.quantile(counts @ values / values.size, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Evaluation:
    """What k samples of each held-out prompt say.

    Attributes:
        prompts: how many.
        samples: k.
        average: Avg@k, mean reward.
        average_interval: 95 %, over prompts.
        best: Best@k, the best of the k rewards.
        best_interval: 95 %.
        majority: Maj@k, the reward of the commonest answer (of its first response, ties by first occurrence).
        majority_interval: 95 %.
        length: mean tokens of a response, its end symbol included.
        entropy: mean nats of the law a token was drawn from.
        truncated: share of responses without an end.
    """

    prompts: int
    samples: int
    average: float
    average_interval: tuple[float, float]
    best: float
    best_interval: tuple[float, float]
    majority: float
    majority_interval: tuple[float, float]
    length: float
    entropy: float
    truncated: float


def in_parts(
    model: Transformer,
    task: Task,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    key: Array,
    *,
    samples: int,
    rows: int,
    temperature: float = 1.0,
    devices: Mesh | None = None,
) -> Iterator[tuple[int, list[list[str]], Rollouts]]:
    """Responses to prompts, at most about `rows` of them sampled at once; on a mesh, rows over devices.

    The parts and the key of each are the same on every mesh, and the number that decides a token depends on the key and
    on its row in the part alone. So the responses are those of one device, unless rounding decides between two tokens.

    Yields:
        The number of the first prompt that this process decodes, the responses to it and the next ones, and the
        `Rollouts` (NumPy) of the whole part. Without a mesh, and alone, a process decodes all prompts.
    """
    given, lengths = tokenizer.rows(texts, task.prompt_slots)
    at_once = max(1, min(len(texts), rows // samples))
    size = 1 if devices is None else devices.size
    for start in range(0, len(texts), at_once):
        # The last part is filled up, so that all have one shape and nothing is compiled twice; so is each on a mesh.
        index = np.minimum(np.arange(start, start + -(-at_once // size) * size), len(texts) - 1)
        asked: tuple[Array, Array] = mesh.shard_batch(devices, (given[index], lengths[index]))
        with mesh.in_context(devices):
            found = sample(
                model, *asked, jax.random.fold_in(key, start),
                slots=task.response_slots, copies=samples, temperature=temperature,
            )  # fmt: skip
        count = min(at_once, len(texts) - start)
        whole_part: Any = mesh.on_host(found)
        kept = Rollouts(*[column[: count * samples] for column in whole_part])
        first, end, _ = (slice(None) if devices is None else processes.own_part(count)).indices(count)
        said = tokenizer.texts(np.asarray(kept.tokens[first * samples : end * samples]))
        yield start + first, [said[i : i + samples] for i in range(0, len(said), samples)], kept


def evaluate(
    model: Transformer,
    task: Task,
    tokenizer: Tokenizer,
    key: Array,
    *,
    prompts: int = 512,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    devices: Mesh | None = None,
) -> Evaluation:
    """Sample k responses to each of the first `prompts` held-out prompts of a seed.

    Args:
        model: the policy.
        task: draws and verifies.
        tokenizer: of the task's alphabet.
        key: JAX random key of the responses.
        prompts: how many; the same seed gives the same ones.
        samples: k.
        seed: of the prompts.
        temperature: of the sampling.
        devices: a mesh that the rows are split over; each process verifies its part, and all return the same.

    Returns:
        `Evaluation`.

    Raises:
        ValueError: for no prompts or no samples.

    >>> from tiny_llm_rl.model import ModelConfig
    >>> from tiny_llm_rl.tasks import make
    >>> task = make("digit-sum", (2,))
    >>> model = Transformer(ModelConfig(Tokenizer(task.alphabet).size, 8, 1), jax.random.key(0))
    >>> found = evaluate(model, task, Tokenizer(task.alphabet), jax.random.key(1), prompts=8, samples=2)
    >>> found.average <= found.best
    True
    """
    whole("prompts", prompts, "512 give a standard error of .02")
    whole("samples", samples, "take 1 for the mean reward alone")
    rng = np.random.default_rng([seed, 7])
    texts = [task.prompt(rng, evaluation=True) for _ in range(prompts)]
    rewards = np.zeros((prompts, samples))
    majority = np.zeros(prompts)
    tokens = entropy = truncated = 0.0
    for first, said, found in in_parts(
        model, task, tokenizer, texts, key, samples=samples, temperature=temperature, rows=_ROWS, devices=devices
    ):
        tokens += float(found.mask.sum())
        entropy += float(np.asarray(found.entropy).sum(dtype=np.float64))
        truncated += float((found.mask.all(-1) & (found.tokens[:, -1] != END_TOKEN)).sum())
        for i, own in enumerate(said, first):
            rewards[i] = [task.reward(texts[i], response) for response in own]
            answers = [task.answer(response) for response in own]
            majority[i] = rewards[i, answers.index(Counter(answers).most_common(1)[0][0])]
    if devices is not None:  # prompts that another process has verified are zero in this one
        found_anywhere = processes.joined(np.column_stack([rewards, majority])[None]).sum(0)
        rewards, majority = found_anywhere[:, :-1], found_anywhere[:, -1]
    average, best = rewards.mean(-1), rewards.max(-1)
    return Evaluation(
        prompts,
        samples,
        float(average.mean()),
        interval(average),
        float(best.mean()),
        interval(best),
        float(majority.mean()),
        interval(majority),
        tokens / rewards.size,
        entropy / max(tokens, 1.0),
        truncated / rewards.size,
    )
