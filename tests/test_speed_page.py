"""docs/speed.md holds the tables of the stored benchmarks, and what they ask was reached."""

import json

import pytest

from tests.benchmarks import page

RECORD = json.loads(page.STORED.read_text(encoding="utf-8"))


def test_the_page_holds_the_stored_tables():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written(text, RECORD) == text
    assert page.written(text, {**RECORD, "rows": RECORD["rows"][1:]}) != text


def test_every_benchmark_left_a_row_and_reached_what_it_was_asked():
    names = " ".join(row["what"] for row in RECORD["rows"])
    for what in (
        "fast.mean_update, 1e6",
        "mean_update, 1e4",
        "batch",
        "bandit",
        "enclosure",
        "trajectories",
        "diagnose",
    ):
        assert what in names
    assert [row["what"] for row in RECORD["rows"] if page.met(row) is False] == []
    assert any(page.met(row) for row in RECORD["rows"])


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        ({"wanted": ">= 25", "ratio": 24.9}, False),
        ({"wanted": ">= 25", "ratio": 25.0}, True),
        ({"wanted": "<= 200", "ratio": 201.0}, False),
        ({"wanted": "< 1 s", "share": 1.01}, False),
        ({"wanted": None, "ratio": 3.0}, None),
    ],
)
def test_what_was_not_reached_is_said(row, reached):
    assert page.met(row) is reached
    row = {"what": "a", "against": "b", **row}
    table = page.tables({"rows": [row], "processor": "p", "cores": 2, "versions": {"jax": "1"}})
    assert ("**missed**" in table) == (reached is False)
