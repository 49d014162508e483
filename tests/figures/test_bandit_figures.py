"""Figures of bandits: what they draw is their arrays, and the arrays say what the captions say.

Training is not repeated here: the stored numbers are read, and small configurations are computed for their form.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402

import pmdtheory as pmd  # noqa: E402
from pmdtheory import finite_sample  # noqa: E402
from pmdtheory.figures import _data  # noqa: E402
from pmdtheory.figures._style import Style  # noqa: E402
from tests.page import assert_apart
from tests.tolerances import monte_carlo  # noqa: E402
from tiny_llm_rl.figures import (  # noqa: E402  # noqa: E402
    _bandit_runs,
    advantage_estimators,
    bandit_curves,
    bandit_partition_failure,
    bandit_staleness,
)

pytestmark = pytest.mark.jax
DATA = Path(__file__).parents[2] / "figures" / "data"
FIGURES = {
    module.FIGURE.name: module.FIGURE
    for module in (advantage_estimators, bandit_curves, bandit_partition_failure, bandit_staleness)
}


@pytest.fixture(scope="module")
def arrays():
    return {name: _data.read(figure, DATA / f"{name}.json")[0] for name, figure in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_the_stored_numbers_are_of_this_configuration(name):
    config = _data.read(FIGURES[name], DATA / f"{name}.json")[1]
    assert config == FIGURES[name].config


@pytest.mark.parametrize("name", FIGURES)
def test_captions_cite_claims_of_the_registry(name):
    assert FIGURES[name].claims
    assert set(FIGURES[name].claims) <= set(pmd.CLAIMS)
    assert "TODO" not in FIGURES[name].caption


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_overlaps_another_or_leaves_the_page(name, canvases):
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    texts = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    texts += [text for axes in canvas.axes for text in (axes._left_title, *axes.texts)]
    texts += [text for legend in canvas.legends for text in legend.get_texts()]
    texts += [text for axes in canvas.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert_apart(canvas, texts)


@pytest.mark.parametrize("name", FIGURES)
def test_legends_cover_no_data(name, canvases):
    for axes in canvases[name].axes:
        if axes.get_legend() is None:
            continue
        box = axes.get_legend().get_window_extent()
        for line in axes.get_lines():
            shown = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float))
            fine = np.concatenate(
                [np.linspace(a, b, 50) for a, b in zip(shown[:-1], shown[1:], strict=True)] or [shown]
            )
            assert not any(box.contains(x, y) for x, y in fine), name


@pytest.mark.parametrize("name", FIGURES)
def test_titles_letter_the_panels(name, canvases):
    titles = [axes.get_title(loc="left") for axes in canvases[name].axes]
    assert [title[len(r"$\bf{")] for title in titles] == list("abcd")


def drawn(axes):
    return [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]


def holds(axes, row):
    """Whether one of the lines is this row, where it has numbers."""
    known = row[~np.isnan(row)]
    return any(known.size == y.size and np.array_equal(known, y) for y in drawn(axes))


def test_every_mean_is_drawn(arrays, canvases):
    data, axes = arrays["bandit_curves"], canvases["bandit_curves"].axes
    for panel, name in zip(axes, bandit_curves.METRICS, strict=True):
        rows = [row for i, row in enumerate(data[name][:, :, 0]) if name != "distance" or i != 5]
        assert all(holds(panel, row) for row in rows if not np.isnan(row).all())
    data, axes = arrays["bandit_partition_failure"], canvases["bandit_partition_failure"].axes
    for panel, table in zip(axes[:2], data["success"], strict=True):
        assert all(holds(panel, row) for row in table[:, :, 0])
    assert all(holds(axes[2], row) for row in data["rollouts_success"][:, :, 0])
    assert all(holds(axes[3], row) for row in data["rate_success"][..., 0].reshape(-1, data["rate"].size))
    data, axes = arrays["bandit_staleness"], canvases["bandit_staleness"].axes
    assert all(holds(axes[0], row) for row in data["reused"][:, :, 0])
    assert all(holds(axes[1], row) for row in data["lagging"][:, :, 0])
    data, axes = arrays["advantage_estimators"], canvases["advantage_estimators"].axes
    for panel, name in zip(axes, ("bias", "rmse", "rmse_sizes", "step"), strict=True):
        assert all(
            np.array_equal(row, y, equal_nan=True) for row, y in zip(data[name], drawn(panel)[-6:], strict=False)
        ) or all(any(np.array_equal(row, y, equal_nan=True) for y in drawn(panel)) for row in data[name])


# -- what the captions say ------------------------------------------------------------------------------------------


def test_partition_failure_shows_what_its_caption_says(arrays):
    data = arrays["bandit_partition_failure"]
    mean, part = data["success"][:, :, -1, 0]
    assert mean[0] >= 0.99
    assert np.all(part[:3] < 0.01)  # less than at the start
    assert part[3] > 0.98
    assert np.all(data["success"][..., 1] <= data["success"][..., 0])
    assert np.all(data["success"][..., 0] <= data["success"][..., 2])
    sizes = data["rollouts_success"][:, :, 0]
    assert abs(sizes[0, 0] - sizes[1, 0]) < 0.01  # two rollouts
    assert np.all(sizes[1, 1:3] < 0.1)
    assert np.all(sizes[1, 3:] > 0.95)
    assert np.all(data["rate_success"][1, :, -1, 0] > 0.9)  # steps that are long enough


def test_curves_show_what_their_caption_says(arrays):
    data = arrays["bandit_curves"]
    names = [*bandit_curves.TITLES, "many"]
    last = {name: dict(zip(names, data[name][:, -1, 0], strict=True)) for name in ("success", "diversity")}
    np.testing.assert_allclose(data["diversity"][:, 0], 100.0, rtol=1e-5)
    assert last["diversity"]["exact-mean"] > 99.9
    assert 1.5 < last["diversity"]["pmd-mean"] < 3.0
    assert 15.0 < last["diversity"]["many"] < 25.0
    assert last["success"]["pmd-mean"] > 0.99
    distance = data["distance"][:, :, 0]
    assert np.isnan(distance[names.index("grpo")]).all()
    assert np.isnan(distance[names.index("rloo-is")]).all()
    assert distance[0].argmax() not in (0, distance.shape[1] - 1)


def test_staleness_shows_what_its_caption_says(arrays):
    data = arrays["bandit_staleness"]
    rows = dict(zip(bandit_staleness.REUSED, data["reused"], strict=True))
    for name in ("rloo", "rloo-is"):
        assert rows[name][-1, 1] > rows[name][1, 2]  # worse at the end than in the middle, intervals apart
        assert rows[name][-1, 1] > rows["pmd-mean"][-1, 2]
    assert np.all(rows["grpo"][:, 0] < rows["pmd-mean"][:, 0])
    sampler, current, weights, rloo = data["lagging"]
    np.testing.assert_array_equal(sampler[0], current[0])  # without a lag the anchors are one
    np.testing.assert_array_equal(sampler[0], weights[0])
    assert sampler[-1, 1] > current[-1, 2]
    assert sampler[-1, 1] > weights[-1, 2]
    assert np.all(data["drift"][3, :, 0] >= data["drift"][:3, :, 0].max(0))
    assert np.all(data["kept"][:, 0, 1] > data["kept"][:, 1:, 2].max(1))  # fewer kept when filtered


def test_estimators_are_those_of_the_theory(arrays):
    """A second opinion: `finite_sample` computes bias and error of leave-one-out baselines by itself."""
    data, config = arrays["advantage_estimators"], advantage_estimators.FIGURE.config
    names, tau = list(advantage_estimators.ESTIMATORS), config["tau"]
    assert np.abs(data["bias"][names.index("mean-loo")]).max() < 1e-12  # C12
    for k in (3, 30, 60):
        problem = pmd.Problem.binary(float(data["p"][k]), tau)
        error = finite_sample.target_error(problem, config["rollouts"])
        mean, part = (data["rmse"][names.index(name), k] for name in ("mean-loo", "partition-loo"))
        assert part / mean == pytest.approx(error.ratio, rel=1e-9)
        baseline = finite_sample.expected_baseline(problem, config["rollouts"] - 1).value
        step = pmd.baseline_update(problem, baseline=baseline).unwrap().policy[1]
        assert data["step"][names.index("partition-loo"), k] == pytest.approx(step, rel=1e-9)
        assert data["step"][0, k] == pytest.approx(pmd.mean_update(problem).unwrap().policy[1], rel=1e-9)
    exact = np.array([pmd.kl_update(pmd.Problem.binary(float(p), tau)).unwrap().policy[1] for p in data["p"]])
    np.testing.assert_allclose(data["exact"][1], exact, rtol=1e-9)


# -- intervals and runs ---------------------------------------------------------------------------------------------


def test_intervals_are_those_of_the_bootstrap():
    rng = np.random.default_rng(3)
    samples = rng.normal(2.0, 1.0, (1, 400, 3))
    found = _bandit_runs.interval(samples)
    assert found.shape == (1, 3, 3)
    np.testing.assert_array_equal(found[..., 0], samples.mean(1))
    half = 1.96 * samples.std(1) / 20.0
    np.testing.assert_allclose(found[..., 0] - found[..., 1], half, rtol=0.2)
    np.testing.assert_allclose(found[..., 2] - found[..., 0], half, rtol=0.2)
    assert np.abs(found[..., 0] - 2.0).max() < monte_carlo(1.0, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FIGURES if FIGURES[name].expensive])
def test_small_configurations_have_the_form_of_the_large_ones(name):
    figure = FIGURES[name]
    small = {**figure.config, "seeds": 2, "bandit": {**figure.config["bandit"], "batches": 2, "epochs": 2}}
    for key in ("rollouts", "groups", "rates", "steps", "lag"):
        if key in small:
            small[key] = small[key][:2]
    found = {key: np.asarray(value, np.float64) for key, value in figure.compute(small).items()}
    assert figure.checked(found, "small") is found
