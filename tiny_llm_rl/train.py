r"""The full algorithm on a language model: sample groups, verify, estimate advantages, take many stale updates.

A batch: prompts of the training set, n responses to each from the sampling policy (which may lag), rewards from the
verifier, groups without a signal filtered and replaced if asked, advantages, then E epochs of M minibatch updates
anchored at the policy that sampled (or at the one that starts the batch). Everything random is a function of the seed
and the batch's number, so that a run that was killed ends with the same bits as one that was not.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from jax.sharding import Mesh

from tiny_llm_rl import mesh, processes
from tiny_llm_rl._run import Run, RunStatus, base_of, check_split, load_base, training_prompts
from tiny_llm_rl.checkpoint import load, save
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer

__all__ = ["Outcome", "Run", "RunStatus", "base_of", "check_split", "load_base", "train", "training_prompts"]


@dataclass(frozen=True)
class Outcome:
    """What is left of a run.

    Attributes:
        status: how it ended.
        model: the last good one.
        batches: done.
        records: one a batch, what `metrics.jsonl` holds.
    """

    status: RunStatus
    model: Transformer
    batches: int
    records: list[dict[str, Any]] = field(repr=False)


def train(
    config: TrainConfig,
    directory: RunDirectory | None = None,
    *,
    base: tuple[Transformer, Task, Tokenizer] | None = None,
    devices: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[dict[str, Any]], None] = lambda record: None,
    keep: Callable[[Any], None] = lambda model: None,
) -> Outcome:
    """Train, or go on training where the directory holds a checkpoint.

    Args:
        config: of the run.
        directory: where metrics, checkpoints and the summary go; None keeps nothing.
        base: the model to start from with its task and tokenizer; None loads what the config names.
        devices: a mesh that the rows of a batch are split over; None is one device. All processes of a mesh call this
            alike, and the first one writes.
        stop: asked after every batch; True ends the run there, to be resumed.
        report: called with every record.
        keep: called with the last good model when the run has ended, by the first process, before the summary in the
            directory says so: where that is, what this writes is there too.

    Returns:
        `Outcome`. After a failure its model, and the checkpoint, are those before the failed batch; the record of
        that batch, and the totals of the summary, say what it did and what it cost.

    Raises:
        ValueError: for a base that is not there or a damaged checkpoint.
    """
    writer = directory if processes.leads() else None
    with nullcontext() if writer is None else writer.owned():
        run = Run(config, base, devices)
        if directory is not None and directory.checkpoint.exists():
            state, head = load(directory.checkpoint, mesh.gathered(run.state))
            run.state = mesh.shard_model(devices, state)
            run.done, run.totals, run.idle = head["batch"], head["totals"], head.get("idle", 0)
        processes.check_same("batch of the checkpoint", run.done, "give a directory that all processes share")
        records: list[dict[str, Any]] = []
        if writer is not None:
            writer.rewind(run.done)
            records = writer.records()
        status, saved, pause = RunStatus.FINISHED, run.done, 0.0
        while run.done < config.batches and status is RunStatus.FINISHED:
            failed, record = run.batch()
            record["seconds"]["save"] = pause  # of the checkpoint before this batch: its own comes after the record
            records.append(record)
            if writer is not None:
                writer.log(record)
            report(record)
            if failed is not None:
                status = failed
            elif processes.anywhere(run.done < config.batches and stop()):
                status = RunStatus.STOPPED
            last = run.done == config.batches or status is not RunStatus.FINISHED
            pause = 0.0
            if run.done > saved and (last or run.done % config.save_every == 0):
                began, saved = time.perf_counter(), run.done
                state = mesh.gathered(run.state)
                if writer is not None:
                    writer.sync()
                    save(writer.checkpoint, state, {"batch": run.done, "totals": run.totals, "idle": run.idle})
                pause = time.perf_counter() - began
        if status is not RunStatus.STOPPED:
            model = mesh.gathered(run.model)
            if processes.leads():
                keep(model)
        if writer is not None and status is not RunStatus.STOPPED:
            seen = next((record["evaluation"] for record in reversed(records) if "evaluation" in record), None)
            spent = {name: records[-1][name] for name in run.totals}
            writer.finish({"status": status.name, "batches": run.done, "evaluation": seen, **spent})
    return Outcome(status, run.model, run.done, records)
