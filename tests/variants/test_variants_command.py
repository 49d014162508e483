"""`pmdtheory variants`: what it prints, its exit status, and one line for every kind of bad input."""

import json
import subprocess
import sys
import time

import pytest

from pmdtheory import cli
from pmdtheory.variants import VARIANTS
from pmdtheory.variants._report import TITLES

MINE = """
import numpy as np

def loss(logp, old_logp, rewards, mask):
    s = ((logp - old_logp) * mask).sum(-1)
    return np.mean((rewards - rewards.mean(-1, keepdims=True) - 0.3 * s) ** 2)

def raises(logp, old_logp, rewards, mask):
    return 1 / 0

def vector(logp, old_logp, rewards, mask):
    return rewards.sum(-1)

def endless(logp, old_logp, rewards, mask):
    return float("inf")
"""


@pytest.fixture
def pmdtheory(capsys, monkeypatch, tmp_path):
    """Run the command in a directory with a loss; gives exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)

    def command(*arguments):
        status = cli.main(["variants", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def test_a_loss_from_a_file(pmdtheory):
    status, out, err = pmdtheory("--file", "mine.py:loss")
    assert (status, err) == (0, "")
    assert "groups of 4; tau in reward units" in out
    assert all(title in out for title in TITLES)
    assert "loss: PMD-mean with tau = 0.3: a square of the sequence log-ratio, baseline mean of the group." in out
    assert "converge to tau n/(n-1) = 0.4." in out
    assert "kimi" not in out


def test_rows_by_name_beside_a_file(pmdtheory):
    status, out, err = pmdtheory("kimi", "trinity-opmd", "--file", "mine.py:loss", "--group-size", 5)
    assert (status, err) == (0, "")
    assert "\nkimi: PMD-mean with tau = 0.1" in out
    assert "\ntrinity-opmd: None of the family: a plain policy gradient" in out
    assert "tau n/(n-1) = 0.375." in out


def test_json_is_only_json(pmdtheory):
    status, out, err = pmdtheory("grpo", "--file", "mine.py:loss", "--json", "--tau-hint", 0.3, "--library", "numpy")
    assert (status, err) == (0, "")
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["schema"] == 1
    clipped, mine = data["variants"]
    assert (clipped["name"], clipped["in_family"], clipped["form"]) == ("grpo", False, "clipped")
    assert (mine["name"], mine["member"]) == ("loss", "PMD-mean")
    assert mine["effective_tau"] == pytest.approx(0.4, rel=1e-6)
    assert mine["verdict"].startswith("PMD-mean with tau = 0.3")
    assert len(mine["populations"]) == 3


def test_the_whole_table(pmdtheory, monkeypatch):
    rows = [variant for variant in VARIANTS if variant.name in ("kimi", "openkimi-ploo", "prime-rl-3381")]
    monkeypatch.setattr("pmdtheory.variants.VARIANTS", tuple(rows))
    monkeypatch.setattr(cli, "find_spec", lambda name: name == "numpy" or None)
    status, out, err = pmdtheory()
    assert (status, err) == (0, "")
    assert "\nkimi: PMD-mean" in out
    assert "\nopenkimi-ploo: PMD-part" in out
    assert "prime-rl-3381: not probed, since it needs jax" in out
    assert "…" not in out, "a column is cut off"


def test_a_narrow_terminal_gets_fewer_columns(pmdtheory, monkeypatch):
    monkeypatch.setattr(cli, "width", lambda: 80)
    out = pmdtheory("kimi")[1]
    assert "baseline" in out
    assert "TV to PMD-mean" not in out
    assert max(map(len, out.split("\n\n")[0].splitlines())) <= 80


WRONG = {
    "unknown row": (["nonsense"], "unknown variant 'nonsense'", "choose from kimi"),
    "no function": (["--file", "mine.py"], "file must name a file and a function"),
    "no file": (["--file", "none.py:loss"], "does not exist"),
    "missing function": (["--file", "mine.py:other"], "has no function 'other'"),
    "raises": (["--file", "mine.py:raises"], "loss raised ZeroDivisionError"),
    "wrong shape": (["--file", "mine.py:vector"], "not a real scalar"),
    "not finite": (["--file", "mine.py:endless"], "loss returned inf"),
    "group of two": (["kimi", "--group-size", "2"], "group_size must be at least 3, got 2"),
    "negative hint": (["kimi", "--tau-hint", "-1"], "tau_hint must be greater than zero, got -1.0"),
    "unknown library": (["--file", "mine.py:loss", "--library", "mlx"], "mlx"),
    "library that is not there": (["--file", "mine.py:loss", "--library", "torch"], "torch"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_input_is_one_line(pmdtheory, monkeypatch, wrong):
    monkeypatch.setattr("pmdtheory.variants._probe.find_spec", lambda name: None)
    arguments, *fragments = WRONG[wrong]
    status, out, err = pmdtheory(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("pmdtheory: ")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err
    assert len(err.partition("; ")[2]) > 5


def test_one_command_in_less_than_thirty_seconds(tmp_path):
    """A new process, imports included."""
    (tmp_path / "mine.py").write_text(MINE)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pmdtheory", "variants", "--file", "mine.py:loss"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "PMD-mean with tau = 0.3" in done.stdout
    assert time.perf_counter() - start < 30.0


def test_importing_variants_loads_no_library():
    code = "import sys, pmdtheory.variants; print(sorted({'jax', 'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
