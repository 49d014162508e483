"""Many devices give the numbers of one: simulated devices of a CPU, in processes of their own."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rl.mesh_programs import CONFIG, SEEN, base
from tests.test_architecture import ROOT
from tests.wrong import refused
from tiny_llm_rl import mesh
from tiny_llm_rl.train import Run

pytestmark = pytest.mark.jax

CURVE = 1e-5  # float32 sums in another order, through a few updates of Adam


def started(*arguments, devices=1):
    # Little optimisation: what is compiled here runs for milliseconds.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
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


def assert_alike(one, other):
    for name in (*SEEN, "weights"):
        assert distance(one, other, name) < CURVE, name
    assert one["train_reward"] == other["train_reward"]  # the same tokens
    assert one["accuracy"] == other["accuracy"]


def test_eight_devices_train_like_one():
    found = answer(started("quick", devices=8))
    assert_alike(found["one"], found["both"])
    assert found["both"]["compiled"][1] > 0  # the counter counts
    assert found["both"]["compiled"][2:] == [0, 0]
    (whole,) = found["one"]["bytes"]
    assert len(found["both"]["bytes"]) == 8
    assert all(whole / 2 <= size < 0.51 * whole for size in found["both"]["bytes"])
    assert found["both"]["state_bytes"] == max(found["both"]["bytes"])  # what a record says


@pytest.mark.slow
def test_every_mesh_trains_like_one_device():
    found = answer(started("all_meshes", devices=8))
    for name in ("copies", "shards", "both"):
        assert_alike(found["one"], found[name])
        assert found[name]["compiled"][1] > 0
        assert found[name]["compiled"][3:] == [0, 0]  # the first evaluation is that of the second batch
    assert_alike(found["lag-one"], found["lag-both"])
    assert distance(found["lag-one"], {"loss": found["one"]["loss"][:3]}, "loss") > CURVE  # it can fail
    (whole,) = found["one"]["bytes"]
    assert found["copies"]["bytes"] == [whole] * 8
    assert all(whole / 8 <= size < 0.126 * whole for size in found["shards"]["bytes"])
    # What the throughput model takes a minibatch to exchange, against the compiled program: 4 N bytes of gradients.
    copies, shards = found["collectives"]["1"], found["collectives"]["8"]
    size = 4 * copies["parameters"]
    assert size <= copies["bytes"]["all-reduce"] < 1.1 * size
    # Sharded: weights gathered once, gradients summed, three passes of a ring in all.
    assert size <= shards["bytes"]["all-gather"] < 1.1 * size
    assert size <= shards["bytes"]["all-reduce"] < 1.1 * size


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["copies", "shards"])
def test_two_processes_train_like_one_device(tmp_path, folder):
    """They stop when the second one is told to, go on from the checkpoint of the first, and end alike."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [started("of_two", k, address, tmp_path / folder) for k in (0, 1)]
    with ThreadPoolExecutor(2) as readers:  # both at once: neither ends before the other has written all
        first, second = readers.map(answer, processes)
    assert first["statuses"] == second["statuses"] == ["STOPPED", "FINISHED"]
    assert first["batches"] == second["batches"] == [1, CONFIG.batches]
    assert first["weights"] == second["weights"]
    run = Run(CONFIG, base())
    records = [run.batch()[1] for _ in range(CONFIG.batches)]
    for name in SEEN:
        assert np.abs(np.array(first[name]) - [record[name] for record in records]).max() < CURVE
    assert first["accuracy"] == [record["evaluation"]["average"] for record in records if "evaluation" in record]
    lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["batch"] for line in lines] == list(range(CONFIG.batches))
    (whole,) = mesh.bytes_per_device(run.model).values()
    assert list(first["bytes"].values()) == [whole // (2 if folder == "shards" else 1)]


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
    assert mesh.own_part(7) == slice(0, 7)
    rewards = np.array([0.1, 1 / 3])
    assert mesh.joined(rewards) is rewards
    assert mesh.anywhere(True)
    assert not mesh.anywhere(False)


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
