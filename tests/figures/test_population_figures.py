"""Figures of the population step: what they draw is what they computed, and it is what their captions say."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from scipy import special

import pmdtheory as pmd
from pmdtheory import figures
from pmdtheory.figures import _data, _make, conservatism, reward_laws, sensitivity
from pmdtheory.figures._style import Style
from tests.tolerances import EPS, REFERENCE, ROOT, SOLVER

STORED = 1e-12  # arrays are stored with 13 digits
NAMES = [
    "agreement",
    "chi2_share",
    "conservatism",
    "multiplier_map",
    "reward_laws",
    "sensitivity",
    "stale_sampler",
]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return {name: _make._computed(figures.available()[name])[0] for name in NAMES}


def rows(axes: Any) -> list[Any]:
    """The ordinates of the lines of a panel that are data, not guides through the whole panel."""
    return [np.asarray(line.get_ydata()) for line in axes.get_lines() if len(line.get_ydata()) > 2]


def legends(canvas: Any) -> list[Any]:
    return [*canvas.legends, *(axes.get_legend() for axes in canvas.axes if axes.get_legend())]


def texts(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


# -- every figure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_page(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    labels = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    labels += [axes._left_title for axes in canvas.axes] + [text for axes in canvas.axes for text in axes.texts]
    labels += [text for legend in legends(canvas) for text in legend.get_texts()]
    labels = [label for label in labels if label.get_text().strip()]
    for label in labels:
        extent = label.get_window_extent()
        assert canvas.bbox.x0 <= extent.x0, label
        assert extent.x1 <= canvas.bbox.x1, label
        assert canvas.bbox.y0 <= extent.y0, label
        assert extent.y1 <= canvas.bbox.y1, label
        assert label.get_fontsize() >= 6.5
    for one, other in combinations(labels, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent()), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_tick_labels_do_not_overlap(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    for axes in canvas.axes:
        for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = [tick for tick in axis.get_major_ticks() if min(ends) <= tick.get_loc() <= max(ends)]
            boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
            assert len(boxes) >= 2
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("name", NAMES)
def test_lines_differ_by_more_than_colour(name: str, canvases: dict[str, Any]) -> None:
    for legend in legends(canvases[name]):
        looks = []
        for handle in legend.legend_handles:
            if hasattr(handle, "get_marker"):
                looks.append((handle._unscaled_dash_pattern, handle.get_marker(), handle.get_linewidth()))
            else:  # dots of a scatter differ in the path of their marker
                looks.append(tuple(handle.get_paths()[0].vertices.ravel()))
        assert len({str(look) for look in looks}) == len(looks)


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_lettered_and_labelled(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    titles = sorted(axes.get_title(loc="left") for axes in canvas.axes)
    if len(titles) > 1:
        assert [title[len(r"$\bf{")] for title in titles] == list("abcdefg"[: len(titles)])
    for axes in canvas.axes:
        assert axes.get_xlabel() or name == "conservatism"
    caption = figures.available()[name].caption
    for letter in "abcdefg"[: len(titles)] if len(titles) > 1 else "":
        assert f"{letter}:" in caption or f"{letter}, " in caption or f"-{letter}" in caption or "a-f:" in caption


@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_compared(name: str, arrays: dict[str, Any]) -> None:
    figure, data = figures.available()[name], arrays[name]
    for key, array in data.items():
        if key in figure.floors:
            continue
        changed = array.copy()
        changed.flat[np.nanargmax(np.abs(array))] *= 1 + 1e-8
        assert _data.mismatch(figure, data, {**data, key: changed})[1] == key


# -- multiplier_map -------------------------------------------------------------------------------------------------


def test_multiplier_map_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, (a, b) = arrays["multiplier_map"], canvases["multiplier_map"].axes
    filled, lines, weak, strong = [artist for artist in a.collections if isinstance(artist, QuadContourSet)]
    assert filled.zmax == lines.zmax == pytest.approx(np.log10(data["multiplier"]).max())
    variance = special.expit(data["log_odds"]) * special.expit(-data["log_odds"])
    tau = data["tau"][:, None]
    for drawn, expected in ((weak, variance / (2 * tau**2)), (strong, variance / tau)):  # only where it applies
        near = np.abs(np.log10(expected / data["multiplier"])) <= np.log10(1.25)
        near &= (tau >= 0.5) if drawn is weak else (tau <= 0.5)
        assert drawn.zmax == pytest.approx(np.log10(expected[near]).max())
    assert [axes.get_ylabel() for axes in (a, b)] == [r"$\tau$ (reward units)", r"$\lambda/[p(1-p)]$"]
    p = data["p"][:, None]
    np.testing.assert_array_equal(rows(b)[:5], data["multiplier_cut"] / (p * (1 - p)))
    assert texts(b.get_legend()) == ["$p=10^{-6}$", "$p=10^{-4}$", "$p=0.01$", "$p=0.5$", "$p=0.99$"]
    shown = [text.get_text() for text in a.texts]
    assert shown == [rf"$\lambda=10^{{{level}}}$" for level in range(-4, 2)]


def test_multiplier_map_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["multiplier_map"]
    tau, odds = data["tau"], data["log_odds"]
    for t, k in ((0, 0), (0, 80), (30, 12), (40, 40), (55, 3), (60, 77), (80, 0), (80, 40), (80, 80)):
        problem = pmd.Problem.binary(special.expit(odds[k]), tau[t], failure=special.expit(-odds[k]))
        assert data["multiplier"][t, k] == pytest.approx(pmd.mean_update(problem).unwrap().multiplier, rel=REFERENCE)
    assert np.all(np.diff(data["multiplier"], axis=0) < 0)  # C22
    variance = special.expit(odds) * special.expit(-odds)
    np.testing.assert_allclose(data["multiplier"][-1], variance / (2 * tau[-1] ** 2), rtol=0.5 / tau[-1])  # C11
    strong = data["multiplier"][0] * tau[0] / variance
    assert np.all(np.abs(strong[np.abs(odds) < 1.5] - 1) < 0.05)  # C21
    rare = (special.expit(odds)[None, :] < 1e-3 * np.exp(-2 / tau[:, None])) & (tau[:, None] < 0.4)
    ideal = special.expit(odds) * (np.expm1(1 / tau) - 1 / tau)[:, None]
    assert rare.any()
    np.testing.assert_allclose(data["multiplier"][rare], ideal[rare], rtol=0.01)  # C9


# -- chi2_share -----------------------------------------------------------------------------------------------------


def test_chi2_share_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, (a, b) = arrays["chi2_share"], canvases["chi2_share"].axes
    share, of_law = (data[key] / (1 + data[key]) for key in ("chi2_per_kl", "chi2_per_kl_law"))
    np.testing.assert_array_equal(rows(a), share)
    np.testing.assert_array_equal(rows(b)[:4], of_law)
    assert texts(a.get_legend()) == [rf"$\tau={tau:g}$" for tau in data["tau"]]
    assert len(texts(b.get_legend())) == 4
    tau = data["tau_fine"]
    weak = data["variance"][0] / (2 * tau[tau > 0.5] ** 2)
    np.testing.assert_array_equal(rows(b)[4], weak / (1 + weak))


def test_chi2_share_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["chi2_share"]
    ratio, tau, fine = data["chi2_per_kl"], data["tau"], data["tau_fine"]
    step = pmd.mean_update(pmd.Problem.binary(0.5, tau[2])).unwrap()
    assert ratio[2, 60] == pytest.approx(0.5 * step.multiplier * step.chi2 / step.kl, rel=REFERENCE)
    share = ratio / (1 + ratio)
    assert np.all(np.diff(share.max(axis=1)) > 0)  # towards one as tau falls
    decade = 10  # points of the grid
    np.testing.assert_allclose(ratio[:, -1] / ratio[:, -1 - decade], 0.1, rtol=1e-2)  # in proportion to 1 - p
    np.testing.assert_allclose(ratio[:2, 0] / ratio[:2, decade], 0.1, rtol=1e-2)  # and to p where p << e^(-2/tau)
    for row, variance, limit in zip(data["chi2_per_kl_law"], data["variance"], data["never_greedy"], strict=True):
        assert row[-1] * 2 * fine[-1] ** 2 / variance == pytest.approx(1.0, abs=0.1)  # C11
        assert row[0] * fine[0] / limit == pytest.approx(1.0, abs=0.02)  # C21
        assert np.all(np.diff(row) < 0)


# -- conservatism ---------------------------------------------------------------------------------------------------


def test_conservatism_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["conservatism"], canvases["conservatism"]
    *scatters, last = canvas.axes
    assert len(scatters) == len(conservatism.SIZES) == 6
    for axes, name, x, y in zip(scatters, conservatism.SIZES, data["kl_size"], data["mean_size"], strict=True):
        assert name in axes.get_title(loc="left")
        for i, dots in enumerate(axes.collections):
            own = data["family"] == i
            np.testing.assert_array_equal(dots.get_offsets(), np.stack([x[own], y[own]], axis=1))
        assert axes.get_xlim() == axes.get_ylim()
        assert np.all((x > axes.get_xlim()[0]) & (y > axes.get_ylim()[0]) & (x < axes.get_xlim()[1]))
    np.testing.assert_array_equal(rows(last), data["baseline_size"] / data["baseline_size"][:, -1:])
    assert texts(canvas.legends[0]) == ["binary", "graded", "tied", "signed", "rare"]
    assert texts(last.get_legend()) == list(conservatism.SIZES)


def test_conservatism_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["conservatism"]
    kl, mean, size = data["kl_size"], data["mean_size"], data["baseline_size"]
    assert kl.shape == (6, 300)
    assert np.all(mean <= kl * (1 + ROOT))  # C8: no point above the diagonal
    assert np.count_nonzero(mean < 0.9 * kl) > 600  # and it is not a matter of rounding
    assert kl[3].min() >= 0.03
    assert set(data["family"]) == set(range(5))
    assert np.all(np.diff(size, axis=1) > 0)  # PMD(b) is ordered in b
    law = figures.available()["conservatism"].config["law"]
    step = pmd.mean_update(pmd.Problem.from_policy(**law)).unwrap()
    here = int(np.argmin(np.abs(data["share"])))
    assert data["share"][here] == pytest.approx(0.0, abs=EPS)
    assert size[0, here] == pytest.approx(step.kl, rel=REFERENCE)
    assert size[5, here] == pytest.approx(step.improvement / (1.0 - step.problem.mean_reward), rel=REFERENCE)


# -- agreement ------------------------------------------------------------------------------------------------------


def test_agreement_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["agreement"], canvases["agreement"]
    (axes,) = canvas.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "stationarity (C1)",
        "gap identity (C3)",
        "mass is one (C1)",
        r"$\lambda=\mathrm{KL}(\pi\|\pi^+)$ (C4)",
        r"mixed step at $c=\lambda$ (C2)",
        "conic program (C2)",
        "regression (C1)",
    ]
    strips = axes.get_lines()[::3]
    for i, (line, row) in enumerate(zip(strips, data["residual"], strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), np.maximum(row[~np.isnan(row)], 1e-18))
        assert np.all(np.abs(line.get_ydata() - i) < 0.4)
    for line, tolerance in zip(axes.get_lines()[2::3], data["tolerance"], strict=True):
        assert list(line.get_xdata()) == [tolerance] * 2
    kinds = {"identity", "root-find", "conic solver", "generic optimiser", "tolerance"}
    assert set(texts(canvas.legends[0])) == kinds


def test_agreement_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    residual, tolerance = arrays["agreement"]["residual"], arrays["agreement"]["tolerance"]
    assert residual.shape == (7, 150)
    assert not np.isnan(residual).any()  # every solver gave an answer
    assert np.all(residual <= tolerance[:, None])
    np.testing.assert_allclose(tolerance[:2], [64 * EPS, ROOT], rtol=STORED)
    assert residual[5:].max() <= SOLVER


# -- sensitivity ----------------------------------------------------------------------------------------------------


def test_sensitivity_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, (a, b, c, d) = arrays["sensitivity"], canvases["sensitivity"].axes
    np.testing.assert_array_equal(rows(a), data["uniform"])
    np.testing.assert_array_equal(rows(b), np.abs(data["binary"].reshape(4, -1)))
    np.testing.assert_array_equal(b.get_lines()[-1].get_ydata(), np.abs(data["counterexample"][:, 1]))
    for axes, end in ((c, 0), (d, 1)):
        x, y = np.concatenate([line.get_xydata() for line in axes.get_lines()[1:]]).T
        for drawn, stored in ((x, data["random"][0, end]), (y, data["random"][1, end])):
            np.testing.assert_array_equal(np.sort(drawn), np.sort(np.maximum(np.abs(stored), sensitivity.FLOOR)))
    above = np.abs(data["random"][1, 1]) > np.abs(data["random"][0, 1])
    for text, low, high in zip(texts(d.get_legend()), (0.0, 5.0, 10.0), (5.0, 10.0, 30.0), strict=True):
        own = (low < data["spread"]) & (data["spread"] <= high)
        assert text == rf"$\leq${high:g}: {np.mean(above[own]):.0%}"
    assert texts(canvases["sensitivity"].legends[0]) == ["KL-PMD", "PMD-mean", "$p=0.05$"]


def test_sensitivity_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["sensitivity"]
    np.testing.assert_allclose(np.abs(data["counterexample"][:, 1]), [0.127, 0.839], atol=5e-4)  # C13
    problem, h = pmd.Problem.binary(0.05, 0.2), 1e-5
    for row, b in enumerate((problem.log_partition - 2 * h, problem.mean_reward / problem.tau)):
        up, down = (pmd.baseline_update(problem, baseline=b + s * h).unwrap().log_ratio for s in (1, -1))
        np.testing.assert_allclose((down - up) / (2 * h), data["counterexample"][row], rtol=1e-3)
    kl, mean = np.abs(data["random"])
    assert kl.shape == (2, 300)
    assert np.all(mean[0] <= kl[0] * (1 + ROOT))  # less sensitive at the smallest ratio
    above = [
        np.mean((mean[1] > kl[1])[(low < data["spread"]) & (data["spread"] <= high)])
        for low, high in ((0.0, 5.0), (5.0, 10.0), (10.0, 30.0))
    ]
    assert 0.0 < above[0] < above[1] < above[2] < 1.0  # no order at the largest, more often the smaller tau


# -- reward_laws ----------------------------------------------------------------------------------------------------


def test_reward_laws_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["reward_laws"], canvases["reward_laws"]
    b, c, a = canvas.axes
    lines = {line.get_label(): line for line in a.get_lines()}
    assert texts(canvas.legends[0]) == list(reward_laws.NAMES)
    for name, row, finite in zip(reward_laws.NAMES, data["multiplier"], data["partition_finite"], strict=True):
        drawn = lines[name].get_ydata()
        np.testing.assert_array_equal(drawn, (data["tau"] * row)[-len(drawn) :])
        assert (lines[name]._unscaled_dash_pattern[1] is None) == bool(finite[-1])
        if 0 < finite.sum() < finite.size:
            rest = a.get_lines()[a.get_lines().index(lines[name]) + 1]
            assert rest._unscaled_dash_pattern[1] is not None
            assert len(rest.get_ydata()) + len(drawn) == row.size + 1
    curves = [line for line in b.get_lines() if r"\tau" in str(line.get_label())]
    np.testing.assert_array_equal([line.get_ydata() for line in curves], np.exp(data["log_ratio"]))
    np.testing.assert_array_equal([c.get_lines()[i].get_ydata() for i in (0, 2)], data["density"])


def test_reward_laws_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    from scipy import stats

    data = arrays["reward_laws"]
    tau, finite = data["tau"], data["partition_finite"]
    assert np.all(finite[:2] == 1.0)
    np.testing.assert_array_equal(finite[2], tau > 1.0 + 1e-9)
    assert np.all(finite[3:] == 0.0)
    assert np.all(np.diff(data["multiplier"], axis=1) < 0)  # C22; nothing happens where log Z ends
    limits = [1 / 8, 1 / np.sqrt(2 * np.pi), np.exp(-1.0), np.sqrt(3) / np.pi]  # E(r - mean)+
    limits.append(np.exp(0.5) * (2 * stats.norm.cdf(0.5) - 1))
    limits.append(2.5 / 1.5 * (1.5 / 2.5) ** 2.5 / 1.5)
    np.testing.assert_allclose(data["multiplier"][:, 0] * tau[0], limits, rtol=0.1)  # C21
    a, v = data["advantage"], data["log_ratio"]
    weight = data["ratio_multiplier"][:, None]
    np.testing.assert_allclose(v + weight * np.exp(v), np.broadcast_to(a, v.shape), rtol=10 * STORED)  # C1
    assert np.all(v < a)
    np.testing.assert_allclose(np.exp(v[:, -1]) * weight[:, 0] / a[-1], 1.0, atol=0.01)
    r, density = np.log(data["reward"]), np.log(data["density"])
    np.testing.assert_allclose((density[:, -1] - density[:, -4]) / (r[-1] - r[-4]), [-4.0, -3.0], atol=0.01)


# -- stale_sampler --------------------------------------------------------------------------------------------------


def test_stale_sampler_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, (a, b, c, d) = arrays["stale_sampler"], canvases["stale_sampler"].axes
    np.testing.assert_array_equal(rows(a), np.exp(data["log_ratio"][:, 1]))
    for axes, key in ((b, "success"), (c, "multiplier")):
        drawn = rows(axes)
        for i, (row, multiplier) in enumerate(zip(data[key], data["multiplier"], strict=True)):
            penalised = multiplier >= 0.0
            np.testing.assert_array_equal(drawn[2 * i][penalised], row[penalised])
            np.testing.assert_array_equal(drawn[2 * i + 1][~penalised], row[~penalised])
            assert np.isnan(drawn[2 * i][~penalised]).all()
    for line, row in zip(d.get_lines(), data["sampler_root"], strict=True):
        np.testing.assert_array_equal(line.get_xydata().T, [row, data["tau_root"]])
    assert texts(d.get_legend()) == ["$p=0.1$", "$p=0.3$", "$p=0.5$"]
    assert texts(canvases["stale_sampler"].legends[0]) == [r"$\tau=1$", r"$\tau=0.3$", r"$\tau=0.1$"]


def test_stale_sampler_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["stale_sampler"]
    tau, p, q = data["tau"], float(data["p"]), data["sampler"]
    success = data["log_ratio"][:, 1]
    assert np.all(np.diff(success, axis=1) < 0)  # the less mu draws, the smaller the ratio
    assert np.all(success[:, -1] < 0)  # and below one at last, at the best reward
    assert np.all(data["on_policy"][:, 1] > 0)
    for t in range(tau.size):
        log_z = pmd.Problem.binary(p, tau[t]).log_partition
        known = ~np.isnan(data["multiplier"][t])
        np.testing.assert_array_equal((data["multiplier"][t] >= 0)[known], (q <= tau[t] * log_z)[known])
        new = data["success"][t][known]
        gap = special.kl_div([1 - q[known], q[known]], [1 - new, new]).sum(axis=0)
        gap -= special.kl_div([1 - q[known], q[known]], [[1 - p], [p]]).sum(axis=0)
        np.testing.assert_allclose(data["multiplier"][t][known], gap, atol=ROOT)  # C15: the weight off-policy
        behind = q < p
        on_policy = p * np.exp(data["on_policy"][t, 1])
        assert np.all(data["success"][t][behind] < on_policy)  # held back
        assert np.all(np.diff(data["success"][t][behind]) > 0)
    for anchor, row in zip(data["anchors"], data["sampler_root"], strict=True):
        assert np.all(np.diff(row) < 0)
        assert np.all(row > anchor)
        for at, root in zip(row[::20], data["tau_root"][::20], strict=True):
            for factor, sign in ((0.99, 1.0), (1.01, -1.0)):
                problem = pmd.Problem.binary(anchor, root * factor)
                step = pmd.mismatched_update(problem, log_sampler=np.log([1 - at, at])).unwrap()
                assert np.sign(step.multiplier) == sign
