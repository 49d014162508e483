"""`tiny-llm-rl bandit` and `compare`: one line for what is wrong, and runs that survive being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")
cli = pytest.importorskip("tiny_llm_rl.cli")

import pmdtheory as pmd  # noqa: E402
from tiny_llm_rl import _bandit_run, compare  # noqa: E402
from tiny_llm_rl.bandit import make_world  # noqa: E402
from tiny_llm_rl.checkpoint import load  # noqa: E402

pytestmark = pytest.mark.jax
ROOT = Path(__file__).parents[2]

BATCHES = 1500
SMALL = ["--actions", "20", "--groups", "4", "--epochs", "2", "--tau", "0.3", "--success-mass", "0.2"]
LONG = [*SMALL, "--batches", str(BATCHES), "--save-every", "7"]


def called(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def spawned(out, *more):
    command = [sys.executable, "-m", "tiny_llm_rl", "bandit", "--out", str(out), *LONG, *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process, out, number, *, after):
    """Send a signal once that many batches are recorded."""
    metrics, limit = out / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < after:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.002)
    os.kill(process.pid, number)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["bandit", "--out", str(out), *LONG]) == 0
    return out


def same_run(one, other):
    for name in ("config.json", "metrics.jsonl", "summary.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / "checkpoint.npz") as here, np.load(other / "checkpoint.npz") as there:
        assert here.files == there.files
        assert all(here[name].tobytes() == there[name].tobytes() for name in here.files)


def test_a_killed_run_ends_with_the_numbers_of_one_that_was_not(finished, tmp_path, capsys):
    """SIGKILL, then SIGTERM to what resumes, then to the end."""
    out = tmp_path / "run"
    status, _ = stop(spawned(out), out, signal.SIGKILL, after=40)
    assert status == -signal.SIGKILL
    killed = (out / "metrics.jsonl").read_bytes().count(b"\n")
    assert 40 <= killed < BATCHES
    status, said = stop(spawned(out, "--resume"), out, signal.SIGTERM, after=killed + 40)
    assert status == 143
    assert "SIGTERM" in said
    assert said.strip().count("\n") == 0
    assert "Traceback" not in said
    done = (out / "metrics.jsonl").read_bytes().count(b"\n")
    assert killed < done < BATCHES
    state, record = load(out / "checkpoint.npz", _start(out))
    assert record["batch"] == done  # the batch that was running is saved
    assert not (out / "summary.json").exists()
    status, _, _ = called(capsys, "bandit", "--out", out, *LONG, "--resume")
    assert status == 0
    same_run(out, finished)


def _start(out):
    from tiny_llm_rl.bandit import make_step

    return make_step(compare.read_bandit(out))[0]()


def test_interrupting_finishes_the_batch(tmp_path, monkeypatch, capsys):
    """SIGINT while a batch runs, in this process."""
    step_of = _bandit_run.make_step

    def interrupted(config):
        start, step = step_of(config)

        def stepping(state, key, batch, *rest):
            if int(batch) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return step(state, key, batch, *rest)

        return start, stepping

    monkeypatch.setattr(_bandit_run, "make_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    out = tmp_path / "run"
    status, _, said = called(capsys, "bandit", "--out", out, *SMALL, "--batches", 5)
    assert status == 130
    assert "SIGINT after batch 3" in said
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_can_be_resumed_to_nothing_new(finished, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    status, out, err = called(capsys, "bandit", "--out", finished, *LONG, "--resume", "--json")
    assert (status, err) == (0, "")
    summary = json.loads(out)
    assert summary["schema"] == 1
    assert summary["end"]["success"] > 0.9 > summary["start"]["success"]
    assert (finished / "metrics.jsonl").read_bytes() == before
    assert json.loads((finished / "summary.json").read_text()) == summary


def test_the_table_of_a_run(tmp_path, capsys):
    status, out, err = called(capsys, "bandit", "--out", tmp_path / "run", *SMALL, "--batches", 2)
    assert (status, err) == (0, "")
    assert "success" in out
    assert "0.2" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tau", "-1"], ("tau", "-1.0")),
        (["--rollouts", "1"], ("rollouts", "got 1")),
        (["--minibatches", "0"], ("minibatches", "got 0")),
        (["--algorithm", "ppo"], ("algorithm", "'ppo'", "pmd-mean")),
        (["--actions", "1"], ("actions", "got 1")),
        (["--chi2-weight", "-2"], ("chi2_weight", "-2.0")),
        (["--save-every", "0"], ("save_every", "got 0")),
        (["--batches", "many"], ("batches", "many")),
        (["--nonsense"], ("--nonsense",)),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_bad_configs_are_one_line_and_write_nothing(tmp_path, capsys, monkeypatch, arguments, words):
    import jax

    monkeypatch.setattr(jax, "jit", lambda *_, **__: pytest.fail("something was compiled"))
    status, out, err = called(capsys, "bandit", "--out", tmp_path / "run", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("tiny-llm-rl: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert "tyro" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_another_config(finished, tmp_path, capsys):
    status, _, err = called(capsys, "bandit", "--out", finished, *LONG, "--seed", 1, "--resume")
    assert status == 2
    assert "seed is 0 there, 1 here" in err
    status, _, err = called(capsys, "bandit", "--out", finished, *LONG)
    assert status == 2
    assert "--resume" in err
    status, _, err = called(capsys, "bandit")
    assert status == 2
    assert "--out" in err


def test_overflow_is_a_failure(tmp_path, capsys):
    arguments = ["--optimizer", "sgd", "--learning-rate", "1e37", "--batches", "40"]
    status, out, err = called(capsys, "bandit", "--out", tmp_path / "run", *SMALL, *arguments, "--json")
    assert status == 1
    assert json.loads(out)["diverged"] is True
    assert "learning_rate" in err
    status, _, err = called(capsys, "compare", tmp_path / "run")
    assert status == 2
    assert "finite" in err


# -- compare --------------------------------------------------------------------------------------------------------


def test_compare_is_the_theory_of_the_recorded_policies(finished, capsys):
    status, out, _ = called(capsys, "compare", finished, "--batch", 3, "--json")
    assert status == 0
    found = json.loads(out)
    record = json.loads((finished / "metrics.jsonl").read_text().splitlines()[3])
    assert found["member"] == "mean"
    assert found["distance"][0] == pytest.approx(record["distance"], abs=1e-5)
    assert found["realised"][0] == pytest.approx(record["realised"], abs=1e-5)
    assert found["predicted"][0] == pytest.approx(record["predicted"], abs=1e-5)
    assert found["kl"][0] == pytest.approx(record["kl"], abs=1e-5)
    assert found["residual"][0] < 1e-12
    assert found["gap"][0] > 1e-6  # and the certificate says by how much the batch falls short
    ideal = json.loads(called(capsys, "compare", finished, "--batch", 3, "--against", "kl", "--json")[1])
    assert ideal["multiplier"] == [0.0]
    assert ideal["predicted"][0] > found["predicted"][0]  # C8


def test_compare_takes_the_checkpoint(finished, capsys):
    last = compare.compare_run(finished)
    again = compare.compare_run(finished, batch=BATCHES - 1)
    assert last[0] == again[0] == BATCHES - 1
    assert last[1].distance.tolist() == again[1].distance.tolist()
    status, out, err = called(capsys, "compare", finished)
    assert (status, err) == (0, "")
    assert f"batch {BATCHES - 1}" in out
    assert "predicted" in out


def test_the_gap_vanishes_at_the_exact_step_only(finished):
    config = compare.read_bandit(finished)
    before = make_world(config).log_policy
    problem = pmd.Problem.from_log_policy(before[0], make_world(config).reward, config.tau)
    exact = pmd.mean_update(problem).unwrap().log_policy[None]
    assert abs(compare.compare(config, before, exact).gap[0]) < 1e-12
    ideal = pmd.kl_update(problem).unwrap().log_policy[None]
    assert compare.compare(config, before, ideal).gap[0] > 0.01
    assert compare.compare(config, before, ideal, against="kl").gap[0] < 1e-12


def test_a_run_that_cannot_be_repeated_is_not_compared(finished, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    text = (copy / "metrics.jsonl").read_text().splitlines()
    text[2] = json.dumps(json.loads(text[2]) | {"success": 0.123})
    (copy / "metrics.jsonl").write_text("\n".join(text) + "\n")
    status, _, err = called(capsys, "compare", copy, "--batch", 2)
    assert status == 2
    assert "success" in err
    assert "0.123" in err


def test_wrong_comparisons(finished, tmp_path, capsys):
    for arguments, word in (
        ([tmp_path], "holds no run"),
        ([finished, "--batch", BATCHES], f"got {BATCHES}"),
        ([finished, "--against", "nothing"], "'nothing'"),
        ([finished, "--contexts", 0], "contexts"),
    ):
        status, out, err = called(capsys, "compare", *arguments)
        assert (status, out) == (2, ""), arguments
        assert word in err
        assert err.count("\n") == 1
