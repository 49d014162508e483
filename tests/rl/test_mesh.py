"""Many devices give the numbers of one: simulated devices of a CPU, in processes of their own."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmdtheory import _console
from tests.rl.mesh_programs import CONFIG, SEEN, Parity, base
from tests.test_architecture import ROOT
from tests.wrong import refused
from tiny_llm_rl import mesh, processes, tasks
from tiny_llm_rl.cli import PROGRAM, Command, main
from tiny_llm_rl.devices import Devices
from tiny_llm_rl.evaluate import evaluate
from tiny_llm_rl.runlog import plain
from tiny_llm_rl.train import Run, check_split
from tiny_llm_rl.weights import load_model, save_model

pytestmark = pytest.mark.jax

CURVE = 1e-5  # float32 sums in another order, through a few updates of Adam


def started(*arguments, devices=1, **more):
    # Little optimisation: what is compiled here runs for milliseconds.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **more}
    command = [sys.executable, "-m", "tests.rl.mesh_programs", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def answer(process):
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])  # gloo writes lines of its own before


def distance(one, other, name):
    return float(np.abs(np.array(one[name]) - np.array(other[name])).max())


@pytest.fixture
def folder(tmp_path):
    """With a base for the command to start from."""
    save_model(tmp_path / "base.safetensors", base()[0], {"task": "parity", "difficulty": [], "alphabet": "ab"})
    return tmp_path


def assert_alike(one, other):
    for name in (*SEEN, "weights"):
        assert distance(one, other, name) < CURVE, name
    assert one["train_reward"] == other["train_reward"]  # the same tokens
    assert_evaluated_alike(one["accuracy"], other["accuracy"])


def assert_evaluated_alike(one, other):
    """The same tokens, so everything but the entropy to the bit."""
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        assert abs(mine["entropy"] - theirs["entropy"]) < CURVE
        assert plain({**mine, "entropy": 0}) == plain({**theirs, "entropy": 0})


def test_eight_devices_train_like_one_from_the_command_line(folder):
    """Its evaluation is split too."""
    found = answer(started("quick", folder, devices=8))
    assert found["status"] == 0
    assert_alike(found["one"], found["both"])
    assert found["both"]["compiled"][1] > 0  # the counter counts
    assert found["both"]["compiled"][2:] == [0, 0]
    (whole,) = found["one"]["bytes"]
    assert len(found["both"]["bytes"]) == 8
    assert all(whole / 2 <= size < 0.51 * whole for size in found["both"]["bytes"])
    assert found["both"]["state_bytes"] == max(found["both"]["bytes"])  # what a record says
    saved, _ = load_model(folder / "run" / "model.safetensors")
    assert flat(saved) == found["both"]["weights"]


def flat(model):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(model)]).tolist()


@pytest.mark.slow
def test_every_mesh_trains_like_one_device():
    found = answer(started("all_meshes", devices=8))
    for name in ("copies", "shards", "both"):
        assert_alike(found["one"], found[name])
        assert found[name]["compiled"][1] > 0
        assert found[name]["compiled"][2:] == [0, 0, 0]
    assert_alike(found["lag-one"], found["lag-both"])
    assert_alike(found["llama-one"], found["llama-both"])
    assert distance(found["lag-one"], {"loss": found["one"]["loss"][:3]}, "loss") > CURVE  # it can fail
    (whole,) = found["one"]["bytes"]
    assert found["copies"]["bytes"] == [whole] * 8
    assert all(whole / 8 <= size < 0.126 * whole for size in found["shards"]["bytes"])
    # What the throughput model takes a minibatch to exchange, against the compiled program: 4 N bytes of gradients.
    copies, shards = found["collectives"]["1"], found["collectives"]["8"]
    size = 4 * copies["parameters"]
    # A CPU's compiler sums what prompts and responses give a weight apart, in all but the last layer.
    assert 1.6 * size <= copies["bytes"]["all-reduce"] < 1.65 * size
    # The memory of its plan, without the copy of before the batch: an eighth of the state, weights and gradient whole.
    least = (12 / 8 + 8) * found["memory"]["parameters"]
    assert least <= found["memory"]["bytes"] < 1.6 * least
    # Sharded: weights gathered once, gradients summed, three passes of a ring in all.
    assert size <= shards["bytes"]["all-gather"] < 1.1 * size
    assert 1.6 * size <= shards["bytes"]["all-reduce"] < 1.65 * size


@pytest.mark.slow
@pytest.mark.parametrize(("shards", "slurm"), [(1, False), (2, True)])
def test_two_processes_train_like_one_device_from_the_command_line(folder, shards, slurm):
    """They stop when the second one is told to, go on from the checkpoint of the first, and end alike."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    by_slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_PORT": port,
    }
    processes = []
    for k in map(str, range(2)):
        joining = (
            ["--distributed"] if slurm else [f"--coordinator=localhost:{port}", "--processes=2", f"--process-id={k}"]
        )
        more = by_slurm | {"SLURM_PROCID": k, "SLURM_LOCALID": k} if slurm else {}
        processes.append(started("of_two", folder, shards, *joining, **more))
    with ThreadPoolExecutor(2) as readers:  # both at once: neither ends before the other has written all
        first, second = readers.map(answer, processes)
    assert first["statuses"] == second["statuses"] == [143, 0]
    assert first["batches"] == second["batches"] == [1, CONFIG.batches]
    assert first["weights"] == second["weights"] == flat(load_model(folder / "run" / "model.safetensors")[0])
    run = Run(CONFIG, base())
    records = [run.batch()[1] for _ in range(CONFIG.batches)]
    kept = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["batch"] for record in kept] == list(range(CONFIG.batches))
    for name in SEEN:
        assert max(abs(mine[name] - theirs[name]) for mine, theirs in zip(kept, records, strict=True)) < CURVE
    assert_evaluated_alike(*([r["evaluation"] for r in each if "evaluation" in r] for each in (kept, records)))
    (whole,) = mesh.bytes_per_device(run.model).values()
    assert list(first["bytes"].values()) == [whole // shards]


# -- without a mesh, and with one of a single device ----------------------------------------------------------------


def test_one_device_needs_no_mesh():
    tree = {"w": jnp.arange(6.0).reshape(2, 3), "n": 3}
    assert mesh.shard_model(None, tree) is tree
    assert mesh.copied(None, tree) is tree
    assert mesh.split_rows(tree) is mesh.split_state(tree) is mesh.unsplit(tree) is tree
    with mesh.in_context(None):
        assert jax.sharding.get_abstract_mesh().empty
    placed = mesh.shard_batch(None, (np.arange(3),))
    assert isinstance(placed[0], jax.Array)
    assert processes.own_part(7) == slice(0, 7)
    rewards = np.array([0.1, 1 / 3])
    assert processes.joined(rewards) is rewards
    assert processes.anywhere(True)
    assert not processes.anywhere(False)


def test_layouts_divide_the_longest_axis_they_can():
    for shape, shards, expected in (
        ((16, 64), 8, (None, "shards")),
        ((64, 12), 8, ("shards",)),
        ((12, 24), 8, (None, "shards")),
        ((4, 4), 8, ()),
        ((), 8, ()),
        ((64,), 1, ()),
    ):
        assert mesh._spec(shape, shards) == jax.sharding.PartitionSpec(*expected)


def test_a_mesh_of_one_device_changes_nothing():
    one = mesh.make_mesh(devices=jax.devices()[:1])
    tree = {"w": jnp.arange(6.0).reshape(2, 3), "n": 3}
    placed = mesh.shard_model(one, tree)
    assert placed["n"] == 3
    np.testing.assert_array_equal(mesh.on_host(placed["w"]), tree["w"])
    with mesh.in_context(one):
        found = jax.jit(lambda w: mesh.unsplit(mesh.split_state(mesh.split_rows(w))) + 1)(placed["w"])
    np.testing.assert_array_equal(found, tree["w"] + 1)


def test_meshes_that_cannot_be_are_refused():
    refused(ValueError, lambda: mesh.make_mesh(0), "shards", "0")
    refused(ValueError, lambda: mesh.make_mesh(2, jax.devices()[:1]), "shards", "2")
    refused(TypeError, lambda: mesh.make_mesh(1.0), "shards", "1.0")

    class Three:
        size = 3

    refused(ValueError, lambda: mesh.check_rows(Three(), prompts=16), "prompts", "3 devices", "16")
    refused(ValueError, lambda: Run(CONFIG, base(), Three()), "prompts", "16")


def test_parts_of_an_evaluation_add_up(monkeypatch):
    """Three processes, one after another: an uneven number of prompts, of which each verifies its own."""
    model, task, tokenizer = base()
    one = mesh.make_mesh(devices=jax.devices()[:1])

    def found(devices):
        return evaluate(model, task, tokenizer, jax.random.key(0), prompts=7, samples=2, devices=devices)

    parts, asked = [], []
    monkeypatch.setattr(processes, "joined", lambda own: (parts.append(own), own)[1])
    monkeypatch.setattr(
        task, "reward", lambda prompt, said: (asked.append(prompt), Parity.reward(task, prompt, said))[1]
    )
    for k in range(3):
        monkeypatch.setattr(jax, "process_count", lambda: 3)
        monkeypatch.setattr(jax, "process_index", lambda k=k: k)
        found(one)
    monkeypatch.undo()
    assert len(asked) == 14
    whole = found(None)
    assert whole.average > 0
    monkeypatch.setattr(processes, "joined", lambda own: np.concatenate(parts))
    assert found(one) == whole
    monkeypatch.setattr(processes, "joined", lambda own: np.concatenate(parts[:2]))  # a mutant: one is left out
    assert found(one).average != whole.average


def test_what_one_process_cannot_do_none_does():
    def failing():
        raise ValueError("no such file; give another one")

    refused(ValueError, lambda: processes.together(failing), "no such file")
    refused(ValueError, lambda: processes.first_one_first(failing), "no such file")
    assert processes.first_one_first(lambda: 3) == processes.together(lambda: 3) == 3
    assert processes.leads()
    processes.check_same("seed", 3, "give one")


@pytest.mark.parametrize(("leads", "word"), [(True, "mine"), (False, "another process")])
def test_all_processes_give_up_together(monkeypatch, leads, word):
    """The first of two has failed; the second one says that another did."""
    monkeypatch.setattr(processes, "joined", lambda own: np.array([1.0, 0.0]))

    def make():
        if leads:
            raise ValueError("mine is missing; give another one")
        return 3

    refused(ValueError, lambda: processes.together(make), word)
    refused(ValueError, lambda: processes.check_same("batch", 1, "share a directory"), "batch", "[1.0, 0.0]", "share")


# -- what the command line is told ----------------------------------------------------------------------------------


def test_devices_that_cannot_be_are_refused():
    joined = {"coordinator": "first.example:1234", "processes": 2, "process_id": 0}
    for given, *fragments in (
        ({"devices": "some"}, "devices", "some", "all"),
        ({"devices": "0"}, "devices", "0"),
        ({"shards": 0}, "shards", "0"),
        ({"shards": 2}, "shards", "2", "devices"),
        ({"shards": 2, "devices": "1"}, "shards", "2"),
        ({"processes": 2}, "processes=2", "coordinator"),
        ({"process_id": 0}, "process_id=0", "coordinator"),
        ({"coordinator": "first.example:1234"}, "processes", "first.example"),
        (joined | {"process_id": None}, "process_id", "missing"),
        (joined | {"process_id": 2}, "process_id", "2"),
        (joined | {"processes": 0}, "processes", "0"),
        (joined | {"coordinator": "first.example"}, "coordinator", "HOST:PORT"),
        (joined | {"distributed": True}, "coordinator", "distributed"),
    ):
        refused(ValueError, lambda given=given: Devices(**given), *fragments)
    refused(TypeError, lambda: Devices(shards=1.5), "shards", "1.5")
    Devices(**joined)
    Devices(distributed=True, shards=2)
    Devices("all", 2)


def test_wrong_devices_are_one_line_and_leave_nothing(folder, capsys, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "parity", Parity)
    arguments = ["train", "--out", str(folder / "run"), "--base", str(folder / "base.safetensors")]
    for more, *fragments in (
        (["--devices", "99"], "devices", "99", "all"),
        (["--shards", "2"], "shards", "2"),
        (["--coordinator", "nowhere"], "coordinator", "HOST:PORT"),
        (["--distributed"], "distributed", "srun"),
        (["--coordinator", "localhost:1", "--processes", "2", "--process-id", "1"], "localhost:1", "HOST:PORT"),
    ):
        assert main([*arguments, *more]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        for fragment in fragments:
            assert fragment in said
    assert not (folder / "run").exists()


# -- what the pages say ---------------------------------------------------------------------------------------------

FOLDER = ROOT / "docs" / "scaling"


def parsed(line):
    return _console._parsed(Command, PROGRAM, "", shlex.split(line, comments=True)[1:])


def test_the_commands_of_the_page_are_valid():
    page = (ROOT / "docs" / "scaling-out.md").read_text()
    lines = [line.strip() for line in page.splitlines() if line.startswith("    tiny-llm-rl")]
    places = [parsed(line) for line in lines]
    assert len(places) == 5
    where = [
        (place.action if line.split()[1] == "smollm" else place).where
        for line, place in zip(lines, places, strict=True)
    ]
    assert [each.devices for each in where] == ["all", "all", "4", None, None]
    assert where[1].shards == 8
    assert [each.process_id for each in where[3:]] == [0, 1]
    with pytest.raises(ValueError, match="nonsense"):
        parsed(lines[0] + " --nonsense 3")
    options = re.findall(r"`(--[a-z-]+)", page.partition("## TRL")[0])
    known = {f"--{name.replace('_', '-')}" for name in Devices.__dataclass_fields__}
    assert known <= set(options) <= known | {"--out", "--resume"}


def test_the_batch_file_starts_a_valid_command(tmp_path):
    """Run by bash, with a program in the place of srun that says what it was given."""
    stub = tmp_path / "srun"
    stub.write_text('#!/bin/bash\nprintf "%q " "$@"\n')
    stub.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", FOLDER / "train.sbatch"], capture_output=True, text=True, env=path, check=True)
    options, _, given = done.stdout.partition("tiny-llm-rl")
    command = parsed("tiny-llm-rl" + given)
    assert command.where.distributed
    assert command.resume
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", (FOLDER / "train.sbatch").read_text(), re.MULTILINE))
    devices = int(asked["nodes"]) * int(asked["ntasks-per-node"])
    assert asked["gres"] == f"gpu:{asked['ntasks-per-node']}"
    assert devices % command.where.shards == 0
    check_split(command.config, type("Mesh", (), {"size": devices}))
    assert options.split() == ["--kill-on-bad-exit=1"]
