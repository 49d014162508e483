"""The command line: `tiny-llm-rl bandit | compare | pretrain | train | sample | reproduce | results | ...`.

Together with the `_cli_` files the only one that prints or exits.

A command is a frozen dataclass whose fields are its arguments and whose run() returns the exit status.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, subcommand

from pmdtheory import _console
from pmdtheory._checks import FloatArray
from pmdtheory._console import progress, tabulated
from tiny_llm_rl._cli_lm import Pretrain, Reproduce, Results, Sample, Train
from tiny_llm_rl._cli_smollm import Smollm
from tiny_llm_rl._cli_sweep import Plan, Sweep
from tiny_llm_rl.bandit import BanditConfig
from tiny_llm_rl.runlog import SCHEMA

PROGRAM = "tiny-llm-rl"
_ABOUT = "Tiny reinforcement learning of language models and bandits, for the theory of pmdtheory."

__all__ = ["main"]


@dataclass(frozen=True)
class Bandit:
    """Train softmax policies on a bandit and write a run directory.

    Example: `tiny-llm-rl bandit --out runs/part --algorithm pmd-part --tau 0.03`. A run that was interrupted goes on
    with `--resume` and the same arguments, to the same numbers.
    """

    out: Path
    """The run's directory: config, metrics (a line of JSON a batch), checkpoint, summary."""
    config: OmitArgPrefixes[BanditConfig] = field(default_factory=BanditConfig)
    """What is trained."""
    resume: bool = False
    """Go on with the run in that directory."""
    save_every: int = 10
    """Batches between checkpoints: what a crash can cost."""
    json: bool = False
    """Print the summary as JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0; 1 when numbers overflowed."""
        from tiny_llm_rl._bandit_run import Stopped, run

        began, first = time.perf_counter(), []
        with progress(self.config.algorithm, self.config.batches) as advance:

            def watch(done: int, metrics: dict[str, float]) -> None:
                first.append(done)
                pace = len(first) / (time.perf_counter() - began)
                advance(f"{self.config.algorithm} success {metrics['success']:.3f}, {pace:.1f} batches/s", done)

            try:
                summary = run(self.config, self.out, resume=self.resume, save_every=self.save_every, watch=watch)
            except Stopped as stop:
                print(f"{PROGRAM}: {stop}", file=sys.stderr)
                return stop.status
        if self.json:
            print(json.dumps({"schema": SCHEMA, **summary}, allow_nan=False))
        else:
            rows = [
                (name, *(_shown(summary[when].get(name)) for when in ("start", "end")))
                for name in sorted(summary["end"])
            ]
            print(tabulated(f"{self.config.algorithm}, {self.out}", ("", "start", "end"), rows), end="")
        if summary["diverged"]:
            print(f"{PROGRAM}: numbers overflowed; take a smaller learning_rate, or a larger tau", file=sys.stderr)
        return int(summary["diverged"])


@dataclass(frozen=True)
class Compare:
    """Hold a batch of a bandit's run against the exact step of pmdtheory from the same policy.

    Example: `tiny-llm-rl compare runs/part --batch 0 --against kl`.
    """

    path: Positional[Path]
    """A run's directory."""
    batch: int | None = None
    """Number of the batch, from 0; the last one before the checkpoint when none is given."""
    against: str = "own"
    """own: what the algorithm aims at (PMD-mean's step where it aims at none); mean: PMD-mean's; kl: KL-PMD's."""
    contexts: int | None = 16
    """How many contexts to look at, evenly spaced; None is all of them."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0."""
        from tiny_llm_rl.compare import compare_run

        batch, found = compare_run(self.path, batch=self.batch, against=self.against, contexts=self.contexts)
        names = [each.name for each in fields(found) if each.name != "member"]
        if self.json:
            values = {name: getattr(found, name).tolist() for name in names}
            print(json.dumps({"schema": SCHEMA, "batch": batch, "member": found.member, **values}, allow_nan=False))
            return 0
        title = f"{self.path}, batch {batch}: against the exact step of {found.member}, contexts {found.gap.size}"
        rows = [(name.replace("_", " "), *map(_shown, _spread(getattr(found, name)))) for name in names]
        print(tabulated(title, ("", "mean", "least", "largest"), rows), end="")
        return 0


def _spread(values: FloatArray) -> tuple[float, float, float]:
    return float(values.mean()), float(values.min()), float(values.max())


def _shown(value: float | str | None) -> str:
    """A number of a summary, in which NaN is None and an infinity a word."""
    return "-" if value is None else value if isinstance(value, str) else f"{value:.6g}"


Command = (
    Annotated[Bandit, subcommand("bandit")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Pretrain, subcommand("pretrain")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Results, subcommand("results")]
    | Annotated[Sweep, subcommand("sweep")]
    | Annotated[Plan, subcommand("plan")]
    | Annotated[Smollm, subcommand("smollm")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 fine, 1 a failure that was found, 2 bad input."""
    return _console.main(Command, PROGRAM, _ABOUT, arguments)
