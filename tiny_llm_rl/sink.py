"""Where a run's numbers go beside its own files: nowhere, or to TensorBoard event files."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tiny_llm_rl._checks import choice

__all__ = ["SINKS", "make_sink"]

SINKS: Final = ("none", "tensorboard")
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


def make_sink(kind: str, folder: Path) -> AbstractContextManager[Write]:
    """A context that yields write(record).

    Args:
        kind: one of `SINKS`.
        folder: the run's directory.

    Raises:
        ValueError: for an unknown kind, or tensorboard without its package.

    >>> with make_sink("none", Path(".")) as write:
    ...     write({"batch": 0, "reward": 0.5})
    """
    if choice("sink", kind, SINKS) == "none":
        return nullcontext(lambda record: None)
    if find_spec("tensorboardX") is None:
        raise ValueError("sink 'tensorboard' needs tensorboardX, which is not installed; pip install tensorboardX")
    return _tensorboard(folder)
