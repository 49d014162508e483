"""Cells of milliseconds for the tests of sweeps, run in processes of their own."""

import json
import os
import signal
import time

from tiny_llm_rl._signals import held_signals


def _end(path, **summary):
    """Leave a summary; FileExistsError where there is one, which is what a cell done twice would meet."""
    spare = path / f"summary.{os.getpid()}"
    spare.write_text(json.dumps({"status": "FINISHED", **summary}))
    os.link(spare, path / "summary.json")


def _came(path):
    """How many times this cell has been begun, this one included."""
    path.mkdir(exist_ok=True)
    with (path / "begun").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len((path / "begun").read_text().splitlines())


def toy(given, path):
    """Ends after 10 ms; the cell of seed 30 kills its worker the first time, in the middle."""
    seed = given["config"]["seed"]
    if _came(path) == 1 and seed == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    _end(path, score=seed**2)
    return "FINISHED"


def troubled(given, path):
    """Seed 1 raises, seed 2 kills every worker, the others end."""
    _came(path)
    if given["seed"] == 1:
        raise ArithmeticError("one is odd")
    if given["seed"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    _end(path, toy=os.environ.get("PMDTHEORY_TOY"))
    return "FINISHED"


def stopping(given, path):
    """Returns early the first time, as a run that met a signal does."""
    if _came(path) == 1:
        return "STOPPED"
    _end(path)
    return "FINISHED"


def forgetful(given, path):
    """Says that it has ended and leaves nothing."""
    return "FINISHED"


def preempted(given, path):
    """Is stopped three times before it ends, as a job is that a scheduler wants back."""
    if _came(path) <= 3:
        return "STOPPED"
    _end(path)
    return "FINISHED"


def failing(given, path):
    """Raises every time, and says how often it did."""
    raise ArithmeticError(f"try {_came(path)}")


def warned(given, path):
    """A cluster warns its job in the middle, so many times; a cell that `saves` notes that, another is cut short."""
    if _came(path) <= given["warnings"]:
        if not given["saves"]:
            signal.raise_signal(signal.SIGUSR2)
        with held_signals() as seen:
            signal.raise_signal(signal.SIGUSR2)
        return "STOPPED" if seen == [signal.SIGINT] else "FINISHED"
    _end(path)
    return "FINISHED"


def patient(given, path):
    """Waits for a signal the first time, and saves; raises where none comes for a minute."""
    if _came(path) == 1:
        with held_signals() as seen:
            (path / "waiting").touch()
            until = time.monotonic() + 60
            while not seen and time.monotonic() < until:
                time.sleep(0.01)
        if not seen:
            raise TimeoutError("no signal came")
        return "STOPPED"
    _end(path)
    return "FINISHED"


def steady(given, path):
    """Ends after half a second."""
    _came(path)
    time.sleep(0.5)
    _end(path)
    return "FINISHED"
