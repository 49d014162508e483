"""What commands leave and find again: the sizes of a task, models of runs in any state, exit statuses, whole sweeps."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import jax
import numpy as np
import pytest

from pmdtheory import _cells
from pmdtheory._executors import Local
from tests.inline import Inline
from tests.wrong import refused
from tiny_llm_rl import _cli_run, checkpoint, experiments, presets, sweep, verdicts
from tiny_llm_rl._grid import Grid, read_axes
from tiny_llm_rl._policy import load_policy
from tiny_llm_rl._signals import STATUS
from tiny_llm_rl.cli import main
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.pretrain import PretrainConfig, missed
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.tasks import TASKS, make
from tiny_llm_rl.train import Run, RunStatus, load_base, train
from tiny_llm_rl.weights import load_model, save_model

pytestmark = pytest.mark.jax


def tiny(base, **options):
    return TrainConfig(
        base=base, prompts=2, rollouts=2, batches=2, minibatches=1, evaluation_prompts=4, patience=9, **options
    )


def bits(model):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model)]


# Sizes of a task.


def test_tasks_say_which_sizes_they_draw_from():
    for name in TASKS:
        assert make(name, (3,)).difficulty == (3,)
        own = make(name).difficulty
        assert own
        assert make(name, own).response_slots == make(name).response_slots


@pytest.mark.parametrize("asked", [[], ["--difficulty", "3"]])
def test_a_trained_model_keeps_the_sizes_it_was_trained_on(base, tmp_path, capsys, asked):
    """Those of its base, where none were asked for, and not the task's own."""
    out = tmp_path / "run"
    command = ["train", "--out", str(out), "--base", base, "--prompts", "2", "--rollouts", "2", "--minibatches", "1"]
    assert main([*command, "--batches", "1", "--patience", "2", "--evaluation-prompts", "4", *asked]) == 0
    shown = capsys.readouterr().out
    assert "evaluation average interval" in shown
    assert "_" not in shown.split("\n", 1)[1]
    sizes = (int(asked[1]),) if asked else (2,)
    for found in (load_base(str(out / "model.safetensors")), load_policy(str(out))):
        assert found[1].difficulty == sizes
        assert found[1].response_slots == make("digit-sum", sizes).response_slots
    assert load_model(out / "model.safetensors")[1]["difficulty"] == list(sizes)


# The model of a run that has none at its end.


@pytest.fixture
def stopped(base, tmp_path):
    """A run with another model in its checkpoint than its base, and no model.safetensors."""
    config = tiny(base)
    directory = RunDirectory(tmp_path / "r1", config, kind="train")
    assert train(config, directory, stop=lambda: True).status is RunStatus.STOPPED
    run = Run(config)
    state, head = checkpoint.load(directory.checkpoint, run.state)
    moved = jax.tree.map(lambda x: x + 0.25, state[0])
    checkpoint.save(directory.checkpoint, (moved, *state[1:]), head)
    return directory, moved


def test_the_model_of_a_run_is_found_in_its_checkpoint(stopped, capsys):
    directory, moved = stopped
    for name in (directory.path, directory.checkpoint):
        model, task, tokenizer = load_policy(str(name))
        assert bits(model) == bits(moved)
        assert (task.difficulty, tokenizer.alphabet) == ((2,), task.alphabet)
        assert main(["sample", str(name), "3+4=", "--samples", "2", "--json"]) == 0
        assert [row["prompt"] for row in json.loads(capsys.readouterr().out)["samples"]] == ["3+4="] * 2
    save_model(directory.path / "model.safetensors", load_policy("digit-sum")[0], load_model(load_shipped())[1])
    assert bits(load_policy(str(directory.path))[0]) != bits(moved)  # what the end of a run has written comes first


def load_shipped():
    from tiny_llm_rl.weights import shipped

    return shipped("digit-sum")


def test_a_model_that_is_not_there_is_named(stopped, base, tmp_path):
    directory, _ = stopped
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    RunDirectory(tmp_path / "young", tiny(base), kind="train")
    RunDirectory(tmp_path / "chat", {"base": "smollm2"}, kind="smollm")
    RunDirectory(tmp_path / "bandit", {"tau": 0.1}, kind="bandit")
    RunDirectory(tmp_path / "lost", tiny(str(tmp_path / "gone.safetensors")), kind="train")
    (tmp_path / "lost" / "checkpoint.npz").write_bytes(directory.checkpoint.read_bytes())
    for name, words in (
        ("r2", ("r2", "does not exist", "directory", "digit-sum")),
        ("r2/checkpoint.npz", ("r2", "holds no run")),
        ("notes.txt", ("notes.txt", "is no model")),
        ("empty", ("empty", "holds no run")),
        ("young", ("young", "checkpoint.npz", "finish a batch")),
        ("chat", ("chat", "smollm chat")),
        ("bandit", ("bandit", "tiny-llm-rl train")),
        ("lost", ("lost", "gone.safetensors", "not there", "put it back")),
    ):
        refused(ValueError, lambda name=name: load_policy(str(tmp_path / name)), *words)
    refused(ValueError, lambda: load_policy("digit-sums"), "digit-sums", "addition, digit-sum")


# Bases that are not what was asked for.


RECORD = {"pass_rate": 0.3, "clean_pass_rate": 0.9, "careless_steps": 20}


@pytest.mark.parametrize(
    ("asked", "changes", "said"),
    [
        (0.3, {}, ()),
        (0.31, {}, ()),  # within two standard errors
        (0.28, {}, ()),
        (0.12, {}, ()),  # the rate on training prompts was below, as steps were left
        (0.12, {"careless_steps": 200}, ("0.300", "above", "careless_steps", "noise")),
        (0.29, {"careless_steps": 200}, ()),
        (0.9, {"clean_pass_rate": 0.045, "pass_rate": 0.045, "careless_steps": 0}, ("0.045", "below", "clean_steps")),
        (0.5, {}, ()),
        (0.8, {}, ("0.300", "fell past", "check_every")),
        (0.0, {"pass_rate": 0.0}, ()),
    ],
)
def test_a_missed_pass_rate_is_told_with_its_remedy(asked, changes, said):
    found = missed(PretrainConfig(pass_rate=asked), {**RECORD, **changes})
    assert bool(found) == bool(said)
    assert all(word in found for word in said)
    assert missed(PretrainConfig(pass_rate=asked, careless_steps=0), {**RECORD, **changes}) == ""


@pytest.mark.parametrize(("asked", "careless", "word"), [("0.9", "3", "below"), ("0.01", "1", "above")])
def test_a_base_that_misses_its_pass_rate_is_written_and_told(tmp_path, capsys, monkeypatch, asked, careless, word):
    """Rates are set to those of a clean model at .2 that carelessness does nothing to; the steps are real."""
    monkeypatch.setattr("tiny_llm_rl.pretrain.measured", lambda *a, **b: np.array([1.0, 0.0, 0.0, 0.0, 0.0]))
    out = tmp_path / "base.safetensors"
    command = [
        "pretrain", "--out", str(out), "--difficulty", "2", "--width", "8", "--layers", "1", "--heads", "1", "--batch",
        "4", "--clean-steps", "2", "--careless-steps", careless, "--pass-rate", asked, "--json",
    ]  # fmt: skip
    assert main(command) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["difficulty"] == [2]
    assert said.err.count("\n") == 1
    assert word in said.err
    assert load_model(out)[1]["pass_rate"] == pytest.approx(0.2)
    assert main([*command, "--careless-steps", "0"]) == 0


# Comparisons.


def compared(base, **options):
    config = replace(tiny(base), **options)
    return presets.Preset("two", "a test", 1, (presets.Arm("mean", "PMD-mean", config),))


def test_to_break_down_is_an_outcome_of_a_comparison(base, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "two", compared(base, patience=1))
    monkeypatch.setattr(experiments, "local", Inline)
    monkeypatch.setattr(verdicts, "table", lambda chosen, arrays, made: {"accuracy": arrays["accuracy"]})
    assert main(["reproduce", "--preset", "two", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == {"mean-0": "NO_SIGNAL"}
    assert found["accuracy"] == [[0.0]]  # evaluated all the same
    drawn = [tmp_path / "figures" / name for name in ("data/two.json", "two.pdf", "two.png")]
    assert found["files"] == list(map(str, drawn))
    data = json.loads(drawn[0].read_text())
    assert data["arrays"]["accuracy"] == [[0.0]]
    assert data["arrays"]["ended"] == [[data["config"]["endings"].index("NO_SIGNAL")]]
    assert drawn[2].read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "mean-0" / "summary.json").unlink()
    (tmp_path / "mean-0" / "checkpoint.npz").write_bytes(b"nonsense")
    assert main(["reproduce", "--preset", "two", "--out", str(tmp_path), "--json"]) == 2  # one that raised
    assert "mean-0 is FAILED" in capsys.readouterr().err


@pytest.mark.parametrize("seen", [[], [signal.SIGINT], [signal.SIGTERM]])
def test_a_comparison_that_is_stopped_says_so(base, tmp_path, capsys, monkeypatch, seen):
    @contextmanager
    def held():
        yield seen

    def run(folder, function, cells, executor, *, workers, stop, report):
        assert stop() == bool(seen)
        raise KeyboardInterrupt

    monkeypatch.setitem(presets.PRESETS, "two", compared(base))
    monkeypatch.setattr(_cli_run, "held_signals", held)
    monkeypatch.setattr(experiments, "run_cells", run)
    assert main(["reproduce", "--preset", "two", "--out", str(tmp_path)]) == (STATUS[seen[0]] if seen else 130)
    assert "the same call goes on" in capsys.readouterr().err


def test_a_comparison_ends_its_workers_with_it(base, tmp_path):
    """SIGTERM to the command alone: the worker saves the batch it is in, and nobody trains on unseen."""
    code = (
        "import sys; from dataclasses import replace; from tests.rl.test_run_commands import compared\n"
        "from tiny_llm_rl import presets; from tiny_llm_rl.cli import main\n"
        "presets.PRESETS['two'] = compared(sys.argv[1], batches=10**6, patience=10**6, evaluate_every=10**6)\n"
        "sys.exit(main(['reproduce', '--preset', 'two', '--out', sys.argv[2], '--processes', '1']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, base, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    path, deadline = tmp_path / "mean-0", time.monotonic() + 240
    while not (path / "checkpoint.npz").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143, said
    assert "the same call goes on" in said
    directory = RunDirectory(path, compared(base, batches=10**6, patience=10**6, evaluate_every=10**6).arms[0].config,
                             kind="train", resume=True)  # fmt: skip
    with directory.owned():  # which the worker would still hold
        assert len(directory.records()) == checkpoint.peek(directory.checkpoint)["batch"] > 0
    assert not directory.summary.exists()
    with (tmp_path / "claims" / "mean-0").open() as journal:
        assert [(e["event"], e.get("status")) for e in _cells.events(journal)] == [
            ("claimed", None),
            ("ended", "STOPPED"),
        ]


# Sweeps.


def test_a_metric_that_no_cell_has_ends_a_sweep_at_its_first_cell(tmp_path, capsys, monkeypatch):
    """Numbers that are missing or infinite in one run are known all the same; runs that broke down are not asked."""
    begun = []

    def some(grid, out, *, report, **options):
        for done, (name, status) in enumerate(zip(grid.cells, ["DIVERGED", "FINISHED", "FINISHED"], strict=True), 1):
            begun.append(name)
            (out / name).mkdir(parents=True, exist_ok=True)
            (out / name / "summary.json").write_text(json.dumps({"status": status, "evaluation": {"average": 0.5}}))
            record = {"batch": 0} if status == "DIVERGED" else {"batch": 0, "loss": 1.0, "chi2": "inf", "gap": None}
            (out / name / "metrics.jsonl").write_text(json.dumps(record) + "\n")
            report(name, status, done, 3)
        return dict.fromkeys(grid.cells, "FINISHED")

    monkeypatch.setattr(sweep, "run_sweep", some)
    call = ["sweep", "--out", str(tmp_path), "--grid", "tau=0.1,0.2,0.3"]
    assert main([*call, "--metric", "last.los"]) == 2
    said = capsys.readouterr().err
    assert begun == ["tau=0.1", "tau=0.2"]
    assert "'last.los'" in said
    assert "choose from evaluation.average, last.chi2, last.gap, last.loss" in said
    begun.clear()
    assert main([*call, "--metric", "last.loss"]) == 0
    assert len(begun) == 3
    for name in ("last.chi2", "last.gap"):
        sweep.check_metric(name, tmp_path / "tau=0.2")


@pytest.mark.slow
def test_a_sweep_of_training_whose_worker_is_killed_ends_like_one_that_was_not(tmp_path):
    """The cells differ in when they are evaluated, so that their weights are the same; the first one's worker dies."""
    started = []

    class Watched(Local):
        def start(self, *arguments):
            started.append(super().start(*arguments))
            return started[-1]

    shared = TrainConfig(prompts=8, rollouts=8, batches=4, minibatches=2, evaluation_prompts=4, learning_rate=1e-3)
    grid = Grid("train", shared, read_axes("train", ["evaluate_every=1,4"]))
    first, second = (tmp_path / name for name in grid.cells)

    def strike():
        if len(started) == 1 and (first / "checkpoint.npz").exists() and not (first / "summary.json").exists():
            os.kill(started[0].process.pid, signal.SIGKILL)
            started[0].process.join()
        return False

    executor = Watched(sweep.local().environment)
    found = sweep.run_sweep(grid, tmp_path, executor=executor, workers=1, stop=strike)
    assert found == dict.fromkeys(grid.cells, "FINISHED")
    assert len(started) == 2
    assert started[0].problem() == "signal 9"
    with (tmp_path / "claims" / first.name).open() as journal:
        assert [event["event"] for event in _cells.events(journal)] == ["claimed", "claimed", "ended"]
    like = Run(shared).state
    one, two = (checkpoint.load(path / "checkpoint.npz", like)[0] for path in (first, second))
    assert bits(one) == bits(two)
    assert bits(one[0]) != bits(like[0])
    for row, name in zip(sweep.rows(grid, tmp_path), grid.cells, strict=True):
        records = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert [record["batch"] for record in records] == [0, 1, 2, 3]
        assert row["last.loss"] == records[-1]["loss"]
        assert row["evaluation.average"] == records[-1]["evaluation"]["average"]
