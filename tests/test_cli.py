"""The command line: what it prints, its exit status, and one line for every kind of bad input."""

import csv
import io
import json
import math
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

import pmdtheory as pmd
from pmdtheory import _cli_verify, claims, cli, figures, report
from pmdtheory.claims import CLAIMS
from tests.tolerances import REFERENCE

LAW = ["--policy", "0.7", "0.2", "0.1", "--reward", "0", "0", "1", "--tau", "0.1"]
COMMANDS = ("verify", "figures", "update", "claims", "variants", "prove", "hunt", "diagnose", "calibrate")


@pytest.fixture
def pmdtheory(capsys, monkeypatch, tmp_path):
    """Run a command in an empty directory; gives exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return command


def strict(text):
    """Parse JSON as other languages do: without NaN and Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def refused(result, *fragments):
    """Exit status 2, nothing on standard output, one line with the cause, then the remedy."""
    status, out, err = result
    assert status == 2, (out, err)
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert err.startswith("pmdtheory: ")
    for fragment in fragments:
        assert fragment in err
    cause, _, remedy = err.partition("; ")
    assert len(cause) > 10
    assert len(remedy) > 5, err


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- verify ---------------------------------------------------------------------------------------------------------


def test_verify_prints_a_table(pmdtheory):
    status, out, err = pmdtheory("verify", "C4", "C5", "--instances", 12, "--seed", 3)
    assert status == 0
    assert err == ""
    assert out.startswith("12 instances per claim, seed 3")
    for fragment in ("C4", "C5", "The weight is the step", "identity", "holds", "residual / tolerance"):
        assert fragment in out
    assert "C6" not in out
    assert "…" not in out, "a column is cut off"


def test_verify_json_is_only_json(pmdtheory):
    status, out, err = pmdtheory("verify", "C4", "c9", "--instances", 12, "--json")
    assert status == 0
    assert err == ""
    data = strict(out)
    assert (data["schema"], data["instances"], data["seed"], data["holds"]) == (report.SCHEMA, 12, 0, True)
    assert [claim["id"] for claim in data["claims"]] == ["C4", "C9"]
    first = data["claims"][0]
    assert first["holds"]
    assert first["kind"] == "identity"
    assert first["instances"] + first["not_applicable"] == 12
    assert 0 <= first["worst"]["residual"] <= first["worst"]["tolerance"]
    assert first["worst"]["part"].startswith("lambda")
    assert first["mutant"]["caught"] <= first["mutant"]["tried"]
    assert first["failures"] == []
    assert data["claims"][1]["second_opinions"] > 0


def test_verify_repeats_itself(pmdtheory):
    def numbers():
        data = strict(pmdtheory("verify", "C4", "--instances", 12, "--json")[1])
        return [{key: value for key, value in claim.items() if key != "seconds"} for claim in data["claims"]]

    assert numbers() == numbers()


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_failing_claim_is_exit_status_1(pmdtheory, monkeypatch, flags):
    monkeypatch.setitem(CLAIMS, "C4", replace(CLAIMS["C4"], check=CLAIMS["C4"].mutant))
    status, out, err = pmdtheory("verify", "C4", "C5", "--instances", 12, *flags)
    assert status == 1
    assert err == ""
    if flags:
        data = strict(out)
        assert not data["holds"]
        assert [claim["holds"] for claim in data["claims"]] == [False, True]
        assert data["claims"][0]["failures"]
    else:
        assert "FAILS" in out
        assert out.count("C4 fails on ") == 5
        assert "lambda = KL(new||old): residual" in out
        assert "C5 fails" not in out


def test_a_surviving_mutant_is_exit_status_1(pmdtheory, monkeypatch):
    monkeypatch.setitem(CLAIMS, "C4", replace(CLAIMS["C4"], mutant=CLAIMS["C4"].check))
    status, out, _ = pmdtheory("verify", "C4", "--instances", 12)
    assert status == 1
    assert "SURVIVES" in out
    assert "C4: the mutant survives (KL(new||old) for KL(old||new))" in out


def test_a_claim_that_crashes_is_exit_status_1(pmdtheory, monkeypatch):
    def boom(case):
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setitem(CLAIMS, "C4", replace(CLAIMS["C4"], check=boom))
    status, out, err = pmdtheory("verify", "C4", "--instances", 3, "--json")
    assert (status, err) == (1, "")
    claim = strict(out)["claims"][0]
    assert "ZeroDivisionError" in claim["failures"][0]
    assert claim["worst"]["residual"] is None


VERIFY = {
    "unknown claim": (["C99"], "claim 'C99' is not in the registry"),
    "one unknown of two": (["C4", "X"], "claim 'X' is not in the registry"),
    "no instances": (["C4", "--instances", "0"], "instances must be at least 1, got 0"),
    "negative instances": (["C4", "--instances", "-5"], "instances must be at least 1, got -5"),
    "instances in words": (["C4", "--instances", "many"], "instances", "many"),
    "half an instance": (["C4", "--instances", "2.5"], "instances", "2.5"),
    "negative seed": (["C4", "--seed", "-1", "--instances", "2"], "seed", "-1"),
    "unknown option": (["C4", "--bogus"], "--bogus"),
    "blocks in one piece": (["C4", "--blocks", "there"], "blocks", "workers is 0", "--workers 2"),
    "a job in one piece": (["C4", "--job", "timeout_min=9"], "job", "workers is 0"),
    "slurm in one piece": (["C4", "--executor", "slurm"], "'slurm'", "--workers 2"),
    "slurm without a folder": (["C4", "--workers", "2", "--executor", "slurm"], "'slurm'", "--blocks DIR"),
    "unknown executor": (["C4", "--workers", "2", "--executor", "pbs"], "'pbs'", "choose one of local"),
    "a job of no executor": (["C4", "--workers", "2", "--job", "timeout_min=9"], "'timeout_min=9'", "submitit"),
    "negative workers": (["C4", "--workers", "-1"], "workers must be at least 1, got -1"),
}


@pytest.mark.parametrize("wrong", VERIFY)
def test_verify_refuses(pmdtheory, wrong):
    arguments, *fragments = VERIFY[wrong]
    refused(pmdtheory("verify", *arguments), *fragments)


def test_blocks_that_are_kept_are_not_run_again(pmdtheory, tmp_path):
    call = ("verify", "C4", "--instances", 6, "--workers", 1, "--blocks", "kept", "--json")
    first, again = (strict(pmdtheory(*call)[1])["claims"][0] for _ in range(2))
    assert first == again
    assert (tmp_path / "kept" / "claims" / "C4-0-6").read_text().count("claimed") == 1


@pytest.mark.parametrize(
    ("options", "workers"),
    [([], 3), (["--workers", "0"], None), (["--workers", "5"], 5), (["--instances", "10000"], None)],
    ids=["as many as cores", "none", "as told", "a block"],
)
def test_very_many_cases_are_shared_by_the_cores(pmdtheory, monkeypatch, options, workers):
    seen = []
    monkeypatch.setattr("pmdtheory._executors.usable_cores", lambda: 3)
    monkeypatch.setattr("pmdtheory.claims._spread.spread", lambda *a, workers, **b: seen.append(workers) or [])
    monkeypatch.setattr(_cli_verify, "verify", lambda *a, **b: seen.append(None) or [])
    assert pmdtheory("verify", "C4", "--instances", "10000000", "--json", *options)[0] == 0
    assert seen == [workers]


def test_blocks_do_not_go_among_other_files(pmdtheory, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.tex").write_text("x")
    call = ("verify", "C4", "--instances", 6, "--workers", 1, "--blocks", "thesis")
    refused(pmdtheory(*call), "blocks='thesis'", "give an empty directory")
    assert sorted(path.name for path in (tmp_path / "thesis").iterdir()) == ["draft.tex"]


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (("hunt", "--out", "nowhere/found.json"), ("out='nowhere/found.json'", "cannot be written")),
        (("prove", "--out", "nowhere/page.md"), ("out='nowhere/page.md'", "cannot be written")),
        (("prove", "C8-KL", "--certificate", "nowhere/c.json"), ("certificate='nowhere/c.json'", "cannot be written")),
        (("prove", "C8-KL", "--certificate", "."), ("certificate='.'", "directory")),
        (("claims", "--out", "."), ("out='.'", "directory")),
        (("prove", "--recheck"), ("recheck is empty",)),
    ],
)
def test_what_cannot_be_written_or_checked_is_said_at_once(pmdtheory, monkeypatch, call, fragments):
    def slow(*arguments, **options):
        raise AssertionError("work before the complaint")

    monkeypatch.setattr("pmdtheory.hunt.hunt", slow)
    monkeypatch.setattr("pmdtheory.proof.prove_over_box", slow)
    monkeypatch.setattr("pmdtheory.symbolic.select", slow)
    refused(pmdtheory(*call), *fragments)


def test_an_interrupt_is_exit_status_130(pmdtheory, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cli_verify, "verify", interrupted)
    status, out, err = pmdtheory("verify", "C4")
    assert (status, out) == (130, "")
    assert err == "pmdtheory: interrupted; nothing half-written was left\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_bar_goes_to_standard_error(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["verify", "C4", "--instances", "5", "--json"]) == 0
    assert strict(capsys.readouterr().out)["holds"]
    assert "C4" in terminal.getvalue()


def test_figures_move_the_same_bar(monkeypatch, capsys, tmp_path):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["figures", "ratio_tilt", "--check", "--json", "--out", str(tmp_path)]) == 1
    assert not strict(capsys.readouterr().out)["ok"]
    assert terminal.getvalue()


# -- figures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    assert cli.main(["figures", "ratio_tilt", "--format", "png", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def made(drawn, tmp_path):
    folder = tmp_path / "made"
    shutil.copytree(drawn, folder)
    return folder


def test_figures_writes_pictures_and_data(pmdtheory, tmp_path):
    status, out, err = pmdtheory("figures", "ratio_tilt", "--format", "svg", "--out", "here")
    assert (status, err) == (0, "")
    assert files(tmp_path) == ["here", "here/data", "here/data/ratio_tilt.json", "here/ratio_tilt.svg"]
    assert out.startswith("ratio_tilt: ")
    assert "ratio_tilt.svg" in out


def test_figures_check_passes_on_what_was_just_made(pmdtheory, made):
    before = {name: (made / name).stat().st_mtime_ns for name in files(made)}
    status, out, err = pmdtheory("figures", "ratio_tilt", "--check", "--out", made)
    assert (status, err) == (0, "")
    assert out.startswith("ratio_tilt: checked")
    assert before == {name: (made / name).stat().st_mtime_ns for name in files(made)}


def perturbed(value):
    """The first number of nested lists that is not zero, changed by 1e-6 of itself."""
    if isinstance(value, list):
        for k, inner in enumerate(value):
            other = perturbed(inner)
            if other is not None:
                return [*value[:k], other, *value[k + 1 :]]
        return None
    return value * (1 + 1e-6) if isinstance(value, float) and value else None


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_figures_check_finds_a_perturbed_number(pmdtheory, made, flags):
    path = made / "data" / "ratio_tilt.json"
    data = json.loads(path.read_text())
    name = next(name for name, array in data["arrays"].items() if perturbed(array) is not None)
    data["arrays"][name] = perturbed(data["arrays"][name])
    path.write_text(json.dumps(data))
    status, out, err = pmdtheory("figures", "ratio_tilt", "--check", "--out", made, *flags)
    assert (status, err) == (1, "")
    if flags:
        found = strict(out)
        assert found["schema"] == report.SCHEMA
        assert not found["ok"]
        assert not found["figures"][0]["ok"]
        assert found["figures"][0]["mismatch"] > 1e-9
        assert name in found["figures"][0]["message"]
    else:
        assert out.startswith("ratio_tilt: FAILS")
        assert name in out


def test_figures_check_without_data_fails(pmdtheory, tmp_path):
    status, out, _ = pmdtheory("figures", "ratio_tilt", "--check", "--out", "nothing")
    assert status == 1
    assert "no data" in out
    assert files(tmp_path) == []


def test_figures_reuses_data(pmdtheory, made):
    status, out, err = pmdtheory("figures", "ratio_tilt", "--reuse-data", "--format", "png", "--out", made, "--json")
    assert (status, err) == (0, "")
    data = strict(out)
    assert data["ok"]
    (figure,) = data["figures"]
    assert figure["name"] == "ratio_tilt"
    assert [Path(file).name for file in figure["files"]] == ["ratio_tilt.png"]
    assert figure["mismatch"] is None


FIGURES = {
    "unknown figure": (["nope"], "unknown figure 'nope'"),
    "unknown venue": (["ratio_tilt", "--venue", "nature"], "unknown venue 'nature'"),
    "unknown format": (["ratio_tilt", "--format", "bmp"], "unknown format 'bmp'"),
    "no format": (["ratio_tilt", "--format"], "format"),
    "no data to reuse": (["ratio_tilt", "--reuse-data"], "ratio_tilt.json"),
}


@pytest.mark.parametrize("wrong", FIGURES)
def test_figures_refuses(pmdtheory, tmp_path, wrong):
    arguments, *fragments = FIGURES[wrong]
    refused(pmdtheory("figures", *arguments, "--out", tmp_path / "there"), *fragments)
    assert files(tmp_path) == []


def test_figures_refuses_a_file_as_directory(pmdtheory, tmp_path):
    (tmp_path / "taken").write_text("mine")
    refused(pmdtheory("figures", "ratio_tilt", "--format", "svg", "--out", "taken"), "out", "taken")
    assert (tmp_path / "taken").read_text() == "mine"


# -- update ---------------------------------------------------------------------------------------------------------


def step_of(method="mean", **options):
    problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], 0.1)
    return getattr(pmd, f"{method}_update")(problem, **options).unwrap()


METHODS = {
    "mean": ([], lambda: step_of()),
    "kl": ([], lambda: step_of("kl")),
    "baseline": (["--baseline", "1.5"], lambda: step_of("baseline", baseline=1.5)),
    "mixed": (["--weight", "0.25"], lambda: step_of("mixed", weight=0.25)),
}


@pytest.mark.parametrize("method", METHODS)
def test_update_json_is_the_step(pmdtheory, method):
    flags, expected = METHODS[method]
    status, out, err = pmdtheory("update", *LAW, "--method", method, *flags, "--json")
    assert (status, err) == (0, "")
    data, step = strict(out), expected()
    assert (data["schema"], data["method"], data["tau"]) == (report.SCHEMA, method, 0.1)
    for name in ("expected_reward", "improvement", "multiplier", "baseline", "kl", "reverse_kl", "chi2", "step_size"):
        assert data[name] == getattr(step, name), name
    for name in ("policy", "log_policy", "log_ratio"):
        assert data[name] == list(getattr(step, name)), name
    assert data["mean_reward"] == pytest.approx(0.1)
    assert data["log_partition"] == pytest.approx(math.log(0.9 + 0.1 * math.exp(10.0)))
    assert 0 <= data["residual"] < 1e-12
    assert sum(data["policy"]) == pytest.approx(1.0, abs=1e-12)


def test_update_prints_the_step(pmdtheory):
    status, out, err = pmdtheory("update", *LAW)
    assert (status, err) == (0, "")
    step, lines = step_of(), dict(re.split(r" {2,}", line, maxsplit=1) for line in out.splitlines()[:10])
    assert float(lines["multiplier (chi2 weight)"]) == pytest.approx(step.multiplier, rel=1e-9)
    assert float(lines["mean reward after"]) == pytest.approx(step.expected_reward, rel=1e-9)
    assert lines["KL(old||new)"] == f"{step.reverse_kl:.10g} nats"
    assert lines["tau"] == "0.1 reward units"
    assert f"{step.policy[2]:.6g}" in out
    assert "more actions" not in out


def test_update_prints_the_first_actions_of_many(pmdtheory):
    law = ["--policy", *["0.04"] * 25, "--reward", *map(str, range(25)), "--tau", "9"]
    status, out, _ = pmdtheory("update", *law)
    assert status == 0
    assert "... and 5 more actions; --json has them all" in out


def write_csv(path, columns):
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def data_of(pmdtheory, *arguments):
    status, out, err = pmdtheory("update", *arguments, "--json")
    assert (status, err) == (0, "")
    return strict(out)


def test_update_reads_csv(pmdtheory, tmp_path):
    write_csv(tmp_path / "law.csv", {"name": "abc", "reward": [0, 0, 1], "policy": [0.7, 0.2, 0.1]})
    assert data_of(pmdtheory, "law.csv", "--tau", 0.1) == data_of(pmdtheory, *LAW)


def test_update_reads_log_policy_beyond_float64(pmdtheory, tmp_path):
    write_csv(tmp_path / "law.csv", {"log_policy": [0.0, -800.0, "-inf"], "reward": [0, 1, 5]})
    data = data_of(pmdtheory, "law.csv", "--tau", 1e-3)
    exact = pmd.mean_update(pmd.Problem.from_log_policy([0.0, -800.0, -math.inf], [0, 1, 5], 1e-3)).unwrap()
    assert data["log_policy"][:2] == list(exact.log_policy[:2])
    assert data["log_policy"][2] == "-inf"
    assert data["policy"][2] == 0.0


def test_update_reads_json(pmdtheory, tmp_path):
    law = {"policy": [0.7, 0.2, 0.1], "reward": [0, 0, 1], "tau": 0.1}
    (tmp_path / "law.json").write_text(json.dumps(law))
    assert data_of(pmdtheory, "law.json") == data_of(pmdtheory, *LAW)
    (tmp_path / "law.json").write_text(json.dumps(law | {"tau": 7.0}))
    assert data_of(pmdtheory, "law.json", "--tau", 0.1) == data_of(pmdtheory, *LAW), "--tau overrides the file"
    logs = {"log_policy": list(np.log([0.7, 0.2, 0.1])), "reward": [0, 0, 1], "tau": 0.1}
    (tmp_path / "law.json").write_text(json.dumps(logs))
    assert data_of(pmdtheory, "law.json")["multiplier"] == pytest.approx(step_of().multiplier, rel=REFERENCE)


@pytest.mark.parametrize("name", ["law.csv", "law.json"])
def test_update_reads_files_that_a_spreadsheet_wrote(pmdtheory, tmp_path, name):
    """With a byte-order mark and DOS line ends."""
    text = {
        "law.csv": "policy,reward\r\n0.7,0\r\n0.2,0\r\n0.1,1\r\n",
        "law.json": '{"policy": [0.7, 0.2, 0.1], "reward": [0, 0, 1]}\r\n',
    }[name]
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert data_of(pmdtheory, name, "--tau", 0.1) == data_of(pmdtheory, *LAW)


def test_update_takes_negative_numbers(pmdtheory):
    data = data_of(pmdtheory, "--policy", 0.5, 0.5, "--reward", -1, "1e-3", "--tau", 0.5)
    assert data["mean_reward"] == pytest.approx(-0.4995)


def test_update_writes_a_file(pmdtheory, tmp_path):
    status, out, err = pmdtheory("update", *LAW, "--out", "step.json")
    assert (status, out, err) == (0, "", "")
    assert files(tmp_path) == ["step.json"]
    assert strict((tmp_path / "step.json").read_text()) == data_of(pmdtheory, *LAW)


def test_a_written_file_replaces_and_has_the_usual_permissions(pmdtheory, tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "step.json").write_text("old")
    (tmp_path / "step.json").unlink()
    assert pmdtheory("update", *LAW, "--out", "step.json")[0] == 0
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "step.json").stat().st_mode) == usual
    (tmp_path / "step.json").write_text("old")
    assert pmdtheory("update", *LAW, "--out", "step.json")[0] == 0
    assert strict((tmp_path / "step.json").read_text())["schema"] == report.SCHEMA


@pytest.mark.parametrize("target", ["folder", "missing/step.json", "plain/step.json"])
def test_where_nothing_can_be_written(pmdtheory, tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("mine")
    refused(pmdtheory("update", *LAW, "--out", target), "out=", target, "cannot be written")
    refused(pmdtheory("claims", "--out", target), "out=", target, "cannot be written")
    assert files(tmp_path) == ["folder", "plain"]
    assert (tmp_path / "plain").read_text() == "mine"


@pytest.mark.parametrize(("error", "status"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)])
def test_nothing_is_left_half_written(pmdtheory, monkeypatch, tmp_path, error, status):
    (tmp_path / "step.json").write_text("old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    found, out, err = pmdtheory("update", *LAW, "--out", "step.json")
    assert (found, out) == (status, "")
    assert err.count("\n") == 1
    assert files(tmp_path) == ["step.json"]
    assert (tmp_path / "step.json").read_text() == "old"


def test_a_step_that_does_not_exist_is_exit_status_1(pmdtheory, tmp_path):
    for flags in ([], ["--json"], ["--out", "step.json"]):
        status, out, err = pmdtheory("update", *LAW, "--method", "baseline", "--baseline", "100", *flags)
        assert (status, out) == (1, "")
        assert err.startswith("pmdtheory: BASELINE_TOO_HIGH: the baseline exceeds log Z")
        assert err.count("\n") == 1
    assert files(tmp_path) == []


def law(policy="0.5 0.5", reward="0 1", tau="0.1"):
    flags = []
    for name, value in (("policy", policy), ("reward", reward), ("tau", tau)):
        flags += [] if value is None else [f"--{name}", *value.split()]
    return flags


UPDATE = {
    "nothing": ([], "policy, reward and tau are needed"),
    "no policy": (law(policy=None), "policy"),
    "no reward": (law(reward=None), "reward"),
    "no tau": (law(tau=None), "tau"),
    "empty policy": (law(policy=""), "policy"),
    "negative policy": (law(policy="-0.5 1.5"), "policy holds -0.5 at index 0"),
    "NaN policy": (law(policy="0.5 nan"), "policy holds NaN at index 1"),
    "infinite policy": (law(policy="0.5 inf"), "policy", "inf"),
    "policy sums to 0.9": (law(policy="0.5 0.4"), "policy sums to 0.9"),
    "policy of zeros": (law(policy="0 0"), "policy sums to 0"),
    "policy in words": (law(policy="half half"), "policy", "half"),
    "lengths": (law(reward="0 1 2"), "reward has 3 entries for 2 actions"),
    "NaN reward": (law(reward="0 nan"), "reward holds NaN at index 1"),
    "infinite reward": (law(reward="-inf 1"), "reward holds -inf"),
    "complex reward": (law(reward="0 1+2j"), "reward", "1+2j"),
    "tau zero": (law(tau="0"), "tau must be greater than zero, got 0.0"),
    "tau negative": (law(tau="-1"), "tau must be greater than zero, got -1.0"),
    "tau NaN": (law(tau="nan"), "tau must be finite, got nan"),
    "tau infinite": (law(tau="inf"), "tau must be finite, got inf"),
    "tau in words": (law(tau="abc"), "tau", "abc"),
    "tau without a value": ([*law(tau=None), "--tau"], "tau"),
    "tau too small": (law(reward="0 1e300", tau="1e-300"), "tau=1e-300 makes r/tau overflow"),
    "unknown method": ([*law(), "--method", "best"], "method", "best"),
    "no baseline": ([*law(), "--method", "baseline"], "baseline goes with --method baseline"),
    "needless baseline": ([*law(), "--baseline", "1"], "baseline goes with --method baseline"),
    "NaN baseline": ([*law(), "--method", "baseline", "--baseline", "nan"], "baseline must be finite, got nan"),
    "baseline in words": ([*law(), "--method", "baseline", "--baseline", "low"], "baseline", "low"),
    "no weight": ([*law(), "--method", "mixed"], "weight goes with --method mixed"),
    "needless weight": ([*law(), "--method", "kl", "--weight", "1"], "weight goes with --method mixed"),
    "negative weight": ([*law(), "--method", "mixed", "--weight", "-1"], "weight must be at least zero, got -1.0"),
    "infinite weight": ([*law(), "--method", "mixed", "--weight", "inf"], "weight must be finite, got inf"),
    "file and policy": (["law.csv", *law()], "file and --policy/--reward were both given"),
    "file and reward": (["law.csv", *law(policy=None)], "file and --policy/--reward were both given"),
    "no such file": (["missing.csv", "--tau", "1"], "file 'missing.csv' cannot be read (No such file"),
    "two files": (["a.csv", "b.csv", "--tau", "1"], "b.csv"),
}


@pytest.mark.parametrize("wrong", UPDATE)
def test_update_refuses(pmdtheory, tmp_path, wrong):
    arguments, *fragments = UPDATE[wrong]
    refused(pmdtheory("update", *arguments, "--out", "step.json"), *fragments)
    assert files(tmp_path) == []


DEEP = "[" * 100_000
FILES = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b" \n\n", "is empty"),
    "header.csv": (b"policy,reward\n", "a header and no rows"),
    "columns.csv": (b"p,r\n0.5,0\n0.5,1\n", "'columns.csv' has"),
    "no_reward.csv": (b"policy\n0.5\n0.5\n", "['policy']"),
    "no_policy.csv": (b"reward\n0\n1\n", "['reward']"),
    "no_header.csv": (b"0.5,0\n0.5,1\n", "no_header.csv"),
    "word.csv": (b"policy,reward\n0.5,0\n0.5,good\n", "row 3 has 'good' in column reward"),
    "hole.csv": (b"policy,reward\n0.5,\n0.5,1\n", "row 2 has '' in column reward"),
    "short_row.csv": (b"policy,reward\n0.5\n0.5,1\n", "row 2"),
    "long_row.csv": (b"policy,reward\n0.5,0,7\n0.5,1\n", "row 2"),
    "decimal_commas.csv": (b"policy,reward\n0,5,0\n0,5,1\n", "row 2"),
    "column_twice.csv": (b"policy,policy,reward\n0.5,0.4,0\n0.5,0.6,1\n", "policy"),
    "semicolons.csv": (b"policy;reward\n0.5;0\n0.5;1\n", "semicolons.csv"),
    "nan.csv": (b"policy,reward\n0.5,nan\n0.5,1\n", "reward holds NaN at index 0"),
    "infinite.csv": (b"policy,reward\n0.5,inf\n0.5,1\n", "reward holds inf"),
    "negative.csv": (b"policy,reward\n-0.5,0\n1.5,1\n", "policy holds -0.5"),
    "sum.csv": (b"policy,reward\n0.5,0\n0.6,1\n", "policy sums to 1.1"),
    "binary.csv": (bytes(range(256)), "cannot be read (not UTF-8 text)"),
    "utf16.csv": ("policy,reward\n0.5,0\n0.5,1\n".encode("utf-16"), "cannot be read (not UTF-8 text)"),
    "zeros.csv": (b"\0" * 64, "zeros.csv"),
    "wide.csv": (b"policy,reward\n0.5," + b"0" * 200_000 + b"x\n0.5,1\n", "wide.csv"),
    "open_quote.csv": (b'policy,reward\n0.5,"0\n0.5,1\n', "row 2"),
    "empty.json": (b"", "is empty"),
    "cut_off.json": (b'{"policy": [0.5, 0.5], "reward": [0', "is not JSON (line 1"),
    "text.json": (b"policy,reward\n0.5,0\n", "is not JSON"),
    "list.json": (b"[0.5, 0.5]", "holds a JSON list"),
    "number.json": (b"3", "holds a JSON int"),
    "null.json": (b"null", "holds a JSON NoneType"),
    "missing.json": (b'{"policy": [0.5, 0.5]}', "['policy']"),
    "strings.json": (b'{"policy": "half", "reward": [0, 1]}', "policy must hold real numbers, got 'half'"),
    "words.json": (b'{"policy": ["0.5", "0.5"], "reward": [0, 1]}', "policy must hold real numbers"),
    "object.json": (b'{"policy": [0.5, 0.5], "reward": {"a": 1}}', "reward must hold real numbers"),
    "nothing.json": (b'{"policy": null, "reward": [0, 1]}', "policy must hold real numbers, got None"),
    "two_axes.json": (b'{"policy": [[0.5, 0.5]], "reward": [0, 1]}', "policy must be a non-empty array of 1 axes"),
    "ragged.json": (b'{"policy": [[0.5], 0.5], "reward": [0, 1]}', "policy is ragged"),
    "no_actions.json": (b'{"policy": [], "reward": []}', "policy must be a non-empty array"),
    "nan.json": (b'{"policy": [0.5, NaN], "reward": [0, 1]}', "policy holds NaN at index 1"),
    "lengths.json": (b'{"policy": [0.5, 0.5], "reward": [0, 1, 2]}', "reward has 3 entries for 2 actions"),
    "binary.json": (bytes(range(256)), "cannot be read (not UTF-8 text)"),
    "deep.json": (DEEP.encode(), "deep.json"),
    "digits.json": (b'{"policy": [0.5, 0.5], "reward": [0, ' + b"9" * 5000 + b"]}", "digits.json"),
    "huge.json": (b'{"policy": [0.5, 0.5], "reward": [0, 1' + b"0" * 400 + b"]}", "reward"),
}


@pytest.mark.parametrize("name", FILES)
def test_update_refuses_files(pmdtheory, tmp_path, name):
    content, *fragments = FILES[name]
    (tmp_path / name).write_bytes(content)
    refused(pmdtheory("update", name, "--tau", "0.1", "--out", "step.json"), *fragments)
    assert files(tmp_path) == [name]


def test_update_refuses_a_directory(pmdtheory, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    refused(pmdtheory("update", "folder.csv", "--tau", "1"), "'folder.csv' cannot be read (Is a directory)")


def test_update_refuses_a_file_that_may_not_be_read(pmdtheory, tmp_path, monkeypatch):
    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.csv").write_text("policy,reward\n")
    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(Path, "read_text", denied)
    refused(pmdtheory("update", "secret.csv", "--tau", "1"), "'secret.csv' cannot be read (Permission denied)")


@pytest.mark.parametrize(
    ("tau", "fragment"), [(None, "tau"), ('"strong"', "tau"), ("0", "tau"), ("-1", "tau"), ("[0.1]", "tau")]
)
def test_update_refuses_the_tau_of_a_file(pmdtheory, tmp_path, tau, fragment):
    entry = "" if tau is None else f', "tau": {tau}'
    (tmp_path / "law.json").write_text(f'{{"policy": [0.5, 0.5], "reward": [0, 1]{entry}}}')
    refused(pmdtheory("update", "law.json"), fragment)


def test_a_csv_names_no_tau(pmdtheory, tmp_path):
    write_csv(tmp_path / "law.csv", {"policy": [0.5, 0.5], "reward": [0, 1]})
    refused(pmdtheory("update", "law.csv"), "file 'law.csv' names no tau; pass --tau 0.1")


# -- claims, help, and the command as a command ---------------------------------------------------------------------


def test_claims_prints_the_page(pmdtheory, tmp_path):
    assert pmdtheory("claims") == (0, report.claims_page(), "")
    assert pmdtheory("claims", "--out", "page.md") == (0, "", "")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == report.claims_page()
    assert files(tmp_path) == ["page.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(pmdtheory, command):
    status, out, err = pmdtheory(command, "--help")
    assert (status, err) == (0, "")
    assert f"Example: `pmdtheory {command}" in out


def test_help_lists_the_commands(pmdtheory):
    status, out, err = pmdtheory("--help")
    assert (status, err) == (0, "")
    for command in COMMANDS:
        assert command in out


def test_the_version_is_the_package_s(pmdtheory):
    assert pmdtheory("--version") == (0, f"pmdtheory {pmd.__version__}\n", "")
    status, out, _ = pmdtheory("--help")
    assert status == 0
    assert "--version" in out
    refused(pmdtheory("verify", "--version"), "--version", "--help")


KINDS = [cli.Verify, cli.Figures, cli.Step, cli.Claims, cli.Variants]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_examples_parse(kind):
    (example,) = re.findall(r"Example: `([^`]*)`", kind.__doc__)
    program, *arguments = shlex.split(example)
    assert program == "pmdtheory"
    assert type(tyro.cli(cli.Command, args=arguments)) is kind


def test_the_example_of_update_runs(pmdtheory):
    (example,) = re.findall(r"Example: `pmdtheory ([^`]*)`", cli.Step.__doc__)
    status, out, _ = pmdtheory(*shlex.split(example))
    assert status == 0
    assert f"{step_of().multiplier:.10g}" in out


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["--bogus"]])
def test_no_command_is_bad_input(pmdtheory, arguments):
    status, out, err = pmdtheory(*arguments)
    assert (status, out) == (2, "")
    assert "verify" in err or "bogus" in err
    assert "Traceback" not in err


def command(*arguments, cwd, **options):
    """The real command, in a directory that is not the repository; stdout buffered as users have it."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONUNBUFFERED")}
    return subprocess.run(
        [sys.executable, "-m", "pmdtheory", *arguments], cwd=cwd, env=environment, check=False, timeout=120, **options
    )


def test_it_works_outside_the_checkout(tmp_path):
    done = command("update", *LAW, "--json", cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert strict(done.stdout)["multiplier"] == step_of().multiplier
    assert files(tmp_path) == []


def test_verify_outside_the_checkout(tmp_path):
    done = command("verify", "C3", "C19", "--instances", "8", cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("holds") == 2


def test_figures_outside_the_checkout(tmp_path):
    done = command("figures", "ratio_tilt", "--format", "pdf", cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "figures/ratio_tilt.pdf" in files(tmp_path)


def test_bad_input_outside_the_checkout(tmp_path):
    done = command("verify", "C99", cwd=tmp_path, capture_output=True, text=True)
    refused((done.returncode, done.stdout, done.stderr), "C99")


@pytest.mark.parametrize("arguments", [["claims"], ["verify", "C5", "--instances", "2"], ["update", *LAW]])
def test_a_closed_pipe_is_no_error(tmp_path, arguments):
    """As in `pmdtheory claims | head -1`: the reader goes away, and that is neither a failure nor worth a word."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = command(*arguments, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        done = command("claims", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("pmdtheory: ")


def test_the_script_is_the_module():
    """The entry point of the wheel and `python -m pmdtheory` run the same function."""
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="pmdtheory")
    assert script.load() is cli.main
    assert figures.available()
    assert claims.CLAIMS
