"""The commands of many runs and many devices: sweep and plan. Part of `cli.py`."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmdtheory._console import tabulated
from tiny_llm_rl._cli_run import trained_all
from tiny_llm_rl.runlog import SCHEMA, plain

__all__ = ["Plan", "Sweep"]

_METRIC = {"train": "evaluation.average", "smollm": "evaluation.average", "bandit": "end.success"}


@dataclass(frozen=True)
class Sweep:
    """Run a grid of configs, each cell in a run directory, and collect them in a Parquet table and a figure.

    Example: `tiny-llm-rl sweep --out runs/tau --grid tau=0.1,0.3 seed=0..7 --set batches=8`. What has ended is not run
    again, a worker that dies costs the batch it was in, and a grid may grow: call it again with more values.
    """

    out: Path
    """Directory of the cells; at the end table.parquet, figure.pdf and figure.png are in it too."""
    grid: tuple[str, ...]
    """Axes, NAME=VALUE,VALUE or NAME=FIRST..LAST, and JSON files of names and lists; every combination is a cell."""
    kind: str = "train"
    """train, a language model; smollm, a pretrained one; bandit."""
    set: tuple[str, ...] = ()
    """What all cells share besides the defaults of `train`, `smollm train` or `bandit`: NAME=VALUE."""
    executor: str = "local"
    """local: processes of this machine; slurm: jobs of Slurm, and submitit: jobs of this machine, need submitit."""
    workers: int = 2
    """At a time; 1 for each GPU."""
    job: tuple[str, ...] = ()
    """Parameters of submitit's jobs: timeout_min=60 slurm_partition=gpu gpus_per_node=1."""
    collect: bool = False
    """Run nothing; write the table and the figure of what is there."""
    metric: str | None = None
    """Column that is shown; evaluation.average, or end.success of bandits, when none is given."""
    against: tuple[str, ...] = ()
    """One or two axes of the figure; the first ones besides the seed when none is given."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0; 1 when a cell failed; 130 or 143 when a signal stopped it."""
        from pmdtheory._executors import make_executor
        from tiny_llm_rl import sweep
        from tiny_llm_rl._grid import KINDS, Grid, overridden, read_axes, read_settings

        axes = read_axes(self.kind, self.grid)
        settings = read_settings(self.kind, self.set)
        both = [name for name, _ in axes if name in settings]
        if both:
            raise ValueError(f"set {both[0]} is an axis of the grid too; give it in one of the two")
        grid = Grid(self.kind, overridden(KINDS[self.kind](), settings), axes)
        against = self.against or tuple(name for name, _ in axes if name != "seed")[:2] or ("seed",)
        odd = [name for name in against if name not in dict(axes)]
        if odd or len(against) > 2:
            raise ValueError(f"against must name one or two axes, got {against}; choose from {', '.join(dict(axes))}")
        executor = make_executor(self.executor, self.job, sweep.local().environment)
        statuses: dict[str, str] = {}

        def run(stop: Callable[[], bool], advance: Callable[[str, int], None]) -> dict[str, str]:
            def ended(name: str, status: str, done: int, total: int) -> None:
                # Cells that had ended before are told of first: a metric that nothing holds costs a cell at most.
                if self.metric is not None and status not in sweep.UNDONE:
                    sweep.check_metric(self.metric, self.out / name)
                advance(f"{name} {status.lower()}", done)

            return sweep.run_sweep(grid, self.out, executor=executor, workers=self.workers, stop=stop, report=ended)

        if not self.collect:
            statuses, stopped = trained_all("sweep", len(grid.cells), run)
            if stopped:
                return stopped
        elif not (self.out / "sweep.json").is_file():
            raise ValueError(f"out={str(self.out)!r} holds no sweep; name the directory of one, or leave out --collect")
        return self._written(grid, statuses, against)

    def _written(self, grid: Any, statuses: dict[str, str], against: tuple[str, ...]) -> int:
        """Write table and figure, and print the groups."""
        from pmdtheory._cells import complaint
        from tiny_llm_rl import sweep
        from tiny_llm_rl._sweep_figure import grouped, picture
        from tiny_llm_rl.checkpoint import write_atomically

        rows = sweep.rows(grid, self.out, statuses)
        sweep.save_table(self.out / "table.parquet", sweep.table(grid, rows))
        files = [self.out / "table.parquet"]
        failed = {row["cell"]: row["status"] for row in rows if row["status"] in sweep.UNDONE}
        metric = self.metric or _METRIC[self.kind]
        groups: list[Any] = []
        if self.metric is not None or len(failed) < len(rows):
            groups = grouped(rows, metric, against)
            for suffix in ("pdf", "png"):
                files.append(self.out / f"figure.{suffix}")
                write_atomically(files[-1], picture(rows, metric, against, suffix))
        if self.json:
            table = [
                {**dict(zip(against, group.settings, strict=True)), "cells": group.cells, "values": list(group.values)}
                for group in groups
            ]
            found = {"cells": rows, "metric": metric, "groups": table, "files": list(map(str, files))}
            print(json.dumps({"schema": SCHEMA, **plain(found)}, allow_nan=False))
        else:
            shown = [
                (*map(str, group.settings), f"{len(group.values)} of {group.cells}", *map(_number, _spread(group)))
                for group in groups
            ]
            title = f"{self.out}: {metric}, {' '.join(map(str, files))}"
            print(tabulated(title, (*against, "cells", "mean", "least", "largest"), shown), end="")
        for name, status in failed.items():
            where = self.out / "claims" / name
            said = complaint(self.out, name) if where.is_file() else ""
            print(f"tiny-llm-rl: cell {name} is {status}{said and f' ({said})'}; see {where}", file=sys.stderr)
        return int(bool(failed) and not self.collect)


def _spread(group: Any) -> tuple[float, float, float]:
    return group.mean, min(group.values, default=math.nan), max(group.values, default=math.nan)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"


@dataclass(frozen=True)
class Plan:
    """Predict how a batch of training scales over devices, and what limits it; nothing is run.

    Example: `tiny-llm-rl plan --parameters 5000000 --layers 8 --width 256 --devices 1 8 64 1024`. The model is written
    down in docs/scaling.md. What is not given is assumed, and said to be.
    """

    parameters: int
    """N of the model."""
    layers: int
    """L."""
    width: int
    """D of a layer's keys and values."""
    prompts: int = 512
    """G of a batch."""
    rollouts: int = 8
    """n of a prompt."""
    prompt_slots: int = 32
    """P."""
    response_slots: int = 90
    """R: tokens of the longest response."""
    response_tokens: float | None = None
    """Of a response on average; R when none is given."""
    minibatches: int = 16
    """M."""
    epochs: int = 1
    """E."""
    weight_bytes: int = 4
    """Of a stored weight."""
    cache_bytes: int = 2
    """Of an entry of the cache."""
    shards: int = 1
    """Devices that share one copy of weights and optimiser."""
    devices: tuple[int, ...] = (1, 8, 64, 512, 1024)
    """Numbers of devices."""
    scaling: str = "weak"
    """weak: every device has its own prompts; strong: all share one batch."""
    device: str = "h100"
    """a100, h100, h200: data sheets of these; the next seven replace their numbers."""
    flops: float | None = None
    """Operations a second of its products."""
    bandwidth: float | None = None
    """Bytes a second of its memory."""
    memory: float | None = None
    """Bytes."""
    link: float | None = None
    """Bytes a second to a neighbour of the node."""
    network: float | None = None
    """Bytes a second of its port to other nodes."""
    node: int | None = None
    """Devices of a node."""
    latency: float | None = None
    """Seconds of a message."""
    sample_flops: float | None = None
    """Measured share of the operations a second while sampling; this and the following are assumed when not given."""
    sample_bandwidth: float | None = None
    """Measured share of the bytes a second while sampling."""
    update_flops: float | None = None
    """Measured share of the operations a second while updating."""
    update_bandwidth: float | None = None
    """Measured share of the bytes a second while updating."""
    wire: float | None = None
    """Measured share of a link's bytes a second."""
    step: float | None = None
    """Measured seconds of a step of the sampler, or of a minibatch, that does next to nothing."""
    verify: float | None = None
    """Measured seconds of the verifier for a response."""
    overlap: float | None = None
    """Measured share of the collectives that the update hides."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0."""
        from dataclasses import asdict, fields, replace

        from tiny_llm_rl._checks import choice
        from tiny_llm_rl._hardware import ASSUMED, DEVICES
        from tiny_llm_rl.plan import Work, plan

        def given(record: Any) -> dict[str, Any]:
            """Fields of the record that the command line gave."""
            named = {each.name: getattr(self, each.name, None) for each in fields(record)}
            return {name: value for name, value in named.items() if value is not None}

        work = Work(**given(Work))
        device = replace(DEVICES[choice("device", self.device, DEVICES)], **given(DEVICES[self.device]))
        reached = replace(ASSUMED, **given(ASSUMED))
        found = plan(work, device, self.devices, reached=reached, scaling=self.scaling)
        origin = {name: "given" if name in given(ASSUMED) else "assumed" for name in asdict(ASSUMED)}
        if self.json:
            rows = [{**asdict(row), "seconds": row.seconds} for row in found]
            inputs = {"work": asdict(work), "device": asdict(device), "reached": asdict(reached), "origin": origin}
            print(json.dumps({"schema": SCHEMA, "scaling": self.scaling, **plain(inputs), "plans": plain(rows)}))
            return 0
        table = [
            (
                str(row.devices), *(f"{1e3 * s:.4g}" for s in (row.sample, row.verify, row.update, row.collectives)),
                f"{row.tokens_per_second:,.0f}",
                f"{row.tokens_per_second * found[0].devices / (found[0].tokens_per_second * row.devices):.0%}",
                f"{row.memory / 1e9:.3g}" + ("" if row.fits else ", too much"), row.bottleneck,
            )
            for row in found
        ]  # fmt: skip
        columns = (
            "devices", "sample, ms", "verify", "update", "collectives", "tokens/s", "of linear", "GB", "mostly"
        )  # fmt: skip
        print(tabulated(f"{self.device}, {self.scaling} scaling; predicted, not measured", columns, table), end="")
        print("\n".join(f"{name} {getattr(reached, name):g} ({origin[name]})" for name in origin))
        return 0
