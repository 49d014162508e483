"""The comparison itself: medians, ratios, the slowest part, and a child that dies is not taken for a slow one."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.benchmarks.trl import __main__ as program
from tests.benchmarks.trl import _workload


def record(wall, cpu, tokens=100, **phases):
    return {"wall": wall, "cpu": cpu, "tokens": tokens, "parameters": 7, "peak_bytes": 3, "phases": phases}


def test_ratios_are_of_medians():
    ours = {"groups": [record(1.0, 0.5, a=1.0), record(2.0, 1.0, a=1.0), record(50.0, 1.5, a=1.0)]}
    theirs = [record(8.0, 4.0, generation=2.0, loss=1.0), record(6.0, 3.0, generation=1.0, loss=5.0)]
    found = program.compared(ours, theirs)
    assert found["ratio"]["groups"] == pytest.approx(7.0 / 2.0)
    assert found["cpu_ratio"]["groups"] == pytest.approx(3.5 / 1.0)
    assert found["slowest_part_of_trl"] == "loss"
    assert found["trl"]["phases"] == {"generation": 1.5, "loss": 3.0}
    split = {"generation": 3.0, "loss: log-probabilities": 2.0, "backward": 2.0}  # the loss is timed in two pieces
    assert program.compared(ours, [record(8.0, 4.0, **split)])["slowest_part_of_trl"] == "loss and backward"
    assert found["tiny_llm_rl"]["groups"]["tokens_a_second"] == pytest.approx(50.0)
    assert found["tiny_llm_rl"]["groups"]["spread"] == [1.0, 50.0]


def test_the_page_says_what_was_measured():
    """The table of docs/results.md, ratios of CPU time, from the stored record."""
    root = Path(program.__file__).parents[3]
    stored = json.loads((root / "tests/benchmarks/results/trl.json").read_text())
    table = (root / "docs/results.md").read_text().partition("side by side with TRL")[2]
    sides = ("responses, not measured", "responses, measured", "groups, not measured", "groups, measured")
    shapes = [(case["threads"], case["prompts"], case["minibatches"]) for case in stored["cases"]]
    assert tuple(shapes) == program.CASES
    assert {threads for threads, _, _ in shapes} == {1}  # the table's rows do not name the threads
    for case in stored["cases"]:
        assert case["slowest_part_of_trl"] == "loss and backward"
        row = re.search(rf"^\| {case['prompts']} × 8, {case['minibatches']}\b.*$", table, re.MULTILINE)[0]
        numbers = [float(number) for number in re.findall(r"\| ([\d.]+) (?=\|)", row)]
        assert numbers == [round(case["cpu_ratio"][side], 1) for side in sides]


def test_a_child_answers_line_by_line(tmp_path, monkeypatch):
    package = tmp_path / "tests" / "benchmarks" / "trl"
    package.mkdir(parents=True)
    for folder in (package, *package.parents[:2]):
        (folder / "__init__.py").touch()  # found before the package of these tests
    (package / "_echo.py").write_text(
        'import sys\nfor k in range(3):\n    print("noise")\n    print(\'RECORD {"k": %d}\' % k, flush=True)\n'
        "    if sys.stdin.readline().strip() != 'go':\n        break\n"
    )
    monkeypatch.setattr(program, "ROOT", tmp_path)
    child = program.Child(sys.executable, "_echo", (1, 2, 3))
    assert [child.batch()["k"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="no record"):
        child.batch()
    child.stop()


def test_both_sides_do_the_same_work():
    assert _workload.reward("1#11") == 1.0
    assert _workload.reward("11") == 0.0
    config = json.loads(json.dumps(_workload.CONFIG))
    assert config["grpo"]["gradient_checkpointing"] is False  # TRL's default would compute activations twice
    assert config["grpo"]["bf16"] is False
    layer = 4 * 64 * 64 + 3 * 64 * config["model"]["intermediate_size"] + 2 * 64
    total = config["model"]["num_hidden_layers"] * layer + 2 * 64 * len(_workload.SYMBOLS) + 64
    from tiny_llm_rl.model import ModelConfig

    ours = ModelConfig(vocabulary=len(_workload.SYMBOLS), width=64, layers=3, heads=2).parameters
    assert 0.98 * ours < total <= ours  # never more than ours
