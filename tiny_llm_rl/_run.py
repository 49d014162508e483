r"""A run of the full algorithm in memory, batch by batch; `train.train` keeps it on disk.

What a batch is, `train` says. Everything random is a function of the seed and the batch's number.
"""

import math
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from tiny_llm_rl import instruments, mesh, processes
from tiny_llm_rl._update import Batch, all_finite, compiled, make_optimiser, sequence_log_probs, update
from tiny_llm_rl.algorithm import advantages
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.correction import importance_weights
from tiny_llm_rl.evaluate import evaluate
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.rollout import sample
from tiny_llm_rl.selection import informative, select
from tiny_llm_rl.tasks import Task, make
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.weights import load_model, shipped

__all__ = ["Run", "RunStatus", "base_of", "check_split", "load_base", "training_prompts"]


@eqx.filter_jit
def _copied(tree: Any) -> Any:
    """The same arrays in buffers of their own, in one call."""
    return jax.tree.map(jnp.copy, tree)


class RunStatus(Enum):
    """How a run ended; the value says what to do."""

    FINISHED = "all batches are done"
    STOPPED = "stopped on request after a whole batch; resume to go on"
    NOT_FINITE = (
        "the loss or a weight is not finite; the checkpoint before this batch is kept: lower learning_rate, or raise "
        "tau"
    )
    DIVERGED = (
        "a response's log-ratio passed diverge_at; the checkpoint before this batch is kept: lower learning_rate, "
        "raise tau, or take fewer minibatches"
    )
    NO_SIGNAL = (
        "every group had equal rewards; the checkpoint before this batch is kept: take more rollouts or more prompts, "
        "an easier or harder task, or patience for a batch that was unlucky"
    )


def load_base(
    name: str, difficulty: tuple[int, ...] = (), *, graded: bool = False
) -> tuple[Transformer, Task, Tokenizer]:
    """A base model with its task, by the name of one that comes with the package or by path.

    Raises:
        ValueError: for a base that is not there or has another alphabet than its task.
    """
    model, record = load_model(Path(name) if name.endswith(".safetensors") else shipped(name))
    task = make(record["task"], difficulty or tuple(record["difficulty"]), graded=graded)
    if task.alphabet != record["alphabet"]:
        raise ValueError(f"base {name!r} was made for another alphabet of task {task.name!r}; pretrain it again")
    return model, task, Tokenizer(task.alphabet)


def base_of(config: TrainConfig) -> tuple[Transformer, Task, Tokenizer]:
    """The base model and the task of a config."""
    return load_base(config.base, config.difficulty, graded=config.graded)


def training_prompts(task: Task, config: TrainConfig, batch: int) -> list[str]:
    """The prompts of a batch of training, a function of the seed and the batch's number."""
    rng = np.random.default_rng([config.seed, 3, batch])
    return [task.prompt(rng) for _ in range(config.prompts * config.oversample)]


class _Clock:
    """Seconds of the phases of a batch, one after another, and of the processor in all of them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last, self._busy = time.perf_counter(), time.process_time()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self._last = now - self._last, now

    def busy(self) -> float:
        return time.process_time() - self._busy


def check_split(config: TrainConfig, devices: Mesh | None) -> None:
    """ValueError unless the rows of a batch and of a minibatch can be split over the devices."""
    dealt = config.batch if config.shuffle == "responses" else config.prompts
    drawn = config.prompts * config.oversample
    mesh.check_rows(devices, drawn=drawn, prompts=config.prompts, part=dealt // config.minibatches)


class Run:
    """A run in memory: `batch()` does one, `state` is what a checkpoint holds, with `done` and `idle`.

    `done` counts batches, `idle` those without a signal since the last one that had some.

    Args:
        config: of the run.
        base: the model to start from with its task and tokenizer; None loads what the config names.
        devices: a mesh that the rows of a batch are split over; None is one device.

    Raises:
        ValueError: for a base that is not there; for a batch that cannot be split over the devices.
    """

    def __init__(
        self, config: TrainConfig, base: tuple[Transformer, Task, Tokenizer] | None = None, devices: Mesh | None = None
    ) -> None:
        """Set up; nothing is compiled before the first batch."""
        check_split(config, devices)
        self.config, self.devices = config, devices
        model, self.task, self.tokenizer = base if base is not None else base_of(config)
        # The compiled update takes over the buffers of the model it is given, so the run owns a copy.
        self.model = _copied(model)
        self._compiled = compiled(config)
        self.optimiser_state = make_optimiser(config).init(eqx.filter(self.model, eqx.is_inexact_array))
        self.past = tuple(_copied(model) for _ in range(config.lag))  # oldest first
        self.state = mesh.shard_model(devices, self.state)
        self.done = 0
        self.idle = 0
        self.totals = {"responses": 0, "tokens_sampled": 0, "tokens_trained": 0}

    @property
    def state(self) -> tuple[Any, ...]:
        """Everything that later batches depend on, beside `done` and `idle`."""
        return self.model, self.optimiser_state, self.past

    @state.setter
    def state(self, state: tuple[Any, ...]) -> None:
        self.model, self.optimiser_state, self.past = state

    def evaluation(self) -> dict[str, Any]:
        """On the held-out prompts of the seed 0, whatever the seed of the run, so that runs are paired."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 2 * 10**6 + self.done)
        found = evaluate(
            mesh.copied(self.devices, self.model), self.task, self.tokenizer, key, devices=self.devices,
            prompts=self.config.evaluation_prompts, samples=self.config.evaluation_samples,
        )  # fmt: skip
        return asdict(found)

    def _closed(
        self, status: RunStatus | None, record: dict[str, Any], clock: _Clock, spent: dict[str, int]
    ) -> tuple[RunStatus | None, dict[str, Any]]:
        """What `batch` returns: the record with what the batch cost, and an evaluation where one is due.

        A batch that ends the run is in its record alone: `done` and `totals` are those of the checkpoint.
        """
        record |= {name: total + spent.get(name, 0) for name, total in self.totals.items()}
        if status is None:
            self.done += 1
            self.totals = {name: record[name] for name in self.totals}
        record["state_bytes"] = max(mesh.bytes_per_device(self.state).values())
        clock.lap("instruments")
        record["cpu_seconds"] = clock.busy()  # without the evaluation; what a busy machine leaves alone
        # A run that broke down is evaluated too, so that a comparison counts it instead of losing it.
        if status is not None or self.done % self.config.evaluate_every == 0 or self.done == self.config.batches:
            record["evaluation"] = self.evaluation()
        clock.lap("evaluate")
        return status, record | {"seconds": clock.seconds, "peak_memory": mesh.peak_memory()}

    def batch(self) -> tuple[RunStatus | None, dict[str, Any]]:
        """One batch: a status when the run has to stop, in which case the state is that before it; and its record."""
        config, n, clock = self.config, self.config.rollouts, _Clock()
        key = jax.random.fold_in(jax.random.key(config.seed), self.done)
        texts = training_prompts(self.task, config, self.done)
        prompts, lengths = self.tokenizer.rows(texts, self.task.prompt_slots)
        sampler = mesh.copied(self.devices, self.past[0] if self.past else self.model)
        slots = self.task.response_slots
        asked: tuple[Array, Array] = mesh.shard_batch(self.devices, (prompts, lengths))
        with mesh.in_context(self.devices):
            found = sample(sampler, *asked, jax.random.fold_in(key, 0), slots=slots, copies=n, temperature=1.0)
        found = mesh.on_host(found)
        clock.lap("sample")
        own = processes.own_part(len(texts))  # each process verifies what it has sampled
        said = self.tokenizer.texts(found.tokens.reshape(len(texts), n, -1)[own].reshape(-1, slots))
        mine = [self.task.reward(texts[own][i // n], text) for i, text in enumerate(said)]
        rewards = processes.joined(np.array(mine, np.float64).reshape(-1, n))
        clock.lap("verify")
        signal_groups = np.asarray(informative(jnp.asarray(rewards)))
        mask = found.mask
        record: dict[str, Any] = {
            "batch": self.done,
            "train_reward": float(rewards.mean()),
            "groups_without_signal": float(1 - signal_groups.mean()),
            "response_length": float(mask.sum() / mask.shape[0]),
            "truncated": float((mask.all(-1) & (found.tokens[:, -1] != 1)).mean()),
            "entropy": float(found.entropy.sum(dtype=np.float64) / mask.sum()),
        }
        spent = {"responses": rewards.size, "tokens_sampled": int(mask.sum())}
        if not signal_groups.any():
            if self.idle + 1 >= config.patience:
                return self._closed(RunStatus.NO_SIGNAL, record, clock, spent)
            self.idle += 1
            self.past = (*self.past[1:], _copied(self.model)) if self.past else ()
            return self._closed(None, record, clock, spent)
        chosen = select(jnp.asarray(rewards), config.prompts, filtered=config.filter_groups)
        index = np.asarray(chosen.index)
        used = rewards[index]
        signal = advantages(config.algorithm, jnp.asarray(used, jnp.float32), config.tau, config.loss)
        tokens, masks, logp = (x.reshape(-1, n, slots)[index] for x in (found.tokens, mask, found.logp))
        weights = np.repeat(np.asarray(chosen.used, np.float32)[:, None], n, 1)
        text: tuple[Array, Array, Array, Array] = mesh.shard_batch(
            self.devices, (prompts[index], lengths[index], tokens, masks)
        )
        old_logp, signals, weight = mesh.shard_batch(self.devices, (logp, np.asarray(signal), weights))
        if config.anchor == "current":
            with mesh.in_context(self.devices):
                anchor = sequence_log_probs(self.model, text, config.minibatches)
            weight = weight * importance_weights(
                anchor.sum(-1), old_logp.sum(-1), correction=config.correction, cap=config.truncation
            )
            old_logp = anchor
        before = _copied(self.state)
        given = (self._compiled, Batch(*text, old_logp, signals, weight), jax.random.fold_in(key, 1))
        with mesh.in_context(self.devices):
            model, state, trace = update(given, self.model, self.optimiser_state)
        trace = mesh.on_host(trace)
        clock.lap("update")
        log_ratio, largest, finite = None, float(trace.largest.max()), bool(np.isfinite(trace.loss).all())
        with mesh.in_context(self.devices):
            if (self.done + 1) % config.measure_every == 0 or self.done + 1 == config.batches:
                after = sequence_log_probs(model, text, config.minibatches)
                log_ratio = mesh.on_host((after - old_logp).sum(-1)).astype(np.float64).ravel()
                largest = float(np.abs(log_ratio).max())
            finite = finite and math.isfinite(largest) and bool(mesh.on_host(all_finite(model)))
        filled = np.asarray(chosen.used)  # the other groups have no weight
        spent["tokens_trained"] = config.epochs * int(masks[filled].sum())
        with np.errstate(over="ignore", invalid="ignore"):  # of a batch that ends the run
            size = float(np.abs(np.asarray(signal)[filled]).mean())
            rms = math.sqrt(trace.square.sum() / trace.responses.sum())
            means = {name: float(getattr(trace, name).mean()) for name in ("loss", "gradient_norm")}
        low, high = (float(cut.sum() / max(trace.terms.sum(), 1)) for cut in (trace.below, trace.above))
        record |= {
            **means,
            "clip_fraction": low + high,
            "clip_low_fraction": low,
            "clip_high_fraction": high,
            "signal_size": size,
            "signal_over_log_ratio": size / rms if rms > 0 else None,
            "largest_log_ratio_seen": float(trace.largest.max()),
            **instruments.predicted(used[filled], config.tau),
        }
        if log_ratio is not None and math.isfinite(largest):
            record |= instruments.divergences(log_ratio)
            record["by_pass_rate"] = instruments.step_by_pass_rate(used, log_ratio, config.tau)
        elif log_ratio is not None:
            record["largest_log_ratio"] = largest
        if not finite or largest > config.diverge_at:
            self.state = before
            return self._closed(RunStatus.DIVERGED if finite else RunStatus.NOT_FINITE, record, clock, spent)
        self.state, self.idle = (model, state, (*self.past[1:], before[0]) if self.past else ()), 0
        return self._closed(None, record, clock, spent)
