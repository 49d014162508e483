"""Reading rollouts: layouts of public trainers, every format, broken rows named and counted, wrong inputs refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from pmdtheory.rollouts import BrokenRow, Rollouts, read_rollouts
from pmdtheory.rollouts._layouts import parse_columns
from tests.wrong import refused

VERL = [
    {"input": "2+2", "output": "4", "gts": "4", "score": 1.0, "step": 1, "acc": True},
    {"input": "2+2", "output": "5", "gts": "4", "score": -1.0, "step": 1, "acc": False},
    {"input": "3+3", "output": "6", "gts": "6", "score": 1.0, "step": 2, "acc": True},
]


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_verl(tmp_path):
    found = read_rollouts(lines(tmp_path / "1.jsonl", VERL))
    assert (found.layout, found.labels) == ("verl", ("2+2", "3+3"))
    assert found.reward.tolist() == [1.0, -1.0, 1.0]
    assert found.prompt.tolist() == [0, 0, 1]
    assert found.step is not None
    assert found.step.tolist() == [1, 1, 2]
    assert found.columns == {"prompt": "input", "reward": "score", "step": "step"}


def test_a_folder_of_one_file_per_step(tmp_path):
    lines(tmp_path / "1.jsonl", VERL[:2])
    lines(tmp_path / "2.jsonl", VERL[2:])
    (tmp_path / "log.txt").write_text("not a table")
    found = read_rollouts(tmp_path)
    assert found.size == 3
    assert found.labels == ("2+2", "3+3")


def trl(path: Path, **more: list[object]) -> Path:
    table = {
        "step": [1, 1, 1],
        "prompt": ["a", "a", "b"],
        "completion": ["x", "y", "z"],
        "accuracy_reward": [1.0, 0.0, 1.0],
        **more,
        "advantage": [0.7, -0.7, 0.0],
    }
    parquet.write_table(pa.table(table), path)
    return path


def test_trl(tmp_path):
    found = read_rollouts(trl(tmp_path / "completions_00001.parquet"))
    assert (found.layout, found.columns["reward"]) == ("trl", "accuracy_reward")
    assert found.reward.tolist() == [1.0, 0.0, 1.0]


def test_trl_adds_its_reward_functions_and_one_that_gives_none_counts_as_zero(tmp_path):
    path = trl(tmp_path / "c.parquet", format_reward=[0.5, None, 0.5], source=["p", "q", "r"])
    found = read_rollouts(path)
    assert found.columns["reward"] == "accuracy_reward+format_reward"
    assert found.reward.tolist() == [1.5, 0.0, 1.5]
    assert read_rollouts(path, columns={"reward": "accuracy_reward"}).reward.tolist() == [1.0, 0.0, 1.0]


def test_prompts_of_messages(tmp_path):
    """A conversational prompt is a list of messages, in JSON and in Parquet."""
    chat = [[{"role": "user", "content": text}] for text in ("a", "a", "b")]
    rows = [{"prompt": one, "reward": reward} for one, reward in zip(chat, (1, 0, 1), strict=True)]
    assert read_rollouts(lines(tmp_path / "a.jsonl", rows)).prompt.tolist() == [0, 0, 1]
    parquet.write_table(pa.table({"prompt": chat, "reward": [1, 0, 1]}), tmp_path / "a.parquet")
    assert read_rollouts(tmp_path / "a.parquet").prompt.tolist() == [0, 0, 1]


def test_log_probabilities_of_tokens_are_added(tmp_path):
    rows = [{"prompt": 7, "reward": True, "old_log_probs": [-1.0, -2.5], "new_logp": -3.0, "response_length": 2}] * 2
    found = read_rollouts(lines(tmp_path / "a.jsonl", rows))
    assert found.old_log_prob is not None
    assert found.new_log_prob is not None
    assert found.length is not None
    assert found.old_log_prob.tolist() == [-3.5, -3.5]
    assert found.new_log_prob.tolist() == [-3.0, -3.0]
    assert found.length.tolist() == [2.0, 2.0]


def test_columns_by_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("who,points,bonus\na,1,0.5\nb,0,0\n")
    found = read_rollouts(path, columns=parse_columns("prompt=who, reward=points+bonus"))
    assert (found.layout, found.reward.tolist()) == ("columns", [1.5, 0.0])


BROKEN = {
    ".jsonl": (
        [
            '{"prompt": "a", "reward": 1}',
            '{"prompt": "a", "rew',
            '{"prompt": "a", "reward": null}',
            '{"prompt": "a", "reward": NaN}',
            "",
            '{"prompt": "a", "reward": "high"}',
            "[1]",
            '{"reward": 1}',
            '{"prompt": "b", "reward": 0.5}',
        ],
        {2: "", 3: "reward", 4: "reward", 6: "reward", 7: "", 8: "prompt"},
    ),
    ".csv": (
        ["prompt,reward", "a,1", "a", "a,", "a,nan", "a,inf", "a,high", ",1", "b,1,2", "b,0.5"],
        {3: "", 4: "reward", 5: "reward", 6: "reward", 7: "reward", 8: "prompt", 9: ""},
    ),
}


@pytest.mark.parametrize("ending", BROKEN)
def test_broken_rows_are_named(tmp_path, ending):
    rows, wanted = BROKEN[ending]
    path = lines(tmp_path / f"a{ending}", rows)
    found = read_rollouts(path)
    assert found.reward.tolist() == [1.0, 0.5]
    assert {row.row: row.column for row in found.broken} == wanted
    assert found.broken_count == len(wanted)
    assert all(row.file == str(path) and row.fault for row in found.broken)
    with pytest.raises(ValueError, match=r"row \d.*; repair the row"):
        read_rollouts(path, strict=True)


def test_a_broken_row_in_parquet(tmp_path):
    parquet.write_table(pa.table({"prompt": ["a", None, "a"], "reward": [1.0, 0.0, None]}), tmp_path / "a.parquet")
    found = read_rollouts(tmp_path / "a.parquet")
    assert [(row.row, row.column, row.fault) for row in found.broken] == [
        (2, "prompt", "is empty"),
        (3, "reward", "is empty"),
    ]
    assert str(found.broken[0]).endswith("row 2, column prompt: is empty")


def test_rows_keep_their_numbers_over_chunks(tmp_path, monkeypatch):
    """Chunks of a few bytes: the fast reader and the one for broken lines take turns, and agree on every number."""
    from pmdtheory.rollouts import _jsonl

    monkeypatch.setattr(_jsonl, "CHUNK", 100)
    rows = [{"prompt": i % 3, "reward": i % 2} if i % 7 else "{" for i in range(1, 60)]
    found = read_rollouts(lines(tmp_path / "a.jsonl", rows))
    assert [row.row for row in found.broken] == list(range(7, 60, 7))
    assert found.reward.tolist() == [i % 2 for i in range(1, 60) if i % 7]


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), st.floats(-1e6, 1e6)),
        min_size=1,
        max_size=8,
    )
)
def test_formats_agree(tmp_path_factory, pairs):
    """The same table as JSON lines and as Parquet; JSON's own reader is the second opinion."""
    folder = tmp_path_factory.mktemp("formats")
    rows = [{"prompt": prompt, "reward": reward} for prompt, reward in pairs]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    found = [read_rollouts(lines(folder / "a.jsonl", rows)), read_rollouts(folder / "a.parquet")]
    for one in found:
        assert one.reward.tolist() == [reward for _, reward in pairs]
        keys = list(dict.fromkeys(prompt for prompt, _ in pairs))
        assert one.prompt.tolist() == [keys.index(prompt) for prompt, _ in pairs]


WRONG = {
    "no such file": ("a.jsonl", None, {}, "cannot be read"),
    "empty": ("a.jsonl", "", {}, "is empty"),
    "another ending": ("a.xlsx", "x", {}, "ends in .xlsx"),
    "no object": ("a.jsonl", "[1]\n", {}, "no JSON object"),
    "no prompt": ("a.jsonl", '{"reward": 1}\n', {}, "none for prompt"),
    "no reward": ("a.jsonl", '{"prompt": 1, "text": "x"}\n', {}, "none for reward"),
    "no such column": ("a.csv", "p,r\n1,2\n", {"columns": {"prompt": "q"}}, "no column 'q' for prompt"),
    "no such role": ("a.csv", "p,r\n1,2\n", {"columns": {"promt": "p"}}, "role 'promt'"),
    "no sound row": ("a.csv", "prompt,reward\n,2\n", {}, "no sound row"),
    "no row": ("a.csv", "prompt,reward\n", {}, "no rows"),
    "twice": ("a.csv", "prompt,prompt,reward\n1,1,1\n", {}, "names a column twice"),
    "no parquet": ("a.parquet", "prompt", {}, "no Parquet file"),
    "not text": ("a.csv", b"\xff\xfe\x00", {}, "not UTF-8"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_files(tmp_path, wrong):
    name, text, options, fragment = WRONG[wrong]
    path = tmp_path / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text is not None:
        path.write_text(text)
    refused(ValueError, lambda: read_rollouts(path, **options), fragment)


def test_more_wrong_inputs(tmp_path):
    refused(ValueError, lambda: read_rollouts(tmp_path), "holds no file")
    refused(ValueError, lambda: read_rollouts([]), "files is empty")
    refused(ValueError, lambda: parse_columns("prompt"), "columns holds 'prompt'")
    one, two = lines(tmp_path / "1.jsonl", VERL), tmp_path / "2.csv"
    two.write_text("prompt,reward\na,1\n")
    refused(ValueError, lambda: read_rollouts([one, two]), "laid out as")
    refused(ValueError, lambda: read_rollouts(lines(tmp_path / "3.jsonl", [{**VERL[0], "step": 1.5}])), "whole number")


def test_arrays():
    found = Rollouts.from_arrays([3, 3, 1], [0, 1, 1], step=[1, 1, 1], old_log_prob=[-1, -2, -3])
    assert (found.labels, found.prompt.tolist(), found.size) == (("1", "3"), [1, 1, 0], 3)
    refused(ValueError, lambda: Rollouts.from_arrays([1, 2], [0.0, np.nan]), "reward holds nan at index 1")
    refused(TypeError, lambda: Rollouts.from_arrays([1, 2], ["a", "b"]), "reward must hold real numbers")
    refused(ValueError, lambda: Rollouts.from_arrays([1, 2, 3], [0, 1]), "prompt must be 2")
    refused(ValueError, lambda: Rollouts.from_arrays([1, 2], [0, 1], step=[0.5, 1]), "step holds 0.5")
    refused(ValueError, lambda: Rollouts.from_arrays([1, 2], [0, 1], length=[1]), "length must have shape [2]")
    assert str(BrokenRow("f", 3, "", "bad")) == "f: row 3, whole row: bad"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_progress_reaches_the_end(tmp_path, ending):
    path, rows = tmp_path / f"a{ending}", [{"prompt": i % 5, "reward": i % 2} for i in range(100)]
    if ending == ".csv":
        path.write_text("prompt,reward\n" + "".join(f"{row['prompt']},{row['reward']}\n" for row in rows))
    elif ending == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines(path, rows)
    calls = []
    read_rollouts(path, progress=lambda *call: calls.append(call))
    assert calls
    assert calls[-1][0] == str(path)
    assert calls[-1][1] == calls[-1][2] > 0
