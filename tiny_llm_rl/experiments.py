"""Comparisons run: one run directory for each arm of a preset and each seed.

A preset is trained by `run`, two processes at a time, each resumable; a process that dies is replaced. `collected`
reads the directories into arrays: every seed, and how its run ended. Within a preset all arms sample the same prompts
and are evaluated on the same held-out prompts.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._cells import complaint, run_cells
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.presets import Preset
from tiny_llm_rl.runlog import difference, plain, read_config, with_defaults
from tiny_llm_rl.sweep import FUNCTION, UNDONE, local, payload

__all__ = ["ENDINGS", "collected", "made_base", "run"]

FloatArray = NDArray[np.float64]
ENDINGS: Final = ("FINISHED", "NOT_FINITE", "DIVERGED", "NO_SIGNAL")  # how a run ends; places are the codes of `ended`


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


def run(
    chosen: Preset,
    out: Path,
    *,
    processes: int = 2,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str, str, int, int], None] = lambda run, status, done, total: None,
) -> dict[str, str]:
    """Train every arm with every seed that is not finished in `out`.

    Args:
        chosen: the preset.
        out: directory of the run directories, `ARM-SEED`.
        processes: at a time; 1 on a machine with a GPU.
        stop: asked all the time; True ends the runs after the batches they are in.
        report: called as report(run, status, done, total) for every run that has ended.

    Returns:
        Status name of each run.

    Raises:
        ValueError: for a run that raised, or whose worker died three times; the others are finished first.
        KeyboardInterrupt: on Ctrl-C or `stop`, after the running batches are saved; the next call goes on from there.
    """
    jobs = {
        f"{arm.name}-{seed}": replace(arm.config, seed=seed)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for arm in chosen.arms
    }
    base = made_base(chosen, out)
    if base is not None:
        jobs = {name: replace(config, base=base) for name, config in jobs.items()}
    cells = {name: payload("train", config) for name, config in jobs.items()}
    found = run_cells(out, FUNCTION, cells, local(), workers=processes, stop=stop, report=report)
    broken = [name for name, status in found.items() if status in UNDONE]
    if broken:
        said = complaint(out, broken[0]) or "its worker died"
        raise ValueError(f"run {out / broken[0]} is {found[broken[0]]} ({said}); see {out / 'claims' / broken[0]}")
    return found


def collected(chosen: Preset, out: Path, curves: Sequence[str]) -> dict[str, FloatArray]:
    """What the runs of a preset recorded.

    Args:
        chosen: the preset.
        out: directory of its runs, all ended.
        curves: names of numbers that a record holds.

    Returns:
        Each curve as `[arms, seeds, batches]`, NaN from the batch on that a run failed in; `accuracy`,
        `accuracy_low`, `accuracy_high`, `eval_length`, `eval_entropy` of the last evaluation, `[arms, seeds]`;
        `ended`, the place of the run's status in `ENDINGS`, and `batches_done`, without the one that failed.

    Raises:
        ValueError: for a run that is missing, or of another config than the preset's.
    """
    batches = max(arm.config.batches for arm in chosen.arms)
    shape = (len(chosen.arms), chosen.seeds)
    arrays = {name: np.full((*shape, batches), np.nan) for name in curves}
    last = ("accuracy", "accuracy_low", "accuracy_high", "eval_length", "eval_entropy")
    arrays |= {name: np.full(shape, np.nan) for name in (*last, "ended", "batches_done")}
    for a, arm in enumerate(chosen.arms):
        for seed in range(chosen.seeds):
            config = replace(arm.config, seed=chosen.first_seed + seed)
            path = out / f"{arm.name}-{config.seed}"
            summary = _summary(chosen, path, config)
            arrays["ended"][a, seed] = ENDINGS.index(summary["status"])
            arrays["batches_done"][a, seed] = summary["batches"]
            for line in (path / "metrics.jsonl").read_text().splitlines():
                record = json.loads(line)
                for name in curves if record["batch"] < summary["batches"] else ():
                    value = record.get(name)
                    arrays[name][a, seed, record["batch"]] = np.nan if value in (None, "inf", "-inf") else value
                if "evaluation" in record:
                    seen = record["evaluation"]
                    values = (seen["average"], *seen["average_interval"], seen["length"], seen["entropy"])
                    for name, value in zip(last, values, strict=True):
                        arrays[name][a, seed] = value
    return arrays


def _summary(chosen: Preset, path: Path, config: TrainConfig) -> dict[str, Any]:
    """What an ended run of this config says at its end."""
    if not (path / "summary.json").exists():
        raise ValueError(f"run {path} has not ended; train it with tiny-llm-rl reproduce --preset {chosen.name}")
    own = ("base",) if chosen.pretrain is not None else ()  # a path, of the folder it was made in
    now, before = plain(config), with_defaults(read_config(path)[1], config)
    odd = difference({**before, **{name: now[name] for name in own}}, now)
    if odd:
        raise ValueError(
            f"run {path} is of another config than preset {chosen.name} ({odd}); move it away and train it anew"
        )
    found: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return found
