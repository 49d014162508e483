"""Where a run's numbers go beside its own files: nowhere, to TensorBoard event files, or to trackio."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tiny_llm_rl._checks import choice

__all__ = ["SINKS", "make_sink"]

SINKS: Final = ("none", "tensorboard", "trackio")
_PACKAGES: Final = {"tensorboard": "tensorboardX", "trackio": "trackio"}
Write = Callable[[dict[str, Any]], None]


def _numbers(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a record by its path."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Write]:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in _numbers(record):
                writer.add_scalar(name, value, record["batch"])

        yield write


@contextmanager
def _trackio(folder: Path) -> Iterator[Write]:
    """Into trackio's own store (its TRACKIO_DIR), project tiny-llm-rl; a run that is resumed goes on there."""
    import trackio

    with redirect_stdout(sys.stderr):  # it greets on standard output, which belongs to our own results
        run = trackio.init(project="tiny-llm-rl", name=folder.name, resume="allow", embed=False)
    try:
        yield lambda record: run.log(dict(_numbers(record)), step=record["batch"])
    finally:
        with redirect_stdout(sys.stderr):
            trackio.finish()


def make_sink(kind: str, folder: Path) -> AbstractContextManager[Write]:
    """A context that yields write(record).

    Args:
        kind: one of `SINKS`.
        folder: the run's directory.

    Raises:
        ValueError: for an unknown kind, or one without its package.

    >>> with make_sink("none", Path(".")) as write:
    ...     write({"batch": 0, "reward": 0.5})
    """
    if choice("sink", kind, SINKS) == "none":
        return nullcontext(lambda record: None)
    package = _PACKAGES[kind]
    if find_spec(package) is None:
        raise ValueError(f"sink {kind!r} needs {package}, which is not installed; pip install {package}")
    return {"tensorboard": _tensorboard, "trackio": _trackio}[kind](folder)
