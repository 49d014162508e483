"""The commands of the language model, run as a user runs them; killed runs go on to the same weights."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests.wrong import refused
from tiny_llm_rl import experiments, presets, verdicts
from tiny_llm_rl.cli import main
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.pretrain import PretrainConfig
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.sink import make_sink
from tiny_llm_rl.tasks import make
from tiny_llm_rl.train import RunStatus
from tiny_llm_rl.weights import load_model

pytestmark = pytest.mark.jax


def arguments(base, out, *more):
    return [
        "train", "--out", str(out), "--base", base, "--prompts", "1024", "--rollouts", "8", "--batches", "5",
        "--minibatches", "2", "--evaluation-prompts", "8", "--learning-rate", "1e-2", *more,
    ]  # fmt: skip


def weights(folder):
    model, _ = load_model(folder / "model.safetensors")
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model)]


def started(*command):
    return subprocess.Popen(
        [sys.executable, "-m", "tiny_llm_rl", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def struck(command, out, number, delay=0.0):
    """The exit status of a run that gets a signal so many seconds after its next checkpoint, and what it said."""

    def saved():
        return (out / "checkpoint.npz").stat().st_mtime_ns if (out / "checkpoint.npz").exists() else 0

    before, deadline, process = saved(), time.monotonic() + 240, started(*command)
    while saved() == before and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def test_a_killed_run_goes_on_to_the_same_weights(base, tmp_path, capsys):
    """Killed behind its first checkpoint, and again somewhere in a batch; stopped; the exit statuses are those."""
    assert main(arguments(base, tmp_path / "straight", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "FINISHED"
    somewhere = random.Random(0).uniform(0.0, 0.2)
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        out = tmp_path / number.name
        found, said = struck(arguments(base, out), out, number)
        assert found == code, said
        if number is signal.SIGKILL:
            found, said = struck(arguments(base, out, "--resume"), out, number, somewhere)
            assert found in (code, 0), said  # 0 where the last batches were faster
        assert main(arguments(base, out, "--resume", "--json")) == 0
        capsys.readouterr()
        assert weights(out) == weights(tmp_path / "straight")


def test_the_shipped_base_answers(capsys):
    assert main(["sample", "digit-sum", "3+4+5+6=", "9+9+9+9=", "--samples", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["samples"]
    assert [row["prompt"] for row in found] == ["3+4+5+6="] * 2 + ["9+9+9+9="] * 2
    task = make("digit-sum")
    for row in found:
        assert row["reward"] == task.reward(row["prompt"], row["response"])
        assert row["log_probability"] < 0
    assert main(["sample", "digit-sum", "3+="]) == 0
    assert "not a prompt" in capsys.readouterr().out


def test_bad_input_is_one_line(base, tmp_path, capsys):
    for command, fragments in (
        (["train", "--out", str(tmp_path / "x"), "--tau", "-1"], ("tau", "-1")),
        (["train", "--out", str(tmp_path / "x"), "--base", "nobody"], ("nobody", "digit-sum")),
        (["train", "--out", str(tmp_path / "x"), "--algorithm", "ppo"], ("ppo", "pmd-mean")),
        (["train", "--out", str(tmp_path / "x"), "--base", base, "--sink", "paper"], ("sink", "paper")),
        (["pretrain", "--out", str(tmp_path / "x.bin")], (".safetensors",)),
        (["pretrain", "--out", str(tmp_path / "no/x.safetensors")], ("no folder",)),
        (["sample", "digit-sum", "3+x="], ("alphabet", "x")),
        (["sample", "digit-sum"], ("prompts",)),
        (["reproduce", "--preset", "all"], ("preset", "cpu-quick")),
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        for fragment in fragments:
            assert fragment in said
    assert not (tmp_path / "x").exists()


def test_presets_are_fair():
    """Arms of a preset differ in the algorithm and what belongs to it, and in nothing else."""
    own = {"algorithm", "tau", "loss"}
    for chosen in presets.PRESETS.values():
        first = chosen.arms[0].config
        assert first.algorithm == "pmd-mean"
        assert len({arm.name for arm in chosen.arms}) == len(chosen.arms)
        for arm in chosen.arms:
            odd = {
                name for name in TrainConfig.__dataclass_fields__ if getattr(arm.config, name) != getattr(first, name)
            }
            assert odd <= own | set(chosen.varies), arm.name


def write_run(folder, config, rewards, accuracy, status="FINISHED"):
    done = len(rewards) - (status != "FINISHED")  # the last record is that of the batch that failed
    RunDirectory(folder, config, kind="train").finish({"status": status, "batches": done})
    lines = [json.dumps({"batch": i, "train_reward": r}) for i, r in enumerate(rewards)]
    lines[-1] = json.dumps(
        {
            "batch": len(rewards) - 1,
            "train_reward": rewards[-1],
            "evaluation": {
                "average": accuracy, "average_interval": [accuracy - 0.1, accuracy + 0.1],
                "length": 9.0, "entropy": 0.5,
            },
        }
    )  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_runs_are_collected_with_every_seed(tmp_path):
    chosen = presets.preset("cpu-quick")
    for a, arm in enumerate(chosen.arms):
        for seed in range(chosen.seeds):
            config, status = replace(arm.config, seed=seed), "NO_SIGNAL" if (a, seed) == (2, 1) else "FINISHED"
            write_run(tmp_path / f"{arm.name}-{seed}", config, [0.1, 0.2 + a], 0.1 * a + 0.01 * seed, status)
    found = experiments.collected(chosen, tmp_path, ["train_reward"])
    assert found["train_reward"].shape == (4, chosen.seeds, chosen.arms[0].config.batches)
    assert found["train_reward"][2, 2, :2].tolist() == [0.1, 2.2]
    assert found["train_reward"][2, 1, 0] == 0.1
    assert np.isnan(found["train_reward"][2, 1, 1])  # it failed there
    assert np.isnan(found["train_reward"][:, :, 2:]).all()
    np.testing.assert_allclose(found["accuracy"], 0.1 * np.arange(4)[:, None] + 0.01 * np.arange(chosen.seeds))
    stopped = np.zeros((4, chosen.seeds))
    stopped[2, 1] = experiments.ENDINGS.index("NO_SIGNAL")
    assert found["ended"].tolist() == stopped.tolist()
    assert found["batches_done"].tolist() == (2 - (stopped > 0)).tolist()
    (tmp_path / "grpo-2" / "summary.json").unlink()
    refused(ValueError, lambda: experiments.collected(chosen, tmp_path, []), "grpo-2", "has not ended")


def test_runs_of_another_config_are_refused(tmp_path):
    """Where a preset has changed, what lies in its folder is not its data; an option that is new has its default."""
    chosen = replace(presets.preset("cpu-quick"), arms=presets.preset("cpu-quick").arms[:1], seeds=1)
    config = chosen.arms[0].config
    write_run(tmp_path / "old" / "mean-0", replace(config, learning_rate=1e-4), [0.1], 0.1)
    refused(
        ValueError, lambda: experiments.collected(chosen, tmp_path / "old", []),
        "mean-0", "cpu-quick", "learning_rate is 0.0001", "0.0002",
    )  # fmt: skip
    write_run(tmp_path / "new" / "mean-0", config, [0.1], 0.1)
    path = tmp_path / "new" / "mean-0" / "config.json"
    stored = json.loads(path.read_text())
    del stored["config"]["measure_every"]
    path.write_text(json.dumps(stored))
    assert experiments.collected(chosen, tmp_path / "new", [])["accuracy"].tolist() == [[0.1]]


def test_every_ending_has_a_code():
    assert set(experiments.ENDINGS) == {status.name for status in RunStatus} - {RunStatus.STOPPED.name}
    assert experiments.ENDINGS[0] == "FINISHED"


def test_a_preset_makes_its_own_base_once(tmp_path):
    """The base is made where it is missing, every run starts from it, and the table is of it."""
    small = TrainConfig(
        base="", prompts=2, rollouts=2, batches=1, minibatches=1, evaluate_every=1, evaluation_prompts=4
    )
    chosen = presets.Preset(
        "own", "a test", 1, (presets.Arm("mean", "PMD-mean", small),),
        pretrain=PretrainConfig(difficulty=(2,), width=8, layers=1, heads=1, batch=4, clean_steps=2, careless_steps=0),
    )  # fmt: skip
    path = experiments.made_base(chosen, tmp_path)
    assert path == str(tmp_path / "base.safetensors")
    before = (tmp_path / "base.safetensors").stat().st_mtime_ns
    statuses = experiments.run(chosen, tmp_path, processes=1)
    assert statuses["mean-0"] in ("FINISHED", "NO_SIGNAL")
    assert (tmp_path / "base.safetensors").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "mean-0" / "config.json").read_text())["config"]["base"] == path
    assert verdicts.base_accuracy(chosen, path)["accuracy"] >= 0.0
    assert experiments.made_base(presets.preset("smoke"), tmp_path) is None


def test_intervals_are_students():
    mean, low, high = verdicts.mean_interval(np.array([0.4, 0.5, 0.6]))
    assert (round(mean, 12), round(high - mean, 6)) == (0.5, round(4.302653 * 0.1 / 3**0.5, 6))
    assert high - mean == pytest.approx(mean - low)


def test_verdicts_can_say_no():
    base = {"accuracy": 0.2, "interval": (0.19, 0.21)}
    steps = np.array([-0.01, 0.0, 0.01])

    def said(name, middle, spread=1.0, reference=0.5):
        def arm(name, middle, spread):
            found = verdicts.mean_interval(middle + spread * steps)
            return {"arm": name, "accuracy": middle, "interval": found[1:], "by_seed": middle + spread * steps}

        return verdicts.sentences({"base": base, "arms": [arm("mean", reference, 1.0), arm(name, middle, spread)]})

    assert "mean above twice its base: shown" in said("grpo", 0.3)[0]
    assert "mean above twice its base: not shown" in said("grpo", 0.3, reference=0.41)[0]
    assert "mean above twice its base: reversed" in said("grpo", 0.3, reference=0.3)[0]
    assert "grpo - mean below zero: shown" in said("grpo", 0.4)[1]
    assert "grpo - mean below zero: reversed" in said("grpo", 0.6)[1]
    assert "grpo - mean below zero: not shown" in said("grpo", 0.49, 4.0)[1]
    assert "part below its base: reversed" in said("part", 0.35)[1]
    assert "none - .6 mean below zero: not shown" in said("none", 0.3)[1]
    assert "none - .6 mean below zero: shown" in said("none", 0.1)[1]


def test_a_table_of_arms_by_hand(monkeypatch):
    """Three seeds, one seed whose interval is that of its prompts, and none."""
    base = {"accuracy": 0.2, "interval": (0.19, 0.21), "length": 9.0, "entropy": 0.5}
    monkeypatch.setattr(verdicts, "base_accuracy", lambda chosen, made: base)
    arms = [SimpleNamespace(name=name, title=name.upper()) for name in ("mean", "part", "none")]
    gone = math.nan
    accuracy = np.array([[0.3, 0.4, 0.5], [0.1, gone, gone], [gone, gone, gone]])
    arrays = {
        "accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.03,
        "eval_length": 10.0 * accuracy, "eval_entropy": accuracy,
        "ended": np.array([[0, 0, 3], [0, 2, 2], [1, 1, 3]]), "batches_done": np.ones((3, 3)),
    }  # fmt: skip
    found = verdicts.table(SimpleNamespace(arms=arms), arrays)
    assert found["base"] is base
    mean, part, none = found["arms"]
    assert [mean[name] for name in ("accuracy", "over_base", "over_reference")] == pytest.approx([0.4, 2.0, 1.0])
    assert mean["interval"] == verdicts.mean_interval(accuracy[0])[1:]
    assert [part[name] for name in ("accuracy", "over_base", "over_reference")] == pytest.approx([0.1, 0.5, 0.25])
    assert part["interval"] == pytest.approx((0.08, 0.13))
    assert (mean["length"], part["entropy"], mean["ended"], part["ended"]) == pytest.approx((4.0, 0.1, 2, 1))
    assert np.isnan([none["accuracy"], *none["interval"], none["length"], none["over_reference"]]).all()
    assert [row[0] for row in verdicts.rows(found)] == ["base", "mean", "part", "none"]
    assert all(len(row) == len(verdicts.COLUMNS) for row in verdicts.rows(found))
    nothing = {**arrays, **{name: np.zeros((3, 3)) for name in ("accuracy", "eval_length", "eval_entropy")}}
    assert math.isnan(verdicts.table(SimpleNamespace(arms=arms), nothing)["arms"][1]["over_reference"])


def test_paired_arms_are_told_apart():
    """Seeds that differ more than the arms do: the difference of each seed still shows which arm is ahead."""
    seeds = np.array([0.3, 0.5, 0.4])
    arms = [
        {"arm": name, "accuracy": values.mean(), "interval": verdicts.mean_interval(values)[1:], "by_seed": values}
        for name, values in (("mean", seeds), ("gspo", seeds - [0.02, 0.021, 0.019]))
    ]
    line = verdicts.sentences({"base": {"accuracy": 0.1, "interval": (0.09, 0.11)}, "arms": arms})[1]
    assert "gspo - mean below zero: shown" in line


def test_a_sink_gets_every_number(tmp_path, monkeypatch):
    import types

    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def __enter__(self):
            return self

        def __exit__(self, *found):
            written.append("closed")

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.setattr("tiny_llm_rl.sink.find_spec", lambda name: module)
    with make_sink("tensorboard", tmp_path) as write:
        write({"batch": 3, "reward": 0.5, "text": "x", "seconds": {"sample": 1.5}})
    assert written[1:] == [("batch", 3.0, 3), ("reward", 0.5, 3), ("seconds/sample", 1.5, 3), "closed"]
    monkeypatch.setattr("tiny_llm_rl.sink.find_spec", lambda name: None)
    refused(ValueError, lambda: make_sink("tensorboard", tmp_path), "tensorboard", "not installed")
    assert os.listdir(tmp_path) == []
