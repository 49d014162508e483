"""Figures of the language model, drawn from stored runs: what they draw is their arrays, the page's tables are theirs,
and the settings that the comparisons use are those that the tuning chose."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402

import pmdtheory as pmd  # noqa: E402
from pmdtheory.figures import _data  # noqa: E402
from pmdtheory.figures._style import Style  # noqa: E402
from tests.page import assert_apart  # noqa: E402
from tests.wrong import refused  # noqa: E402
from tiny_llm_rl import arms, experiments, presets, results, verdicts  # noqa: E402
from tiny_llm_rl.figures import _lm_runs, lm_conservatism, lm_tuning  # noqa: E402

pytestmark = pytest.mark.jax
ROOT = Path(__file__).parents[2]
DATA = ROOT / "figures" / "data"
SWEPT = results.SWEEPS
FIGURES = {
    name: import_module(f"tiny_llm_rl.figures.{name}").FIGURE
    for name in (*results.COMPARISONS, *SWEPT, "lm_conservatism", "lm_time", "lm_tuning")
}


@pytest.fixture(scope="module")
def arrays():
    return {name: _data.read(figure, DATA / f"{name}.json")[0] for name, figure in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_the_stored_numbers_are_of_this_configuration(name):
    assert _data.read(FIGURES[name], DATA / f"{name}.json")[1] == FIGURES[name].config
    assert set(FIGURES[name].claims) <= set(pmd.CLAIMS)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_overlaps_another_or_leaves_the_page(name, canvases):
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    shown = [axes for axes in canvas.axes if axes.axison]
    texts = [axis.label for axes in shown for axis in (axes.xaxis, axes.yaxis)]
    texts += [text for axes in shown for text in (axes._left_title, *axes.texts)]
    texts += [text for legend in canvas.legends for text in legend.get_texts()]
    texts += [text for axes in canvas.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert_apart(canvas, texts)
    for axes in shown:
        low, high = axes.get_xlim()
        labels = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        assert_apart(canvas, [text for place, text in labels if low <= place <= high and not text.get_rotation()])


@pytest.mark.parametrize("name", SWEPT)
def test_sweeps_draw_every_seed(name, arrays, canvases):
    config, table = FIGURES[name].config, arrays[name]["accuracy"]
    table = table.reshape(len(config["settings"]), len(config["rows"]), -1)
    drawn = [np.asarray(line.get_ydata(), float) for line in canvases[name].axes[0].get_lines()]
    for index in range(len(config["rows"])):
        for seed in table[:, index].T:
            assert any(np.array_equal(seed, y) for y in drawn)
        assert any(np.array_equal(table[:, index].mean(-1), y) for y in drawn)
    arms = [arm.name for arm in presets.preset(config["preset"]).arms]
    assert len(arms) == len(config["settings"]) * len(config["rows"])
    assert [arm.partition("-")[0] for arm in arms[: len(config["rows"])]] == config["rows"]


@pytest.mark.parametrize("name", FIGURES)
def test_the_data_are_of_the_seeds_of_the_preset(name, arrays):
    preset = FIGURES[name].config.get("preset")
    if preset is not None:
        chosen = presets.preset(preset)
        assert arrays[name]["accuracy"].shape == (len(chosen.arms), chosen.seeds)
        assert FIGURES[name].config["endings"] == list(experiments.ENDINGS)


@pytest.mark.parametrize("name", FIGURES)
def test_the_data_say_what_trained_them(name):
    stored = json.loads((DATA / f"{name}.json").read_text())["versions"]
    assert {"jax", "optax", "equinox", "processor"} <= set(stored)


@pytest.mark.parametrize("name", SWEPT)
def test_runs_that_stopped_are_crossed(name, canvases, arrays):
    """In every panel, each at its own value; no cross where all runs went to their end."""
    stopped = arrays[name]["ended"] != 0
    crossed = [line for line in canvases[name].axes[0].get_lines() if line.get_marker() == "x"]
    drawn = np.concatenate([np.ravel(line.get_ydata()) for line in crossed] or [np.empty(0)])
    np.testing.assert_array_equal(np.sort(drawn), np.sort(arrays[name]["accuracy"][stopped]))


def test_a_curve_is_pooled_over_the_batches_that_there_were():
    """Two runs of one and three batches: the line is the mean of four batches, the points those of each run."""
    curve = np.array([[[8.0, np.nan, np.nan], [1.0, 2.0, 3.0]]] * 2)
    ends = {"accuracy": np.full((2, 2), 0.5), "ended": np.array([[3, 0], [0, 0]]), "base": np.array([0.1, 0.1, 0.1])}
    config = {"settings": [1.0, 2.0], "rows": ["mean"], "row_titles": ["PMD-mean"]}
    panels = [("accuracy", "", "linear"), *[("kl_old_new", "", "log")] * 3]
    with Style.of("icml2024").context():
        style = Style.of("icml2024")
        axes = _lm_runs.swept({**ends, "kl_old_new": curve}, style, config, panels, "").axes[1]
    line, *points = [list(each.get_ydata()) for each in axes.get_lines()]
    assert line == [3.5, 3.5]
    assert points[:2] == [[8.0, 8.0], [2.0, 2.0]]
    assert points[2:] == [[8.0]]


def test_the_quick_comparison_shows_its_three_statements(arrays):
    """What anyone can train in minutes, held to the stored runs, by intervals of paired differences."""
    stored = dict(zip(FIGURES["lm_quick"].config["arms"], arrays["lm_quick"]["accuracy"], strict=True))
    base = arrays["lm_quick"]["base"][0]
    assert verdicts.mean_interval(stored["mean"] - 2 * base)[1] > 0
    assert verdicts.mean_interval(stored["part"] - base)[2] <= 0
    assert presets.preset("cpu-quick").arms[1].config.tau == 0.1
    for arm in ("part", "none"):
        assert verdicts.mean_interval(stored[arm] - 0.6 * stored["mean"])[2] < 0


def test_comparisons_use_what_the_tuning_chose(arrays):
    for preset, chosen in (("cpu-tune", arms.TUNED), ("cpu-long-tune", arms.LONG_TUNED)):
        judged = arrays["lm_tuning"][preset.replace("-", "_")]
        assert lm_tuning.best(FIGURES["lm_tuning"].config[preset], judged) == chosen


def test_every_algorithm_had_the_same_budget():
    for grid, budget in ((arms.TUNING, 8), (arms.LONG_TUNING, 16)):
        assert {len(rows) for rows in grid.values()} == {budget}
    seeds = {presets.preset(name).first_seed for name in ("cpu-tune", "cpu-long-tune")}
    assert not seeds & set(range(max(presets.preset(name).seeds for name in ("cpu-full", "cpu-long"))))


def test_the_page_holds_the_tables_of_the_data():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    found = results.tables(DATA)
    assert results.filled(page, found) == page, "write them with: tiny-llm-rl results"
    for name in found:
        assert f"<!-- table {name} -->" in page
    refused(
        ValueError,
        lambda: results.filled("<!-- table other --><!-- end -->\n".replace("--><", "-->\n<"), found),
        "other",
        "lm_curves",
    )


@pytest.mark.slow
def test_conservatism_computes():
    small = {
        **lm_conservatism.FIGURE.config, "rehearsal": [0], "seeds": 1, "samples": 4,
        "run": {"prompts": 8, "rollouts": 8, "minibatches": 1},
    }  # fmt: skip
    found = {key: np.asarray(value, np.float64) for key, value in lm_conservatism.compute(small).items()}
    assert lm_conservatism.FIGURE.checked(found, "small") is found
    assert ((found["before"] >= 0) & (found["before"] <= 1)).all()
