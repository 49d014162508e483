"""Tables of the results page from arrays made by hand: means, not medians, and seeds that are missing stay visible."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

from tests.wrong import refused  # noqa: E402
from tiny_llm_rl import results, verdicts  # noqa: E402

pytestmark = pytest.mark.jax

ROOT = Path(__file__).parents[2]


def test_a_sweep_shows_means_and_gaps():
    accuracy = np.array([[0.1, 0.2, 0.6], [0.3, math.nan, 0.5]])
    ended = np.array([[0, 0, 0], [0, 3, 2]])
    arrays = {"accuracy": accuracy, "ended": ended, "batches_done": np.array([[8, 8, 8], [8, 2, 5]])}
    *_, line, blank, stopped = results.sweep([1.0, 2.0], ["PMD-mean"], arrays).splitlines()
    assert line == "| PMD-mean | **0.300** 0.100 0.200 0.600 | **0.400** 0.300 –† 0.500† |"
    assert blank == ""
    assert stopped == (
        "† stopped early, batches done: PMD-mean at 2: DIVERGED after 5; PMD-mean at 2: NO_SIGNAL after 2."
    )


def test_a_comparison_leaves_out_what_is_missing():
    """A seed that is missing in one arm is none of its differences either."""
    accuracy = np.array([[0.3, 0.4, 0.5], [0.1, math.nan, 0.4]])
    arrays = {
        "base": np.array([0.1, 0.09, 0.11]), "accuracy": accuracy, "kl_old_new": np.full((2, 3, 1), 0.5),
        "eval_entropy": np.array([[0.4, 0.4, 0.4], [0.2, math.nan, 0.4]]), "ended": np.zeros((2, 3)),
        "batches_done": np.ones((2, 3)),
    }  # fmt: skip
    cells = results.comparison(["PMD-mean", "GRPO"], arrays).splitlines()[-1].strip("| ").split(" | ")
    assert [cells[k] for k in (0, 1, 3, 4, 7)] == ["GRPO", "0.250", "0.100 – 0.400", "2.50", "0.30"]
    assert cells[5] == "-0.785 – 0.485"  # -.2 and -.1: t of one degree of freedom, 12.706, times .05


RATES = [1.0, 10.0, 100.0, 1000.0]


@pytest.mark.parametrize(
    ("accuracy", "found"),
    [
        ([0.2, 0.4, 0.3, 0.1], 100 * 10**0.5),
        ([0.4, 0.3, 0.1, 0.3], 10 * 10**0.5),  # the first crossing, though accuracy rises again
        ([0.1, 0.4, 0.3, 0.25], math.inf),  # what lies below the best does not count
        ([0.1, 0.2, 0.1, 0.1], 0.0),
        ([0.4, 0.2, 0.0, 0.0], 10.0),
        ([0.1, 0.1, 0.1, 0.4], math.inf),
    ],
)
def test_where_accuracy_falls_to_the_base(accuracy, found):
    assert verdicts.crossing(RATES, np.array(accuracy), 0.2) == pytest.approx(found)


def test_settings_that_do_not_rise_are_refused():
    good = np.array([0.2, 0.4, 0.3, 0.1])
    for rates in ([1.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0]):
        refused(ValueError, lambda rates=rates: verdicts.crossing(rates, good, 0.2), "settings", str(rates), "sort")
    refused(ValueError, lambda: verdicts.crossing(RATES, good * math.nan, 0.2), "accuracy", "nan", "leave out")


def test_thresholds_have_the_range_of_the_seeds():
    """Both ends of the grid: a seed that is nowhere above the base, and one that is everywhere."""
    accuracy = np.array([[[0.3, 0.1, 0.3]], [[0.3, 0.15, 0.3]], [[0.1, 0.1, 0.25]], [[0.1, 0.1, 0.25]]])
    (cell,) = results.thresholds(RATES, accuracy, 0.2)
    middle, ends = cell.split("** ")
    assert ends == "< 1 – > 1000"
    assert float(middle.strip("*")) == pytest.approx(10 * 10 ** (0.05 / 0.1), rel=0.02)  # of the means, .25 and .15


def test_two_settings_are_compared_seed_by_seed():
    """Seeds that differ by more than the settings do."""
    seeds = np.array([0.1, 0.3, 0.5, 0.7])
    accuracy = np.stack([seeds, seeds - [0.02, 0.03, 0.02, 0.03]])[:, None]
    half = 3.182446 * np.std([0.02, 0.03, 0.02, 0.03], ddof=1) / 2
    assert results.apart(accuracy) == [f"{-0.025 - half:.3f} – {-0.025 + half:.3f}"]


def test_data_of_a_preset_that_has_changed_are_refused(monkeypatch):
    full = results.preset("cpu-full")
    monkeypatch.setattr(results, "preset", lambda name: replace(full, arms=full.arms[:2]))
    refused(
        ValueError, lambda: results.tables(ROOT / "figures" / "data"), "lm_curves", "7 arms", "has 2", "--recompute"
    )
