"""The registered verdicts: every witness again, by its measure in balls and by definitions that share no code."""

from fractions import Fraction

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory.collapse import global_minimum
from pmdtheory.hunt import STATEMENTS, Witness, _tau
from pmdtheory.hunt._balls import BallCase
from pmdtheory.hunt._case import FloatCase, Step
from pmdtheory.hunt._families import coordinates
from tests import tolerances

HOCKEY = {level: _tau.hockey(level) for level in (Fraction(1, 2), Fraction(1), Fraction(2))}
FALSE = [name for name, one in STATEMENTS.items() if one.verdict == "refuted"]
TRUE = [name for name, one in STATEMENTS.items() if one.verdict == "proved"]


def test_every_false_statement_has_a_witness_and_no_true_one():
    assert len(FALSE) > 10
    assert len(TRUE) > 7
    assert all(STATEMENTS[name].witness is not None for name in FALSE)
    assert all(STATEMENTS[name].witness is None for name in TRUE)
    assert sum(one.mutant for one in STATEMENTS.values()) >= 3


@pytest.mark.parametrize("name", FALSE)
def test_witnesses_refute(name):
    one = STATEMENTS[name]
    low, high = one.slack(one.witness)
    assert low <= high < 0.0
    assert one.refutes(one.witness)


@pytest.mark.parametrize("name", [name for name in FALSE if STATEMENTS[name].extra and name != "C14-worse"])
def test_two_actions_refute_no_statement_about_tau_but_by_constants(name):
    """For binary laws the step grows in every f-divergence as tau falls (C22): no witness may come from there."""
    law = Witness((7, 3), (Fraction(0), Fraction(2)), {"scale": Fraction(4)})
    assert STATEMENTS[name].slack(law)[0] >= 0.0


@pytest.mark.parametrize("name", TRUE)
def test_true_statements_hold_at_the_witnesses_of_others(name):
    one, seen = STATEMENTS[name], 0
    for other in FALSE:
        law = STATEMENTS[other].witness
        if set(law.extra) >= set(one.extra):
            ends = one.slack(Witness(law.weights, law.reward, {key: law.extra[key] for key in one.extra}))
            assert ends[1] >= 0.0, other
            assert ends[0] > -1e-30, other  # equal where the divergence has nothing left to gain
            seen += 1
    assert seen >= 5


@pytest.mark.parametrize("name", [name for name in STATEMENTS if STATEMENTS[name].exact is None])
def test_float_and_balls_measure_the_same(name):
    from flint import ctx

    one = STATEMENTS[name]
    z = coordinates(np.random.default_rng(3), 60, 3, one.extra)
    z = z[(z[:, :3].min(1) > -8) & (np.abs(z[:, 3:6]).max(1) < 3)][:3]
    assert len(z) == 3
    for row in z:
        weights = [max(1, round(1e6 * share)) for share in np.exp(row[:3] - row[:3].max())]
        reward = [Fraction(round(4096 * float(np.sinh(x))), 4096) for x in row[3:6]]
        extra = {key: Fraction(round(64 * float(np.exp(v))), 64) for key, v in zip(one.extra, row[6:], strict=True)}
        with ctx.workprec(320):
            balls = BallCase(weights, reward, extra)
            found = float(one.measure(balls.floats)[0])
        low, high = one.slack(Witness(tuple(weights), tuple(reward), extra))
        slackness = 1e-5 if one.id.startswith("equal") else 1e-7  # the certified tilt lies 1e-6 below the matched one
        assert found == pytest.approx((low + high) / 2, rel=slackness, abs=slackness)


# -- by definitions that share no code with the measures -------------------------------------------------------------


def enclosed(witness, scale=Fraction(1)):
    policy = np.array([float(Fraction(w, sum(witness.weights))) for w in witness.weights])
    problem = pmd.Problem.from_policy(policy / policy.sum(), [float(r * scale) for r in witness.reward], 1.0)
    found = pmd.enclose(problem, weights=list(witness.weights))
    assert found.proved
    return found


@pytest.mark.parametrize(("name", "of"), [("tau-KL", "kl"), ("tau-chi2", "chi2")])
def test_a_smaller_tau_gives_a_smaller_step(name, of):
    witness = STATEMENTS[name].witness
    scale = witness.extra["scale"]
    assert scale > 1
    before, after = enclosed(witness), enclosed(witness, scale)
    assert getattr(after, of)[1] < getattr(before, of)[0]
    assert after.multiplier[0] > before.multiplier[1]  # while lambda grows, as it must (C22)


@pytest.mark.parametrize(("name", "power"), [("tau-Hellinger", 0.5), ("tau-alpha-tenth", 0.1)])
def test_a_smaller_tau_gives_a_smaller_alpha_divergence(name, power):
    """1 - E rho^alpha falls, in 40-digit arithmetic on mpmath's Lambert W."""
    import mpmath

    witness = STATEMENTS[name].witness
    with mpmath.workdps(40):
        total = sum(witness.weights)
        mass = [mpmath.mpf(w) / total for w in witness.weights]

        def affinity(scale):
            r = [mpmath.mpf(x.numerator) / x.denominator * scale for x in witness.reward]
            mean = mpmath.fsum(m * x for m, x in zip(mass, r, strict=True))

            def log_ratios(weight):
                return [x - mean - mpmath.lambertw(weight * mpmath.exp(x - mean)).real for x in r]

            low, high = mpmath.mpf(0), max(r) - min(r)
            for _ in range(120):
                weight = (low + high) / 2
                surplus = mpmath.fsum(m * mpmath.expm1(y) for m, y in zip(mass, log_ratios(weight), strict=True))
                low, high = (weight, high) if surplus > 0 else (low, weight)
            return mpmath.fsum(m * mpmath.exp(power * y) for m, y in zip(mass, log_ratios(weight), strict=True))

        scale = witness.extra["scale"]
        assert affinity(mpmath.mpf(scale.numerator) / scale.denominator) > affinity(1) * (1 + mpmath.mpf(10) ** -9)


def test_the_best_ratio_of_pmd_mean_can_be_the_more_sensitive():
    """By differences of whole updates in the baseline, on either side."""
    witness = STATEMENTS["C13-top"].witness
    mass = np.array(witness.weights) / sum(witness.weights)
    problem = pmd.Problem.from_policy(mass, [float(r) for r in witness.reward], 1.0)
    h = 1e-5

    def slope(baseline):
        ends = [pmd.baseline_update(problem, baseline=baseline + side * h).unwrap().log_ratio[1] for side in (-1, 1)]
        return abs(ends[1] - ends[0]) / (2 * h)

    assert slope(problem.mean_reward) > slope(problem.log_partition - 2 * h) + 0.05
    low, high = STATEMENTS["C13-top"].slack(witness)
    assert (low + high) / 2 == pytest.approx(
        slope(problem.log_partition - 2 * h) - slope(problem.mean_reward), abs=1e-3
    )


def test_the_global_minimiser_can_lose_reward():
    witness = STATEMENTS["C14-worse"].witness
    mass = np.array(witness.weights) / sum(witness.weights)
    problem = pmd.Problem.from_policy(mass, [float(r) for r in witness.reward], 1.0)
    found = global_minimum(problem, excess=float(witness.extra["excess"]))
    assert found.expected_reward < problem.mean_reward
    assert found.winner == 0  # a failure


def test_a_hundredth_of_the_gain_is_not_kept_at_equal_divergence():
    witness = STATEMENTS["equal-KL"].witness
    step = enclosed(witness)
    mass = np.array([w / sum(witness.weights) for w in witness.weights])
    reward = np.array([float(r) for r in witness.reward])
    best = 0.0
    for scale in np.geomspace(1e-4, 1.0, 400):
        tilt = pmd.enclose(pmd.Problem.from_policy(mass / mass.sum(), reward, 1.0 / scale), ideal=True)
        if tilt.kl[1] <= step.kl[0]:
            best = max(best, tilt.improvement[0])
    assert 0.0 < step.improvement[1] < 0.01 * best


def test_failures_can_stay_whatever_the_gap():
    witness = STATEMENTS["contraction"].witness
    step = enclosed(witness)
    share = Fraction(witness.weights[-1], sum(witness.weights))
    gap = witness.reward[-1] - witness.reward[-2]
    assert gap == 1
    left = (1 - step.policy_hi[-1]) / float(1 - share)
    assert left > np.exp(-0.01 * float(share))


@pytest.mark.parametrize("of", [_tau.kl, _tau.reverse_kl, _tau.jeffreys, _tau.alpha(Fraction(2)), *HOCKEY.values()])
def test_a_step_that_stays_has_no_divergence(of):
    """And one that moves has some; E_gamma what its definition says."""
    case = FloatCase(np.log([[0.5, 0.25, 0.25]]), np.zeros((1, 3)), {})
    for ratio in (np.ones((1, 3)), np.array([[0.25, 0.5, 3.0]])):
        found = float((case.mass * of(case, Step(np.log(ratio), ratio, np.zeros(1)))).sum())
        moved = ratio[0, 0] != 1.0
        assert (found > 0.0) == moved
        for level, hockey in HOCKEY.items():
            if of is hockey:
                gain = np.maximum(ratio - float(level), 0.0) - max(1.0 - float(level), 0.0)
                assert found == pytest.approx(float((case.mass * gain).sum()), abs=tolerances.ROOT)


def test_the_floor_over_pairs_is_that_of_two_levels():
    """For two actions N is u p+ q+ (1 - e^{-delta}), that of `C8-floor`."""
    from pmdtheory.proof import statement

    law = Witness((7, 3), (Fraction(0), Fraction(2)))
    low, _ = STATEMENTS["floor-pairs"].slack(law)
    step = enclosed(law)
    u = step.log_ratio_lo[1] - step.log_ratio_lo[0]
    after = step.policy_lo[1]
    delta = step.multiplier[0] * (np.exp(step.log_ratio_lo[1]) - np.exp(step.log_ratio_lo[0]))
    ideal = pmd.enclose(step.problem, ideal=True)
    expected = (ideal.kl[0] - step.kl[0]) / (u * after * (1 - after) * -np.expm1(-delta)) - 1
    assert low == pytest.approx(expected, rel=1e-6, abs=10 * tolerances.ROOT)
    assert statement("C8-floor").kind == "certified"
