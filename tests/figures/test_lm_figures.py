"""Figures of the language model, drawn from stored runs: what they draw is their arrays, the page's tables are theirs,
and the settings that the comparisons use are those that the tuning chose."""

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
from tiny_llm_rl import arms, presets, results  # noqa: E402
from tiny_llm_rl.figures import lm_conservatism, lm_tuning  # noqa: E402

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


def test_comparisons_use_what_the_tuning_chose(arrays):
    for preset, chosen in (("cpu-tune", arms.TUNED), ("cpu-long-tune", arms.LONG_TUNED)):
        judged = arrays["lm_tuning"][preset.replace("-", "_")]
        assert lm_tuning.best(FIGURES["lm_tuning"].config[preset], judged) == chosen


def test_every_algorithm_had_the_same_budget():
    for grid, budget in ((arms.TUNING, 8), (arms.LONG_TUNING, 12)):
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
