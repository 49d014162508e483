"""Intervals of graded rewards: the band holds, the search finds its ends, and coverage is at least as stated."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import integrate, stats

import pmdtheory as pmd
from pmdtheory.rollouts import Rollouts, _graded_intervals, diagnose
from pmdtheory.rollouts._bands import Cells, all_hold, cells_of, outward, simultaneous_level
from pmdtheory.rollouts._extremes import FIELDS, laws, ranges
from pmdtheory.rollouts._graded import graded_groups
from pmdtheory.rollouts._graded_intervals import graded_intervals
from tests.tolerances import monte_carlo

LEVEL = 0.95
SLACK = 1e-9  # of the ends, where truth and end are the same number by different ways
ROUNDED = 1e-6


def truths(mass, reward, tau):
    """Every functional of one law, from the solver of single problems."""
    step = pmd.mean_update(pmd.Problem.from_policy(mass, reward, tau)).unwrap()
    penalty = 0.5 * step.multiplier * step.chi2
    return {
        "pass_rate": step.problem.mean_reward,
        "new_pass_rate": step.expected_reward,
        "gain": step.improvement,
        "multiplier": step.multiplier,
        "kl": step.kl,
        "chi2_share": penalty / (penalty + step.kl),
    }


def groups_of(size, n):
    """All counts of n rollouts on `size` levels."""
    return np.array([c for c in product(range(n + 1), repeat=size) if sum(c) == n])


# -- the band -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [0.9, 0.99])
def test_all_hold_for_two_draws_by_integration(local):
    tail = 0.5 * (1.0 - local)
    (a, b), (c, d) = (stats.beta.ppf([tail, 1.0 - tail], k, 3 - k) for k in (1, 2))
    wanted = integrate.quad(lambda u: 2.0 * max(min(d, 1.0) - max(c, u), 0.0), a, b, points=[c], epsabs=1e-12)[0]
    assert all_hold(2, local) == pytest.approx(wanted, abs=1e-9)
    assert all_hold(1, local) == pytest.approx(local, abs=1e-12)


@pytest.mark.parametrize("n", [4, 16])
def test_all_hold_by_sampling(n):
    """And the mutant: intervals each of the stated level do not hold together."""
    draws, k = np.sort(np.random.default_rng(0).random((20_000, n)), axis=1), np.arange(1, n + 1)
    local = simultaneous_level(n, LEVEL)
    low, high = (stats.beta.ppf(tail, k, n + 1 - k) for tail in (0.5 - 0.5 * local, 0.5 + 0.5 * local))
    rate = np.all((low <= draws) & (draws <= high), axis=1).mean()
    assert abs(rate - LEVEL) <= monte_carlo(np.sqrt(LEVEL * (1 - LEVEL)), 20_000)
    assert all_hold(n, local) == pytest.approx(LEVEL, abs=1e-4)
    assert all_hold(n, LEVEL) < 0.9


def test_the_level_falls_with_n_and_is_never_worse_than_bonferroni():
    sizes = (1, 2, 3, 8, 40, 256, 257, 5000)
    found = [1.0 - simultaneous_level(n, LEVEL) for n in sizes]
    assert np.all(np.diff(found) < 0.0)
    assert all(one >= (1.0 - LEVEL) / n * (1.0 - ROUNDED) for n, one in zip(sizes, found, strict=True))


def test_cells_are_levels_or_cover_the_range():
    rng = np.random.default_rng(0)
    levels = cells_of(rng.choice([0.0, 0.5, 1.0], 100), 8.0, 6)
    assert levels.known
    assert levels.first.tolist() == levels.last.tolist() == [0.0, 0.5, 1.0]
    reward = rng.normal(size=2000)
    cells = cells_of(reward, 8.0, 5)
    assert (cells.first[0], cells.last[-1]) == (reward.min(), reward.max())
    assert cells.first[1:].tolist() == cells.last[:-1].tolist()
    assert cells.closed
    assert not cells.known
    many = cells_of(rng.integers(0, 11, 5000).astype(float), 8.0, 4)
    assert not many.known
    assert not many.closed
    assert np.all(many.first[1:] == many.last[:-1] + 1.0)
    few = cells_of(np.array([0.0, 0.3, 1.0]), 3.0, 6)  # three rollouts do not show that there are three levels
    assert few.closed


def test_thresholds_minimise_what_is_left_open():
    """Against every choice of thresholds."""
    rng, n = np.random.default_rng(3), 4.0
    reward = np.round(rng.beta(0.5, 2.0, 30), 3)
    values = np.unique(reward)

    def cost(ends):
        edges, total = np.array([values[0], *ends, values[-1]]), 0.0
        for i in range(edges.size - 1):
            inside = (reward > edges[i]) | (i == 0)
            total += ((inside & (reward <= edges[i + 1])).mean() + 1 / n) * (edges[i + 1] - edges[i])
        return total

    best = min(cost(ends) for ends in combinations(values[:-1], 3))
    assert cost(cells_of(reward, n, 4).last[:-1]) == pytest.approx(best, rel=ROUNDED)


def test_outward_contains_the_band():
    low, high = np.random.default_rng(0).random((2, 50, 3)) * [[[0.5]], [[0.5]]] + [[[0.0]], [[0.5]]]
    below, above = outward(low, high)
    assert np.all((below <= low) & (high <= above))
    assert outward(np.array([0.0]), np.array([1.0])) == (0.0, 1.0)


# -- the search -----------------------------------------------------------------------------------------------------


def climbed(low, high, nodes, tau, field, sign, rng):
    """The largest value over a band's laws on its levels, by random steps from random laws: no idea in common."""

    def value(distribution):
        mass = np.maximum(np.diff(distribution, axis=1, prepend=0.0, append=1.0), 0.0)
        return sign * getattr(laws(mass, np.broadcast_to(nodes, mass.shape), tau), field)

    points = np.clip(np.sort(low + (high - low) * rng.beta(0.4, 0.4, (300, low.size)), axis=1), low, high)
    values = value(points)
    chosen = values.argsort()[-20:]
    points, values, h = points[chosen], values[chosen], 0.5
    for _ in range(50):
        moves = h * (high - low) * rng.normal(size=points.shape) * (rng.random(points.shape) < 0.5)
        tried = np.clip(np.maximum.accumulate(np.clip(points + moves, low, high), axis=1), low, high)
        new = value(tried)
        better = new > values
        points[better], values[better], h = tried[better], new[better], 0.92 * h
    return values.max()


@pytest.mark.parametrize("trials", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_no_law_of_the_band_lies_beyond_the_range(trials):
    """Within a hundredth of the width; three hundredths for the least chi2 share, whose search has three numbers."""
    rng = np.random.default_rng(1)
    for _ in range(trials):
        size, n, tau = int(rng.integers(3, 8)), int(rng.integers(3, 17)), float(np.exp(rng.uniform(-3.5, 0.7)))
        levels = np.concatenate([[0.0], np.sort(rng.random(size - 2)), [1.0]])
        counts = rng.multinomial(n, rng.dirichlet(np.full(size, 0.5)))
        cells = Cells(levels, levels, known=True)
        low, high = cells.band(np.cumsum(counts)[None, :-1], n, LEVEL)
        found = ranges(low, high, cells, tau)
        for name, field in FIELDS.items():
            width = float(found[name][1][0] - found[name][0][0])
            for sign, end in ((-1.0, found[name][0][0]), (1.0, found[name][1][0])):
                beyond = climbed(low[0], high[0], levels, tau, field, sign, rng) - sign * end
                short = 0.03 if (name, sign) == ("chi2_share", -1.0) else 0.01
                assert beyond <= short * width + SLACK, (name, sign, counts, tau)


def test_a_band_of_one_law_has_one_value():
    """And the ends of the pass rate are those of the two ends of the band."""
    levels, tau = np.array([0.0, 0.2, 0.7, 1.0]), 0.3
    cells, mass = Cells(levels, levels, known=True), np.array([0.4, 0.3, 0.2, 0.1])
    exact = np.cumsum(mass)[None, :-1]
    for name, ends in ranges(exact, exact, cells, tau).items():
        for end in ends:
            assert end[0] == pytest.approx(truths(mass, levels, tau)[name], rel=1e-9)
    low, high = cells.band(np.array([[1, 2, 3]]), 4, LEVEL)
    mean = ranges(low, high, cells, tau)["pass_rate"]
    assert mean[0][0] == pytest.approx(1.0 - np.diff(levels) @ high[0])
    assert mean[1][0] == pytest.approx(1.0 - np.diff(levels) @ low[0])


def test_laws_inside_cells_lie_within_the_range():
    """Laws with rewards anywhere in the cells, drawn at random between the bounds at the thresholds."""
    rng, tau = np.random.default_rng(2), 0.2
    cells = Cells(np.array([0.0, 0.3, 0.8]), np.array([0.3, 0.6, 1.0]), known=False)
    low, high = cells.band(np.array([[3, 6]]), 8, LEVEL)
    found = ranges(low, high, cells, tau)
    edge = np.clip(np.sort(low + (high - low) * rng.random((2000, 2)), axis=1), low, high)
    mass = np.diff(edge, axis=1, prepend=0.0, append=1.0)
    part = rng.beta(0.3, 0.3, (2000, 6))
    reward = np.repeat(cells.first, 2) + part * np.repeat(cells.last - cells.first, 2)
    share = rng.beta(0.3, 0.3, (2000, 3))
    step = laws(np.stack([mass * share, mass * (1.0 - share)], axis=2).reshape(2000, 6), reward, tau)
    for name, field in FIELDS.items():
        value, (least, most) = getattr(step, field), found[name]
        assert least[0] - SLACK <= value.min()
        assert value.max() <= most[0] + SLACK
        assert value.max() - value.min() > 0.5 * (most[0] - least[0]), name  # and the range is not just everything


# -- coverage -------------------------------------------------------------------------------------------------------

LAWS = {
    "rare": [0.8, 0.1, 0.05, 0.03, 0.02],
    "rarer": [0.97, 0.0, 0.0, 0.02, 0.01],
    "common": [0.05, 0.1, 0.15, 0.3, 0.4],
    "two": [0.9, 0.0, 0.0, 0.0, 0.1],
    "even": [0.2, 0.2, 0.2, 0.2, 0.2],
    "solved": [0.0, 0.0, 0.01, 0.04, 0.95],
    "still": [0.0, 0.0, 1.0, 0.0, 0.0],
}


def least_coverage(levels, n, tau, masses):
    """Exact: the sum over all groups; the least over laws for every functional."""
    groups, levels = groups_of(len(levels), n), np.array(levels)
    cells = Cells(levels, levels, known=True)
    found = ranges(*cells.band(np.cumsum(groups, axis=1)[:, :-1], n, LEVEL), cells, tau)
    least = dict.fromkeys(found, 1.0)
    for mass in masses:
        weight, truth = stats.multinomial.pmf(groups, n, mass), None
        if np.max(mass) == 1.0:
            truth = dict.fromkeys(found, 0.0) | dict.fromkeys(("pass_rate", "new_pass_rate"), levels[np.argmax(mass)])
        for name, value in (truth or truths(mass, levels, tau)).items():
            low, high = found[name]
            inside = (low <= value + SLACK) & (value <= high + SLACK)
            least[name] = min(least[name], float(weight[inside].sum()))
    return least


CASES = [((0.0, 0.5, 1.0), 4), ((0.0, 0.5, 1.0), 8), ((0.0, 0.2, 0.5, 1.0), 6), ((0.0, 0.25, 0.5, 0.75, 1.0), 4)]
LONG = [((0.0, 0.25, 0.5, 0.75, 1.0), 8), ((0.0, 0.1, 0.5, 0.75, 0.9, 1.0), 5)]


@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0])
@pytest.mark.parametrize(("levels", "n"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)])
def test_known_levels_are_covered(levels, n, tau):
    """By enumeration of every group, for laws drawn from Dirichlet's distribution, many of them near an edge."""
    masses = [*np.random.default_rng(0).dirichlet(np.full(len(levels), 0.5), 20)]
    if len(levels) == 5:
        masses += [np.array(mass) for mass in LAWS.values()]
    least = least_coverage(levels, n, tau, masses)
    assert min(least.values()) >= LEVEL, least


def first_order(groups, levels, n, tau, name):
    """The mutant: plug-in value and Student's factor times the first-order standard error; none where all agree."""
    one = graded_groups(np.array([np.repeat(levels, c) for c in groups]), tau)
    reach = stats.t.ppf(0.5 + 0.5 * LEVEL, n - 1) * one.errors[name]
    value = getattr(one.measures, FIELDS[name])
    return value - reach, value + reach


@pytest.mark.parametrize(("name", "most"), [("new_pass_rate", 0.7), ("gain", 0.6), ("kl", 0.6)])
def test_the_first_order_interval_fails_where_it_is_said_to(name, most):
    levels, n, tau = np.linspace(0, 1, 5), 8, 0.5
    groups, mass = groups_of(5, n), np.array(LAWS["rare"])
    low, high = first_order(groups, levels, n, tau, name)
    truth = truths(mass, levels, tau)[name]
    rate = stats.multinomial.pmf(groups, n, mass)[(low <= truth) & (truth <= high)].sum()
    assert rate < most


def continuous(name):
    """Draws of a law with an atom, and the law itself on a fine grid of quantiles."""
    share, a, b = {"rare": (0.9, 2.0, 2.0), "mixed": (0.4, 0.7, 1.0), "solved": (0.05, 6.0, 1.0)}[name]
    grid = np.concatenate([[0.0], stats.beta.ppf((np.arange(4000) + 0.5) / 4000, a, b)])
    mass = np.concatenate([[share], np.full(4000, (1.0 - share) / 4000)])
    return lambda rng, size: np.where(rng.random(size) < share, 0.0, rng.beta(a, b, size)), mass, grid


@pytest.mark.parametrize(("groups", "taus"), [(60, [0.3]), pytest.param(1500, [0.1, 0.3, 1.0], marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [4, 16])
@pytest.mark.parametrize("law", ["rare", "mixed", "solved"])
def test_continuous_rewards_are_covered(law, n, groups, taus):
    draw, mass, grid = continuous(law)
    rewards = draw(np.random.default_rng(n), (groups, n))
    for tau in taus:
        truth = dict(zip(FIELDS, _on(mass, grid, tau), strict=True))
        (found,), cells = graded_intervals([rewards], tau, LEVEL)
        assert cells.last.size >= 3
        for name, (low, high) in found.items():
            rate = np.mean((low <= truth[name]) & (truth[name] <= high))
            assert rate >= LEVEL - monte_carlo(np.sqrt(LEVEL * (1 - LEVEL)), groups, z=3.0), (name, tau)


def _on(mass, reward, tau):
    step = laws(mass[None], reward[None], tau)
    return [float(getattr(step, field)[0]) for field in FIELDS.values()]


def test_groups_that_agree_have_intervals_too():
    rng = np.random.default_rng(0)
    rewards = rng.random((30, 6))
    rewards[:3] = [[0.0], [0.5], [1.0]]
    found = diagnose(Rollouts.from_arrays(np.repeat(np.arange(30), 6), rewards.ravel()), 0.3)
    for name, (low, high) in found.intervals.items():
        value = getattr(found.measures, FIELDS[name])
        assert np.all((low <= value + SLACK) & (value <= high + SLACK)), name
    assert np.isnan(found.errors["kl"][0])
    assert found.errors["kl"][3] > 0.0
    assert found.errors["pass_rate"][3:] == pytest.approx(rewards[3:].std(axis=1, ddof=1) / np.sqrt(6.0))


def test_groups_of_many_sizes_stay_cheap(monkeypatch):
    """Every group of another size, and fewer searches than sizes: bands are rounded outwards, and still cover."""
    monkeypatch.setattr(_graded_intervals, "_EFFORT", 100)
    rng, tau = np.random.default_rng(0), 0.5
    found, cells = graded_intervals([rng.random((3, n)) for n in range(20, 80)], tau, LEVEL)
    assert cells.last.size == 2
    kinds = {tuple(float(one["kl"][end][i]) for end in (0, 1)) for one in found for i in range(3)}
    assert len(kinds) < 60
    truth = dict(zip(FIELDS, _on(np.full(2000, 1 / 2000), (np.arange(2000) + 0.5) / 2000, tau), strict=True))
    for name in FIELDS:
        inside = [(one[name][0] <= truth[name]) & (truth[name] <= one[name][1]) for one in found]
        assert np.mean(inside) >= LEVEL
