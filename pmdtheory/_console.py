"""What commands share: tables as text, a progress bar on standard error, files written whole, one-line complaints."""

import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

from pmdtheory.solution import SolveError

__all__ = ["WIDE", "main", "progress", "rendered", "tabulated", "width", "writable", "write"]

WIDE = 140  # columns from which a table of many shows all of them


def width() -> int:
    """Columns of the terminal; 160 where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 160


def rendered(table: Any) -> str:
    """A table of rich as text, as wide as the terminal, or wide enough where there is none.

    Rich does not print it itself: it would turn a reader that has gone into exit status 1, a claim that failed.
    """
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width(), force_terminal=sys.stdout.isatty(), highlight=False)
    with console.capture() as text:
        console.print(table)
    return text.get()


def tabulated(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A title and a table as text: the first column to the left, numbers to the right."""
    from rich.table import Table

    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return f"{title}\n{rendered(table)}"


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar on standard error, where that is a terminal; yields advance(text), or advance(text, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task(label, total=total)

        def advance(text: str, done: int | None = None, out_of: int | None = total) -> None:
            if done is None:
                bar.update(task, advance=1, description=text)
            else:
                bar.update(task, completed=done, total=out_of, description=text)

        yield advance


def _unwritable(name: str, path: Path, why: str) -> ValueError:
    return ValueError(f"{name}={str(path)!r} cannot be written ({why}); name a file in a folder")


def writable(name: str, path: Path | None) -> None:
    """ValueError for a file that has no folder, or that is one: said before what it is for has taken its time."""
    if path is not None and path.is_dir():
        raise _unwritable(name, path, os.strerror(errno.EISDIR))
    if path is not None and not path.parent.is_dir():
        raise _unwritable(name, path, os.strerror(errno.ENOENT))


def write(path: Path, text: str, name: str = "out") -> None:
    """Write a file whole or not at all."""
    writable(name, path)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(name, path, str(error.strerror)) from None
    finally:
        with suppress(OSError):  # there is nothing to remove where nothing could be made
            part.unlink()


def _parsed(command: Any, program: str, about: str, arguments: Sequence[str] | None) -> Any:
    """The command of a command line, or ValueError with what the parser said, on one line."""
    import tyro

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(command, prog=program, description=about, args=arguments)
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


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain about it when it exits."""
    with suppress(io.UnsupportedOperation):  # standard output that is no file has nothing to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(command: Any, program: str, about: str, arguments: Sequence[str] | None) -> int:
    """Run a command line whose commands have a `run`; exit status 0 is fine, 1 a failure found, 2 bad input."""
    from pmdtheory import __version__

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["--version"]:
            print(f"{program} {__version__}")
            return 0
        run: Callable[[], int] = _parsed(command, program, f"{about} --version prints the version.", given).run
        status = run()
        sys.stdout.flush()
    except (ValueError, TypeError) as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except SolveError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing half-written was left", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(
            f"{program}: output cannot be written ({error.strerror}); free some space or name another", file=sys.stderr
        )
        return 2
    return status
