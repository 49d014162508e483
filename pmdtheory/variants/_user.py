"""A loss from a file of the user's own: `my_loss.py:fn`."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pmdtheory._checks import shown

_FORM = "pass PATH.py:FUNCTION, for instance my_loss.py:loss"

__all__ = ["load_loss"]


def load_loss(place: str) -> Callable[..., Any]:
    """The function that a place such as "my_loss.py:loss" names. The file is run, as an import would run it.

    Args:
        place: path of a Python file, a colon, the name of a function in it.

    Returns:
        The function.

    Raises:
        TypeError: for a place that is no string.
        ValueError: for a place without a function, a file that is missing or fails, a name that is missing or is
            not callable.

    Source: this project.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "mine.py").write_text("def loss(*arrays): return 0.0")
    ...     load_loss(f"{folder}/mine.py:loss")()
    0.0
    """
    if not isinstance(place, str):
        raise TypeError(f"file must be a string, got {shown(place)}; {_FORM}")
    path, colon, name = place.rpartition(":")
    if not colon or not path or not name:
        raise ValueError(f"file must name a file and a function, got {shown(place)}; {_FORM}")
    source = Path(path)
    if not source.is_file():
        raise ValueError(f"file {shown(path)} does not exist; {_FORM}")
    spec = importlib.util.spec_from_file_location(f"_pmdtheory_loss_{source.stem}", source)
    if spec is None or spec.loader is None:
        raise ValueError(f"file {shown(path)} is no Python file; {_FORM}")
    module = importlib.util.module_from_spec(spec)
    folder = str(source.resolve().parent)
    sys.path.insert(0, folder)  # so that it may import what stands beside it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"file {shown(path)} cannot be imported: {text[:200]}; correct it, or name another") from error
    finally:
        sys.path.remove(folder)
    found = getattr(module, name, None)
    if not callable(found):
        known = ", ".join(key for key, value in vars(module).items() if callable(value) and key[:1] != "_")[:100]
        raise ValueError(f"file {shown(path)} has no function {name!r} (it has: {known or 'none'}); {_FORM}")
    return found  # type: ignore[no-any-return]
