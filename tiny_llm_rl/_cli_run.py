"""What commands that train share: a run, or many of them, under a bar that signals stop, in one process or in many."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from pmdtheory._console import progress
from tiny_llm_rl._signals import STATUS, held_signals
from tiny_llm_rl.config import TrainConfig

__all__ = ["complaint", "opened", "results_alone", "trained", "trained_all"]


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep standard output for results: gloo, which joins processes on CPUs, greets on its descriptor."""
    from tiny_llm_rl.processes import several

    if not several():
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def opened(out: Path, config: Any, *, kind: str, resume: bool) -> Any:
    """The run's directory, made by the first process, and by the others when it is there."""
    from tiny_llm_rl.processes import first_one_first, leads
    from tiny_llm_rl.runlog import RunDirectory

    return first_one_first(lambda: RunDirectory(out, config, kind=kind, resume=resume or not leads()))


def trained(
    config: TrainConfig,
    directory: Any,
    base: Any,
    devices: Mesh | None,
    sink: AbstractContextManager[Callable[[dict[str, Any]], None]] | None = None,
    keep: Callable[[Any], None] = lambda model: None,
) -> tuple[Any, int]:
    """The outcome of a run, and the exit status; only the first process shows, sends and keeps anything.

    A signal in any process stops all of them after the batch.
    """
    from tiny_llm_rl.processes import leads
    from tiny_llm_rl.train import RunStatus, train

    began, tokens = time.perf_counter(), [0.0]
    quiet: AbstractContextManager[Callable[..., None]] = nullcontext(lambda *given: None)
    sent = sink if sink is not None and leads() else quiet
    shown = progress(config.algorithm, config.batches) if leads() else quiet
    with held_signals() as seen, shown as advance, sent as write:

        def watch(record: dict[str, Any]) -> None:
            write(record)
            tokens[0] += record.get("response_length", 0.0) * config.batch * config.oversample
            pace = tokens[0] / (time.perf_counter() - began)
            advance(
                f"{config.algorithm} reward {record['train_reward']:.3f}, {pace:,.0f} tokens/s", record["batch"] + 1
            )

        outcome = train(config, directory, base=base, devices=devices, stop=lambda: bool(seen), report=watch, keep=keep)
    if outcome.status is RunStatus.STOPPED:
        return outcome, STATUS[seen[0] if seen else signal.SIGTERM]  # another process was told
    return outcome, int(outcome.status is not RunStatus.FINISHED)


def trained_all(
    title: str, total: int, work: Callable[[Callable[[], bool], Callable[[str, int], None]], dict[str, str]]
) -> tuple[dict[str, str], int]:
    """Statuses of many runs, and the exit status, 0 unless a signal or Ctrl-C stopped them.

    Args:
        title: of the bar.
        total: runs.
        work: called as work(stop, advance); asks stop() whether to end, and tells advance(label, done) of each run.
    """
    with held_signals() as seen, progress(title, total) as advance:
        try:
            return work(lambda: bool(seen), advance), 0
        except KeyboardInterrupt:
            print("tiny-llm-rl: stopped; what was begun is saved, and the same call goes on", file=sys.stderr)
            return {}, STATUS[seen[0]] if seen else 130


def complaint(outcome: Any) -> None:
    """Why a run did not finish, in the first process."""
    from tiny_llm_rl.processes import leads
    from tiny_llm_rl.train import RunStatus

    if not leads() or outcome.status is RunStatus.FINISHED:
        return
    if outcome.status is RunStatus.STOPPED:
        text = f"stopped after batch {outcome.batches}, which is saved; --resume goes on"
    else:
        text = f"{outcome.status.name}: {outcome.status.value}"
    print(f"tiny-llm-rl: {text}", file=sys.stderr)
