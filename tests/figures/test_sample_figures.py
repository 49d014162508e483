"""Figures of finite samples, collapse and convergence: the artists, and what their data must satisfy by the claims."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import optimize, special

import pmdtheory as pmd
from pmdtheory import collapse, figures, finite_sample, trajectory
from pmdtheory.figures import _make
from pmdtheory.figures._style import Style
from tests.page import assert_apart
from tests.tolerances import RATE, ROOT, monte_carlo

NAMES = ["target_error", "loo_interpolation", "one_group_fit", "convergence", "collapse"]
PRINTED = 5e-4  # half a unit of the last of three printed digits, relative to numbers of size one


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return {name: _make._computed(figures.available()[name])[0] for name in NAMES}


def legend(owner: Any) -> list[str]:
    return [text.get_text() for text in owner.get_texts()]


def lines(axes: Any) -> list[Any]:
    return [line for line in axes.get_lines() if line.get_xdata().size]


# -- every figure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_page(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    texts = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    texts += [text for text in (canvas._supxlabel, canvas._supylabel) if text]
    texts += [text for axes in canvas.axes for text in (axes._left_title, *axes.texts)]
    texts += canvas.legends[0].get_texts()
    texts += [text for axes in canvas.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert_apart(canvas, texts)


@pytest.mark.parametrize("name", NAMES)
def test_keys_differ_by_more_than_colour(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    legends = [*canvas.legends, *(axes.get_legend() for axes in canvas.axes if axes.get_legend())]
    looks = [
        (getattr(key, "_unscaled_dash_pattern", "patch"), getattr(key, "get_marker", str)(), key.get_linewidth())
        for one in legends[-1:] + legends[:1]
        for key in one.legend_handles
    ]
    sizes = [len(one.legend_handles) for one in legends[-1:]]
    for part in (looks[: sizes[0]], looks[sizes[0] :]):
        assert len({str(look) for look in part}) == len(part)


@pytest.mark.parametrize("name", NAMES)
def test_titles_letter_the_panels(name: str, canvases: dict[str, Any]) -> None:
    titles = [axes.get_title(loc="left") for axes in canvases[name].axes]
    assert [title[len(r"$\bf{")] for title in titles] == list("abcdef")[: len(titles)]


# -- target error ---------------------------------------------------------------------------------------------------


def test_target_error_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["target_error"], canvases["target_error"]
    assert canvas.get_supxlabel() == "success mass $p$"
    assert canvas.get_supylabel() == "rollouts $n$"
    assert legend(canvas.legends[0]) == [
        "equal error",
        "PMD-part smaller",
        r"equal, $\tau\to0$",
        r"equal, $n\to\infty$",
    ]
    for t, axes in enumerate(canvas.axes):
        assert (axes.get_xscale(), axes.get_yscale()) == ("logit", "log")
        boundary, cold, many = axes.get_lines()
        np.testing.assert_array_equal(boundary.get_xdata(), data["p_boundary"][t])
        np.testing.assert_array_equal(boundary.get_ydata(), data["n"])
        np.testing.assert_array_equal(cold.get_xdata(), data["p_cold"])
        assert list(many.get_xdata()) == [data["p_many"][t]] * 2
        shade, *contours = axes.collections
        ratio = data["log_rmse_ratio"][t]
        drawn = {
            float(level) for contour in contours for level in contour.levels if contour.get_paths()[0].vertices.size
        }
        assert min(drawn) < 0.0 < max(drawn)  # both regions have contours
        assert {text.get_text() for text in axes.texts} == {f"{np.exp(level):g}" for level in drawn}
        for contour in contours:
            for at_p, at_n in contour.get_paths()[0].vertices:
                if at_n in data["n"] and at_n > 2:
                    row = ratio[data["n"] == at_n][0]
                    assert np.interp(at_p, data["p"], row) == pytest.approx(contour.levels[0], abs=1e-6)
        corners = shade.get_paths()[0].vertices
        assert corners[:, 1].min() == 3.0
        assert corners[:, 0].max() == data["p"][-1]


def test_target_error_is_what_the_package_computes(arrays: dict[str, Any]) -> None:
    data = arrays["target_error"]
    for t, k, i in np.ndindex(4, data["n"].size, data["p"].size):
        if (t + 2 * k + 3 * i) % 29 == 0:
            problem = pmd.Problem.binary(float(data["p"][i]), float(data["tau"][t]))
            exact = finite_sample.target_error(problem, int(data["n"][k])).ratio
            assert data["log_rmse_ratio"][t, k, i] == pytest.approx(np.log(exact), abs=1e-9)


@pytest.mark.parametrize(
    ("p", "n", "tau", "ratio"),
    [(0.01, 16, 0.03, 31.1), (0.1, 8, 0.1, 4.71), (0.1, 8, 1.0, 1.39), (0.5, 8, 0.1, 0.492), (0.5, 16, 0.03, 0.079)],
)
def test_target_error_holds_the_known_ratios(
    p: float, n: int, tau: float, ratio: float, arrays: dict[str, Any]
) -> None:
    data = arrays["target_error"]
    t, k = int(np.flatnonzero(data["tau"] == tau)[0]), int(np.flatnonzero(data["n"] == n)[0])
    between = np.interp(special.logit(p), special.logit(data["p"]), data["log_rmse_ratio"][t, k])
    assert np.exp(between) == pytest.approx(ratio, rel=0.02)  # read off the picture
    exact = figures.available()["target_error"].compute({**figures.available()["target_error"].config, **at(p, n, tau)})
    assert np.exp(exact["log_rmse_ratio"][0, 0, 0]) == pytest.approx(ratio, rel=0.01)


def at(p: float, n: int, tau: float) -> dict[str, Any]:
    """A configuration of one point."""
    odds = float(special.logit(p))
    return {"tau": [tau], "n": [n], "log_odds": [odds, odds + 1.0], "points": 2}


def test_target_error_has_both_regions_and_their_boundary(arrays: dict[str, Any]) -> None:
    data = arrays["target_error"]
    p, n, boundary = data["p"], data["n"], data["p_boundary"]
    for t, k in np.ndindex(boundary.shape):
        above = data["log_rmse_ratio"][t, k] > 0.0
        if n[k] == 2:
            assert np.isnan(boundary[t, k])
            assert above.all()  # the mean wins at every p
        else:
            np.testing.assert_array_equal(above, p < boundary[t, k])  # one crossing, the partition wins beyond
    assert np.all(np.diff(boundary[:, 1:], axis=1) < 0.0)


def test_target_error_has_the_limits_of_its_boundary(arrays: dict[str, Any]) -> None:
    data = arrays["target_error"]
    n, tau, cold = data["n"][1:], data["tau"], data["p_cold"][1:]
    np.testing.assert_allclose((n - 1) * (1 - cold) ** (n - 2), cold, rtol=ROOT * 100)
    known = {4: 2.2, 8: 3.1, 16: 4.0, 32: 5.1, 64: 6.3, 128: 7.5}  # C16, W0(n^2)
    for size, product in known.items():
        assert size * cold[n == size][0] == pytest.approx(product, abs=0.07)
        assert special.lambertw(size**2).real == pytest.approx(product, abs=0.2)
    off = np.abs(data["p_boundary"][:, 1:] - cold) / cold
    assert np.all(np.diff(off[:, n == 16].ravel()) > 0.0)  # towards the limit as tau falls
    assert off[0, n == 16][0] < 0.02
    np.testing.assert_allclose(data["p_many"], tau - 1 / (np.exp(1 / tau) - 1), rtol=ROOT)
    rest = np.abs(data["p_boundary"][:, -1] - data["p_many"])
    assert np.all(rest[1:] < np.abs(data["p_boundary"][1:, 1] - data["p_many"][1:]) / 4)
    assert rest[-1] < 0.005


# -- interpolation --------------------------------------------------------------------------------------------------


def test_loo_interpolation_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["loo_interpolation"], canvases["loo_interpolation"]
    share, weight = canvas.axes
    assert share.get_ylabel() == r"$(b_{n-1}-\bar r/\tau)\,/\,J$"
    assert weight.get_ylabel() == r"$\lambda(b_{n-1})$"
    assert weight.get_yscale() == "log"
    assert [axes.get_xlabel() for axes in canvas.axes] == ["rollouts $n$"] * 2
    labels = [rf"$p={p:g},\ \tau={tau:g}$" for p, tau in zip(data["p"], data["tau"], strict=True)]
    assert legend(canvas.legends[0]) == [*labels, "expansion, many $n$"]
    low, high = data["lower"][:, None], data["upper"][:, None]
    for row, line in zip((data["baseline"] - low) / (high - low), share.get_lines(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row)
    for i, (far, exact) in enumerate(zip(weight.get_lines()[::2], weight.get_lines()[1::2], strict=True)):
        np.testing.assert_array_equal(exact.get_ydata(), data["multiplier"][i])
        size = far.get_xdata().size
        if size:  # drawn from some n on, where it is near
            np.testing.assert_array_equal(far.get_ydata(), data["far_multiplier"][i, -size:])
            assert np.all(np.abs(np.log(far.get_ydata() / data["multiplier"][i, -size:])) < np.log(1.5))


def test_loo_interpolation_goes_from_mean_to_partition(arrays: dict[str, Any]) -> None:
    data = arrays["loo_interpolation"]
    b, weight = data["baseline"], data["multiplier"]
    assert data["n"][0] == 2
    assert data["n"][-1] == 128
    np.testing.assert_allclose(b[:, 0], data["lower"], rtol=ROOT)  # two rollouts: PMD-mean (C12)
    assert np.all(np.diff(b, axis=1) > 0.0)
    assert np.all(b < data["upper"][:, None])
    assert np.all(np.diff(weight, axis=1) < 0.0)
    assert np.all(weight > 0.0)  # it still carries a chi2
    for i, (p, tau) in enumerate(zip(data["p"], data["tau"], strict=True)):
        problem = pmd.Problem.binary(p, tau)
        assert weight[i, 0] == pytest.approx(pmd.mean_update(problem).unwrap().multiplier, rel=1e-9)
        step = pmd.baseline_update(problem, baseline=b[i, 5]).unwrap()
        assert weight[i, 5] == pytest.approx(step.reverse_kl - (b[i, 5] - p / tau), abs=ROOT)  # C4 for PMD(b)
    easy = (data["p"] == 0.5) & (data["tau"] == 1.0)
    gap = np.abs(np.log(data["far_multiplier"] / weight))[easy][0]
    slope = np.polyfit(np.log(data["n"][-6:] - 1), np.log(gap[-6:]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=RATE)  # the expansion is of first order in 1/(n-1)


# -- one group ------------------------------------------------------------------------------------------------------


def test_one_group_fit_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["one_group_fit"], canvases["one_group_fit"]
    assert canvas.get_supxlabel() == "rollouts $n$"
    assert [axes.get_ylabel() for axes in canvas.axes[::2]] == [r"$\mathrm{E}r$", "KL (nats)", "unsampled mass"]
    assert legend(canvas.legends[0]) == [
        "PMD-mean",
        "PMD-part",
        "mean over groups",
        "population (a–d), before (e, f)",
    ]
    for i, axes in enumerate(canvas.axes):
        row, column = divmod(i, 2)
        name = ("expected_reward", "kl", "unsampled_mass")[row]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "16"] * 2 * (row == 2)
        for which in range(2):
            quantiles = data[name][column, :, :, which].reshape(4, 5)
            for bars, ends in zip(axes.collections[2 * which : 2 * which + 2], ((0, 4), (1, 3)), strict=True):
                segments = np.array(bars.get_segments())
                np.testing.assert_array_equal(segments[:, :, 1], quantiles[:, ends])
            median, mean, reference = axes.get_lines()[3 * which : 3 * which + 3]
            np.testing.assert_array_equal(median.get_ydata(), quantiles[:, 2])
            np.testing.assert_array_equal(mean.get_ydata(), data[f"{name}_mean"][column, :, :, which].ravel())
            assert median.get_xdata()[1] == segments[1, 0, 0]
            known = (
                data["unsampled_mass_before"][column]
                if name == "unsampled_mass"
                else data[f"{name}_step"][column, :, :, which]
            )
            np.testing.assert_array_equal(reference.get_ydata(), known.ravel())
    for column, axes in enumerate(canvas.axes[:2]):
        assert rf"$p={data['p'][column]:g}$" in axes.get_title(loc="left")
        assert [text.get_text() for text in axes.texts] == [r"$\tau=0.1$", r"$\tau=0.5$"]


def test_one_group_fit_shows_a_distribution(arrays: dict[str, Any]) -> None:
    data = arrays["one_group_fit"]
    for name in ("expected_reward", "kl", "unsampled_mass"):
        assert np.all(np.diff(data[name], axis=-1) >= 0.0)
        assert np.all(data[name] >= 0.0)
    p, n = data["p"][:, None, None, None], data["n"][:, None]
    chance = p**n + (1 - p) ** n
    off = np.abs(data["unmoved"] - chance)
    assert np.all(off <= monte_carlo(0.5, 1000))  # groups of equal rewards move nothing
    np.testing.assert_array_equal(data["unmoved"][..., 0], data["unmoved"][..., 1])
    still = np.broadcast_to(chance > 0.6, data["unmoved"].shape)
    np.testing.assert_allclose(
        data["expected_reward"][..., 2][still], np.broadcast_to(p, still.shape)[still], atol=ROOT
    )


def test_one_group_fit_takes_the_mass_of_what_it_did_not_see(arrays: dict[str, Any]) -> None:
    data = arrays["one_group_fit"]
    cold = data["unsampled_mass"][:, 0]
    np.testing.assert_array_equal(cold[1, 1, 0], 0.0)  # p = .5, n = 16, PMD-mean
    assert cold[1, 1, 1].min() > 0.05  # PMD-part leaves some
    problem = pmd.Problem.from_policy(np.full(100, 0.01), np.arange(100) < 20, tau=0.1)
    one, two = [0, *range(20, 35)], [0, 1, *range(20, 34)]
    left = {
        (len(group), name, count): finite_sample.one_group_fit(problem, group, baseline=name).unsampled_mass
        for count, group in ((1, one), (2, two))
        for name in ("mean", "partition")
    }
    assert left[16, "mean", 1] == left[16, "partition", 1] == left[16, "mean", 2] == 0.0
    assert left[16, "partition", 2] > 0.1


# -- convergence ----------------------------------------------------------------------------------------------------


def test_convergence_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["convergence"], canvases["convergence"]
    labels = ["PMD-mean", "KL-PMD", "PMD-part, $n=8$", "bound, PMD-mean", r"rate $e^{-1/\tau}$"]
    assert legend(canvas.legends[0]) == labels
    a, b, by_start, by_tau = canvas.axes
    for t, axes in enumerate((a, b)):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("step $t$", "failure mass $1-p_t$")
        assert axes.get_yscale() == "log"
        *paths, bound, rate = axes.get_lines()
        for which, line in enumerate(paths):
            np.testing.assert_array_equal(line.get_xdata(), data["step"])
            np.testing.assert_array_equal(line.get_ydata(), np.exp(data["log_failure"][which, t]))
        np.testing.assert_array_equal(bound.get_ydata(), np.exp(data["log_bound"][t]))
        slope = np.diff(np.log(rate.get_ydata())) / np.diff(rate.get_xdata())
        assert abs(slope[0]) == pytest.approx(1 / data["tau"][t])
    assert by_start.get_xlabel() == "first success mass $p_0$"
    assert by_tau.get_xlabel() == r"$\tau$ (reward units)"
    assert by_start.get_ylabel() == by_tau.get_ylabel() == r"steps to $1-p_t\leq 10^{-3}$"
    rows = data["steps_by_start"].reshape(6, -1)
    for row, line in zip(rows, by_start.get_lines(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row)
        assert line.get_drawstyle() == "steps-mid"  # whole steps
    for row, line in zip(data["steps_by_tau"], by_tau.get_lines(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row)


def test_convergence_obeys_the_bound_and_the_rate(arrays: dict[str, Any]) -> None:
    data = arrays["convergence"]
    tau, path, bound = data["tau"], data["log_failure"], data["log_bound"]
    assert np.all(np.diff(path, axis=2) < 0.0)
    assert np.all(path[0, :, 1:] < bound[:, 1:])
    once = path[0, :, :-1] + np.expm1(path[0, :, :-1]) / tau[:, None]
    assert np.all(path[0, :, 1:] <= once + ROOT / tau[:, None])  # C17, step by step
    assert np.all(once <= bound[:, 1:] + ROOT * 100)  # applied from the start on it is looser
    np.testing.assert_allclose(np.diff(path, axis=2)[:, :, -1], -1 / np.tile(tau, (3, 1)), rtol=1e-6)
    assert np.all(path[1] <= path[2] + ROOT * 100)  # PMD-part lies between
    assert np.all(path[2] <= path[0] + ROOT * 100)


def test_convergence_counts_steps(arrays: dict[str, Any]) -> None:
    data = arrays["convergence"]
    goal = np.log((1 - data["epsilon"]) / data["epsilon"])
    exact = np.ceil(data["tau"][:, None] * (goal - special.logit(data["start"])))
    np.testing.assert_array_equal(data["steps_by_start"][1], exact)  # KL-PMD: log-odds grow by 1/tau a step
    np.testing.assert_array_equal(
        data["steps_by_tau"][1], np.ceil(data["strength"] * (goal - special.logit(data["p0"])))
    )
    assert not np.isnan(data["steps_by_tau"]).any()
    for steps in (data["steps_by_start"], data["steps_by_tau"]):
        assert np.all(steps[1] <= steps[2])
        assert np.all(steps[2] <= steps[0])
    assert np.all(np.diff(data["steps_by_start"], axis=2) <= 0.0)
    needed = data["p0"] / -np.log(data["epsilon"])
    assert np.all(data["steps_by_tau"][0][data["strength"] < 0.99 * needed] == 1)  # (C17): enough for one step
    run = trajectory.iterate(pmd.Problem.binary(float(data["p0"]), float(data["tau"][1])), steps=20)
    np.testing.assert_allclose(run.log_failure, data["log_failure"][0, 1, :21], rtol=1e-9)


# -- collapse -------------------------------------------------------------------------------------------------------


def test_collapse_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["collapse"], canvases["collapse"]
    uniform, example = canvas.axes
    assert [axes.get_xlabel() for axes in canvas.axes] == [r"excess $b-\log Z$ (nats)"] * 2
    assert uniform.get_ylabel() == "largest mass of one action"
    assert legend(canvas.legends[0]) == [
        *(f"{n} actions" for n in (8, 40, 400)),
        "local threshold",
        "symmetric, not best",
    ]
    assert legend(example.get_legend()) == ["$r=0$", "$r=1$", "$r=0.5$", r"$\mathrm{E}r$"]
    threshold, *rest = uniform.get_lines()
    assert list(threshold.get_xdata()) == [data["threshold"][0]] * 2
    for i in range(3):
        symmetric, jump, before, after = rest[4 * i : 4 * i + 4]
        assert list(jump.get_xdata()) == [data["switch"][i]] * 2
        np.testing.assert_array_equal(np.concatenate([before.get_ydata(), after.get_ydata()]), data["winner_mass"][i])
        assert before.get_xdata().max() <= data["switch"][i] < after.get_xdata().min()
        assert data["switch"][i] < symmetric.get_xdata().min()
        assert symmetric.get_xdata().max() <= data["threshold"][i]
    rows = [*data["example_policy"], data["example_reward"]]
    for row, before, after in zip(rows, example.get_lines()[::3], example.get_lines()[1::3], strict=True):
        np.testing.assert_array_equal(np.concatenate([before.get_ydata(), after.get_ydata()]), row)


def test_collapse_has_its_thresholds(arrays: dict[str, Any]) -> None:
    data = arrays["collapse"]
    assert 0.85 < data["switch"][0] < 0.86  # C14
    np.testing.assert_allclose(data["threshold"], 0.880, atol=PRINTED)
    assert np.all(np.diff(data["switch"]) < 0.0)  # the more actions, the earlier
    for i, size in enumerate(data["actions"]):
        before = data["excess"][i] < data["switch"][i]
        mass, symmetric = data["winner_mass"][i], data["symmetric_mass"][i]
        np.testing.assert_array_equal(mass[before], symmetric[before])
        np.testing.assert_array_equal(np.isnan(symmetric), data["excess"][i] > data["threshold"][i])
        assert mass[~before][0] > 1.2 * mass[before][-1]  # a jump
        assert np.all(mass[~before] > 2.0 / size)
        assert np.all(np.diff(mass) > 0.0)
    assert data["winner_mass"][0][data["excess"][0] < data["switch"][0]][-1] == pytest.approx(0.306, abs=PRINTED)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_collapse_switches_where_a_direct_search_says(index: int, arrays: dict[str, Any]) -> None:
    """The loss itself, over one apart, the other successes and the failures alike: no branch of W, no multiplier."""
    data = arrays["collapse"]
    size, tau = int(data["actions"][index]), 0.5
    good = 3 * size // 8
    groups = np.array([1, good - 1, size - good]) / size
    scaled = np.array([1.0, 1.0, 0.0]) / tau
    log_partition = np.log(np.sum(groups * np.exp(scaled)))

    def lead(excess: float) -> float:
        target = scaled - log_partition - excess

        def loss(winner: float) -> float:
            def inner(share: float) -> float:
                mass = np.array([winner, (1 - winner) * share, (1 - winner) * (1 - share)])
                return float(np.sum(groups * (np.log(mass / groups) - target) ** 2) / 2)

            return float(optimize.minimize_scalar(inner, bounds=(1e-9, 1 - 1e-9), method="bounded").fun)

        even = optimize.minimize_scalar(loss, bounds=(0.2 / size, 2.6 / size), method="bounded").fun
        grid = np.linspace(3.0 / size, 0.9, 30)
        best = grid[np.argmin([loss(w) for w in grid])]
        apart = optimize.minimize_scalar(loss, bounds=(best - 0.03, best + 0.03), method="bounded").fun
        return float(apart - even)

    switch = data["switch"][index]
    assert lead(switch - 0.003) > 0.0 > lead(switch + 0.003)


def test_collapse_can_favour_a_failure(arrays: dict[str, Any]) -> None:
    data = arrays["collapse"]
    excess, policy, reward = data["example_excess"], data["example_policy"], data["example_reward"]
    np.testing.assert_allclose(policy.sum(axis=0), 1.0, atol=ROOT * 10)
    np.testing.assert_allclose(data["example_rewards"] @ policy, reward, rtol=1e-9)
    after = excess > data["example_switch"]
    assert np.all(np.argmax(policy, axis=0)[after] == 0)
    assert np.all(np.argmax(policy, axis=0)[~after] == 1)
    problem = pmd.Problem.from_policy([0.02, 0.38, 0.6], [0, 1, 0.5], tau=0.4)
    for at_excess, winner, mass, expected in ((1.0, 1, 0.871, 0.935), (2.0, 0, 0.860, 0.119)):  # C14
        found = collapse.global_minimum(problem, excess=at_excess)
        assert found.winner == winner
        assert problem.policy[winner] * np.exp(found.log_ratio[winner]) == pytest.approx(mass, abs=PRINTED)
        assert found.expected_reward == pytest.approx(expected, abs=PRINTED)
        assert np.interp(at_excess, excess, policy[winner]) == pytest.approx(mass, abs=5e-3)
        assert np.interp(at_excess, excess, reward) == pytest.approx(expected, abs=5e-3)
