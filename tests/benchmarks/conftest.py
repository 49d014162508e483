"""Benchmarks add rows to one table, which stands at the end of the run."""

import pytest

KEY = pytest.StashKey[list]()
TITLES = ("what", "here", "constructor", "against", "takes", "ratio", "wanted")


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


def seconds(value):
    return f"{value:.2f} s" if value >= 1.0 else f"{1e3 * value:.2f} ms"
