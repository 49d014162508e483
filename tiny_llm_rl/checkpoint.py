"""Checkpoints: a pytree of arrays and a small JSON record in one file, written atomically, read without pickle.

The file is NumPy's `.npz`: entry k is leaf k, and the entry `record` holds JSON with the schema, the leaves' names and
dtypes and the caller's record. bfloat16 leaves are stored as the bits of uint16, random keys as their key data.
"""

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import jax
import jax.numpy as jnp
import numpy as np

from tiny_llm_rl._checks import shown

__all__ = ["SCHEMA", "load", "peek", "remove_spares", "replaced", "save", "write_atomically"]

SCHEMA: Final = 1


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when all of it is there: what was there stays until then.

    That holds after a crash or a power cut too, and where the writer raises.
    """
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with spare.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds either what it held before or all of `content`, also after a crash or a power cut."""
    with replaced(path) as file:
        file.write(content)


def remove_spares(*paths: Path) -> None:
    """Remove what `replaced` left beside these files where it was killed; nobody may be writing them."""
    for path in paths:
        for spare in path.parent.glob(f".{path.name}.*"):
            if spare.suffix[1:].isdecimal():
                spare.unlink()


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> tuple[np.ndarray[Any, Any], str]:
    """A leaf as an array that NumPy can store, and the name of its dtype."""
    if _is_key(leaf):
        return np.asarray(jax.random.key_data(leaf)), f"key<{jax.random.key_impl(leaf)}>"
    array = np.asarray(leaf)
    name = array.dtype.name
    return (array.view(np.uint16) if name == "bfloat16" else array), name


def _named(tree: Any) -> tuple[list[str], list[Any], Any]:
    paths, shape = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path) for path, _ in paths], [leaf for _, leaf in paths], shape


def save(path: Path, tree: Any, record: dict[str, Any]) -> None:
    """Write a pytree of arrays and a JSON record.

    Args:
        path: of the file; its directory exists.
        tree: leaves are arrays, random keys or numbers.
        record: what JSON can hold; NaN is refused.

    Raises:
        ValueError: for a record that JSON cannot hold.
        OSError: when the file cannot be written; what was there before stays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "last.npz", {"w": jnp.arange(3.0)}, {"batch": 7})
    ...     tree, record = load(Path(folder) / "last.npz", {"w": jnp.zeros(3)})
    >>> tree["w"].tolist(), record["batch"]
    ([0.0, 1.0, 2.0], 7)
    """
    names, leaves, _ = _named(tree)
    plain = [_plain(leaf) for leaf in leaves]
    head = {"schema": SCHEMA, "leaves": names, "dtypes": [name for _, name in plain], "record": record}
    text = json.dumps(head, allow_nan=False, sort_keys=True)
    buffer = io.BytesIO()
    arrays = {str(index): array for index, (array, _) in enumerate(plain)}
    np.savez(buffer, record=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _head(stored: Any, path: Path) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(bytes(stored["record"]))
        schema = head["schema"]
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is no checkpoint of this package; give a file that a run wrote") from None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has schema {shown(schema)}, this version reads {SCHEMA}; use the version that wrote it"
        )
    return head


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the checkpoint of a run") from None
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror}); give the checkpoint of a run") from None
    with file:
        try:
            stored = np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
            raise ValueError(f"{path} cannot be read ({shown(str(problem))}); take an earlier checkpoint") from None
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} is no checkpoint of this package; give a file that a run wrote")
        with stored:
            yield stored


def peek(path: Path) -> dict[str, Any]:
    """The JSON record of a checkpoint, without its arrays.

    Raises:
        ValueError: for a file that is missing, damaged or of another kind.
    """
    with _opened(path) as stored:
        record: dict[str, Any] = _head(stored, path)["record"]
    return record


def load(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read a pytree and its record.

    Args:
        path: of the file.
        like: a pytree of the same structure, shapes and dtypes.

    Returns:
        The pytree, each leaf of the kind of its counterpart (of jax, of NumPy, a number), and the record.

    Raises:
        ValueError: for a file that is missing, damaged, or of another tree, naming the first leaf that differs.
    """
    names, leaves, shape = _named(like)
    with _opened(path) as stored:
        head = _head(stored, path)
        if head["leaves"] != names:
            odd = sorted(set(head["leaves"]) ^ set(names)) or ["their order"]
            raise ValueError(f"{path} holds other leaves ({shown(odd[0])}); build the model with the run's own config")
        found = []
        for index, (name, leaf, dtype) in enumerate(zip(names, leaves, head["dtypes"], strict=True)):
            try:
                array = stored[str(index)]
            except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
                raise ValueError(
                    f"{path}: leaf {name} is damaged ({shown(str(problem))}); take an earlier one"
                ) from None
            expected, expected_dtype = _plain(leaf)
            if array.shape != expected.shape or dtype != expected_dtype:
                raise ValueError(
                    f"{path}: leaf {name} is {dtype}{list(array.shape)}, expected {expected_dtype}"
                    f"{list(expected.shape)}; build the model with the run's own config"
                )
            if dtype.startswith("key<"):
                found.append(jax.random.wrap_key_data(jnp.asarray(array), impl=dtype[4:-1]))
                continue
            whole = array.view(jnp.bfloat16) if dtype == "bfloat16" else array
            if isinstance(leaf, jax.Array):
                found.append(jnp.asarray(whole))
            else:  # as it came: jax would cut the float64 of NumPy and of Python to float32
                found.append(whole if isinstance(leaf, np.ndarray) else whole[()].item())
    return jax.tree_util.tree_unflatten(shape, found), head["record"]
