"""Comparisons run: one run directory for each arm of a preset and each seed.

A preset is trained by `run`, two processes at a time, each resumable; `collected` reads the directories into arrays
with every seed kept. Within a preset all arms sample the same prompts and are evaluated on the same held-out prompts.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.presets import Preset

__all__ = ["collected", "made_base", "run"]

FloatArray = NDArray[np.float64]

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def _one(config: TrainConfig, path: Path) -> str:
    """Train, or go on training, one run; in a process of its own."""
    from tiny_llm_rl._signals import held_signals
    from tiny_llm_rl.runlog import RunDirectory
    from tiny_llm_rl.train import train

    with held_signals() as seen:
        return train(config, RunDirectory(path, config, kind="train", resume=True), stop=lambda: bool(seen)).status.name


def made_base(chosen: Preset, out: Path, report: Callable[[dict[str, Any]], None] = lambda record: None) -> str | None:
    """Path of the preset's own base in `out`, made where it is missing; None for a preset whose base is shipped."""
    if chosen.pretrain is None:
        return None
    path = out / "base.safetensors"
    if not path.is_file():
        from tiny_llm_rl.pretrain import pretrain
        from tiny_llm_rl.weights import save_model

        out.mkdir(parents=True, exist_ok=True)
        model, record = pretrain(chosen.pretrain, report)
        save_model(path, model, {name: value for name, value in record.items() if name != "seconds"})
    return str(path)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """New processes take one thread for XLA's products: runs side by side use the cores better than threads do."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} {_ONE_THREAD}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before


def run(
    chosen: Preset,
    out: Path,
    *,
    processes: int = 2,
    report: Callable[[str, str, int, int], None] = lambda run, status, done, total: None,
) -> dict[str, str]:
    """Train every arm with every seed that is not finished in `out`.

    Args:
        chosen: the preset.
        out: directory of the run directories, `ARM-SEED`.
        processes: at a time; 1 on a machine with a GPU.
        report: called as report(run, status, done, total) when a run ends.

    Returns:
        Status name of each run.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after the running batches are saved; the next call goes on from there.
    """
    jobs = {
        f"{arm.name}-{seed}": replace(arm.config, seed=seed)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for arm in chosen.arms
    }
    base = made_base(chosen, out)
    if base is not None:
        jobs = {name: replace(config, base=base) for name, config in jobs.items()}
    found = {}
    for name in jobs:
        summary = out / name / "summary.json"
        if summary.exists():
            found[name] = str(json.loads(summary.read_text())["status"])
    waiting = {name: config for name, config in jobs.items() if name not in found}
    context = multiprocessing.get_context("spawn")
    with _single_threaded(), ProcessPoolExecutor(processes, mp_context=context) as pool:
        running: dict[Future[str], str] = {
            pool.submit(_one, config, out / name): name for name, config in waiting.items()
        }
        try:
            for future in as_completed(running):
                found[running[future]] = future.result()
                report(running[future], future.result(), len(found), len(jobs))
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {name: found[name] for name in jobs}


def collected(chosen: Preset, out: Path, curves: Sequence[str]) -> dict[str, FloatArray]:
    """What the runs of a preset recorded.

    Args:
        chosen: the preset.
        out: directory of its runs, all ended.
        curves: names of numbers that a record holds.

    Returns:
        Each curve as `[arms, seeds, batches]`, NaN behind the end of a run that failed; `accuracy`,
        `accuracy_low`, `accuracy_high`, `eval_length`, `eval_entropy` of the last evaluation, `[arms, seeds]`, and
        `finished`, 1 or 0.

    Raises:
        ValueError: for a run that is missing.
    """
    batches = max(arm.config.batches for arm in chosen.arms)
    shape = (len(chosen.arms), chosen.seeds)
    arrays = {name: np.full((*shape, batches), np.nan) for name in curves}
    last = ("accuracy", "accuracy_low", "accuracy_high", "eval_length", "eval_entropy", "finished")
    arrays |= {name: np.full(shape, np.nan) for name in last}
    for a, arm in enumerate(chosen.arms):
        for seed in range(chosen.seeds):
            path = out / f"{arm.name}-{chosen.first_seed + seed}"
            if not (path / "summary.json").exists():
                raise ValueError(
                    f"run {path} has not ended; train it with tiny-llm-rl reproduce --preset {chosen.name}"
                )
            arrays["finished"][a, seed] = json.loads((path / "summary.json").read_text())["status"] == "FINISHED"
            for line in (path / "metrics.jsonl").read_text().splitlines():
                record = json.loads(line)
                for name in curves:
                    value = record.get(name)
                    arrays[name][a, seed, record["batch"]] = np.nan if value in (None, "inf", "-inf") else value
                if "evaluation" in record:
                    seen = record["evaluation"]
                    values = (seen["average"], *seen["average_interval"], seen["length"], seen["entropy"])
                    for name, value in zip(last, values, strict=False):
                        arrays[name][a, seed] = value
    return arrays
