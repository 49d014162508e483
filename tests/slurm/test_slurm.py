"""Jobs of a real Slurm: every cell once, whatever is cancelled, killed or out of time; two tasks train like one.

Run by `make test-slurm`, on a machine where `sbatch` and `sacct` work; `tests/slurm/cluster.sh` makes such a machine.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pmdtheory import _cells
from pmdtheory._executors import Submitit, make_executor
from pmdtheory.cli import main
from tests.test_architecture import ROOT

pytestmark = pytest.mark.slurm

CELLS = "tests.rl.sweep_cells"
SIZE = "--prompts 8 --rollouts 8 --minibatches 2 --batches 3 --evaluate-every 3 --evaluation-prompts 16"


@pytest.fixture(autouse=True)
def jobs_find_the_tests(monkeypatch):
    """Slurm hands the environment on."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")


@pytest.fixture
def shared(tmp_path_factory):
    """A directory that the nodes see."""
    return tmp_path_factory.mktemp("slurm", numbered=True)


class Counted(Submitit):
    """Keeps the jobs it started."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        object.__setattr__(self, "jobs", [])

    def start(self, *arguments):
        self.jobs.append(super().start(*arguments))
        return self.jobs[-1]


def counted(*job):
    made = make_executor("slurm", ["slurm_cpus_per_task=1", *job])
    return Counted(made.cluster, made.parameters)


def events(folder, name):
    with (folder / "claims" / name).open(encoding="utf-8") as journal:
        return _cells.events(journal)


def test_64_cells_survive_a_cancelled_and_a_killed_job(shared):
    """After ten cells the first job is cancelled, after thirty the worker of a later one is killed in a cell."""
    executor = counted("timeout_min=10")
    done, killed = [], []

    def strike():
        if len(done) >= 10 and not executor.jobs[0].job.done() and not killed:
            executor.jobs[0].stop()
        if len(done) >= 30 and not killed:
            for name in set(cells) - set(done):
                path = shared / "claims" / name
                last = events(shared, name)[-1:] if path.exists() else []
                if last and last[0]["event"] == "claimed" and last[0]["worker"] != "worker-0":
                    os.kill(last[0]["process"], signal.SIGKILL)
                    killed.append(name)
                    break
        return False

    cells = {str(k): {} for k in range(64)}
    found = _cells.run_cells(
        shared, f"{CELLS}:steady", cells, executor, workers=2, stop=strike,
        report=lambda name, *_: done.append(name),
    )  # fmt: skip
    assert found == dict.fromkeys(cells, "FINISHED")
    happened = {name: [event["event"] for event in events(shared, name)] for name in cells}
    assert all(each.count("ended") == 1 for each in happened.values())  # none twice: its summary would have been there
    assert len(killed) == 1
    again = [name for name, each in happened.items() if len(each) > 2]
    assert set(again) - set(killed) <= {name for name in again if "interrupted" in happened[name]}
    assert len(executor.jobs) >= 3


def test_a_cell_longer_than_its_job_is_ended_by_another_job(shared):
    """Slurm's own warning, a hundred seconds before the end of two minutes."""
    executor = counted("timeout_min=2", "slurm_signal_delay_s=100")
    found = _cells.run_cells(shared, f"{CELLS}:patient", {"a": {}}, executor, workers=1)
    assert found == {"a": "FINISHED"}
    assert [event.get("status", event["event"]) for event in events(shared, "a")] == [
        "claimed", "STOPPED", "claimed", "FINISHED",
    ]  # fmt: skip
    assert len(executor.jobs) == 2


def test_verification_spreads_over_jobs(shared, capsys):
    call = "verify C4 --instances 60 --workers 2 --json --executor slurm --job timeout_min=10 slurm_cpus_per_task=1"
    assert main([*call.split(), "--blocks", str(shared / "blocks")]) == 0
    (jobs,) = json.loads(capsys.readouterr().out)["claims"]
    assert main(["verify", "C4", "--instances", "60", "--json"]) == 0
    (here,) = json.loads(capsys.readouterr().out)["claims"]
    assert {**jobs, "seconds": 0} == {**here, "seconds": 0}
    assert list((shared / "blocks" / "jobs").glob("*_submitted.pkl"))


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("shards", [1, 2])
def test_two_tasks_train_like_one_process(shared, shards):
    """The command of docs/scaling/train.sbatch, at another size: the same tokens and losses to float error."""
    command = f"{Path(sys.executable).parent / 'tiny-llm-rl'} train {SIZE}"
    subprocess.run([*shlex.split(command), "--out", shared / "one"], check=True, env={**os.environ})
    job = ["sbatch", "--wait", "--ntasks=2", "--cpus-per-task=1", "--time=10", f"--output={shared}/log"]
    line = f"srun --kill-on-bad-exit=1 {command} --distributed --shards {shards} --out {shared}/two"
    subprocess.run([*job, "--wrap", line], check=True)
    one, two = records(shared / "one"), records(shared / "two")
    assert len(one) == len(two) == 3
    for mine, theirs in zip(one, two, strict=True):
        assert mine["train_reward"] == theirs["train_reward"]
        assert abs(mine["loss"] - theirs["loss"]) < 1e-5
