"""Run directories belong to one config, survive being killed, and end as if they had not been."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.wrong import refused

runlog = pytest.importorskip("tiny_llm_rl.runlog")
RunDirectory = runlog.RunDirectory

pytestmark = pytest.mark.jax


@dataclass(frozen=True)
class Inner:
    level: float = 0.5


@dataclass(frozen=True)
class Config:
    tau: float = 0.1
    names: tuple[str, ...] = ("a", "b")
    inner: Inner = field(default_factory=Inner)


def opened(path, config=None, **options):
    return RunDirectory(path, Config() if config is None else config, kind="test", **options)


@pytest.fixture
def run(tmp_path):
    directory = opened(tmp_path / "run")
    for batch in range(4):
        directory.log({"batch": batch, "loss": 1.0 / 3.0 + batch})
    return directory


def test_records_come_back_exactly(run):
    assert run.records() == [{"batch": batch, "loss": 1.0 / 3.0 + batch} for batch in range(4)]
    assert runlog.read_config(run.path) == ("test", runlog.plain(Config()))


def test_what_json_does_not_know_is_spelled_out(run):
    run.log({"batch": 4, "a": float("nan"), "b": -np.inf, "c": np.float32(0.5), "d": np.arange(2), "e": (1, 2)})
    assert run.records()[-1] == {"batch": 4, "a": None, "b": "-inf", "c": 0.5, "d": [0, 1], "e": [1, 2]}


def test_rewinding_gives_the_bytes_of_a_run_that_stopped_there(run, tmp_path):
    shorter = opened(tmp_path / "other")
    for batch in range(2):
        shorter.log({"batch": batch, "loss": 1.0 / 3.0 + batch})
    run.finish({"loss": 0.0})
    again = opened(run.path, resume=True)
    again.rewind(2)
    assert run.metrics.read_bytes() == shorter.metrics.read_bytes()
    assert not run.summary.exists()
    again.rewind(0)
    assert again.records() == []


def test_a_line_that_was_cut_off_is_dropped(run):
    run.metrics.write_bytes(run.metrics.read_bytes() + b'{"batch": 4, "lo')
    assert len(run.records()) == 4
    run.rewind(4)
    assert run.metrics.read_bytes().endswith(b"}\n")


def test_lost_records_are_noticed(run):
    """A checkpoint that knows more batches than there are records is not gone on with."""
    refused(ValueError, lambda: run.rewind(5), "metrics.jsonl", "batch 4")
    run.metrics.write_bytes(b"nonsense\n")
    refused(ValueError, run.records, "metrics.jsonl", "no record")


def test_a_summary_ends_the_run(run):
    run.sync()
    run.finish({"loss": 0.25})
    assert json.loads(run.summary.read_text()) == {"schema": runlog.SCHEMA, "loss": 0.25}


def test_a_directory_belongs_to_one_config(run):
    refused(ValueError, lambda: opened(run.path), "holds a run already", "--resume")
    assert opened(run.path, resume=True).records() == run.records()
    other = Config(tau=0.2)
    for resume in (False, True):
        refused(ValueError, lambda: opened(run.path, other, resume=resume), "tau is 0.1 there, 0.2 here")  # noqa: B023
    refused(
        ValueError, lambda: opened(run.path, Config(inner=Inner(1.0)), resume=True), "inner.level is 0.5 there, 1.0"
    )
    refused(ValueError, lambda: RunDirectory(run.path, Config(), kind="bandit", resume=True), "'test'", "'bandit'")


def test_a_field_that_is_new_or_gone_makes_another_config(tmp_path):
    few, more = {"tau": 0.1}, {"tau": 0.1, "clip": 0.2}
    RunDirectory(tmp_path / "few", few, kind="test")
    RunDirectory(tmp_path / "more", more, kind="test")
    refused(ValueError, lambda: RunDirectory(tmp_path / "few", more, kind="test", resume=True), "clip", "0.2 here")
    refused(ValueError, lambda: RunDirectory(tmp_path / "more", few, kind="test", resume=True), "clip", "0.2 there")


def test_an_option_that_came_later_has_its_default(run):
    """A run begun before an option existed goes on, unless the option is used."""
    stored = json.loads((run.path / "config.json").read_text())
    del stored["config"]["inner"], stored["config"]["tau"]
    (run.path / "config.json").write_text(json.dumps(stored))
    assert opened(run.path, resume=True).records() == run.records()
    refused(ValueError, lambda: opened(run.path, Config(tau=0.2), resume=True), "tau is 0.1 there, 0.2 here")
    refused(ValueError, lambda: opened(run.path, Config(inner=Inner(1.0)), resume=True), "inner", "1.0")


def test_an_option_inside_another_that_came_later_has_its_default(run):
    stored = json.loads((run.path / "config.json").read_text())
    stored["config"]["inner"] = {}
    (run.path / "config.json").write_text(json.dumps(stored))
    assert opened(run.path, resume=True).records() == run.records()
    refused(ValueError, lambda: opened(run.path, Config(inner=Inner(1.0)), resume=True), "inner.level is 0.5 there")


def test_the_field_that_differs_is_named_however_deep():
    deep = {"a": {"text": "x" * 99, "b": {"c": 1}}}
    assert runlog.difference(deep, {"a": {"text": "x" * 99, "b": {"c": 2}}}) == "a.b.c is 1 there, 2 here"
    assert runlog.difference(deep, {"a": 3}).startswith("a is {'text'")
    assert runlog.difference(1, 2) == "1 there, 2 here"
    assert runlog.difference({"a": None, "b": {"c": None}}, {"b": {}}) == ""  # null is what is not there


def test_records_are_brought_to_the_disk(run, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    run.sync()
    assert len(synced) == 1


def test_other_directories(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    refused(ValueError, lambda: opened(file), "is a file")
    refused(ValueError, lambda: opened(tmp_path), "not empty")
    refused(ValueError, lambda: runlog.read_config(tmp_path), "holds no run")
    bad = tmp_path / "bad"
    bad.mkdir()
    for content, words in (
        ("{", "no config"),
        ("[]", "no config"),
        ('{"schema": 9, "kind": "test", "config": {}}', "9"),
    ):
        (bad / "config.json").write_text(content)
        refused(ValueError, lambda: opened(bad, resume=True), words)
        refused(ValueError, lambda: runlog.read_config(bad), words)


def test_what_a_crash_at_the_start_leaves_is_no_obstacle(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / ".config.json.123").write_text("{")
    assert opened(path).records() == []


def test_a_run_has_one_owner(tmp_path):
    """The second process that would train a run is turned away; one that died holds nothing."""
    first = RunDirectory(tmp_path / "run", {"tau": 0.1}, kind="test")
    second = RunDirectory(tmp_path / "run", {"tau": 0.1}, kind="test", resume=True)

    def train():
        with second.owned():
            pass

    with first.owned():
        refused(ValueError, train, "run", "another process")
    train()
    code = (
        "import os, sys; from pathlib import Path; from tiny_llm_rl.runlog import RunDirectory\n"
        "owned = RunDirectory(Path(sys.argv[1]), {'tau': 0.1}, kind='test', resume=True).owned(); owned.__enter__()\n"
        "os._exit(3)\n"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert died.returncode == 3
    train()
