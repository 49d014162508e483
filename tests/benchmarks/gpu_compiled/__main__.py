"""`python -m tests.benchmarks.gpu_compiled --out DIR`: compile everything for an H100, and write what it is."""

import argparse
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu._registry import write
from tests.benchmarks.gpu_compiled._target import BANDWIDTH, MEMORY, compiler
from tests.benchmarks.gpu_compiled._traffic import Traffic, traffic


def plain(found: Traffic, least: float) -> dict[str, Any]:
    """As JSON; loops whose turns move less than `least` bytes are left out."""
    loops = [plain(loop, least) for loop in found.loops if loop.bytes >= least]
    return {"kernels": found.kernels, "bytes": found.bytes, "seconds": found.bytes / BANDWIDTH, "loops": loops}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu_compiled", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    chosen = parser.parse_args()
    compiled = compiler()
    import jax

    from tests.benchmarks.gpu_compiled._programs import programs

    found = {}
    for name, program in programs():
        with jax.enable_x64(program.x64):
            done = compiled(program.function, program.arguments, program.donated)
        memory, moved = done.memory_analysis(), traffic(done.as_text())
        needed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        record = {
            "arguments": memory.argument_size_in_bytes,
            "results": memory.output_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
            "share of the memory": (needed + memory.temp_size_in_bytes) / MEMORY,
            "once": plain(moved, 0.01 * moved.bytes),
        }
        found[name] = record | {"wanted": program.wanted}
        turns = "".join(
            f"; {loop['kernels']} and {1e3 * loop['seconds']:.2f} ms in each turn of a loop"
            for loop in record["once"]["loops"]
        )
        print(
            f"{name}: {record['temporary'] / 2**30:.2f} GiB temporary, {record['share of the memory']:.0%} of the "
            f"memory; {moved.kernels} kernels and {1e3 * moved.bytes / BANDWIDTH:.2f} ms of bandwidth{turns}",
            flush=True,
        )
    head = {"device": "NVIDIA H100 80GB HBM3", "measured": False, "jax": jax.__version__}
    write(chosen.out / "nvidia-h100-compiled.json", head | {"bandwidth": BANDWIDTH, "programs": found})


if __name__ == "__main__":
    main()
