"""The parts by name, where they are registered, and the files their results are in."""

import importlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = 1
SIZES: Final = ("full", "tiny")
PARTS_IN: Final = (
    "tests.benchmarks.gpu.updates",
    "tests.benchmarks.gpu.trainer",
    "tests.benchmarks.gpu.comparison",
)
"""Modules that register parts; a new file of parts is added here."""

PARTS: dict[str, Any] = {}
RUNS = [Path("runs")]
"""Where parts that train keep what they can resume; `--runs` sets it."""


def part(name: str) -> Callable[[Callable[[str], dict[str, Any]]], Callable[[str], dict[str, Any]]]:
    """Register a part: a function of the size that returns what it measured."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"name must be a file name of a-z, 0-9 and -, got {name!r}; pass one like 'memory-copy'")

    def register(function: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
        known = PARTS.get(name)
        if known is not None and known.__code__.co_filename != function.__code__.co_filename:
            raise ValueError(f"name {name!r} is registered already; pass one that no other part has")
        PARTS[name] = function
        return function

    return register


def load() -> None:
    """Import every module that registers parts."""
    for module in PARTS_IN:
        importlib.import_module(module)


def slug(device_kind: str) -> str:
    """A file name for a device: 'NVIDIA H100 80GB HBM3' is 'nvidia-h100-80gb-hbm3'."""
    return re.sub(r"[^a-z0-9]+", "-", device_kind.lower()).strip("-") or "device"


def write(path: Path, record: dict[str, Any]) -> None:
    """Write JSON beside its place and move it there, so that a file that exists is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


def read(path: Path, size: str, device: str) -> dict[str, Any] | None:
    """A part's record, or None where there is none of this schema, size and device."""
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not JSON; delete it, and its part runs again") from None
    same = (record.get("schema"), record.get("size"), record.get("device")) == (SCHEMA, size, device)
    return record if same else None
