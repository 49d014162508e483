"""A bandit's run in a directory: watched batch by batch, saved, and resumed to the same numbers.

One compiled batch serves every run of a config, interrupted or not, and everything random comes from the key and the
number of the batch. So a run that was stopped goes on from its last checkpoint to the bits of one that was not.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from tiny_llm_rl._bandit_step import State, look
from tiny_llm_rl._checks import whole
from tiny_llm_rl._signals import STATUS, held_signals
from tiny_llm_rl.bandit import BanditConfig, make_step, make_world
from tiny_llm_rl.checkpoint import load, save
from tiny_llm_rl.runlog import RunDirectory

__all__ = ["KIND", "Stopped", "restored", "run"]

KIND: Final = "bandit"


class Stopped(Exception):
    """A signal ended the run after a batch, which was saved."""

    def __init__(self, batch: int, number: signal.Signals) -> None:
        """After `batch` batches, by the signal `number`."""
        super().__init__(f"stopped by {number.name} after batch {batch}, which is saved; pass --resume to go on")
        self.status = STATUS[number]


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def restored(directory: RunDirectory, start: State) -> tuple[State, int]:
    """The state of the last checkpoint and how many batches it has behind it; the start where there is none."""
    if not directory.checkpoint.exists():
        return start, 0
    state, record = load(directory.checkpoint, start)
    return state, int(record["batch"])


def run(
    config: BanditConfig,
    out: Path,
    *,
    resume: bool = False,
    save_every: int = 10,
    watch: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Train in a run directory.

    Args:
        config: of the run.
        out: directory: `config.json`, `metrics.jsonl` (a line a batch), `checkpoint.npz`, at the end `summary.json`.
        resume: go on with the run that is there.
        save_every: batches between checkpoints: what a crash can cost.
        watch: called with the number of batches done and the metrics after each batch.

    Returns:
        The summary: metrics at the start and after the last batch, and whether a number was not finite.

    Raises:
        ValueError: for a directory that holds another run, or a run when resume is False.
        Stopped: after SIGINT or SIGTERM; the batch is finished and saved.
    """
    whole("save_every", save_every, "give the batches between checkpoints, for instance 10")
    directory = RunDirectory(out, config, kind=KIND, resume=resume)
    start, step = make_step(config)
    key, tau, rate = jax.random.key(config.seed), jnp.float32(config.tau), jnp.float32(config.learning_rate)
    with directory.owned(), held_signals() as seen:
        state, done = restored(directory, start())
        directory.rewind(done)
        for batch in range(done, config.batches):
            state, metrics = step(state, key, jnp.int32(batch), tau, rate)
            found = _numbers(metrics)
            directory.log({"batch": batch, **found})
            ended = bool(seen) or batch + 1 == config.batches
            if ended or (batch + 1) % save_every == 0:
                directory.sync()
                save(directory.checkpoint, state, {"batch": batch + 1})
            if watch is not None:
                watch(batch + 1, found)
            if seen and batch + 1 < config.batches:
                raise Stopped(batch + 1, seen[0])
    summary = {
        "kind": KIND,
        "algorithm": config.algorithm,
        "batches": config.batches,
        "diverged": not bool(np.isfinite(np.asarray(state.logits)).all()),
        "start": _numbers(look(make_world(config), start().logits)),
        "end": {name: value for name, value in directory.records()[-1].items() if name != "batch"},
    }
    directory.finish(summary)
    return summary
