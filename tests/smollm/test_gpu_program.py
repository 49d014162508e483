"""`make gpu-smollm` at its smallest size: it resumes, and says what it has not finished."""

import json
import os
import subprocess
import sys

import pytest

from tests.test_architecture import ROOT

pytest.importorskip("jax")
pytestmark = [pytest.mark.jax, pytest.mark.slow]


def run(out, *arguments):
    command = [sys.executable, "-m", "tests.benchmarks.gpu_smollm", "--size", "tiny", "--out", str(out)]
    done = subprocess.run(
        [*command, "--runs", str(out.parent / "runs"), *arguments],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_part_that_ran_out_of_time_goes_on(tmp_path):
    out = tmp_path / "out"
    first = run(out, "--part", "smollm-mean", "--seconds", "0")
    assert "time is over" in first
    assert "0 of 4 parts" in first
    (metrics,) = (tmp_path / "runs").rglob("metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 1
    second = run(out, "--part", "smollm-mean")
    assert "1 of 4 parts" in second
    assert "there already" in run(out, "--part", "smollm-mean")
    (merged,) = out.glob("*.json")
    whole = json.loads(merged.read_text())
    assert whole["missing"] == ["smollm-grpo", "smollm-memory", "smollm-throughput"]
    (seed,) = whole["parts"]["smollm-mean"]["seeds"].values()
    assert seed["status"] == "FINISHED"
    assert len(seed["curves"]["train_reward"]) == 2
    assert len(seed["evaluations"]) == 1
    run(out, "--part", "smollm-memory")
    memory = json.loads(merged.read_text())["parts"]["smollm-memory"]
    assert (memory["responses"], len(memory["batches"])) == (16, 2)
    assert all(sum(batch["seconds"].values()) > 0 for batch in memory["batches"])
