"""What needs packages outside the lock: tasks of reasoning-gym, sinks, submitit; run by `make test-extras`."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from pmdtheory import _cells
from pmdtheory._executors import Submitit, make_executor
from pmdtheory.cli import main
from tests.test_architecture import ROOT
from tests.wrong import refused
from tiny_llm_rl import tasks
from tiny_llm_rl.pretrain import PretrainConfig, pretrain
from tiny_llm_rl.sink import make_sink
from tiny_llm_rl.weights import save_model

pytestmark = pytest.mark.extras

SHORT = ("number_sequence", "basic_arithmetic", "chain_sum", "spell_backward", "lcm", "count_bits", "simple_equations")


@pytest.mark.parametrize("name", SHORT)
def test_answers_of_reasoning_gym_are_right_and_others_are_not(name):
    task = tasks.make(f"gym:{name}")
    rng = np.random.default_rng(0)
    for _ in range(5):
        prompt = task.prompt(rng)
        answer = task.demonstration(prompt, rng)
        assert task.reward(prompt, answer) == 1.0
        assert task.reward(prompt, "?") == 0.0
        assert len(prompt) <= task.prompt_slots


def test_graded_rewards_lie_between():
    """A wrong word is worth something to spell_backward where rewards are graded, and nothing where they are not."""
    graded = tasks.gym.ReasoningGym("spell_backward", graded=True)
    rng = np.random.default_rng(1)
    prompt = graded.prompt(rng)
    answer = graded.demonstration(prompt, rng)
    part = answer[:-1] + ("x" if answer[-1] != "x" else "y")
    assert 0.0 < graded.reward(prompt, part) < 1.0
    plain = tasks.gym.ReasoningGym("spell_backward")
    plain._entries = graded._entries
    assert plain.reward(prompt, part) == 0.0


def test_unknown_datasets_are_refused():
    refused(ValueError, lambda: tasks.make("gym:chain-sum"), "dataset", "chain-sum")


def test_a_prompt_that_was_not_drawn_is_refused(monkeypatch):
    """Or one so long ago that it is forgotten: what is kept does not grow with a run."""
    monkeypatch.setattr(tasks.gym, "_KEPT", 3)
    task, rng = tasks.make("gym:chain_sum"), np.random.default_rng(0)
    drawn = [task.draw(rng) for _ in range(5)]
    assert len(set(drawn)) == 5
    assert len(task._entries) == 3
    assert task.reward(drawn[2], task.demonstration(drawn[2], rng)) == 1.0
    refused(ValueError, lambda: task.reward(drawn[1], "1"), "prompt", "gym:chain_sum")
    refused(ValueError, lambda: task.reward("1 + 1", "2"), "'1 + 1'", "gym:chain_sum")


def test_a_response_that_breaks_their_verifier_is_wrong():
    """prime_factorization reads numbers without looking whether they are some."""
    task = tasks.make("gym:prime_factorization", prompt_slots=200, ascii_only=False)
    prompt = task.draw(np.random.default_rng(0))
    with pytest.raises(ValueError, match="invalid literal"):
        task._data.score_answer("?", task._entries[prompt])
    assert task.reward(prompt, "?") == 0.0
    assert task.reward(prompt, task.demonstration(prompt, np.random.default_rng(0))) == 1.0


def test_numbers_without_a_question_are_drawn_again(monkeypatch):
    task, rng = tasks.make("gym:chain_sum"), np.random.default_rng(0)
    make, asked = task._data.__class__.__getitem__, []

    def seldom(data, index):
        asked.append(index)
        if len(asked) % 3:
            raise IndexError("no such entry")
        return make(data, index)

    monkeypatch.setattr(task._data.__class__, "__getitem__", seldom)
    assert task.draw(rng)
    assert len(asked) >= 3
    monkeypatch.setattr(task._data.__class__, "__getitem__", lambda data, index: 1 / 0)
    refused(ValueError, lambda: task.draw(rng), "gym:chain_sum", "division by zero")


@pytest.mark.parametrize("name", tasks.gym._LISTED)
def test_datasets_that_make_all_entries_at_once_make_few(name):
    """In seconds, where 2^31 entries would fill the memory, or are refused."""
    task = tasks.make(f"gym:{name}", prompt_slots=3000, ascii_only=False)
    prompt = task.draw(np.random.default_rng(0))
    assert task.reward(prompt, task.demonstration(prompt, np.random.default_rng(0))) == 1.0


def test_a_model_trains_on_reasoning_gym(tmp_path):
    base = tmp_path / "spell.safetensors"
    config = PretrainConfig(
        task="gym:spell_backward", width=16, layers=1, heads=1, batch=8, clean_steps=3, careless_steps=0
    )
    model, record = pretrain(config)
    save_model(base, model, {name: value for name, value in record.items() if name != "seconds"})
    command = [
        sys.executable, "-m", "tiny_llm_rl", "train", "--out", str(tmp_path / "run"), "--base", str(base),
        "--prompts", "4", "--rollouts", "4", "--minibatches", "2", "--batches", "1",
        "--evaluation-prompts", "4", "--graded", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 0.0 < record["train_reward"] < 1.0
    assert record["gradient_norm"] > 0.0  # what is nearly right is worth something, so that groups have a signal


def test_trackio_keeps_every_number(tmp_path):
    code = (
        "from pathlib import Path; from tiny_llm_rl.sink import make_sink\n"
        f"with make_sink('trackio', Path({str(tmp_path / 'run7')!r})) as write:\n"
        "    for batch in range(3): write({'batch': batch, 'reward': 0.25 * batch, 'seconds': {'sample': 1.5}})\n"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    (store,) = (tmp_path / "store").glob("*.db")
    with sqlite3.connect(store) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [("run7", 0), ("run7", 1), ("run7", 2)]
    assert [json.loads(kept)["reward"] for _, _, kept in rows] == [0.0, 0.25, 0.5]
    assert json.loads(rows[0][2])["seconds/sample"] == 1.5


def test_tensorboard_writes_its_events(tmp_path):
    with make_sink("tensorboard", tmp_path) as write:
        write({"batch": 0, "reward": 0.5})
    (events,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    assert b"reward" in events.read_bytes()


def test_64_cells_survive_a_job_of_submitit_that_is_killed(tmp_path):
    cells = {str(seed): {"config": {"seed": seed}} for seed in range(64)}
    executor = make_executor("submitit", ["timeout_min=10"])
    found = _cells.run_cells(tmp_path, "tests.rl.sweep_cells:toy", cells, executor, workers=2)
    assert found == dict.fromkeys(cells, "FINISHED")
    begun = {name: len((tmp_path / name / "begun").read_text().split()) for name in cells}
    assert begun == {name: 1 + (name == "30") for name in cells}
    scores = [json.loads((tmp_path / name / "summary.json").read_text())["score"] for name in cells]
    assert scores == [seed**2 for seed in range(64)]
    # By the other job, or by one that replaced the first: whichever came to it.
    assert len(set((tmp_path / "30" / "begun").read_text().split())) == 2
    assert len(list((tmp_path / "jobs").glob("*_submitted.pkl"))) >= 2


def test_a_job_of_submitit_whose_time_is_up_saves_its_cell(tmp_path):
    """What Slurm sends before a time limit, sent to a local job's process: another one goes on with the cell."""
    jobs, warned = [], []

    class Timed(Submitit):
        def start(self, *arguments):
            jobs.append(super().start(*arguments))
            return jobs[-1]

    def warn():
        if not warned and (tmp_path / "a" / "waiting").exists():
            warned.append(int((tmp_path / "a" / "begun").read_text()))
            os.kill(warned[0], signal.SIGUSR2)
        return False

    executor = Timed("local", {"timeout_min": 10}, pause=0.1)
    found = _cells.run_cells(tmp_path, "tests.rl.sweep_cells:patient", {"a": {}}, executor, workers=1, stop=warn)
    assert found == {"a": "FINISHED"}
    assert len((tmp_path / "a" / "begun").read_text().split()) == len(jobs) == 2


def test_verification_spreads_over_jobs_of_submitit(tmp_path, capsys):
    call = "verify C4 --instances 60 --workers 2 --json --executor submitit --job timeout_min=5 --blocks"
    assert main([*call.split(), str(tmp_path / "blocks")]) == 0
    (jobs,) = json.loads(capsys.readouterr().out)["claims"]
    assert main(["verify", "C4", "--instances", "60", "--json"]) == 0
    (here,) = json.loads(capsys.readouterr().out)["claims"]
    assert {**jobs, "seconds": 0} == {**here, "seconds": 0}
    assert len(list((tmp_path / "blocks" / "jobs").glob("*_submitted.pkl"))) == 1


def test_parameters_that_submitit_does_not_know_are_refused(tmp_path):
    executor = make_executor("submitit", ["hours=1"])
    refused(ValueError, lambda: _cells.run_cells(tmp_path, "a:b", {"a": {}}, executor), "hours")
