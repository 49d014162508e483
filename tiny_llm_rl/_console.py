"""What commands show: tables as text, a progress bar on standard error, the parser's complaints on one line."""

import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any

__all__ = ["discard_output", "parsed", "progress", "rendered"]


def rendered(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A title and a table as text, as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else 160
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    with console.capture() as text:
        console.print(table)
    return f"{title}\n{text.get()}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on standard error, where that is a terminal; yields advance(done, text)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done, text: bar.update(task, completed=done, description=f"{label} {text}")


def parsed(command: Any, program: str, description: str, arguments: Sequence[str] | None) -> Any:
    """The command of a command line, or ValueError with what the parser said, on one line."""
    import tyro

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(command, prog=program, description=description, args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    lines = [line.strip("│╭╮╰╯─ ") for line in said.getvalue().splitlines()[1:]]
    whole = " ".join(line for line in lines if line)
    text = re.split("Got errors|Argument helptext|For full helptext", whole)[0]
    ours = re.search(r"Error parsing (?!--)[\w.-]*: (.*?)[ -]*$", text)  # a config refused values, and named the remedy
    if ours:
        raise ValueError(ours[1])
    raise ValueError(f"{text.strip().rstrip('.')}; see {program} --help, and {program} COMMAND --help")


def discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain about it when it exits."""
    with suppress(io.UnsupportedOperation):  # standard output that is no file has nothing to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
