"""Checkpoints come back bit for bit, and nothing damaged or foreign is taken for one."""

import json
import os

import numpy as np
import pytest

from tests.wrong import refused

jax = pytest.importorskip("jax")
jnp = jax.numpy
checkpoint = pytest.importorskip("tiny_llm_rl.checkpoint")

pytestmark = pytest.mark.jax


def tree():
    return {
        "weights": jnp.arange(6.0).reshape(2, 3) / 7,
        "half": jnp.array([1.0, -2.5, 3e-3], jnp.bfloat16),
        "key": jax.random.key(3),
        "old": (jax.random.PRNGKey(4), jnp.int32(9), jnp.zeros((0, 2))),
        "exact": np.array([0.1, 1e-300]),
        "rate": 0.1,
        "count": 3,
    }


def bits(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf)).tobytes()
    return np.asarray(leaf).tobytes()


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "last.npz"
    checkpoint.save(path, tree(), {"batch": 7, "note": "x"})
    return path


def test_it_comes_back_bit_for_bit(stored):
    found, record = checkpoint.load(stored, jax.tree.map(lambda leaf: leaf, tree()))
    assert record == checkpoint.peek(stored) == {"batch": 7, "note": "x"}
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree()), strict=True):
        assert type(one) is type(other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        assert bits(one) == bits(other)
    np.testing.assert_array_equal(jax.random.bits(found["key"]), jax.random.bits(tree()["key"]))


def test_the_comparison_sees_a_bit(stored):
    """A guard: one bit less in one leaf is another tree."""
    found, _ = checkpoint.load(stored, tree())
    assert bits(found["weights"]) != bits(jnp.nextafter(found["weights"], 9.0))


def test_the_same_tree_makes_the_same_file(stored, tmp_path):
    other = tmp_path / "other.npz"
    checkpoint.save(other, tree(), {"note": "x", "batch": 7})
    with np.load(stored) as one, np.load(other) as two:
        assert one.files == two.files
        assert all(one[name].tobytes() == two[name].tobytes() for name in one.files)


def test_a_failed_write_leaves_what_was_there(stored, monkeypatch):
    before = stored.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(stored, {"a": jnp.ones(3)}, {})
    assert stored.read_bytes() == before
    assert [entry.name for entry in stored.parent.iterdir()] == [stored.name]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Otherwise a power cut could leave the name on an empty file; the folder is brought there after it."""
    happened, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: happened.append("synced"))
    monkeypatch.setattr(os, "replace", lambda *paths: (happened.append("named"), replace(*paths)))
    checkpoint.write_atomically(tmp_path / "x", b"1")
    assert happened == ["synced", "named", "synced"]


def test_what_a_kill_leaves_beside_a_file_is_removed(stored):
    """The spares of that file, whoever wrote them, and nothing else."""
    folder = stored.parent
    others = [".last.npz.lock", ".last.npz.", "last.npz.7", ".other.npz.7", ".lock"]
    for name in (".last.npz.7", f".last.npz.{os.getpid()}", *others):
        (folder / name).write_bytes(b"half")
    checkpoint.remove_spares(stored, folder / "absent")
    assert {entry.name for entry in folder.iterdir()} == {"last.npz", *others}


def test_a_record_is_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        checkpoint.save(tmp_path / "x.npz", {}, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 1, 10, 0.3, 0.9, 0.999])
def test_truncated_files(stored, keep):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    for call in (lambda: checkpoint.load(stored, tree()), lambda: checkpoint.peek(stored)):
        refused(ValueError, call, "last.npz", "take an earlier" if keep else "")


def test_a_flipped_bit_is_found(stored):
    content = bytearray(stored.read_bytes())
    at = content.index(tree()["exact"].tobytes())
    content[at] ^= 1
    stored.write_bytes(content)
    refused(ValueError, lambda: checkpoint.load(stored, tree()), "last.npz", "damaged")


def test_other_files(tmp_path):
    path = tmp_path / "x.npz"
    refused(ValueError, lambda: checkpoint.load(path, tree()), "does not exist")
    path.write_bytes(b"hello")
    refused(ValueError, lambda: checkpoint.peek(path), "cannot be read")
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    refused(ValueError, lambda: checkpoint.peek(path), "no checkpoint of this package")
    np.savez(path, a=np.ones(3))
    refused(ValueError, lambda: checkpoint.peek(path), "no checkpoint of this package")
    np.savez(path, record=np.frombuffer(json.dumps({"schema": 99}).encode(), np.uint8))
    refused(ValueError, lambda: checkpoint.peek(path), "schema 99")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {**t, "weights": jnp.zeros((3, 2))}, ("weights", "[2, 3]", "[3, 2]")),
        (lambda t: {**t, "weights": jnp.zeros((2, 3), jnp.int32)}, ("weights", "float32", "int32")),
        (lambda t: {**t, "extra": 1}, ("extra",)),
        (lambda t: {name: leaf for name, leaf in t.items() if name != "rate"}, ("rate",)),
        (lambda t: {"weight" if name == "weights" else name: leaf for name, leaf in t.items()}, ("'weight'",)),
    ],
    ids=["shape", "dtype", "more", "fewer", "renamed"],
)
def test_another_tree_is_refused(stored, change, words):
    refused(ValueError, lambda: checkpoint.load(stored, change(tree())), "last.npz", *words)
