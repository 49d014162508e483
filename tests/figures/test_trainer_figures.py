"""Figures of what needs the trainer: drawn from stored data, which must satisfy the claims; and a tiny run of each."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pmdtheory.figures import _make
from pmdtheory.figures._data import decode, encode, read
from pmdtheory.figures._style import Style
from tests.page import assert_apart
from tests.tolerances import RATE
from tiny_llm_rl.figures import exact_lm

ROOT = Path(__file__).parents[2]
REACHED = 1e-4

# -- exact_lm -------------------------------------------------------------------------------------------------------

TINY = {
    "population": {**exact_lm.FIGURE.config["population"], "model": {"vocabulary": 2, "length": 3, "width": 8}},
    "inner": {
        **exact_lm.FIGURE.config["inner"],
        "model": {"vocabulary": 2, "length": 3, "width": 8},
        "rollouts": [64, 1024],
        "seeds": 2,
        "checkpoints": [1, 16, 256],
    },
    "sampled": {
        **exact_lm.FIGURE.config["sampled"],
        "model": {"vocabulary": 2, "length": 3, "width": 8},
        "rollouts": [2**12, 2**16],
        "seeds": 3,
        "fitted": 2,
    },
    "width": {
        **exact_lm.FIGURE.config["width"],
        "vocabulary": 3,
        "length": 3,
        "widths": [2, 8],
        "restarts": [2, 1],
        "seeds": 1,
    },
}


@pytest.fixture(scope="module")
def enumerated() -> Any:
    arrays, config = read(exact_lm.FIGURE, ROOT / "figures" / "data" / "exact_lm.json")
    assert config == decode(exact_lm.FIGURE, encode(exact_lm.FIGURE, arrays), "exact_lm")[1]
    return arrays


@pytest.fixture(scope="module")
def canvas(enumerated: Any) -> Any:
    return _make._drawn(exact_lm.FIGURE, enumerated, Style.of("icml2024"))


def test_exact_lm_draws_its_arrays(enumerated: Any, canvas: Any) -> None:
    descent, inner, rollouts, width = canvas.axes
    assert [axes.get_xlabel() for axes in canvas.axes] == ["Newton steps", "inner steps", "rollouts $N$", "width"]
    assert [axes.get_yscale() for axes in canvas.axes] == ["log"] * 4
    assert [axes.get_title(loc="left")[len(r"$\bf{")] for axes in canvas.axes] == list("abcd")
    for line, row in zip(descent.get_lines(), enumerated["descent"], strict=False):
        np.testing.assert_array_equal(line.get_ydata(), row[~np.isnan(row)])
    assert descent.get_lines()[2].get_ydata()[0] == REACHED
    for line, table in zip(inner.get_lines(), enumerated["inner_sampled"], strict=False):
        np.testing.assert_array_equal(line.get_ydata(), np.median(table, axis=0))
    np.testing.assert_array_equal(inner.get_lines()[-1].get_ydata(), enumerated["inner_population"])
    shown = [box.get_children()[0] for box in rollouts.containers]
    for line, table in zip(shown, enumerated["sampled_mean"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), table[:, 0])
    dotted = [line for line in rollouts.get_lines() if line not in shown][-2:]
    for line, constant in zip(dotted, enumerated["asymptote"], strict=True):
        np.testing.assert_allclose(line.get_ydata() * np.sqrt(enumerated["rollouts"]), constant)
    medians = [line for line in width.get_lines() if line.get_linestyle() == "-"]
    for line, table in zip(medians, enumerated["width_distance"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), np.median(table, axis=1))


def test_exact_lm_has_no_text_upon_another(canvas: Any) -> None:
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    texts = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    texts += [text for axes in canvas.axes for text in (axes._left_title, *axes.texts)]
    texts += [text for owner in (*canvas.legends, *(a.get_legend() for a in canvas.axes)) for text in owner.get_texts()]
    assert_apart(canvas, texts)


def test_exact_lm_reaches_both_members(enumerated: Any) -> None:
    for row in enumerated["descent"]:
        known = row[~np.isnan(row)]
        assert known[0] > 0.1
        assert known[-1] < REACHED
        assert np.isnan(row[known.size :]).all()
    starts = enumerated["descent"][:, 0]
    np.testing.assert_allclose(starts, enumerated["descent_step"])  # the base policy is where the step starts


def test_exact_lm_has_the_rate_and_the_constants(enumerated: Any) -> None:
    for (slope, low, high), table, constant in zip(
        enumerated["slope"], enumerated["sampled"], enumerated["asymptote"], strict=True
    ):
        assert low <= slope <= high
        assert low - RATE < -0.5 < high + RATE
        assert abs(slope + 0.5) < RATE
        scaled = table[-1] * np.sqrt(enumerated["rollouts"][-1])
        assert abs(scaled.mean() - constant) < 5.0 * scaled.std(ddof=1) / np.sqrt(scaled.size)
    assert (enumerated["unsampled_mass"][-1] == 0.0).all()
    assert (enumerated["unsampled_mass"][0] > 0.0).all()


def test_exact_lm_keeps_part_away_from_the_ideal_step(enumerated: Any) -> None:
    apart = enumerated["apart"]
    assert apart > 0.05
    assert np.abs(enumerated["sampled_to_kl"][-1] - apart).max() < 0.2 * apart
    assert enumerated["sampled"][1, -1].max() < 0.2 * apart


def test_exact_lm_stops_where_the_rollouts_are_used_up(enumerated: Any) -> None:
    ends = np.median(enumerated["inner_sampled"][:, :, -1], axis=1)
    assert np.all(np.diff(ends) < 0.0)
    assert enumerated["inner_population"][-1] < ends[-1]
    assert enumerated["inner_population"][-1] < 0.01 * enumerated["inner_population"][0]


def test_exact_lm_has_the_price_of_a_width(enumerated: Any) -> None:
    median = np.median(enumerated["width_distance"], axis=2)
    assert np.all(median[:, 0] > 0.1)
    assert np.all(median[:, -1] < median[:, 0] / 100)
    assert enumerated["width_excess"].min() > -1e-9  # nothing is below the exact minimum
    assert np.all(np.median(enumerated["width_gain"], axis=2)[:, -1] == pytest.approx(1.0, abs=0.01))


@pytest.mark.slow
@pytest.mark.jax
def test_exact_lm_computes() -> None:
    """Two or three symbols and three tokens: the same functions, in seconds."""
    small = replace(exact_lm.FIGURE, config=TINY)
    arrays, text = _make._computed(small)
    assert decode(small, text, "tiny")[1] == TINY
    assert np.nanmin(arrays["descent"], axis=1).max() < REACHED
    assert abs(arrays["slope"][0, 0] + 0.5) < 0.5
    assert arrays["inner_sampled"].shape == (2, 2, 3)
    assert arrays["width_distance"][:, 1].max() < arrays["width_distance"][:, 0].min() / 10
    _make._drawn(small, arrays, Style.of("icml2024"))


def test_exact_lm_is_listed_without_jax() -> None:
    code = "import sys; from tiny_llm_rl.figures.exact_lm import FIGURE; print(FIGURE.claims, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "('C20', 'C1', 'C12') False"
