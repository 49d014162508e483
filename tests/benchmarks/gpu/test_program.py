"""`make gpu` at its smallest size: resumes, writes whole files, names the device, and needs few packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gpu import _registry as registry

pytest.importorskip("jax")
pytestmark = pytest.mark.jax

ROOT = Path(__file__).parents[3]
UNNEEDED = ("clarabel", "flint", "hypothesis", "matplotlib", "mpmath", "pyarrow", "pytest", "rich", "sympy", "tyro")
PROGRAM = f"""
import importlib.metadata, runpy, sys
installed = importlib.metadata.distribution
def distribution(name):
    if name == "pmdtheory":
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)
importlib.metadata.distribution = distribution  # a checkout that nobody installed
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {UNNEEDED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
runpy.run_module("tests.benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def run(out, *arguments):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "--out",
            str(out),
            "--runs",
            str(out.parent / "runs"),
            "--size",
            "tiny",
            *arguments,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parts_are_run_once_and_merged(tmp_path):
    """A part that is there stays; one that is missing is run; the record of the device holds all of them."""
    registry.load()
    first = run(tmp_path)
    assert first.count(": running") == len(registry.PARTS) >= 5
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.json" for name in registry.PARTS)
    kept, again = folder / "prompts.json", folder / "memory-copy.json"
    record = json.loads(kept.read_text())
    assert record["result"]["dtypes"]["float64"]["solved"] is True
    kept.write_text(json.dumps(record | {"result": {"marked": True}}))
    again.unlink()
    second = run(tmp_path)
    assert second.count(": running") == 1
    assert "memory-copy: running" in second
    (merged,) = tmp_path.glob("*.json")
    whole = json.loads(merged.read_text())
    assert merged.name == f"{registry.slug(whole['device'])}-tiny.json"
    assert whole["schema"] == registry.SCHEMA
    assert {"jax", "numpy", "python"} <= set(whole["versions"])
    assert whole["missing"] == []
    assert set(whole["parts"]) == set(registry.PARTS)
    assert whole["parts"]["prompts"] == {"marked": True}
    for arm in ("mean", "part", "grpo", "gspo"):
        trained = whole["parts"][f"comparison-{arm}"]["seeds"]["0"]
        assert trained["status"] == "FINISHED"
        assert trained["curves"]["largest_log_ratio"][0] > 0.0  # its weights moved
    row = next(iter(whole["parts"]["updates-float64"]["actions"].values()))
    assert {"median", "repetitions", "copy", "ratio to copy"} <= set(row)
    assert row["status"] == 0
    assert row["C4"] < 1e-9


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "part.json"
    registry.write(path, {"a": 1})

    def torn(self, target):
        raise OSError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", torn)
        with pytest.raises(OSError, match="interrupted"):
            registry.write(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize("change", [{"schema": 0}, {"size": "full"}, {"device": "other"}])
def test_another_run_s_part_does_not_count(tmp_path, change):
    path = tmp_path / "part.json"
    record = {"schema": registry.SCHEMA, "size": "tiny", "device": "cpu"}
    registry.write(path, record)
    assert registry.read(path, "tiny", "cpu") == record
    registry.write(path, record | change)
    assert registry.read(path, "tiny", "cpu") is None
    assert registry.read(tmp_path / "none.json", "tiny", "cpu") is None


def test_wrong_parts_are_refused(tmp_path):
    (tmp_path / "part.json").write_text("{")
    with pytest.raises(ValueError, match="delete it"):
        registry.read(tmp_path / "part.json", "tiny", "cpu")
    with pytest.raises(ValueError, match="file name"):
        registry.part("Two words")
    registry.load()
    with pytest.raises(ValueError, match="registered already"):
        registry.part("prompts")(test_wrong_parts_are_refused)


def test_names_of_devices():
    assert registry.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
