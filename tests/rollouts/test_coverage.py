"""Intervals cover at their stated rate: by enumeration for one prompt, by sampling for means over prompts."""

import numpy as np
import pytest
from scipy import stats

from pmdtheory.rollouts import Rollouts, diagnose
from pmdtheory.rollouts._intervals import FUNCTIONALS, Curves, clopper_pearson
from pmdtheory.rollouts._mixture import GRID, Band, binomial_table, estimate
from pmdtheory.rollouts._pooled import Counts, clustered_error, coefficients, over_prompts, pooled_mean
from tests.rollouts.laws import LAWS, expected
from tests.tolerances import monte_carlo

LEVEL = 0.95
RATES = np.array([0.0, 1e-6, 1e-4, 0.003, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999, 1.0])


def covered(low, high, truth, n):
    """Exact chance that intervals by the number of successes `[n + 1]` hold a function's values at `RATES`."""
    inside = (low[:, None] <= truth + 1e-12) & (truth <= high[:, None] + 1e-12)
    return (binomial_table(RATES, n) * inside).sum(axis=0)


@pytest.mark.parametrize("tau", [0.02, 0.1, 0.4, 1.0, 5.0])
@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 64])
def test_one_prompt_is_covered_whatever_its_pass_rate(n, tau):
    """Not a sample: the sum over all outcomes, so there is no seed and no tolerance but rounding."""
    curves = Curves(tau)
    ends = curves.image(*clopper_pearson(np.arange(n + 1), n, LEVEL), n)
    truth = curves.at(RATES, n)
    for name in FUNCTIONALS:
        assert covered(*ends[name], truth[name], n).min() >= LEVEL, name


def delta_method(tau, n):
    """The usual interval: plug-in and 1.96 standard errors by the slope at k/n."""
    curves, p, h = Curves(tau), np.arange(n + 1) / n, 1e-5
    above, below = np.minimum(p + h, 1.0), np.maximum(p - h, 0.0)
    rise = curves.at(above, n)["new_pass_rate"] - curves.at(below, n)["new_pass_rate"]
    error = 1.96 * np.abs(rise) / (above - below) * np.sqrt(p * (1 - p) / n)
    value = curves.at(p, n)["new_pass_rate"]
    return value - error, value + error


def test_the_usual_interval_fails_where_it_is_said_to():
    """The mutant: with n = 4 at tau = 0.1 plug-in intervals cover a prompt of p = 0.05 never, of p = 0.1 in 29 %."""
    truth = Curves(0.1).at(RATES, 4)["new_pass_rate"]
    found = dict(zip(RATES.tolist(), covered(*delta_method(0.1, 4), truth, 4), strict=True))
    assert found[0.05] < 0.2
    assert 0.25 < found[0.1] < 0.35
    assert min(found[p] for p in (0.02, 0.05, 0.1, 0.3, 0.5, 0.9)) < 0.5


def test_regimes_that_an_interval_meets_include_the_true_one():
    curves, n = Curves(0.3), 4
    low, high = clopper_pearson(np.arange(n + 1), n, LEVEL)
    met = curves.regimes(low, high)
    true = curves.regimes(RATES, RATES)
    inside = np.array([[true[j][0] in met[k] for j in range(RATES.size)] for k in range(n + 1)])
    assert (binomial_table(RATES, n) * inside).sum(axis=0).min() >= LEVEL


# -- means over prompts ---------------------------------------------------------------------------------------------


def study(law, n, groups, tau, repetitions, names):
    """Share of repetitions in which the corrected interval, and the plug-in interval, hold the true mean."""
    rng, curves = np.random.default_rng(12), Curves(tau)
    at, grid = curves.at(np.arange(n + 1) / n, n), curves.at(GRID, n)
    truth = {name: expected(law, lambda p, name=name: curves.at(p, n)[name]) for name in names}
    hits, plain = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _ in range(repetitions):
        counts = Counts(rng.binomial(n, LAWS[law](rng, groups)), n, np.arange(groups))
        bands = [Band(counts.histogram, 0.2 * (1 - LEVEL))]
        for name in names:
            one, _ = pooled_mean([counts], [(at[name], grid[name])], LEVEL, bands)
            hits[name] += one.low <= truth[name] <= one.high
            values = at[name][counts.successes]
            plain[name] += abs(values.mean() - truth[name]) <= 1.98 * clustered_error(values, counts.prompt)[0]
    return {name: (hits[name] / repetitions, plain[name] / repetitions) for name in names}


@pytest.mark.parametrize(
    ("law", "n", "groups", "tau"), [("beta", 4, 100, 0.3), ("two", 8, 60, 1.0), ("hard", 8, 200, 0.1)]
)
def test_means_over_prompts_are_covered(law, n, groups, tau):
    repetitions = 60
    found = study(law, n, groups, tau, repetitions, ("new_pass_rate", "kl"))
    allowed = LEVEL - monte_carlo(np.sqrt(LEVEL * (1 - LEVEL)), repetitions, z=3.0)
    assert all(corrected >= allowed for corrected, _ in found.values()), found
    if tau < 1.0:  # the bias of plugging in does not go away with more prompts
        assert found["kl"][1] < 0.5, found


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "groups", "tau"), [(4, 100, 0.3), (8, 200, 0.1), (8, 30, 1.0), (16, 400, 0.3)])
def test_means_over_prompts_are_covered_at_length(law, n, groups, tau):
    """With 30 prompts the central limit theorem itself falls short by a few points: four are allowed for there."""
    repetitions = 400
    found = study(law, n, groups, tau, repetitions, ("new_pass_rate", "gain", "multiplier", "kl", "chi2_share"))
    allowed = LEVEL - monte_carlo(np.sqrt(LEVEL * (1 - LEVEL)), repetitions, z=3.0) - (0.04 if groups < 50 else 0.0)
    assert all(corrected >= allowed for corrected, _ in found.values()), found


def test_more_prompts_do_not_cure_the_plug_in():
    """A million prompts: the plug-in mean is off by a hundred standard errors, the corrected one within its bounds."""
    n, tau, rng = 4, 0.3, np.random.default_rng(0)
    counts = Counts(rng.binomial(n, LAWS["beta"](rng, 1_000_000)), n, np.arange(1_000_000))
    curves = Curves(tau)
    pair = (curves.at(np.arange(n + 1) / n, n)["kl"], curves.at(GRID, n)["kl"])
    found, _ = pooled_mean([counts], [pair], LEVEL, [Band(counts.histogram, 0.01)])
    truth = expected("beta", lambda p: curves.at(p, n)["kl"])
    assert found.low <= truth <= found.high
    assert abs(found.plug_in - truth) > 100 * found.standard_error


def test_polynomials_have_no_bias():
    """f(p) = p^2 is of degree 2 <= n: its coefficients are k(k - 1)/(n(n - 1)), which rounds approach."""
    n = 6
    k = np.arange(n + 1)
    c = coefficients((k / n) ** 2, GRID**2, n, 10**12)
    assert c == pytest.approx(k * (k - 1) / (n * (n - 1)), abs=1e-6)
    assert np.abs(c @ binomial_table(GRID, n) - GRID**2).max() < 1e-6


def test_bands_hold_the_law_and_the_estimate():
    """Bounds contain the truth and the mean under the most likely law; without groups in common they are all of f."""
    n, rng = 8, np.random.default_rng(4)
    counts = Counts(rng.binomial(n, LAWS["uniform"](rng, 300)), n, np.arange(300))
    band, likely = Band(counts.histogram, 0.05), estimate(counts.histogram)
    f = GRID**20 + (1 - GRID) ** 20
    low, high = band.extremes(f)
    assert low <= 2 / 21 <= high
    assert low <= likely @ f <= high
    assert abs(likely.sum() - 1) < 1e-9
    assert Band(np.ones(2), 0.05).extremes(f) == pytest.approx((f.min(), f.max()))


def test_counts_that_no_law_explains_are_reported():
    """Half of the groups with 2 of 4 and half with none but never 1 or 3: rollouts of a group are not independent."""
    histogram = np.array([0.0, 0.0, 20_000.0, 0.0, 0.0])
    band = Band(histogram, 0.01)
    f = GRID.copy()
    assert band.extremes(f) == (0.0, 1.0)
    assert not band.consistent
    rewards = np.tile([0, 0, 1, 1], 20_000)
    found = diagnose(Rollouts.from_arrays(np.repeat(np.arange(20_000), 4), rewards), tau=0.5)
    assert any("agree with no law" in note for note in found.notes)


@pytest.mark.parametrize("prompts", [10, 60, 200])
def test_shares_of_prompts_are_covered_where_none_or_few_have_shown_it(prompts):
    """By enumeration, within three points of the stated rate; the mutant, Student alone, misses rare ones."""
    k, owner = np.arange(prompts + 1), np.arange(prompts)
    shares = np.array([0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5])
    weight = stats.binom.pmf(k, prompts, shares[:, None])
    covered = []
    for ends in ((0.0, 1.0), (-np.inf, np.inf)):
        found = [over_prompts((owner < one).astype(float), owner, 0.95, ends=ends) for one in k]
        low, high = np.array([(one.low, one.high) for one in found]).T
        covered.append((weight * ((low <= shares[:, None]) & (shares[:, None] <= high))).sum(axis=1))
    assert covered[0].min() > 0.92
    assert covered[1].min() < 0.2
    assert over_prompts(np.zeros(prompts), owner, 0.95, ends=(0.0, 1.0)).high == pytest.approx(
        stats.beta.ppf(0.975, 1, prompts)  # Clopper and Pearson's end
    )
