"""Laws of rewards: heavy tails with an infinite log Z (C19), discrete and custom laws, and the reported error."""

import math

import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

import pmdtheory as pmd
from pmdtheory import Problem, Status
from tests import oracles
from tests.tolerances import CONTINUOUS, PRINTED, REFERENCE, ROOT, exact, largest


class ParetoLoss:
    """Minus a Pareto(1.5) variable: bounded above by -1, infinite second moment below; only ppf and isf."""

    def ppf(self, u):
        return -(np.asarray(u) ** (-1 / 1.5))

    def isf(self, u):
        return -np.exp(-np.log1p(-np.asarray(u)) / 1.5)


class Step:
    """A law with a jump: zero with mass 0.7, one with mass 0.3, known by its quantile function only."""

    def ppf(self, u):
        return np.where(np.asarray(u) <= 0.7, 0.0, 1.0)

    def isf(self, u):
        return np.where(np.asarray(u) < 0.3, 1.0, 0.0)


class Spiked:
    """Half an atom at zero, half uniform on [0, 1]: a mixed law."""

    def ppf(self, u):
        return np.maximum(0.0, 2.0 * np.asarray(u) - 1.0)

    def isf(self, u):
        return np.maximum(0.0, 1.0 - 2.0 * np.asarray(u))


HEAVY = [
    ("expon-.5", stats.expon(), 0.5, 0.66408482, 2.47583),
    ("expon-.1", stats.expon(), 0.1, 3.54387143, 2.92826),
    ("t3-.5", stats.t(3), 0.5, 1.04918551, None),
    ("lognorm-.2", stats.lognorm(1), 0.2, 3.06681857, None),
]


@pytest.mark.parametrize(("frozen", "tau", "multiplier", "reward"), [h[1:] for h in HEAVY], ids=[h[0] for h in HEAVY])
def test_heavy_tails(frozen, tau, multiplier, reward):
    """C19: log Z is infinite, PMD-mean is not; KL-PMD says why it has no solution."""
    problem = Problem.from_distribution(frozen, tau)
    assert problem.log_partition == math.inf
    assert problem.jensen_gap == math.inf
    assert not problem.law.partition_finite
    assert problem.upper_second_moment_finite
    solution = pmd.mean_update(problem)
    update = solution.unwrap()
    assert solution.residual <= ROOT
    assert update.multiplier == pytest.approx(multiplier, rel=PRINTED)
    assert update.multiplier == pytest.approx(update.reverse_kl, rel=REFERENCE)
    assert math.isfinite(update.expected_reward)
    assert math.isfinite(update.chi2)
    if reward is not None:
        assert update.expected_reward == pytest.approx(reward, abs=1e-5)
    ideal = pmd.kl_update(problem)
    assert ideal.status is Status.PARTITION_INFINITE
    assert ideal.value is None
    assert math.isnan(ideal.residual)
    with pytest.raises(pmd.SolveError, match="PARTITION_INFINITE: .*mean_update"):
        ideal.unwrap()


@pytest.mark.parametrize("member", ["mixed", "baseline"])
def test_other_members_on_a_heavy_tail(member):
    """Every positive weight tames the tail: the mixed step and PMD(b) exist as PMD-mean does."""
    problem = Problem.from_distribution(stats.expon(), 0.5)
    mean = pmd.mean_update(problem).unwrap()
    if member == "mixed":
        update = pmd.mixed_update(problem, weight=mean.multiplier).unwrap()
    else:
        update = pmd.baseline_update(problem, baseline=mean.baseline).unwrap()
    assert update.multiplier == pytest.approx(mean.multiplier, rel=CONTINUOUS)
    assert update.expected_reward == pytest.approx(mean.expected_reward, rel=CONTINUOUS)
    assert update.kl == pytest.approx(mean.kl, rel=CONTINUOUS)


def test_a_heavy_lower_tail_keeps_log_z():
    """-Pareto(1.5): E r^2 is infinite but rewards are bounded above, so everything about the step is finite."""
    problem = Problem.from_distribution(ParetoLoss(), 0.5)
    update = pmd.mean_update(problem).unwrap()
    assert update.multiplier == pytest.approx(2.22983551, rel=PRINTED)
    assert update.expected_reward == pytest.approx(-1.47932, abs=1e-5)
    assert problem.mean_reward == pytest.approx(-3.0, rel=1e-9)
    assert problem.law.partition_finite
    assert problem.upper_second_moment_finite
    assert pmd.kl_update(problem).status is Status.SUCCESS


def test_a_pareto_upper_tail_has_an_infinite_expected_reward():
    """C19: E (r+)^2 = inf, so E_{pi+} r and chi2 are infinite while lambda is not."""
    problem = Problem.from_distribution(stats.pareto(1.5), 0.5)
    update = pmd.mean_update(problem).unwrap()
    assert not problem.upper_second_moment_finite
    assert problem.log_partition == math.inf
    assert update.expected_reward == update.improvement == update.chi2 == math.inf
    assert math.isfinite(update.multiplier)
    assert update.multiplier == pytest.approx(update.reverse_kl, rel=REFERENCE)


@pytest.mark.parametrize(
    "frozen",
    [stats.cauchy(), stats.pareto(1.0), stats.pareto(0.5), stats.t(1), stats.levy()],
    ids=["cauchy", "pareto-1", "pareto-.5", "t1", "levy"],
)
def test_laws_without_a_mean_are_refused(frozen):
    with pytest.raises(ValueError, match="no finite mean") as caught:
        Problem.from_distribution(frozen, 0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tau", "finite"), [(0.5, False), (0.99, False), (1.002, True), (1.01, True), (2.0, True)])
def test_the_critical_tau_of_an_exponential_tail(tau, finite):
    """E e^{r/tau} of exponential(1) is 1/(1 - 1/tau), finite from tau = 1 on."""
    problem = Problem.from_distribution(stats.expon(), tau)
    assert problem.law.partition_finite is finite
    if finite:
        # near the critical tau the tilt's mass lies beyond the outermost quantile, and the reported error says so
        error = abs(math.expm1(problem.log_partition + math.log(1.0 - 1.0 / tau)))
        assert error <= max(problem.law.error, REFERENCE)
        assert (problem.law.error > 1e-4) is (tau < 1.02)
        assert pmd.kl_update(problem).status is Status.SUCCESS
    else:
        assert pmd.kl_update(problem).status is Status.PARTITION_INFINITE


MOMENTS = {
    "uniform": stats.uniform(-1, 3),
    "normal": stats.norm(2, 0.5),
    "beta": stats.beta(2, 5),
    "beta-u-shaped": stats.beta(0.5, 0.5),
    "gamma": stats.gamma(3),
    "exponential": stats.expon(scale=2),
    "lognormal": stats.lognorm(1),
    "t3": stats.t(3),
    "laplace": stats.laplace(),
    "gumbel": stats.gumbel_r(),
    "weibull": stats.weibull_min(1.5),
    "triangular": stats.triang(0.3),
}


@pytest.mark.parametrize("tau", [0.1, 10.0])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_and_reported_error(name, tau):
    frozen = MOMENTS[name]
    problem = Problem.from_distribution(frozen, tau)
    scale = max(1.0, abs(frozen.mean()), float(frozen.ppf(0.75) - frozen.ppf(0.25)))
    assert abs(problem.mean_reward - frozen.mean()) <= CONTINUOUS * scale
    assert 0.0 <= problem.law.error <= CONTINUOUS
    assert np.all(np.diff(problem.law.node) >= 0.0)
    assert np.all(problem.law.mass > 0.0)
    assert problem.law.mass.sum() == pytest.approx(1.0, abs=exact())
    solution = pmd.mean_update(problem)
    assert solution.residual <= ROOT
    assert solution.unwrap().multiplier > 0.0


def test_log_z_of_the_normal_law():
    """log E e^{r/tau} = mean/tau + (sd/tau)^2/2 for a normal law, where the KL step is a shift of the mean."""
    for tau in (0.2, 1.0, 5.0):
        problem = Problem.from_distribution(stats.norm(2.0, 0.5), tau)
        assert problem.jensen_gap == pytest.approx(0.5 * (0.5 / tau) ** 2, rel=CONTINUOUS)
        assert pmd.kl_update(problem).unwrap().improvement == pytest.approx(0.25 / tau, rel=1e-8)


def test_a_law_and_its_scaled_copy():
    """(r, tau) -> (k r, k tau) for a continuous law: the same multiplier."""
    one = pmd.mean_update(Problem.from_distribution(stats.norm(0.0, 1.0), 0.3)).unwrap()
    two = pmd.mean_update(Problem.from_distribution(stats.norm(5.0, 10.0), 3.0)).unwrap()
    assert two.multiplier == pytest.approx(one.multiplier, rel=CONTINUOUS)
    assert two.kl == pytest.approx(one.kl, rel=1e-8)


def test_an_empirical_sample_approaches_its_law():
    """lambda of n rollouts tends to the law's like n^-1/2 (five standard errors, from the spread over seeds)."""
    exact_multiplier = pmd.mean_update(Problem.from_distribution(stats.norm(), 0.5)).unwrap().multiplier
    rng = np.random.default_rng(0)
    found = [pmd.mean_update(Problem.from_rollouts(rng.normal(size=4000), 0.5)).unwrap().multiplier for _ in range(20)]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    # the bias of a plug-in estimate is of order 1/n, far below the standard error
    assert abs(np.mean(found) - exact_multiplier) <= 5.0 * error
    assert error < 0.01


# -- discrete and mixed laws -------------------------------------------------------------------------------------


def test_poisson():
    """log Z = m (e^{1/tau} - 1), and lambda from an oracle on the enumerated law."""
    tau = 0.8
    problem = Problem.from_distribution(stats.poisson(3.0), tau)
    assert problem.mean_reward == pytest.approx(3.0, rel=1e-13)
    assert problem.log_partition == pytest.approx(3.0 * math.expm1(1.0 / tau), rel=1e-11)
    with mp.workdps(30):
        mass = [mp.exp(-3) * mp.mpf(3) ** k / mp.factorial(k) for k in range(80)]

        def expectation(f):
            return mp.fsum(m * f(mp.mpf(k)) for k, m in enumerate(mass))

        expected = oracles.continuous_multiplier(expectation, mp.mpf(3), tau)
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(expected, rel=CONTINUOUS)


def test_binomial_is_its_own_enumeration():
    problem = Problem.from_distribution(stats.binom(16, 0.3), 2.0)
    assert problem.reward.tolist() == list(range(17))
    assert problem.policy == pytest.approx(stats.binom(16, 0.3).pmf(np.arange(17)), rel=1e-12)
    direct = Problem.from_policy(problem.policy, np.arange(17), 2.0)
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(
        pmd.mean_update(direct).unwrap().multiplier, rel=REFERENCE
    )
    assert problem.law.error <= CONTINUOUS


def test_a_custom_discrete_law():
    """Atoms at values that are no integers, one of them without mass."""
    law = stats.rv_discrete(values=([-0.5, 0.25, 1.5, 2.0], [0.2, 0.5, 0.3, 0.0]))()
    problem = Problem.from_distribution(law, 0.4)
    assert problem.reward.tolist() == [-0.5, 0.25, 1.5]
    assert problem.policy == pytest.approx([0.2, 0.5, 0.3], abs=exact())
    step = oracles.regression([0.2, 0.5, 0.3], [-0.5, 0.25, 1.5], 0.4)
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(float(step.multiplier), rel=REFERENCE)


def test_too_many_levels_are_refused():
    with pytest.raises(ValueError, match="more than 1000000 levels; pass its head through from_policy"):
        Problem.from_distribution(stats.randint(0, 10**8), 1.0)


def test_a_jump_of_the_quantile_function_is_resolved():
    """A binary law known by its quantile function only is the binary problem."""
    problem = Problem.from_distribution(Step(), 0.2)
    expected = pmd.mean_update(Problem.binary(0.3, 0.2)).unwrap()
    update = pmd.mean_update(problem).unwrap()
    assert problem.mean_reward == pytest.approx(0.3, rel=CONTINUOUS)
    assert update.multiplier == pytest.approx(expected.multiplier, rel=CONTINUOUS)
    assert sorted(problem.levels.reward.tolist()) == [0.0, 1.0]


def test_a_mixed_law():
    """Half an atom, half a density, against mpmath's quadrature of both parts."""
    problem = Problem.from_distribution(Spiked(), 0.3)
    assert problem.mean_reward == pytest.approx(0.25, rel=CONTINUOUS)

    def expectation(f):
        return (f(mp.mpf(0)) + mp.quad(f, [0, 0.25, 1])) / 2

    expected = oracles.continuous_multiplier(expectation, mp.mpf(1) / 4, 0.3)
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(expected, rel=CONTINUOUS)


def test_a_degenerate_law():
    class Constant:
        def ppf(self, u):
            return np.full(np.shape(u), 2.5)

        isf = ppf

    problem = Problem.from_distribution(Constant(), 0.3)
    assert problem.mean_reward == 2.5
    assert pmd.mean_update(problem).unwrap().multiplier == 0.0


class Gruff:
    """A normal law whose quantile function gives up 100 nats out, in one of the two ways that exist."""

    def __init__(self, way):
        self.way = way

    def ppf(self, u):
        return self._answer(u, special.ndtri)

    def isf(self, u):
        return self._answer(u, lambda u: -special.ndtri(u))

    def _answer(self, u, quantile):
        import warnings

        u = np.asarray(u)
        far = u < math.exp(-100.0)
        if self.way == "warns" and far.any():
            warnings.warn("no convergence in the far tail", RuntimeWarning, stacklevel=2)
        return np.where(far, np.nan, quantile(np.maximum(u, 1e-300))) if self.way == "nan" else quantile(u)


@pytest.mark.parametrize("way", ["warns", "nan"])
def test_tails_that_give_up_are_cut(way):
    """Quantile functions that warn or return NaN far out lose mass of e^-100 or less, and nothing else."""
    found = pmd.mean_update(Problem.from_distribution(Gruff(way), 0.7)).unwrap()
    expected = pmd.mean_update(Problem.from_distribution(stats.norm(), 0.7)).unwrap()
    assert found.multiplier == pytest.approx(expected.multiplier, rel=CONTINUOUS)


class Holed:
    """A normal law, NaN beyond 100 nats below and on a narrow window of the middle."""

    def ppf(self, u):
        return np.where(np.asarray(u) < math.exp(-100.0), np.nan, special.ndtri(np.maximum(u, 1e-300)))

    def isf(self, u):
        hole = (special.expit(-0.68) < u) & (u < special.expit(-0.36))
        return np.where(hole, np.nan, -special.ndtri(u))


def test_a_hole_in_the_quantile_function_is_refused():
    with pytest.raises(ValueError, match="distribution's quantile function returns NaN; pass a frozen"):
        Problem.from_distribution(Holed(), 0.7)


@pytest.mark.parametrize("shape", [(0.01, 0.01), (0.05, 3.0), (200.0, 0.3)])
def test_beta_laws_with_warnings_in_their_tails(shape):
    problem = Problem.from_distribution(stats.beta(*shape), 0.3)
    mean = shape[0] / sum(shape)
    assert problem.mean_reward == pytest.approx(mean, rel=1e-9)
    update = pmd.mean_update(problem).unwrap()
    assert update.multiplier == pytest.approx(update.reverse_kl, rel=REFERENCE)
    # C7's outer bounds, by quantities of the law alone
    assert update.multiplier <= problem.jensen_gap * (1.0 + REFERENCE)
    assert largest(update.log_ratio) < 1e3


@pytest.mark.parametrize(
    ("frozen", "tau"),
    [(stats.norm(), 0.01), (stats.weibull_min(1.5), 0.05), (stats.poisson(3), 0.1)],
    ids=["normal", "weibull", "poisson"],
)
def test_a_partition_function_beyond_the_outermost_quantile_is_not_called_infinite(frozen, tau):
    """Tails lighter than exponential have a finite log Z at every tau; where the nodes miss it, that is said."""
    problem = Problem.from_distribution(frozen, tau)
    assert problem.law.partition_finite
    assert not problem.law.partition_reached
    assert math.isnan(problem.log_partition)
    assert pmd.kl_update(problem).status is Status.PARTITION_OUT_OF_REACH
    update = pmd.mean_update(problem).unwrap()
    assert update.multiplier == pytest.approx(update.reverse_kl, rel=REFERENCE)


@pytest.mark.parametrize(
    "frozen",
    [stats.t(2.6), stats.t(2.1), stats.pareto(2.2), stats.lognorm(1.5)],
    ids=["t2.6", "t2.1", "pareto", "lognormal"],
)
@pytest.mark.parametrize("tau", [0.03, 1.0, 30.0])
def test_the_mixed_step_of_a_heavy_tail_is_the_mean_step(frozen, tau):
    """Rewards of 1e50 and more among the nodes must not decide what the others get."""
    problem = Problem.from_distribution(frozen, tau)
    mean = pmd.mean_update(problem).unwrap()
    mixed = pmd.mixed_update(problem, weight=mean.multiplier).unwrap()
    assert mixed.kl == pytest.approx(mean.kl, rel=REFERENCE)
    assert mixed.reverse_kl == pytest.approx(mean.reverse_kl, rel=REFERENCE)


@pytest.mark.parametrize(("centre", "width"), [(1e6, 1e-3), (100.0, 1e-3), (1e9, 1.0)])
def test_a_law_far_from_zero_settles_at_its_rounding(centre, width):
    """Quantiles carry eps times their size, which no bisection takes away: it must not try for ever."""
    problem = Problem.from_distribution(stats.norm(centre, width), width)
    assert problem.reward.size < 5_000
    near = Problem.from_distribution(stats.norm(0.0, 1.0), 1.0)
    far, exact_step = pmd.mean_update(problem).unwrap(), pmd.mean_update(near).unwrap()
    assert far.multiplier == pytest.approx(exact_step.multiplier, rel=1e3 * problem.law.error + REFERENCE)
