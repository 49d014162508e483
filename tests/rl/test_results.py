"""Tables of the results page from arrays made by hand: means, not medians, and seeds that are missing stay visible."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

from tests.wrong import refused  # noqa: E402
from tiny_llm_rl import results  # noqa: E402

pytestmark = pytest.mark.jax

ROOT = Path(__file__).parents[2]


def test_a_sweep_shows_means_and_gaps():
    accuracy = np.array([[0.1, 0.2, 0.6], [0.3, math.nan, 0.5]])
    line = results.sweep([1.0, 2.0], ["PMD-mean"], accuracy).splitlines()[-1]
    assert line == "| PMD-mean | **0.300** 0.100 0.200 0.600 | **0.400** 0.300 – 0.500 |"


def test_a_comparison_leaves_out_what_is_missing():
    """A seed that is missing in one arm is none of its differences either."""
    accuracy = np.array([[0.3, 0.4, 0.5], [0.1, math.nan, 0.4]])
    arrays = {
        "base": np.array([0.1, 0.09, 0.11]), "accuracy": accuracy, "kl_old_new": np.full((2, 3, 1), 0.5),
        "eval_entropy": np.array([[0.4, 0.4, 0.4], [0.2, math.nan, 0.4]]),
    }  # fmt: skip
    cells = results.comparison(["PMD-mean", "GRPO"], arrays).splitlines()[-1].strip("| ").split(" | ")
    assert [cells[k] for k in (0, 1, 3, 4, 7)] == ["GRPO", "0.250", "0.100 – 0.400", "2.50", "0.30"]
    assert cells[5] == "-0.785 – 0.485"  # -.2 and -.1: t of one degree of freedom, 12.706, times .05


def test_data_of_a_preset_that_has_changed_are_refused(monkeypatch):
    full = results.preset("cpu-full")
    monkeypatch.setattr(results, "preset", lambda name: replace(full, arms=full.arms[:2]))
    refused(
        ValueError, lambda: results.tables(ROOT / "figures" / "data"), "lm_curves", "7 arms", "has 2", "--recompute"
    )
