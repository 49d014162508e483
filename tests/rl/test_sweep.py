"""Sweeps: every cell once, whatever dies; grids read by type; one table; the same work through submitit."""

import json
import os
import signal
import sys
import types
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmdtheory import _cells, _console, _executors
from pmdtheory._executors import Local, Submitit, make_executor
from pmdtheory.figures._style import Style
from tests.inline import Inline
from tests.page import assert_apart
from tests.wrong import refused
from tiny_llm_rl import sweep
from tiny_llm_rl._cli_sweep import Sweep
from tiny_llm_rl._grid import Grid, config_of, overridden, read_axes, read_settings
from tiny_llm_rl._sweep_figure import draw
from tiny_llm_rl.bandit import BanditConfig
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.runlog import RunDirectory, plain
from tiny_llm_rl.smollm.training import ChatConfig

pytestmark = pytest.mark.jax

TOYS = "tests.rl.sweep_cells"


def begun(path):
    return (path / "begun").read_text().split()


def test_64_cells_with_a_worker_killed_are_complete_and_none_is_done_twice(tmp_path):
    import pyarrow.parquet as pq

    grid = Grid("bandit", BanditConfig(), read_axes("bandit", ["seed=0..63"]))
    told = []
    out = tmp_path / "sweep"
    statuses = sweep.run_sweep(
        grid, out, workers=2, function=f"{TOYS}:toy", report=lambda name, status, done, total: told.append((name, done))
    )
    assert statuses == dict.fromkeys(grid.cells, "FINISHED")
    sweep.save_table(out / "table.parquet", sweep.table(grid, sweep.rows(grid, out)))
    found = pq.read_table(out / "table.parquet").to_pydict()
    assert found["cell"] == list(grid.cells)
    assert found["score"] == [seed**2 for seed in range(64)]  # complete, and none twice
    assert found["config.seed"] == list(range(64))
    assert sorted(name for name, _ in told) == sorted(grid.cells)
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1][1] == 64
    # The one whose worker was killed was begun twice, by two workers; every other one once.
    counts = {name: len(begun(out / name)) for name in grid.cells}
    assert counts == {name: 1 + (name == "seed=30") for name in grid.cells}
    assert len(set(begun(out / "seed=30"))) == 2
    for name in grid.cells:
        with (out / "claims" / name).open() as journal:
            happened = [event["event"] for event in _cells.events(journal)]
        assert happened == ["claimed"] * counts[name] + ["ended"]
    assert sweep.run_sweep(grid, out, function=f"{TOYS}:missing") == statuses  # all is done: no worker is started
    grown = replace(grid, axes=read_axes("bandit", ["seed=0..65"]))
    assert len(sweep.run_sweep(grown, out, workers=1, function=f"{TOYS}:toy")) == 66
    assert {name: len(begun(out / name)) for name in grid.cells} == counts


def test_a_claim_is_held_once(tmp_path):
    """Two workers in turn, and a mutant: without the lock both have it."""
    (tmp_path / "claims").mkdir()
    with _cells.claimed(tmp_path, "a") as first, _cells.claimed(tmp_path, "a") as second:
        assert first is not None
        assert second is None
    with _cells.claimed(tmp_path, "a") as third:
        assert third is not None


def test_without_its_lock_a_cell_would_be_done_twice(tmp_path, monkeypatch):
    """The test above can fail: a mutant whose lock locks nothing begins a cell that another worker is in."""
    (tmp_path / "claims").mkdir()
    cells = {"seed=0": {"config": {"seed": 0}}}
    board = {"function": f"{TOYS}:toy", "attempts": 3, "cells": cells}
    (tmp_path / "cells.json").write_text(json.dumps(board))
    with _cells.claimed(tmp_path, "seed=0"):
        assert _cells.work(str(tmp_path), "s", "other") == 0
        assert not (tmp_path / "seed=0").exists()
        monkeypatch.setattr("fcntl.flock", lambda *arguments: None)
        assert _cells.work(str(tmp_path), "s", "mutant") == 1


def test_a_cell_that_raises_and_one_that_kills_cost_themselves_only(tmp_path):
    cells = {str(seed): {"seed": seed} for seed in range(4)}
    started = []

    class Toys(Local):
        def start(self, *arguments):
            started.append(super().start(*arguments))
            return started[-1]

    toys = Toys({"PMDTHEORY_TOY": "7"})
    found = _cells.run_cells(tmp_path, f"{TOYS}:troubled", cells, toys, workers=1, attempts=2)
    assert json.loads((tmp_path / "0" / "summary.json").read_text())["toy"] == "7"
    assert [worker.problem() for worker in started] == ["signal 9", "signal 9", ""]
    assert all(worker.process.daemon for worker in started)  # none outlives the one who wants the cells
    assert found == {"0": "FINISHED", "1": _cells.FAILED, "2": _cells.LOST, "3": "FINISHED"}
    assert len(begun(tmp_path / "1")) == 1
    assert len(begun(tmp_path / "2")) == 2
    with (tmp_path / "claims" / "1").open() as journal:
        (event,) = [event for event in _cells.events(journal) if event["event"] == "failed"]
    assert event["error"] == _cells.complaint(tmp_path, "1") == "ArithmeticError: one is odd"
    assert _cells.complaint(tmp_path, "2") == ""
    assert "Traceback" in event["trace"]
    # A later call tries them again.
    assert _cells.run_cells(tmp_path, f"{TOYS}:stopping", cells, Local(), workers=1) == dict.fromkeys(cells, "FINISHED")


def test_workers_that_never_begin_are_reported(tmp_path):
    def call():
        return _cells.run_cells(tmp_path, "tests.rl.nowhere:toy", {"a": {}}, Local(), workers=1)

    refused(ValueError, call, "without taking a cell", "exit status 1")


class Idle:
    """An executor of workers that live until they are stopped, but for the first, which ends without having begun."""

    pause = 0.0

    def __init__(self):
        self.live, self.most, self.started = set(), 0, 0

    def start(self, work, folder, session, name):
        self.started += 1
        self.live.add(name)
        self.most = max(self.most, len(self.live))
        if self.started == 1:
            self.live.discard(name)
        return types.SimpleNamespace(
            ended=lambda: name not in self.live, problem=lambda: "", stop=lambda: self.live.discard(name)
        )


def test_workers_are_as_many_as_asked_for_and_end_with_the_call(tmp_path):
    idle = Idle()
    with pytest.raises(KeyboardInterrupt):
        _cells.run_cells(
            tmp_path, "a:b", dict.fromkeys("abcd", {}), idle, workers=2, stop=lambda: idle.started >= 3
        )  # fmt: skip
    assert idle.most == 2  # one of them in the place of the one that was lost
    assert not idle.live


def test_the_last_complaint_counts(tmp_path):
    for k in (1, 2):
        assert _cells.run_cells(tmp_path, f"{TOYS}:failing", {"a": {}}, Inline(), workers=1) == {"a": _cells.FAILED}
        assert _cells.complaint(tmp_path, "a") == f"ArithmeticError: try {k}"


def test_a_cell_that_leaves_nothing_has_failed(tmp_path):
    found = _cells.run_cells(tmp_path, f"{TOYS}:forgetful", {"a": {}}, Inline(), workers=1)
    assert found == {"a": _cells.FAILED}
    assert "left no summary.json" in _cells.complaint(tmp_path, "a")


def test_a_summary_that_is_not_seen_yet_is_waited_for(tmp_path):
    """What the cache of a network's file system hides: the claim says that the cell has ended."""
    cells = {"a": {"config": {"seed": 3}}}
    assert _cells.run_cells(tmp_path, f"{TOYS}:toy", cells, Inline(), workers=1) == {"a": "FINISHED"}
    with (tmp_path / "claims" / "a").open() as journal:
        session = _cells.events(journal)[0]["session"]
    summary = tmp_path / "a" / "summary.json"
    summary.rename(tmp_path / "hidden")
    assert _cells.work(str(tmp_path), session, "other") == 0
    board = _cells._Board(tmp_path, session, ["a"], 3)
    assert board.free() == ([], [])
    (tmp_path / "hidden").rename(summary)
    assert board.look() == ["a"]


def on_board(folder, function, cells, attempts=3):
    """A folder with cells, as `run_cells` leaves it to its workers."""
    (folder / "claims").mkdir()
    _cells._write(folder / "cells.json", {"function": f"{TOYS}:{function}", "attempts": attempts, "cells": cells})


def test_a_cell_that_ends_between_the_look_and_the_lock_is_left_alone(tmp_path, monkeypatch):
    """Another call's worker was faster: its session is not in the claim that this one reads."""
    on_board(tmp_path, "toy", {"a": {"config": {"seed": 3}}})
    claim = _cells.claimed

    @contextmanager
    def late(folder, name):
        (folder / name).mkdir()
        (folder / name / "summary.json").write_text("{}")
        with claim(folder, name) as journal:
            yield journal

    monkeypatch.setattr(_cells, "claimed", late)
    assert _cells.work(str(tmp_path), "s", "w") == 0
    assert not (tmp_path / "a" / "begun").exists()


def test_a_cell_that_is_stopped_is_not_lost(tmp_path):
    """Workers that a scheduler stopped are none that the cell has killed."""
    found = _cells.run_cells(tmp_path, f"{TOYS}:preempted", {"a": {}}, Inline(), workers=1, attempts=2)
    assert found == {"a": "FINISHED"}
    assert len(begun(tmp_path / "a")) == 4


class Jobs(Inline):
    """The same, as a job of a cluster runs a worker."""

    def start(self, work, folder, session, name):
        return super().start(lambda *words: _executors.in_job(work, *words), folder, session, name)


def test_a_warning_of_the_cluster_saves_the_cell_and_another_job_goes_on(tmp_path):
    """As often as it takes, if something is saved; what is cut short every time is given up like what kills."""
    cells = {"long": {"warnings": 4, "saves": True}, "endless": {"warnings": 9, "saves": False}}
    before = signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGINT)
    found = _cells.run_cells(tmp_path, f"{TOYS}:warned", cells, Jobs(), workers=1, attempts=2)
    assert found == {"long": "FINISHED", "endless": _cells.LOST}
    assert (len(begun(tmp_path / "long")), len(begun(tmp_path / "endless"))) == (5, 2)
    assert (signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_warning_between_two_cells_ends_the_job(monkeypatch, number):
    def work(*words):
        signal.raise_signal(number)
        return 1

    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert _executors.in_job(work, "folder", "session", "name") == 0


@pytest.mark.parametrize("obeys", [True, False], ids=["cancelled", "lost sight of"])
def test_a_job_that_still_waits_for_its_place_holds_nothing_up(tmp_path, monkeypatch, obeys):
    """The other worker did every cell; this one is cancelled, and not waited for for ever."""
    monkeypatch.setattr(_cells, "_PATIENCE", 0.02)
    stopped = []

    class Queue(Inline):
        def start(self, work, folder, session, name):
            if name != "worker-0":
                return super().start(work, folder, session, name)
            return types.SimpleNamespace(
                ended=lambda: bool(stopped and obeys), problem=lambda: "", stop=lambda: stopped.append(name)
            )

    cells = {name: {"config": {"seed": k}} for k, name in enumerate("ab")}
    found = _cells.run_cells(tmp_path, f"{TOYS}:toy", cells, Queue(), workers=2)
    assert found == dict.fromkeys(cells, "FINISHED")
    assert stopped == ["worker-0"]


def test_a_worker_that_is_stopped_takes_no_other_cell(tmp_path):
    on_board(tmp_path, "preempted", {"a": {}, "b": {}})
    assert _cells.work(str(tmp_path), "s", "w") == 0
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_worker_that_nobody_waits_for_ends(tmp_path, monkeypatch):
    on_board(tmp_path, "toy", {"a": {"config": {"seed": 3}}})
    gone = types.SimpleNamespace(is_alive=lambda: False)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: gone)
    assert _cells.work(str(tmp_path), "s", "w") == 0
    assert not (tmp_path / "a").exists()


def test_a_line_that_its_writer_died_in_hides_no_other(tmp_path):
    on_board(tmp_path, "toy", {"a": {"config": {"seed": 3}}})
    (tmp_path / "claims" / "a").write_text('\n{"session": "s", "event": "cla')
    assert _cells.work(str(tmp_path), "s", "w") == 1
    with (tmp_path / "claims" / "a").open() as journal:
        assert [event["event"] for event in _cells.events(journal)] == ["claimed", "ended"]


def test_the_board_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A worker may read it at any time."""
    board = tmp_path / "cells.json"
    _cells._write(board, {"cells": 1})
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        _cells._write(board, {"cells": 2})
    assert json.loads(board.read_text()) == {"cells": 1}


def test_a_sweep_that_is_stopped_goes_on(tmp_path):
    cells = {name: {"config": {"seed": k}} for k, name in enumerate("abcd")}
    with pytest.raises(KeyboardInterrupt):
        _cells.run_cells(tmp_path, f"{TOYS}:toy", cells, Local(), workers=1, stop=lambda: (tmp_path / "b").exists())
    found = _cells.run_cells(tmp_path, f"{TOYS}:toy", cells, Local(), workers=1)
    assert found == dict.fromkeys(cells, "FINISHED")
    assert len(begun(tmp_path / "a")) == 1


def test_a_sweep_begun_before_an_option_existed_can_grow(tmp_path):
    """The option has its default there; with another value it is another sweep."""
    grid = Grid("train", TrainConfig(), read_axes("train", ["seed=0..1"]))
    sweep._owned(grid, tmp_path)
    stored = json.loads((tmp_path / "sweep.json").read_text())
    del stored["base"]["measure_every"]
    (tmp_path / "sweep.json").write_text(json.dumps(stored))
    other = replace(grid, base=TrainConfig(measure_every=2))
    refused(ValueError, lambda: sweep._owned(other, tmp_path), "measure_every is 1 there, 2 here")
    sweep._owned(grid, tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text())["base"]["measure_every"] == 1


def test_what_is_wrong_is_refused_in_a_line(tmp_path):
    for name in ("../x", "a/b", "..", ".", "", "claims", "jobs"):
        refused(ValueError, lambda: _cells.run_cells(tmp_path, "a:b", {name: {}}, Local()), f"cell {name!r}")  # noqa: B023
    refused(ValueError, lambda: _cells.run_cells(tmp_path, "a:b", {}, Local(), workers=0), "workers", "0")
    (tmp_path / "claims").mkdir(exist_ok=True)
    with _cells.claimed(tmp_path, ".all"):
        refused(ValueError, lambda: _cells.run_cells(tmp_path, "a:b", {}, Local()), "in use")
    refused(ValueError, lambda: make_executor("kubernetes"), "kubernetes", "slurm")
    refused(ValueError, lambda: make_executor("local", ["timeout_min=3"]), "timeout_min=3")
    grid = Grid("bandit", BanditConfig(), (("seed", (0,)),))
    other = tmp_path / "other"
    sweep.run_sweep(grid, other, executor=Inline(), function=f"{TOYS}:toy")
    refused(
        ValueError,
        lambda: sweep.run_sweep(replace(grid, base=BanditConfig(tau=1.0)), other),
        "base",
        "tau is 0.03 there, 1.0 here",
    )
    train = Grid("train", TrainConfig(), (("seed", (0,)),))
    refused(ValueError, lambda: sweep.run_sweep(train, other), "another kind", "'bandit' there, 'train' here")
    refused(ValueError, lambda: sweep.run_sweep(grid, tmp_path / "none", workers=0), "workers", "0")
    assert not (tmp_path / "none").exists()
    refused(ValueError, lambda: sweep.run_sweep(replace(grid, axes=(("tau", (0.1,)),)), other), "over seed, not tau")
    refused(ValueError, lambda: sweep.run_sweep(grid, tmp_path), "not empty")
    bad = replace(grid, axes=(("tau", (0.1, -1.0)),))
    refused(ValueError, lambda: sweep.run_sweep(bad, tmp_path / "bad"), "tau", "-1")
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("kind", "texts", "fragments"),
    [
        ("train", ["taus=1"], ("taus", "learning_rate", "loss.FIELD")),
        ("train", ["loss=1"], ("loss",)),
        ("train", ["loss.clip=1"], ("clip", "clip_low")),
        ("train", ["tau=much"], ("tau", "float", "much")),
        ("train", ["batches=1.5"], ("batches", "int", "1.5")),
        ("train", ["filter_groups=maybe"], ("filter_groups", "bool")),
        ("train", ["difficulty=8"], ("difficulty", "JSON")),
        ("train", ["tau=0.1,0.1"], ("tau", "once")),
        ("train", ["tau=0.1", "tau=0.2"], ("tau", "once")),
        ("train", ["seed=3..1"], ("seed", "have values")),
        ("train", ["seed=0..99999999999"], ("seed", "100,000 values", "0..99999999999")),
        ("train", ["nowhere.json"], ("nowhere.json",)),
        ("train", [], ("empty",)),
        ("game", ["tau=1"], ("game", "bandit")),
    ],
)
def test_grids_that_cannot_be_read_are_refused(kind, texts, fragments):
    refused(ValueError, lambda: read_axes(kind, texts), *fragments)


def test_grids_are_read_by_type(tmp_path):
    file = tmp_path / "grid.json"
    file.write_text('{"difficulty": [[2], [3, 4]], "tau": [1, 0.5], "loss.standardise": [true, null]}')
    axes = read_axes("train", [str(file), "algorithm=grpo,gspo", "loss.clip_high=none,0.3", "filter_groups=true,false"])
    assert axes == (
        ("difficulty", ((2,), (3, 4))),
        ("tau", (1.0, 0.5)),
        ("loss.standardise", (True, None)),
        ("algorithm", ("grpo", "gspo")),
        ("loss.clip_high", (None, 0.3)),
        ("filter_groups", (True, False)),
    )
    grid = Grid("train", TrainConfig(), axes)
    assert len(grid.cells) == 64
    first = next(iter(grid.cells))
    assert first.startswith("difficulty=2,tau=1.0,loss.standardise=True,algorithm=grpo") or len(first) == 16
    paths = Grid("train", TrainConfig(), read_axes("train", ["base=digit-sum,bases/a.safetensors"])).cells
    assert next(iter(paths)) == "base=digit-sum"
    assert all("/" not in name for name in paths)
    assert read_settings("train", ["tau=0.5", "loss.level=2"]) == {"tau": 0.5, "loss.level": 2.0}
    refused(ValueError, lambda: read_settings("train", ["tau"]), "set", "tau")


@given(
    tau=st.floats(1e-3, 10), prompts=st.integers(1, 64), clip=st.none() | st.floats(0, 1), sizes=st.lists(st.integers())
)
def test_configs_survive_their_json(tau, prompts, clip, sizes):
    settings = {
        "tau": tau,
        "prompts": prompts,
        "minibatches": 1,
        "loss.clip_low": clip,
        "difficulty": tuple(sizes),
        "algorithm": "grpo",
    }
    config = overridden(TrainConfig(), settings)
    assert config_of("train", json.loads(json.dumps(plain(config)))) == config


def test_other_configs_are_refused():
    refused(ValueError, lambda: config_of("train", {"taus": 1}), "taus", "tau")
    refused(ValueError, lambda: config_of("train", {"loss": {"clip": 1}}), "loss", "clip")
    refused(ValueError, lambda: config_of("bandit", {"tau": -1.0}), "tau", "-1")


def test_cells_of_pretrained_models_reach_into_how_the_model_is_trained():
    settings = ["model.rows=4", "prompts=4", "model.system=Be brief, please", "model.tokens=32", "difficulty=1,2"]
    base = overridden(ChatConfig(), read_settings("smollm", settings))
    grid = Grid("smollm", base, read_axes("smollm", ["model.rank=0,8", "loss.clip_low=none,0.2", "algorithm=grpo"]))
    assert list(grid.cells)[1] == "model.rank=0,loss.clip_low=0.2,algorithm=grpo"
    for config in grid.cells.values():
        assert (config.base, config.model.rows, config.model.system) == ("smollm2", 4, "Be brief, please")
        assert config.difficulty == (1, 2)
        assert config_of("smollm", json.loads(json.dumps(plain(config)))) == config
    assert [config.model.rank for config in grid.cells.values()] == [0, 0, 8, 8]
    columns = sweep.rows(grid, Path("none"))[2]
    assert (columns["config.model.rank"], columns["config.model.targets"][:4]) == (8, '["q"')
    assert read_settings("smollm", ["model.system=none"]) == {"model.system": None}
    odd = replace(grid, axes=read_axes("smollm", ["model.rows=3"]))
    refused(ValueError, lambda: odd.cells, "rows", "8 responses", "3")
    refused(ValueError, lambda: read_axes("smollm", ["model=1"]), "model", "model.FIELD")
    refused(ValueError, lambda: config_of("smollm", {"model": {"ranks": 1}}), "model", "ranks", "ModelOptions")


def test_columns_have_one_type_and_gaps_are_gaps(tmp_path):
    grid = Grid("train", TrainConfig(algorithm="grpo"), read_axes("train", ["loss.clip_low=none,0.2", "seed=0..1"]))
    out = tmp_path / "x"
    for k, name in enumerate(list(grid.cells)[:3]):
        (out / name).mkdir(parents=True)
        summary = {
            "status": "FINISHED",
            "batches": 2,
            "evaluation": {"average": [0, 0.5, "inf"][k], "interval": [0, 1]},
        }
        (out / name / "summary.json").write_text(json.dumps(summary))
        (out / name / "metrics.jsonl").write_text(
            '{"batch": 0, "train_reward": 1}\n{"batch": 1, "train_reward": 0.5}\n'
        )
    found = sweep.table(grid, sweep.rows(grid, out, {list(grid.cells)[3]: _cells.LOST})).to_pydict()
    assert found["status"] == ["FINISHED"] * 3 + [_cells.LOST]
    assert found["evaluation.average"] == [0.0, 0.5, float("inf"), None]
    assert found["evaluation.interval.1"] == [1, 1, 1, None]
    assert found["last.train_reward"] == [0.5, 0.5, 0.5, None]
    assert found["config.loss.clip_low"] == [None, None, 0.2, 0.2]
    assert found["config.difficulty"] == ["[]"] * 4
    assert sweep.rows(grid, out)[3]["status"] == sweep.OPEN


def test_long_settings_have_names_of_their_own():
    base = [f"bases/{'x' * 120}-{k}.safetensors" for k in range(3)]
    cells = Grid("train", TrainConfig(), (("base", tuple(base)),)).cells
    assert [config.base for config in cells.values()] == base
    assert all(len(name) == 16 for name in cells)


def test_columns_are_of_one_type():
    assert sweep._column([1, None, 2]) == [1, None, 2]
    assert [type(value) for value in sweep._column([1, 0.5])] == [float, float]
    assert sweep._column([1, "a", None]) == ["1", "a", None]


def test_a_cell_goes_on_and_says_when_it_was_stopped(tmp_path, monkeypatch):
    """A bandit that was begun is gone on with; a signal leaves the cell open, of either kind."""
    from tiny_llm_rl._bandit_run import Stopped

    config = BanditConfig(actions=20, batches=1, algorithm="exact-mean")
    RunDirectory(tmp_path / "b", config, kind="bandit")  # as far as a worker came before it died
    bandit = sweep.payload("bandit", config)
    assert sweep.cell(bandit, tmp_path / "b") == "FINISHED"

    def stopped(*arguments, **options):
        raise Stopped(1, signal.SIGTERM)

    monkeypatch.setattr("tiny_llm_rl._bandit_run.run", stopped)
    assert sweep.cell(bandit, tmp_path / "b") == _cells.STOPPED
    asked = []

    def trained(config, directory, *, stop):
        asked.append(stop())
        os.kill(os.getpid(), signal.SIGTERM)
        asked.append(stop())
        return types.SimpleNamespace(status=types.SimpleNamespace(name="STOPPED"))

    monkeypatch.setattr("tiny_llm_rl.train.train", trained)
    assert sweep.cell(sweep.payload("train", TrainConfig()), tmp_path / "t") == _cells.STOPPED
    assert asked == [False, True]


def command(*arguments):
    return _console.main(Sweep, "tiny-llm-rl", "", [str(argument) for argument in arguments])


def test_the_command_leaves_a_table_and_a_figure(tmp_path, capsys):
    """Real runs of bandits, in processes: the table holds what each run's own summary says."""
    import pyarrow.parquet as pq

    out = tmp_path / "b"
    call = [
        "--kind", "bandit", "--out", out, "--grid", "tau=0.3,0.5", "seed=0", "--workers", "1",
        "--set", "actions=20", "batches=1", "algorithm=exact-mean", "--json",
    ]  # fmt: skip
    assert command(*call) == 0
    said = json.loads(capsys.readouterr().out)
    table = pq.read_table(out / "table.parquet")
    about = json.loads(table.schema.metadata[b"sweep"])
    assert about["axes"] == [["tau", [0.3, 0.5]], ["seed", [0]]]
    for row in table.to_pylist():
        summary = json.loads((out / row["cell"] / "summary.json").read_text())
        assert row["end.success"] == summary["end"]["success"]
        assert row["cell"] == f"tau={row['config.tau']},seed=0"
    assert [group["cells"] for group in said["groups"]] == [1, 1]
    assert said["files"] == [str(out / name) for name in ("table.parquet", "figure.pdf", "figure.png")]
    assert (out / "figure.png").read_bytes()[:4] == b"\x89PNG"
    before = (out / "table.parquet").read_bytes(), (out / "figure.pdf").read_bytes()
    assert command(*call, "--collect", "--metric", "end.success", "--against", "tau", "seed") == 0
    assert (out / "table.parquet").read_bytes() == before[0]
    assert (out / "figure.pdf").read_bytes() != before[1]
    capsys.readouterr()
    for more, fragments in (
        (["--metric", "succes"], ("metric", "succes", "end.success")),
        (["--against", "rollouts"], ("against", "rollouts", "tau, seed")),
        (["--executor", "clouds"], ("executor", "clouds")),
        (["--set", "batches"], ("set", "NAME=VALUE")),
        (["--set", "tau=0.3"], ("set tau", "axis")),
        (["--set", "lag=1", "lag=2"], ("set lag", "twice")),
        (["--collect", "--out", tmp_path / "no"], ("no sweep",)),
    ):
        assert command(*call, *more) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert all(fragment in err for fragment in fragments), err


def test_the_command_says_what_failed(tmp_path, capsys, monkeypatch):
    def some(grid, out, **options):
        return dict.fromkeys(grid.cells, _cells.LOST)

    monkeypatch.setattr(sweep, "run_sweep", some)
    (tmp_path / "x").mkdir()
    assert command("--out", tmp_path / "x", "--grid", "tau=0.1") == 1
    assert "cell tau=0.1 is LOST" in capsys.readouterr().err
    monkeypatch.setattr(sweep, "run_sweep", lambda *a, **b: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command("--out", tmp_path / "x", "--grid", "tau=0.1") == 130
    assert "goes on" in capsys.readouterr().err


def toy_rows(failed=False):
    return [
        {"config.tau": tau, "config.algorithm": name, "config.seed": seed, "x": None if failed and seed else tau + seed}
        for tau in (0.1, 0.3, 1.0) for name in ("grpo", "gspo") for seed in (0, 1)
    ]  # fmt: skip


def test_figures_show_every_cell_and_the_means():
    style = Style.of("icml2024")
    canvas = draw(toy_rows(), "x", ("tau", "algorithm"), style)
    (axes,) = canvas.axes
    points, means = axes.lines[0::2], axes.lines[1::2]
    assert [len(line.get_xdata()) for line in points] == [6, 6]
    assert [line.get_ydata() for line in means] == [pytest.approx([0.6, 0.8, 1.5])] * 2
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["algorithm grpo", "algorithm gspo"]
    assert axes.get_title(loc="left") == ""
    names = draw(toy_rows(failed=True), "x", ("algorithm",), style).axes[0]
    assert [text.get_text() for text in names.get_xticklabels()] == ["grpo", "gspo"]
    assert names.get_title(loc="left") == "6 of 12 cells without a number"
    assert names.get_legend() is None
    with style.context():
        canvas.draw_without_rendering()
    assert_apart(canvas, [axes.xaxis.label, axes.yaxis.label, *axes.get_legend().get_texts()])
    refused(ValueError, lambda: draw(toy_rows(), "x", (), style), "against")
    refused(ValueError, lambda: draw(toy_rows(), "y", ("tau",), style), "metric", "'y'")
    refused(ValueError, lambda: draw(toy_rows(), "x", ("rate",), style), "axis", "rate")


class Job:
    """What submitit gives back, as far as it is used here."""

    def __init__(self, run):
        self.failure, self.cancelled = None, False
        try:
            run()
        except OSError as problem:
            self.failure = problem

    def done(self):
        return True

    def exception(self):
        return self.failure

    def cancel(self, check):
        self.cancelled = True


def stand_in(refusal=None):
    class AutoExecutor:
        def __init__(self, folder, cluster):
            self.asked = {"folder": folder, "cluster": cluster}

        def update_parameters(self, **parameters):
            if refusal:
                raise NameError(refusal)
            self.asked |= parameters

        def submit(self, function, *arguments):
            return Job(lambda: function(*arguments))

    return types.SimpleNamespace(AutoExecutor=AutoExecutor, __spec__=True)


def test_jobs_of_submitit_do_the_same(tmp_path, monkeypatch):
    """Against a stand-in for the package; `make test-extras` has the real one."""
    monkeypatch.setitem(sys.modules, "submitit", stand_in())
    executor = make_executor("slurm", ["timeout_min=60", "slurm_partition=gpu"])
    assert executor == Submitit("slurm", {"timeout_min": 60, "slurm_partition": "gpu"})
    odd = make_executor("submitit", ["slurm_nice=-5", "slurm_mem=8GB", "slurm_comment=--5=²"])
    assert odd == Submitit("local", {"slurm_nice": -5, "slurm_mem": "8GB", "slurm_comment": "--5=²"})
    cells = {name: {"config": {"seed": k}} for k, name in enumerate("abc")}
    quick = replace(executor, pause=0.0)
    assert set(_cells.run_cells(tmp_path, f"{TOYS}:toy", cells, quick).values()) == {"FINISHED"}
    job = quick.start(_cells.work, tmp_path, "s", "w")
    job.stop()
    assert job.job.cancelled
    assert job.problem() == ""
    assert "nowhere" in quick.start(_cells.work, tmp_path / "nowhere", "s", "w").problem()
    refused(ValueError, lambda: make_executor("slurm", ["hours"]), "hours", "NAME=VALUE")
    monkeypatch.setitem(sys.modules, "submitit", stand_in("unknown slurm_hours"))
    refused(ValueError, lambda: executor.start(_cells.work, tmp_path, "s", "w"), "slurm_hours", "local")


def test_without_submitit_its_executors_are_refused_by_name(monkeypatch):
    monkeypatch.setattr("pmdtheory._executors.find_spec", lambda name: None)
    for name in ("submitit", "slurm"):
        refused(ValueError, lambda name=name: make_executor(name), name, "pip install submitit")


def test_the_environment_of_workers_is_theirs_alone(monkeypatch):
    before = dict(os.environ)
    assert sweep.local().environment["XLA_FLAGS"].endswith(sweep.ONE_THREAD)
    assert dict(os.environ) == before
    monkeypatch.setenv("PMDTHEORY_TOY", "mine")
    before = dict(os.environ)
    with _executors._environment({"PMDTHEORY_TOY": "7", "PMDTHEORY_OTHER": "8"}):
        assert (os.environ["PMDTHEORY_TOY"], os.environ["PMDTHEORY_OTHER"]) == ("7", "8")
    assert dict(os.environ) == before
