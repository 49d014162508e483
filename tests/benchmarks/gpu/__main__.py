"""`python -m tests.benchmarks.gpu --out DIR [--part NAME] [--size tiny]`: run what is missing, then merge."""

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy

from tests.benchmarks.gpu import _registry as registry


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory of runs that can be resumed")
    parser.add_argument("--part", default="", help="one part only; all of them by default")
    parser.add_argument("--size", choices=registry.SIZES, default="full", help="tiny runs the same code in seconds")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    registry.load()
    registry.RUNS[:] = [arguments.runs]
    if arguments.part and arguments.part not in registry.PARTS:
        parser.error(f"--part {arguments.part!r} is none of {', '.join(sorted(registry.PARTS))}")
    device = jax.devices()[0].device_kind
    parts = arguments.out / f"{registry.slug(device)}-{arguments.size}-parts"
    for name in [arguments.part] if arguments.part else list(registry.PARTS):
        path = parts / f"{name}.json"
        if registry.read(path, arguments.size, device) is not None:
            print(f"{name}: there already, {path}", flush=True)
            continue
        print(f"{name}: running", flush=True)
        started = time.perf_counter()
        result = registry.PARTS[name](arguments.size)
        took = time.perf_counter() - started
        head = {"schema": registry.SCHEMA, "size": arguments.size, "device": device, "part": name, "took": took}
        registry.write(path, head | {"result": result})
        print(f"{name}: {took:.1f} s, {path}", flush=True)
    done = {name: registry.read(parts / f"{name}.json", arguments.size, device) for name in registry.PARTS}
    missing = sorted(name for name, record in done.items() if record is None)
    suffix = "" if arguments.size == "full" else f"-{arguments.size}"
    merged = arguments.out / f"{registry.slug(device)}{suffix}.json"
    registry.write(merged, summary(device, arguments.size, done, missing))
    print(f"{merged}: {len(done) - len(missing)} of {len(done)} parts" + "; missing: ".join(["", *missing][:2]))


def summary(device: str, size: str, done: dict[str, dict[str, Any] | None], missing: list[str]) -> dict[str, Any]:
    """One record of a device."""
    return {
        "schema": registry.SCHEMA,
        "device": device,
        "devices": jax.device_count(),
        "platform": jax.default_backend(),
        "size": size,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "parts": {name: record["result"] for name, record in done.items() if record is not None},
        "missing": missing,
    }


if __name__ == "__main__":
    main()
