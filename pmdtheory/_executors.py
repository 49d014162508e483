"""Where workers run: processes of this machine, or jobs of submitit, on this machine or through Slurm.

A worker is a process that takes cells until none is left (`_cells.work`); it is told three words, never an object. What
submitit stores of them is its own pickle, in its own folder; nothing else here is pickled to a file.
"""

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

from pmdtheory._checks import shown

Work = Callable[[str, str, str], int]  # takes the cells of a folder, for a session, under a name

__all__ = ["EXECUTORS", "Executor", "Local", "Submitit", "Worker", "in_job", "make_executor", "usable_cores"]

EXECUTORS: Final = ("local", "submitit", "slurm")


def usable_cores() -> int:
    """Processor cores that this process may use, where the system says; at least 1.

    >>> usable_cores() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class Worker(Protocol):
    """A process that was started, somewhere."""

    def ended(self) -> bool:
        """Whether it is gone."""

    def problem(self) -> str:
        """Why it ended, in a few words; empty when it ended by itself."""

    def stop(self) -> None:
        """Ask it to end after what it is in the middle of."""


class Executor(Protocol):
    """Starts workers."""

    @property
    def pause(self) -> float:
        """Seconds between looks at the workers."""

    def start(self, work: Work, folder: Path, session: str, name: str) -> Worker:
        """A new worker on the cells of a folder."""


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """What processes started meanwhile find in their environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class _Process:
    process: Any

    def ended(self) -> bool:
        return not self.process.is_alive()

    def problem(self) -> str:
        code = self.process.exitcode
        return "" if code == 0 else f"exit status {code}" if code is None or code > 0 else f"signal {-code}"

    def stop(self) -> None:
        self.process.terminate()


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        environment: what they find there besides what is there already.
        pause: seconds between looks at them.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.02

    def start(self, work: Work, folder: Path, session: str, name: str) -> Worker:
        """A process of its own, started afresh: it shares no lock and no thread with this one."""
        context = multiprocessing.get_context("spawn")
        with _environment(self.environment):
            process = context.Process(target=work, args=(str(folder), session, name), name=name, daemon=True)
            process.start()
        return _Process(process)


def in_job(work: Work, folder: str, session: str, name: str) -> int:
    """`work` in a job of submitit, which a cluster warns by a signal when its time is up or its place is wanted.

    The warning acts like Ctrl-C: the cell is saved, and the one who waits for it starts another job. (submitit itself
    would raise an error in the cell, which would then have failed, and ignore what cancels a job until it is killed.)
    """
    warning = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
    handlers: dict[signal.Signals, Any] = {
        **dict.fromkeys((warning, signal.SIGTERM), lambda *_: signal.raise_signal(signal.SIGINT)),
        signal.SIGINT: signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return work(folder, session, name)
    except KeyboardInterrupt:
        return 0  # between two cells
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Job:
    job: Any

    def ended(self) -> bool:
        return bool(self.job.done())

    def problem(self) -> str:
        failure = self.job.exception()
        return "" if failure is None else " ".join(str(failure).split())[:200]

    def stop(self) -> None:
        self.job.cancel(check=False)


@dataclass(frozen=True)
class Submitit:
    """Jobs of submitit; their files are in `jobs` of the folder of the cells.

    Attributes:
        cluster: "slurm", or "local" for jobs of this machine.
        parameters: of submitit's `update_parameters`, for instance slurm_partition, timeout_min, gpus_per_node.
        pause: seconds between looks at them.
    """

    cluster: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pause: float = 1.0

    def start(self, work: Work, folder: Path, session: str, name: str) -> Worker:
        """A job of its own; ValueError where Slurm is not there or refuses a parameter."""
        try:
            executor = import_module("submitit").AutoExecutor(folder=str(folder / "jobs"), cluster=self.cluster)
            executor.update_parameters(name=name, **self.parameters)
            return _Job(executor.submit(in_job, work, str(folder), session, name))
        except (RuntimeError, TypeError, NameError, AssertionError, OSError) as problem:
            raise ValueError(
                f"submitit cannot start a job on cluster {self.cluster!r} ({' '.join(str(problem).split())[:200]}); "
                "mend its parameters, or take --executor local"
            ) from None


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"job must be NAME=VALUE, got {shown(text)}; for instance timeout_min=60")
    return name, int(value) if re.fullmatch("-?[0-9]+", value) else value


def make_executor(name: str, job: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Executor:
    """The executor of a name.

    Args:
        name: "local" starts processes, "submitit" jobs of submitit on this machine, "slurm" jobs of Slurm.
        job: parameters of submitit's jobs, "timeout_min=60".
        environment: of local processes.

    Raises:
        ValueError: for an unknown name, a job parameter without submitit, and where submitit is missing.

    >>> make_executor("local").pause
    0.02
    """
    if name not in EXECUTORS:
        raise ValueError(f"executor must be a known name, got {shown(name)}; choose one of {', '.join(EXECUTORS)}")
    if name == "local":
        if job:
            raise ValueError(f"job {shown(job[0])} is of submitit; take --executor slurm or submitit, or leave it out")
        return Local(environment or {})
    if find_spec("submitit") is None:
        raise ValueError(
            f"executor {name!r} needs the package submitit; pip install submitit, or take --executor local"
        )
    return Submitit("slurm" if name == "slurm" else "local", dict(map(_parameter, job)))
