"""Cells of work, shared by processes that may die: each cell is done once, and one that was lost is done again.

A folder holds the cells: `cells.json` says what they are, `NAME/` belongs to a cell and has a `summary.json` once it
has ended, `claims/NAME` is its claim. A claim is an exclusive lock on that file, which the kernel gives back when its
holder dies, on whatever machine: nothing goes stale, and nobody has to guess whether a silent worker still lives. Who
held it is written into it, line by line, so that a cell which kills its workers is given up instead of tried for ever.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

from pmdtheory._checks import shown
from pmdtheory._executors import Executor, Worker

__all__ = ["FAILED", "LOST", "SCHEMA", "STOPPED", "claimed", "complaint", "ended", "events", "run_cells", "work"]

SCHEMA: Final = 1
STOPPED: Final = "STOPPED"  # what a cell's function returns when a signal ended it early
FAILED: Final = "FAILED"  # the cell's function raised
LOST: Final = "LOST"  # its worker died, or was stopped with nothing saved, as often as is allowed
_PATIENCE: Final = 5.0  # seconds that workers have to end when every cell has, before they are asked to
_FRUITLESS: Final = 2  # workers in a row that may end without having taken a cell, besides those of the first round


def _write(path: Path, value: Any) -> None:
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    spare.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(spare, path)


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[IO[str] | None]:
    """The claim on a cell, an open file, for as long as the context lasts; None where another process holds it.

    Raises:
        ValueError: on a file system without locks.
    """
    with (folder / "claims" / name).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise ValueError(f"{folder} is on a file system without locks; take a folder on another one") from None
        yield file  # closing it gives the lock back


def events(journal: IO[str], session: str | None = None) -> list[dict[str, Any]]:
    """What happened under a claim, in this session or ever."""
    journal.seek(0)
    found = []
    for line in journal.read().split("\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the end of the file, or a line that its writer died in
        if session in (None, event["session"]):
            found.append(event)
    return found


def _note(journal: IO[str], session: str, worker: str, event: str, **more: str) -> None:
    head = {"session": session, "worker": worker, "event": event, "host": socket.gethostname(), "process": os.getpid()}
    journal.write("\n" + json.dumps({**head, "time": time.time(), **more}) + "\n")  # a torn line stays alone
    journal.flush()


def ended(folder: Path, name: str) -> str:
    """The status in a cell's summary (FINISHED where it has none of its own); empty while there is no summary."""
    try:
        summary = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    return str(summary.get("status", "FINISHED"))


def complaint(folder: Path, name: str) -> str:
    """What the last worker that failed in a cell said; empty where none did."""
    with (folder / "claims" / name).open(encoding="utf-8") as journal:
        said = [event["error"] for event in events(journal) if event["event"] == "failed"]
    return str(said[-1]) if said else ""


def _verdict(journal: IO[str], session: str, attempts: int) -> str:
    """Why a cell that nobody holds is not to be tried again in this session; empty when it is."""
    seen = [event["event"] for event in events(journal, session)]
    if "failed" in seen:
        return FAILED
    return LOST if seen.count("claimed") - seen.count("ended") >= attempts else ""


def _done(journal: IO[str], session: str) -> bool:
    """Whether the claim says that the cell has ended in this session.

    The file that is locked is fresh on every machine; a summary may take a while to be seen through a network's cache.
    """
    found = events(journal, session)
    return any(event["event"] == "ended" and event["status"] != STOPPED for event in found)


def _function(name: str) -> Callable[[Any, Path], str]:
    module, _, attribute = name.partition(":")
    found: Callable[[Any, Path], str] = getattr(import_module(module), attribute)
    return found


def work(folder: str, session: str, worker: str) -> int:
    """Take cells one after another until none is free; returns how many ended here.

    Args:
        folder: of the cells.
        session: of the call that wants them done.
        worker: own name.
    """
    path, parent, done = Path(folder), multiprocessing.parent_process(), 0
    board = json.loads((path / "cells.json").read_text(encoding="utf-8"))
    function = _function(board["function"])
    for name, payload in board["cells"].items():
        if parent is not None and not parent.is_alive():
            return done  # nobody is left who wants them
        if ended(path, name):
            continue
        with claimed(path, name) as journal:
            # Looked at again: it may have ended between the look and the lock.
            if journal is None or ended(path, name) or _done(journal, session):
                continue
            if _verdict(journal, session, board["attempts"]):
                continue
            _note(journal, session, worker, "claimed")
            try:
                status = function(payload, path / name)
                if status != STOPPED and not ended(path, name):
                    raise RuntimeError(f"{board['function']} left no summary.json in {path / name}")
            except KeyboardInterrupt:
                # Nothing was saved, so that this counts like a death: what never ends in a job's time is given up.
                _note(journal, session, worker, "interrupted")
                return done
            except Exception as problem:
                text = f"{type(problem).__name__}: {problem}"
                _note(journal, session, worker, "failed", error=text, trace=traceback.format_exc())
                continue
            _note(journal, session, worker, "ended", status=status)
            if status == STOPPED:
                return done
            done += 1
    return done


class _Board:
    """What the one who wants the cells done knows of them."""

    def __init__(self, folder: Path, session: str, names: list[str], attempts: int) -> None:
        self.folder, self.session, self.attempts = folder, session, attempts
        self.found: dict[str, str] = {}
        self.open = names

    def look(self) -> list[str]:
        """Move ended cells from `open` to `found`, cheaply; the names that moved."""
        moved = [name for name in self.open if self._moved(name, ended(self.folder, name))]
        self.open = [name for name in self.open if name not in self.found]
        return moved

    def free(self) -> tuple[list[str], list[str]]:
        """The same with those that are given up, by way of their locks; the names that moved, and those nobody holds.

        A worker that comes by while a lock is looked at skips the cell. So this is for when a worker has ended.
        """
        moved: list[str] = []
        free: list[str] = []
        for name in self.open:
            with claimed(self.folder, name) as journal:
                if journal is None:
                    continue
                status = ended(self.folder, name) or _verdict(journal, self.session, self.attempts)
                if not status and _done(journal, self.session):
                    continue
                (moved if self._moved(name, status) else free).append(name)
        self.open = [name for name in self.open if name not in self.found]
        return moved, free

    def written(self) -> int:
        """Bytes in all claims: grows when a cell is taken."""
        return sum(entry.stat().st_size for entry in os.scandir(self.folder / "claims"))

    def _moved(self, name: str, status: str) -> bool:
        if status:
            self.found[name] = status
        return bool(status)


def _dismissed(workers: list[Worker], pause: float) -> None:
    """Every cell has ended, and so do workers, but for jobs that wait for a place or that a cluster has lost."""
    patience = max(_PATIENCE, 20 * pause)
    for ask in (False, True):
        asked = time.monotonic()
        for worker in workers if ask else ():
            worker.stop()
        while workers and time.monotonic() - asked < patience:
            time.sleep(pause)
            workers[:] = [worker for worker in workers if not worker.ended()]


def _stopped(workers: list[Worker], pause: float) -> None:
    for worker in workers:
        worker.stop()
    while not all(worker.ended() for worker in workers):
        time.sleep(pause)


def run_cells(
    folder: Path,
    function: str,
    cells: Mapping[str, Any],
    executor: Executor,
    *,
    workers: int = 2,
    attempts: int = 3,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str, str, int, int], None] = lambda name, status, done, total: None,
) -> dict[str, str]:
    """Do every cell that has no summary yet, with as many workers; one that dies is replaced.

    Args:
        folder: of the cells; made if it is not there. One call at a time may use it.
        function: "module:name" of function(payload, path) -> status, which leaves `summary.json` in path, whole,
            unless it returns `STOPPED`. Called again for a cell whose worker died, on what that one left.
        cells: name, which is that of its directory, to a payload that JSON can hold.
        executor: starts the workers.
        workers: at a time.
        attempts: workers that a cell may cost before it is given up.
        stop: asked all the time; True ends the workers after what they are doing.
        report: called as report(name, status, done, total) for every cell as it is found to have ended.

    Returns:
        Status of each cell: that of its summary, `FAILED` when its function raised, `LOST` when it was given up.

    Raises:
        ValueError: for a name that is no name of a directory, a folder in use, fewer than one worker; when workers end
            one after another without taking a cell, as those do that cannot import what they need.
        KeyboardInterrupt: on Ctrl-C or `stop`, after the workers have ended.
    """
    for name, value in (("workers", workers), ("attempts", attempts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; 2 is the default for two cores")
    odd = [name for name in cells if name != Path(name).name or name in ("", ".", "..", "claims", "jobs")]
    if odd:
        raise ValueError(f"cell {shown(odd[0])} is no name of a directory; take letters, digits and -._=,")
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    with claimed(folder, ".all") as mine:
        if mine is None:
            raise ValueError(f"{folder} is in use by another call; wait for it, or take another folder")
        session = f"{time.time_ns():x}"
        _write(
            folder / "cells.json", {"schema": SCHEMA, "function": function, "attempts": attempts, "cells": dict(cells)}
        )
        board = _Board(folder, session, list(cells), attempts)
        live: list[Worker] = []
        try:
            _supervise(board, live, executor, workers, stop, lambda n, s: report(n, s, len(board.found), len(cells)))
        except BaseException:
            _stopped(live, executor.pause)
            raise
    return {name: board.found[name] for name in cells}


def _supervise(
    board: _Board,
    live: list[Worker],
    executor: Executor,
    workers: int,
    stop: Callable[[], bool],
    report: Callable[[str, str], None],
) -> None:
    """Keep as many workers alive as there are cells for, until every cell has a status."""
    started = fruitless = written = 0
    said = ""
    for name in board.look():
        report(name, board.found[name])
    while board.open:
        if stop():
            raise KeyboardInterrupt
        gone = [worker for worker in live if worker.ended()]
        for worker in gone:
            live.remove(worker)
            said = worker.problem() or said
        moved = board.look()
        free: list[str] = []
        if gone or not live:
            given_up, free = board.free()
            moved += given_up
            fruitless = 0 if moved or board.written() > written else fruitless + len(gone)
            written = board.written()
        for name in moved:
            report(name, board.found[name])
        if free and fruitless > workers + _FRUITLESS:
            raise ValueError(
                f"workers end without taking a cell ({said or 'no reason given'}); try one by hand, or with --executor "
                "local, and see what they print"
            )
        for _ in range(min(len(free), min(workers, len(board.open)) - len(live))):
            live.append(executor.start(work, board.folder, board.session, f"worker-{started}"))
            started += 1
        # Looking costs a file for each open cell. Workers that an earlier call left behind may hold the rest: look at
        # their locks less often.
        pause = max(executor.pause, 2e-4 * len(board.open))
        if board.open:
            time.sleep(pause if live else 50 * executor.pause)
    _dismissed(live, executor.pause)
