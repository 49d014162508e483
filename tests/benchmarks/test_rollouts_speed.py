"""A million rollouts are read and diagnosed in seconds, in two gigabytes; run by `make bench`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

pytestmark = pytest.mark.slow

ROWS, N = 1_000_000, 16
SECONDS, GIGABYTES = 20.0, 2.0

# A process of its own: the most memory it ever held, and its time from the first import on.
MEASURED = """
import pathlib, resource, sys, time
start = time.perf_counter()
from pmdtheory.rollouts import diagnose, read_rollouts
found = diagnose(read_rollouts(sys.argv[1]), 0.3)
assert found.rollouts.size >= 999_000 and found.regime.size == 62_500, found.rollouts.size
status = pathlib.Path("/proc/self/status")
if status.exists():  # getrusage would count what the parent held when it forked
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**20
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
print(time.perf_counter() - start, peak)
"""


def rollouts(graded):
    rng = np.random.default_rng(0)
    groups = ROWS // N
    rates = rng.beta(0.5, 1.0, (groups, 1))
    reward = rng.normal(rates, 0.3, (groups, N)) if graded else (rng.random((groups, N)) < rates).astype(float)
    prompt = np.repeat(np.arange(groups) % 6250, N)
    text = np.array([f"Problem {i}. " + "Show that the sum is even. " * 6 for i in range(6250)])[prompt]
    return pa.table({"input": text, "score": reward.ravel(), "step": np.repeat(np.arange(groups) // 6250, N)})


def write(path: Path, graded: bool, broken: bool) -> None:
    data = rollouts(graded)
    if path.suffix == ".parquet":
        parquet.write_table(data.rename_columns(["prompt", "reward", "step"]), path)
    elif path.suffix == ".csv":
        csv.write_csv(data.rename_columns(["prompt", "reward", "step"]), path)
    else:
        with path.open("w") as file:
            for i, row in enumerate(zip(*(column.to_pylist() for column in data.columns), strict=True)):
                record = dict(zip(("input", "score", "step"), row, strict=True), output="so it is " * 20, gts="2")
                file.write('{"input": \n' if broken and i % 2000 == 1000 else json.dumps(record) + "\n")


CASES = {
    "verl dump": ("a.jsonl", False, False),
    "verl dump, 500 broken rows": ("a.jsonl", False, True),
    "verl dump, graded": ("a.jsonl", True, False),
    "CSV": ("a.csv", False, False),
    "Parquet, graded": ("a.parquet", True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_a_million_rollouts(benchmark, table, tmp_path, case):
    name, graded, broken = CASES[case]
    path = tmp_path / name
    write(path, graded, broken)
    spent = []

    def run():
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        spent.append(tuple(map(float, re.findall(r"[\d.e+-]+", done.stdout))))

    benchmark.pedantic(run, rounds=1, iterations=1)
    seconds, peak = min(spent)
    table(f"diagnose 1e6 rollouts, {case} ({peak:.2f} GB)", seconds, None, None, None, f"< {SECONDS:g} s")
    benchmark.extra_info["gigabytes"] = peak
    assert peak < GIGABYTES
    if benchmark.enabled:
        assert seconds < SECONDS
