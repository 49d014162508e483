"""The numbers behind a figure as JSON: written whole or not at all, read with suspicion, compared digit by digit."""

import json
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Figure

SCHEMA = 1
DIGITS = 13  # significant digits stored: four more than are compared
RELATIVE = 1e-9  # how far recomputed numbers may be from the stored ones
_CPUINFO = Path("/proc/cpuinfo")  # of Linux
FLOOR = 1e-6  # of an array's largest entry: what counts as zero where entries vanish or change sign

__all__ = ["RELATIVE", "decode", "encode", "mismatch", "read", "write_files"]


def encode(figure: Figure, arrays: Arrays) -> bytes:
    """The JSON document of a figure: rounded to 13 digits, NaN as null, one line per array."""
    head = {
        "schema": SCHEMA,
        "name": figure.name,
        "claims": list(figure.claims),
        "config": figure.config,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pmdtheory", "numpy", "scipy", *figure.packages)},
            **({"processor": processor()} if figure.packages else {}),
        },
    }
    rows = [f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in head.items()]
    body = [f"  {json.dumps(name)}: {json.dumps(_rounded(arrays[name].tolist()))}" for name in figure.arrays]
    return ("{\n" + ",\n".join(rows) + ',\n "arrays": {\n' + ",\n".join(body) + "\n }\n}\n").encode()


def processor() -> str:
    """Its name, family and model as far as the system says them: what compiled sums round by."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    number = [f"{word} {said[name]}" for name, word in (("cpu family", "family"), ("model", "model")) if name in said]
    return ", ".join([said.get("model name") or platform.machine(), *number])


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def decode(figure: Figure, text: bytes, source: str) -> tuple[Arrays, Mapping[str, Any]]:
    """The arrays and the configuration of a document of `encode`; ValueError with a remedy for anything else."""
    remedy = f"recompute it with `pmdtheory figures {figure.name}`"
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source} is no JSON ({error}); {remedy}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise ValueError(f"{source} has schema {schema!r}, not {SCHEMA}; {remedy}")
    if document.get("name") != figure.name:
        raise ValueError(f"{source} is of figure {document.get('name')!r}, not {figure.name!r}; {remedy}")
    arrays, config = document.get("arrays"), document.get("config")
    if not isinstance(arrays, dict) or not isinstance(config, dict):
        raise ValueError(f"{source} has no arrays or no config; {remedy}")
    return figure.checked({name: _array(name, value, source, remedy) for name, value in arrays.items()}, source), config


def _no_constant(token: str) -> float:
    raise ValueError(f"{token} is not allowed")


def _array(name: str, value: Any, source: str, remedy: str) -> FloatArray:
    def numbers(entry: Any) -> bool:
        if isinstance(entry, list):
            return all(map(numbers, entry))
        return entry is None or (isinstance(entry, (int, float)) and not isinstance(entry, bool))

    try:
        if numbers(value):
            return np.asarray(value, dtype=np.float64)
    except (ValueError, OverflowError):  # ragged, or an integer beyond float64
        pass
    raise ValueError(f"{source}: array {name} is no array of numbers; {remedy}")


def read(figure: Figure, path: Path) -> tuple[Arrays, Mapping[str, Any]]:
    """The stored arrays and configuration of a figure; ValueError for a file that is missing or not of this kind."""
    try:
        text = path.read_bytes()
    except OSError as error:
        remedy = f"compute it with `pmdtheory figures {figure.name}`"
        raise ValueError(f"data file {path} cannot be read ({error.strerror}); {remedy}") from None
    return decode(figure, text, f"data file {path}")


def mismatch(figure: Figure, stored: Arrays, computed: Arrays) -> tuple[float, str]:
    r"""The worst relative difference of two sets of arrays, and the name of the array it is in.

    Formula: \(|x - y| / \max(|x|, |y|, f)\). The floor f is zero for an array of one sign, 1e-6 of the largest
    entry where entries vanish or change sign, and what the figure's `floors` say where they say something.
    Arrays of different shapes, or with NaN at different places, are infinitely far apart.
    """
    worst, where = 0.0, ""
    for name, old in stored.items():
        new = computed[name]
        far = _distance(old, new, figure.floors.get(name))
        if not far <= worst:
            worst, where = far, name
    return worst, where


def _distance(old: FloatArray, new: FloatArray, floor: float | None) -> float:
    if old.shape != new.shape or not np.array_equal(np.isnan(old), np.isnan(new)):
        return math.inf
    known = ~np.isnan(old)
    x, y = old[known], new[known]
    scale = np.maximum(np.abs(x), np.abs(y))
    if x.size == 0 or float(scale.max()) == 0.0:
        return 0.0
    if floor is None:
        one_sign = bool(np.all(x > 0.0) and np.all(y > 0.0)) or bool(np.all(x < 0.0) and np.all(y < 0.0))
        floor = 0.0 if one_sign else FLOOR * float(scale.max())
    return float(np.max(np.abs(x - y) / np.maximum(scale, floor)))


def write_files(files: Mapping[Path, bytes]) -> None:
    """Each file whole or not at all: written beside its place, then moved there. ValueError where that is refused."""
    for path, content in files.items():
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                beside.write_bytes(content)
                os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise ValueError(
                f"out: {path} cannot be written ({error.strerror}); pass a directory you can write"
            ) from None
