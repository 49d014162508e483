"""Benchmarks add rows to one table, which stands at the end of the run, and in a file where `--table` names one."""

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest

from pmdtheory.figures._data import processor

KEY = pytest.StashKey[list]()
TITLES = ("what", "here", "constructor", "against", "takes", "ratio", "wanted")
PACKAGES = ("numpy", "scipy", "jax", "clarabel", "python-flint")


def pytest_addoption(parser):
    parser.addoption("--table", type=Path, default=None, help="file of the table of speeds, as JSON")


@pytest.fixture
def table(request):
    """Call it with a row: what, seconds here, of the constructor, against what, seconds of that, wanted ratio."""
    rows = request.config.stash.setdefault(KEY, [])
    return lambda *row: rows.append(row)


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(KEY, [])
    if not rows or config.getoption("benchmark_disable", False):
        return
    shown = [TITLES]
    for what, here, constructor, against, takes, wanted in rows:
        built = "-" if constructor is None else seconds(constructor)
        if against is None:
            shown.append((what, here if isinstance(here, str) else seconds(here), built, "-", "-", "-", wanted))
        else:
            shown.append((what, seconds(here), built, against, seconds(takes), f"{takes / here:.1f}", wanted))
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    terminalreporter.section("speed: medians of interleaved repetitions in one process")
    for row in shown:
        cells = (
            text.ljust(width) if k in (0, 3) else text.rjust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        terminalreporter.write_line("  ".join(cells).rstrip())
    path = config.getoption("table")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(rows), indent=1) + "\n", encoding="utf-8")


def seconds(value):
    return f"{value:.2f} s" if value >= 1.0 else f"{1e3 * value:.2f} ms"


def record(rows):
    """The table as it is kept: ratios, and the share of a limit that was used, for times mean little elsewhere."""
    found = []
    for what, here, _, against, takes, wanted in rows:
        row = {"what": what, "wanted": None if wanted == "-" else wanted}
        if against is not None:
            found.append({**row, "against": against, "ratio": round(takes / here, 3)})
        elif wanted.startswith("< ") and not isinstance(here, str):
            found.append({**row, "share": round(here / float(wanted.split()[1]), 4)})
    return {
        "what": "speed on a CPU: ratios of medians of interleaved repetitions, and shares of limits",
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {name: version(name) for name in PACKAGES},
        "rows": found,
    }
