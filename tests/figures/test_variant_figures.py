"""The figures of public losses: the artists, and what their data must satisfy."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import pmdtheory as pmd
from pmdtheory import figures, finite_sample
from pmdtheory.figures import _make
from pmdtheory.figures._style import Style
from pmdtheory.figures.loo_clamp import _advantage, _mean_mass
from tests.page import assert_apart

NAMES = ["variants", "loo_clamp"]
FOUND = 1e-9  # policies found by a root-finder on differences


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return {name: _make._computed(figures.available()[name])[0] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_page(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    texts = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    texts += [text for axes in canvas.axes for text in (axes._left_title, *axes.texts)]
    texts += [text for axes in canvas.axes[:1] for text in axes.get_yticklabels()]
    texts += canvas.legends[0].get_texts()
    assert_apart(canvas, texts)


@pytest.mark.parametrize("name", NAMES)
def test_keys_differ_by_more_than_colour(name: str, canvases: dict[str, Any]) -> None:
    looks = [(line._unscaled_dash_pattern, line.get_marker()) for line in canvases[name].legends[0].legend_handles]
    assert len({str(look) for look in looks}) == len(looks)


def test_variants_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["variants"], canvases["variants"]
    for bandit, axes in zip(("flat", "lengths", "tree"), canvas.axes, strict=True):
        drawn = [line for line in axes.get_lines() if line.get_label().isdigit()]
        for line, column in zip(drawn, data[bandit].T, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), column)
    names = [text.get_text() for text in canvas.axes[0].get_yticklabels()]
    assert names == ["KL-PMD", "PMD-mean", *figures.available()["variants"].config["variants"]]
    crosses = [line for line in canvas.axes[0].get_lines() if line.get_marker() == "x"]
    assert [names[int(line.get_ydata()[0])] for line in crosses] == ["trinity-opmd"]


def test_variants_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    figure = figures.available()["variants"]
    names = ["KL-PMD", "PMD-mean", *figure.config["variants"]]
    rows = {bandit: dict(zip(names, policies, strict=True)) for bandit, policies in arrays["variants"].items()}
    for policies in rows.values():
        for name, policy in policies.items():
            assert np.isnan(policy).all() == (name == "trinity-opmd")
            if name != "trinity-opmd":
                assert policy.sum() == pytest.approx(1.0, abs=1e-12)
    flat, lengths, tree = rows["flat"], rows["lengths"], rows["tree"]
    for bandit in (flat, tree):  # division by the length of equally long responses changes nothing
        np.testing.assert_allclose(bandit["openkimi-rloo"], bandit["PMD-mean"], atol=FOUND)
    assert np.abs(lengths["openkimi-rloo"] - lengths["PMD-mean"]).max() > 0.03
    problem = pmd.Problem.from_policy([0.5, 0.25, 0.25], [0.3, 0.5, 0.7], 0.1 * 3 / 2)
    for name in ("kimi", "trinity-rec-k2", "verl-dro"):  # groups of three
        np.testing.assert_allclose(flat[name], pmd.mean_update(problem).unwrap().policy, atol=FOUND)
    np.testing.assert_allclose(tree["trinity-rec-k2"], tree["verl-dro"], atol=FOUND)
    assert np.abs(tree["verl-dro"] - tree["kimi"]).max() > 0.03
    assert flat["PMD-mean"][2] < flat["pmd-part"][2] < flat["KL-PMD"][2]


def test_loo_clamp_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["loo_clamp"], canvases["loo_clamp"]
    first, *others = canvas.axes
    for line, row in zip(first.get_lines(), [*data["advantage"].T, data["mark_advantage"][:, 1]], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row)
    assert [text.get_text() for text in first.texts] == ["0.184", "1.842"]
    for axes, name in zip(others, ("tau", "p", "response"), strict=True):
        expected = [row for lines in data[f"mass_over_{name}"] for row in lines.T]
        for line, row in zip(axes.get_lines(), expected, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), data[name])
            np.testing.assert_array_equal(line.get_ydata(), row)


def test_loo_clamp_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["loo_clamp"]
    tau, (exact, clamped) = data["tau"], data["advantage"].T
    np.testing.assert_allclose(exact, 2.0, rtol=1e-12)
    np.testing.assert_allclose(clamped, np.minimum(2.0, -tau * np.log(1e-8)), rtol=1e-9)
    np.testing.assert_allclose(data["mark_advantage"], [[2.0, 0.184], [2.0, 1.842]], atol=5e-4)
    for name in ("tau", "p", "response"):
        good, bad = data[f"mass_over_{name}"][..., 0], data[f"mass_over_{name}"][..., 1]
        assert np.all(good >= bad - 1e-12)
    late = tau > 2.0 / -np.log(1e-8)
    np.testing.assert_allclose(data["mass_over_tau"][:, late, 0], data["mass_over_tau"][:, late, 1], rtol=1e-9)
    rare = data["response"] < 1e-11
    np.testing.assert_allclose(data["mass_over_response"][:, rare, 1], 0.2, atol=1e-3)
    assert np.all(data["mass_over_response"][:, rare, 0] > 0.28)


def test_the_advantages_of_the_figure_are_leave_one_out() -> None:
    """The exact one against `finite_sample`; the two differ for a single success only."""
    for k in range(5):
        rewards = np.where(np.arange(4) < k, 1.0, -1.0)
        expected = rewards - 0.01 * finite_sample.partition_baseline(rewards, 0.01)
        np.testing.assert_allclose(_advantage(4, k, 0.01, "others' partition"), expected, atol=1e-12)
        same = np.allclose(_advantage(4, k, 0.01, "clamped partition"), expected)
        assert same == (k != 1)


def test_the_mass_after_a_fit_by_hand() -> None:
    """A lone success, clamped, of a mass so small that it stays without: successes keep their mass on average."""
    exact, clamped = _mean_mass(4, p=0.2, tau=0.01, response=1e-15)
    assert clamped == pytest.approx(0.2, abs=1e-6)
    lone = 4 * 0.2 * 0.8**3  # such groups end with all mass on the success, the others as they were
    assert exact == pytest.approx(0.2 * (1 - lone) + lone, abs=1e-6)
