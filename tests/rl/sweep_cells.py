"""Cells of milliseconds for the tests of sweeps, run in processes of their own."""

import json
import os
import signal
import time


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
