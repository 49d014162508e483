"""Enclosures contain the exact step: 80-digit references, mpmath oracles, identities, and mutants of their own."""

import dataclasses
import json
import math
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import _enclosure_tilt, enclosure
from pmdtheory._enclosure_round import outward, relative_width
from pmdtheory.claims import _rigorous
from pmdtheory.claims._rigorous import MEMBERS as MEMBERS_IN_FLOATS
from pmdtheory.claims._rigorous import QUANTITIES, examine, rigorous
from pmdtheory.cli import main
from pmdtheory.enclosure import EnclosureStatus, confirm
from tests import oracles
from tests.strategies import any_case, informative, laws, rare_success, taus
from tests.test_architecture import CLOSED_FORM, RANK, reached, sources
from tests.tolerances import LOG_RATIO, REFERENCE, largest
from tests.wrong import refused

CASES = json.loads((Path(__file__).parents[1] / "data" / "updates.json").read_text())["cases"]
SCALARS = ("multiplier", "kl", "reverse_kl", "chi2", "expected_reward")
PRINTED_DIGITS = Fraction(1, 10**37)  # the references are printed to 40 digits; theirs of b is amplified in lambda
few = settings(max_examples=25)


def distance(interval, value):
    """How far a number lies outside an interval; zero inside."""
    low, high = interval
    return max(low - value, value - high, 0)


def fraction(number):
    """An mpmath number as the fraction that it is."""
    sign, mantissa, exponent, _ = number._mpf_  # mpf(number) would round it
    return Fraction(int(mantissa) * (-1) ** sign) * Fraction(2) ** exponent


@pytest.fixture(params=range(len(CASES)), ids=[f"{i}-{case['kind']}" for i, case in enumerate(CASES)])
def case(request):
    return CASES[request.param]


def problem_of(case):
    return pmd.Problem.from_policy(case["policy"], case["reward"], case["tau"])


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1e-13, 1e-30])
def test_references_are_enclosed(case, width):
    """The input is the reference's own: its policy as exact weights, its baseline in decimal digits."""
    baseline = None if case["baseline"] is None else Decimal(case["baseline"])
    proof = pmd.enclose(problem_of(case), baseline=baseline, weights=case["policy"], width=width)
    assert proof.status is EnclosureStatus.PROVED
    assert proof.width <= width
    for name in SCALARS:
        exact = Fraction(case[name])
        assert distance(proof.interval(name), exact) <= PRINTED_DIGITS * abs(exact), name
        low, high = getattr(proof, name)
        assert low <= exact <= high
        assert high - low <= (width + 2.0**-50) * abs(float(exact))
    for i, value in enumerate(case["log_ratio"]):
        exact = Fraction(value)
        assert distance(proof.interval("log_ratio", i), exact) <= PRINTED_DIGITS * abs(exact)
        assert proof.log_ratio_lo[i] <= exact <= proof.log_ratio_hi[i]


def test_float_results_lie_within_their_tolerance_of_the_enclosure(case):
    """The tolerances of the reference tests, against proven ends in place of printed digits."""
    problem = problem_of(case)
    baseline = None if case["baseline"] is None else float(case["baseline"])
    solution = pmd.mean_update(problem) if baseline is None else pmd.baseline_update(problem, baseline=baseline)
    update, proof = solution.unwrap(), pmd.enclose(problem, baseline=baseline)
    size = largest(problem.scaled_advantage)
    off = np.maximum(proof.log_ratio_lo - update.log_ratio, update.log_ratio - proof.log_ratio_hi)
    assert np.max(off) <= LOG_RATIO * size
    for name in SCALARS:
        value, (low, high) = getattr(update, name), getattr(proof, name)
        assert distance((low, high), value) <= REFERENCE * abs(low), name


# -- generated cases against mpmath ------------------------------------------------------------------------------------


def contains(proof, step, *, slack=1e-40):
    """Every number of an oracle's step lies within the enclosure, up to the oracle's own rounding."""
    assert proof.status is EnclosureStatus.PROVED
    for name in ("multiplier", "kl", "reverse_kl", "chi2", "improvement"):
        exact = fraction(getattr(step, name))
        if exact != 0:
            assert distance(proof.interval(name), exact) <= Fraction(slack) * abs(exact), name
    exact = fraction(step.baseline)
    assert distance(proof.interval("baseline"), exact) <= Fraction(slack) * (1 + abs(exact))
    for i, v in zip(step.law.index, step.log_ratio, strict=True):
        assert distance(proof.interval("log_ratio", i), fraction(v)) <= Fraction(slack) * (1 + abs(fraction(v)))


@few
@given(st.one_of(informative(), rare_success()))
def test_mean_update_against_the_oracle(case):
    problem = case.problem()
    contains(pmd.enclose(problem), oracles.regression(problem.policy, case.rewards, case.tau), slack=1e-30)


@few
@given(informative())
def test_ideal_update_against_the_oracle(case):
    problem = case.problem()
    proof = pmd.enclose(problem, ideal=True)
    contains(proof, oracles.ideal(problem.policy, case.rewards, case.tau), slack=1e-30)
    assert proof.multiplier == (0.0, 0.0)


@few
@given(informative(tau=taus(-3, 3)), st.integers(-3, 4).map(lambda k: 10.0**k))
def test_mixed_update_against_the_oracle(case, weight):
    problem = case.problem()
    proof = pmd.enclose(problem, weight=weight)
    contains(proof, oracles.mixed(problem.policy, case.rewards, case.tau, weight), slack=1e-25)
    assert proof.multiplier == (weight, weight)


@few
@given(informative(tau=taus(-2, 2)), st.integers(-40, 9).map(lambda k: k / 10))
def test_baseline_below_log_z_against_the_oracle(case, share):
    problem = case.problem()
    b = problem.log_partition - problem.jensen_gap * (1.0 - share)
    step = oracles.regression(problem.policy, case.rewards, case.tau, baseline=b)
    contains(pmd.enclose(problem, baseline=b), step, slack=1e-25)


@few
@given(informative(tau=taus(-1, 1)), st.integers(1, 99).map(lambda k: k / 100))
def test_negative_multipliers_against_the_oracle(case, share):
    problem = case.problem()
    limit = oracles.excess_limit(problem.policy, case.rewards, case.tau)
    b = problem.log_partition + share * float(limit)
    step = oracles.regression(problem.policy, case.rewards, case.tau, baseline=b)
    proof = pmd.enclose(problem, baseline=b)
    contains(proof, step, slack=1e-25)
    assert proof.multiplier[1] < 0.0
    beyond = problem.log_partition + 1.001 * float(limit) + 1e-6
    assert pmd.enclose(problem, baseline=beyond).status is EnclosureStatus.BASELINE_TOO_HIGH


@st.composite
def mismatches(draw):
    case = draw(informative(zero_mass=False, tau=taus(-2, 2)))
    return case, draw(laws(len(case.weights), zeros=True))


@few
@given(mismatches(), st.sampled_from([None, -1.0, 0.5]))
def test_mismatched_update_against_the_oracle(pair, baseline):
    """Blind actions too: they lose everything where lambda is positive, and there is a status where it is not."""
    case, log_mu = pair
    problem = case.problem()
    proof = pmd.enclose(problem, log_sampler=log_mu, baseline=baseline)
    blind = np.flatnonzero(np.isneginf(log_mu))
    if proof.status is EnclosureStatus.BASELINE_TOO_HIGH:
        with pytest.raises(ArithmeticError):
            oracles.mismatched(problem.policy, case.rewards, case.tau, log_mu, baseline=baseline)
        return
    if proof.status is EnclosureStatus.BLIND_ACTIONS:
        assert blind.size > 0
        return
    step = oracles.mismatched(problem.policy, case.rewards, case.tau, log_mu, baseline=baseline)
    assert proof.status is EnclosureStatus.PROVED
    exact = fraction(step.multiplier)
    assert distance(proof.interval("multiplier"), exact) <= Fraction(1, 10**30) * (1 + abs(exact))
    for i, v in zip(step.law.index, step.log_ratio, strict=True):
        assert distance(proof.interval("log_ratio", i), fraction(v)) <= Fraction(1, 10**30) * (1 + abs(fraction(v)))
    assert np.all(proof.policy_hi[blind] == 0.0)
    if blind.size:
        assert proof.reverse_kl == (math.inf, math.inf)


# -- identities and properties -----------------------------------------------------------------------------------------


def overlap(first, second):
    return first[0] <= second[1] and second[0] <= first[1]


@few
@given(any_case())
def test_properties_of_every_enclosure(case):
    """C4 and C5 between balls; mass one; lambda is zero exactly where the reward is constant."""
    problem = case.problem()
    proof = pmd.enclose(problem)
    assert proof.status is EnclosureStatus.PROVED
    assert overlap(proof.interval("multiplier"), proof.interval("reverse_kl"))  # C4
    assert (proof.multiplier == (0.0, 0.0)) == case.constant
    assert math.fsum(proof.policy_lo) <= 1.0 + 1e-15
    assert math.fsum(proof.policy_hi) >= 1.0 - 1e-15
    assert np.all(proof.policy_lo <= proof.policy_hi)
    with ctx.workprec(proof.precision):
        balls, tau = proof.balls, arb(case.tau)
        found = tau * (balls["kl"] + balls["multiplier"] * (1 + balls["chi2"]))  # C5
        assert found.overlaps(balls["improvement"])


@few
@given(informative(), st.randoms(use_true_random=False))
def test_invariances(case, random):
    """Order of the actions; rewards scaled exactly; actions split in two; always the same exact law."""
    problem, size = case.problem(), len(case.weights)
    law = problem.policy.tolist()
    proof = pmd.enclose(problem)
    order = random.sample(range(size), size)
    moved = pmd.Problem.from_policy(problem.policy[order], problem.reward[order], case.tau)
    scaled = pmd.Problem.from_policy(problem.policy, 4.0 * problem.reward, 4.0 * case.tau)
    halved = pmd.Problem.from_policy(np.repeat(problem.policy / 2.0, 2), np.repeat(problem.reward, 2), case.tau)
    others = (
        (pmd.enclose(moved, weights=[law[i] for i in order]), np.argsort(order), 1.0),
        (pmd.enclose(scaled, weights=law), np.arange(size), 1.0),
        (pmd.enclose(halved, weights=np.repeat(law, 2).tolist()), 2 * np.arange(size), 2.0),
    )
    for other, place, parts in others:
        assert overlap(proof.interval("multiplier"), other.interval("multiplier"))
        assert np.all(parts * other.policy_lo[place] <= proof.policy_hi)
        assert np.all(proof.policy_lo <= parts * other.policy_hi[place])


@few
@given(informative(tau=taus(-2, 2)))
def test_members_of_the_family_meet(case):
    """PMD(b) at the mean reward over tau, the mixed step at lambda (C2) and a sampler that is the policy agree."""
    problem = case.problem()
    mean = pmd.enclose(problem)
    low, high = mean.interval("multiplier")
    mixed = pmd.enclose(problem, weight=(low + high) / 2, width=1e-15)
    assert np.all(mixed.policy_lo <= mean.policy_hi)
    assert np.all(mean.policy_lo <= mixed.policy_hi)
    b = sum(mean.interval("baseline")) / 2
    assert abs(pmd.enclose(problem, baseline=b).multiplier[0] - mean.multiplier[0]) <= 1e-15 * (1 + float(abs(b)))
    with np.errstate(divide="ignore"):
        log_mu = np.log(problem.policy)
    stale = pmd.enclose(problem, log_sampler=log_mu)
    assert abs(stale.multiplier[0] - mean.multiplier[0]) <= REFERENCE * largest(problem.scaled_advantage)


# -- mutants -----------------------------------------------------------------------------------------------------------


MEMBERS = {
    "mean": {},
    "baseline": {"baseline": 1.0},
    "negative": {"baseline": 7.9},
    "mixed": {"weight": 0.3},
    "kl": {"ideal": True},
    "mismatched": {"log_sampler": np.log([0.5, 0.3, 0.2])},
    "blind": {"log_sampler": [-math.inf, math.log(0.3), math.log(0.7)]},
}
SMALL = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.1)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_second_proof_confirms_the_enclosure_and_refutes_its_mutants(name):
    """The mass at both ends, by Arb's Lambert W: the ball holds, the same ball shrunk to a side or shifted does not."""
    proof = pmd.enclose(SMALL, **MEMBERS[name])
    unknown = "baseline" if name in ("mixed", "kl") else "multiplier"
    low, high = proof.interval(unknown)
    width, middle = high - low, (low + high) / 2
    assert 0 < width <= Fraction(1, 10**13) * abs(middle)
    assert confirm(SMALL, low, high, **MEMBERS[name]) is True
    assert confirm(SMALL, high, high + width, **MEMBERS[name]) is False, "shifted by its own width"
    assert confirm(SMALL, low - width, low, **MEMBERS[name]) is False
    # a ball cut in two: one half has the unknown, the other is refuted
    halves = confirm(SMALL, low, middle, **MEMBERS[name]), confirm(SMALL, middle, high, **MEMBERS[name])
    assert sorted(halves) == [False, True]
    floats = getattr(proof, unknown)
    assert confirm(SMALL, *floats, **MEMBERS[name]) is True
    assert confirm(SMALL, math.nextafter(floats[1], math.inf), floats[1] + 1.0, **MEMBERS[name]) is False


@few
@given(any_case())
def test_every_multiplier_is_confirmed_and_a_shifted_one_refuted(case):
    problem = case.problem()
    low, high = pmd.enclose(problem).interval("multiplier")
    assert confirm(problem, low, high) is True
    if not case.constant:
        assert confirm(problem, high * Fraction(1 + 2**-40), 2 * high) is False
        assert confirm(problem, 0, low * Fraction(1 - 2**-40)) is False


@few
@given(st.floats(-700, 700), st.floats(-30, 30), st.floats(-50, 50), st.booleans())
def test_one_log_ratio_against_lambert_w(x, log_lift, away, anchored):
    """W by Arb, from a start that is far off: the enclosure does not depend on it."""
    with ctx.workprec(200):
        lift = arb(log_lift).exp()
        right = arb(x) + lift if anchored else arb(x)
        expected = right - (lift * right.exp()).lambertw()
        v, w = _enclosure_tilt.enclosed_tilt(arb(x), lift, expected.mid() + away, arb(2) ** -90, anchored)
        assert v.overlaps(expected)
        assert w.overlaps(lift * v.exp())
        assert relative_width(v, 1 + abs(v.mid())) <= 1e-30


def test_a_lost_branch_is_no_enclosure():
    """Beyond the branch point there is nothing to prove, and nothing is claimed."""
    with ctx.workprec(128), pytest.raises(_enclosure_tilt.Unresolved):
        _enclosure_tilt.enclosed_tilt(arb(0), arb(-0.5), arb(0.5), arb(2) ** -64, False)


# -- exact input -------------------------------------------------------------------------------------------------------


def test_constant_rewards_are_exact():
    problem = pmd.Problem.from_policy([0.5, 0.25, 0.25], [2.0, 2.0, 2.0], tau=0.25)
    proof = pmd.enclose(problem)
    assert proof.multiplier == proof.kl == proof.improvement == (0.0, 0.0)
    assert proof.baseline == (8.0, 8.0)
    assert proof.policy_lo.tolist() == proof.policy_hi.tolist() == [0.5, 0.25, 0.25]
    assert pmd.enclose(problem, baseline=7.5).multiplier == (0.5, 0.5)
    assert pmd.enclose(problem, baseline=9).multiplier == (-1.0, -1.0)  # the branch point itself
    beyond = pmd.enclose(problem, baseline=math.nextafter(9.0, 10.0))
    assert beyond.status is EnclosureStatus.BASELINE_TOO_HIGH
    assert not beyond.proved
    assert math.isnan(beyond.multiplier[0])
    assert np.isnan(beyond.policy_lo).all()
    assert pmd.enclose(problem, weight=2).baseline == (6.0, 6.0)
    assert confirm(problem, 0, 0) is True
    assert confirm(problem, 8, 8, ideal=True) is True
    assert confirm(problem, Fraction(1, 10**300), 1) is False


def test_log_z_is_never_a_float():
    """By Lindemann and Weierstrass lambda is not zero at any rational b, and its sign is decided."""
    problem = pmd.Problem.from_policy([0.5, 0.5], [0, 1], tau=1.0)
    low, high = pmd.enclose(problem, ideal=True, width=1e-60).interval("baseline")
    below, above = (pmd.enclose(problem, baseline=b) for b in (low, high))
    assert below.multiplier[0] > 0.0 > above.multiplier[1]
    assert below.multiplier[1] < 1e-59


def test_logarithms_that_agree_term_by_term_make_lambda_zero():
    """A law given by logarithms and rewards that exchange them: E e^x = 1 exactly, which no precision shows."""
    first, second = -0.25, math.log(-math.expm1(-0.25))
    problem = pmd.Problem.from_log_policy([first, second], [second - first, first - second], tau=1.0)
    low, high = (Fraction(x) for x in problem.log_policy.tolist())
    assert [Fraction(x) for x in problem.reward.tolist()] == [high - low, low - high]
    proof = pmd.enclose(problem, baseline=0, law="log_policy")
    assert proof.multiplier == (0.0, 0.0)
    assert proof.status is EnclosureStatus.PROVED
    assert np.allclose(proof.policy_lo, problem.policy[::-1], rtol=1e-14, atol=0.0)
    assert pmd.enclose(problem, baseline=1e-300, law="log_policy").multiplier[1] < 0.0
    other = pmd.enclose(problem, baseline=0, law="policy")  # another law, a rounding error away
    assert other.multiplier != (0.0, 0.0)
    assert abs(other.multiplier[0]) < 1e-15


def test_constant_rewards_under_another_sampler():
    """Nothing to learn: lambda is zero though the levels differ in pi/mu; with blind actions the loss is silent."""
    problem = pmd.Problem.from_policy([0.5, 0.25, 0.25], [2.0, 2.0, 2.0], tau=0.25)
    log_mu = np.log([0.25, 0.25, 0.5])
    assert pmd.enclose(problem, log_sampler=log_mu).multiplier == (0.0, 0.0)
    assert pmd.enclose(problem, log_sampler=log_mu, baseline=8).multiplier == (0.0, 0.0)
    assert confirm(problem, 0, 0, log_sampler=log_mu, baseline=8) is True
    blind = pmd.enclose(problem, log_sampler=[-math.inf, math.log(0.5), math.log(0.5)], baseline=8)
    assert blind.status is EnclosureStatus.BLIND_ACTIONS


def test_the_law_is_what_is_said():
    """Floats, their logarithms and exact weights are three laws; each enclosure refers to its own."""
    third = [1 / 3] * 3
    problem = pmd.Problem.from_policy([0.3, 0.3, 0.4], [0, 1, 3], tau=0.5)
    decimal = pmd.enclose(problem, weights=[3, 3, 4], width=1e-40)
    floats = pmd.enclose(problem, width=1e-40)
    assert not overlap(decimal.interval("multiplier"), floats.interval("multiplier"))
    assert decimal.law == "weights"
    assert floats.law == "policy"
    logs = pmd.enclose(problem, law="log_policy", width=1e-40)
    assert logs.law == "log_policy"
    assert not overlap(logs.interval("multiplier"), floats.interval("multiplier"))
    assert abs(logs.multiplier[0] - floats.multiplier[0]) < 1e-14
    uniform = pmd.Problem.from_policy(third, [0, 1, 3], tau=0.5)
    same = [pmd.enclose(uniform, weights=w).interval("kl") for w in (third, [1, 1, 1], [Fraction(1, 3)] * 3)]
    assert same[0] == same[1]
    assert overlap(same[1], same[2])


def test_logarithms_are_the_law_where_probabilities_are_lost():
    problem = pmd.Problem.from_log_policy([-800.0, 0.0], [1, 0], tau=1e-3)
    proof = pmd.enclose(problem)
    assert proof.law == "log_policy"
    assert proof.status is EnclosureStatus.PROVED
    assert 0.0 < proof.policy_lo[0] < 1.0
    assert pmd.enclose(problem, law="policy").multiplier == (0.0, 0.0)  # what is left of it is one action


def test_actions_without_mass_stay():
    proof = pmd.enclose(pmd.Problem.from_policy([0.5, 0.0, 0.5], [0, 9, 1], tau=0.3))
    assert proof.policy_hi[1] == proof.log_ratio_lo[1] == proof.log_ratio_hi[1] == 0.0
    with pytest.raises(ValueError, match="no action with mass"):
        proof.interval("policy", 1)


def test_continuous_laws_stand_for_their_nodes():
    from scipy import stats

    problem = pmd.Problem.from_distribution(stats.norm(), 1.0)
    proof = pmd.enclose(problem)
    assert proof.status is EnclosureStatus.PROVED
    assert abs(pmd.mean_update(problem).unwrap().multiplier - proof.multiplier[0]) <= REFERENCE


EXTREMES = {
    "mass 1e-300": (pmd.Problem.binary(1e-300, 0.01), {}),
    "failure 1e-300": (pmd.Problem.binary(1.0, 0.1, failure=1e-300), {}),
    "tau 1e6": (pmd.Problem.binary(0.3, 1e6), {}),
    "tau 1e-6": (pmd.Problem.binary(0.3, 1e-6), {}),
    "log-mass -1e5": (pmd.Problem.from_log_policy([-1e5, 0.0], [1, 0], 1e-6), {}),
    "log-mass -1e5, b": (pmd.Problem.from_log_policy([-1e5, 0.0], [1, 0], 1e-6), {"baseline": 450000}),
    "rewards 1e308": (pmd.Problem.from_policy([0.5, 0.3, 0.2], [-1e308, 1, 5e307], 1.0), {"weight": 1.5}),
    "subnormal rewards": (pmd.Problem.from_policy([0.2, 0.3, 0.5], [0, 5e-324, 1e-323], 1e-323), {}),
    "signal 1e-300": (pmd.Problem.from_policy([0.2, 0.3, 0.5], [0, 1e-300, 2e-300], 1.0), {}),
    "weight 1e12": (pmd.Problem.binary(0.3, 0.5), {"weight": 1e12}),
    "near tie": (pmd.Problem.from_policy([0.2, 0.3, 0.5], [0, 1e-300, 2e-300], 1.0), {"baseline": 0.5}),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_proved(name):
    problem, options = EXTREMES[name]
    proof = pmd.enclose(problem, **options)
    assert proof.status is EnclosureStatus.PROVED, proof
    assert proof.width <= 1e-13


# -- when it cannot ----------------------------------------------------------------------------------------------------


def test_too_little_precision_says_so():
    """At the branch point to 300 digits: neither existence nor its contrary can be decided at 256 bits."""
    problem = pmd.Problem.from_policy([0.5, 0.5], [0, 1], tau=0.5)
    with mp.workdps(120):
        limit = oracles.excess_limit([0.5, 0.5], [0.0, 1.0], 0.5)
    assert 0 < limit < 1
    undecided = pmd.enclose(problem, ideal=True, width=1e-60, max_precision=128)
    assert undecided.status is EnclosureStatus.WIDE
    assert undecided.proved
    low, high = pmd.enclose(problem, ideal=True, width=1e-60).interval("baseline")
    lost = pmd.enclose(problem, baseline=(low + high) / 2, max_precision=128)
    assert lost.status is EnclosureStatus.UNDECIDED
    assert not lost.proved
    assert lost.balls == {}
    with pytest.raises(ValueError, match="see status"):
        lost.interval("multiplier")
    assert confirm(problem, low, high, ideal=True, max_precision=64) is None


def test_every_status_names_a_remedy():
    for status in EnclosureStatus:
        assert status is EnclosureStatus.PROVED or "; " in status.value


def test_rounding_is_outward():
    with ctx.workprec(128):
        for ball in (arb(1) / 3, -arb(1) / 3, arb(1), arb(0), arb(1e300) ** 2, arb(10) ** -400, -(arb(10) ** -400)):
            low, high = outward(ball)
            assert arb(low) <= ball.lower()
            assert arb(high) >= ball.upper()
            if math.isfinite(low) and math.isfinite(high):
                assert math.nextafter(math.nextafter(low, math.inf), math.inf) >= high


def test_the_proof_reaches_no_closed_form():
    """What it checks is not what it is made of: no update, no multiplier, no Lambert W of the package, no fast path."""
    solvers = {name for name in sources() if name.startswith("_fast") or name in CLOSED_FORM}
    solvers |= {"fast", "subproblem", "_conic", "_regression_fit", "_one_group", "_binary", "batch"}
    assert {"update", "_multiplier", "_fast_root"} <= solvers
    assert not reached("enclosure") & solvers
    assert not {name for name in RANK if any(other.startswith("_enclosure") for other in reached(name))}


# -- wrong inputs ------------------------------------------------------------------------------------------------------


def test_wrong_inputs():
    log_mu = np.log([0.5, 0.3, 0.2])
    refused(TypeError, lambda: pmd.enclose("problem"), "problem", "'problem'")
    refused(TypeError, lambda: pmd.enclose(SMALL, baseline="1"), "baseline", "'1'")
    refused(TypeError, lambda: pmd.enclose(SMALL, baseline=True), "baseline", "True")
    refused(ValueError, lambda: pmd.enclose(SMALL, baseline=math.nan), "baseline", "nan")
    refused(ValueError, lambda: pmd.enclose(SMALL, baseline=Decimal("inf")), "baseline")
    refused(ValueError, lambda: pmd.enclose(SMALL, weight=-0.5), "weight", "-0.5")
    refused(TypeError, lambda: pmd.enclose(SMALL, weight=1j), "weight")
    refused(ValueError, lambda: pmd.enclose(SMALL, baseline=1.0, weight=1.0), "weight and baseline")
    refused(ValueError, lambda: pmd.enclose(SMALL, ideal=True, log_sampler=log_mu), "ideal and log_sampler")
    refused(ValueError, lambda: pmd.enclose(SMALL, ideal=True, weight=1.0), "weight and ideal")
    refused(TypeError, lambda: pmd.enclose(SMALL, ideal=1), "ideal", "1")
    refused(ValueError, lambda: pmd.enclose(SMALL, log_sampler=log_mu[:2]), "log_sampler", "2 entries")
    refused(ValueError, lambda: pmd.enclose(SMALL, log_sampler=log_mu - 1.0), "log_sampler", "sums to")
    gap = pmd.Problem.from_policy([0.5, 0.5, 0.0], [0, 1, 1], tau=0.1)
    refused(ValueError, lambda: pmd.enclose(gap, log_sampler=log_mu), "log_sampler", "action 2")
    refused(ValueError, lambda: pmd.enclose(SMALL, law="exact"), "law", "'exact'")
    refused(ValueError, lambda: pmd.enclose(SMALL, law="policy", weights=[7, 2, 1]), "law", "weights")
    refused(ValueError, lambda: pmd.enclose(SMALL, weights=[7, 2]), "weights", "2 entries")
    refused(ValueError, lambda: pmd.enclose(SMALL, weights=[7, 1, 2]), "weights", "action 1")
    refused(ValueError, lambda: pmd.enclose(SMALL, weights=[0, 0, 0]), "weights", "sum")
    refused(ValueError, lambda: pmd.enclose(SMALL, weights=[8, 3, -1]), "weights", "-1.0")
    refused(TypeError, lambda: pmd.enclose(SMALL, weights="721"), "weights", "'721'")
    refused(TypeError, lambda: pmd.enclose(SMALL, weights=[7, 2, "1"]), "weights[2]", "'1'")
    refused(ValueError, lambda: pmd.enclose(SMALL, width=0.0), "width", "0.0")
    refused(ValueError, lambda: pmd.enclose(SMALL, max_precision=32), "max_precision", "32")
    refused(ValueError, lambda: confirm(SMALL, 2, 1), "low=2.0", "high=1.0")
    refused(ValueError, lambda: confirm(SMALL, 0, math.inf), "high", "inf")
    refused(ValueError, lambda: pmd.enclose(SMALL).interval("lambda"), "name", "'lambda'")


def test_the_record():
    proof = pmd.enclose(SMALL)
    assert repr(proof).startswith("Enclosure(PROVED, multiplier=(0.93721")
    with pytest.raises(dataclasses.FrozenInstanceError):
        proof.width = 0.0
    with pytest.raises(ValueError, match="read-only"):
        proof.policy_lo[0] = 0.0
    assert enclosure.Enclosure is pmd.Enclosure
    before = ctx.prec
    pmd.enclose(SMALL, width=1e-40)
    assert ctx.prec == before, "the precision of others is left alone"


def test_fifty_levels_take_no_time():
    """20 ms are promised; the benchmark measures it, this only notices an explosion."""
    rng = np.random.default_rng(0)
    weights = rng.standard_exponential(50)
    problem = pmd.Problem.from_policy(weights / weights.sum(), rng.random(50), tau=0.1)
    started = time.process_time()
    pmd.enclose(problem)
    assert time.process_time() - started < 0.5


# -- the oracle of the floating-point path -----------------------------------------------------------------------------


def test_the_floating_point_path_keeps_its_promises():
    found = rigorous(instances=20, seed=1)
    assert [(row.member, row.quantity) for row in found] == [(m, q) for m in MEMBERS_IN_FLOATS for q in QUANTITIES]
    assert all(row.holds for row in found), [row for row in found if not row.holds]
    assert max(row.median for row in found if row.member in ("mean", "kl", "mixed")) <= 8.0
    refused(ValueError, lambda: rigorous(instances=0), "instances", "0")
    refused(ValueError, lambda: rigorous(seed=-1), "seed", "-1")


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("member", ["mean", "mixed", "kl"])
def test_a_wrong_float_is_refuted(member, quantity):
    """One part in 1e9 added to one field of the update is found, and found in that field alone."""

    def mutant(update):
        name = "level_log_ratio" if quantity == "log_ratio" else quantity
        return dataclasses.replace(update, **{name: (1.0 + 1e-9) * getattr(update, name) + 1e-9})

    def excesses(change):
        rng = np.random.default_rng(0)
        trial = examine(member, pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0.5, 1], 0.1), rng, change)
        return {name for name, excess in trial.excess.items() if excess > 10.0}

    assert excesses(lambda update: update) == set()
    assert excesses(mutant) == {quantity}


def test_a_wrong_verdict_is_a_disagreement(monkeypatch):
    """A solver that finds a step where there is none does not pass."""
    problem = pmd.Problem.binary(0.3, 0.5)
    monkeypatch.setattr(_rigorous, "baseline_update", lambda problem, *, baseline: pmd.mean_update(problem))
    monkeypatch.setattr(_rigorous, "problems", lambda rng: iter([("binary", problem)] * 9))
    found = rigorous(instances=9)
    split = [row for row in found if row.disagreements]
    assert {row.member for row in split} == {"baseline above log Z"}
    assert not any(row.holds for row in split)


# -- on the command line -----------------------------------------------------------------------------------------------

STEP = ["update", "--policy", "0.7", "0.2", "0.1", "--reward", "0", "0", "1", "--tau", "0.1"]


def test_update_certify(capsys):
    assert main([*STEP, "--certify"]) == 0
    said = capsys.readouterr().out
    assert "proved: the step exists" in said
    assert "0.9372175741290784" in said
    assert main([*STEP, "--certify", "--json", "--method", "kl"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["enclosure"]["proved"] is True
    low, high = data["enclosure"]["kl"]
    assert low <= high
    assert abs(data["kl"] - low) <= REFERENCE
    assert data["enclosure"]["multiplier"] == [0.0, 0.0]


def test_update_certify_without_a_proof(capsys, monkeypatch):
    """Where nothing is proved the exit status says so, with and without JSON."""
    problem = pmd.Problem.from_policy([0.5, 0.5], [0, 1], tau=0.5)
    low, high = pmd.enclose(problem, ideal=True, width=1e-60).interval("baseline")
    lost = pmd.enclose(problem, baseline=(low + high) / 2, max_precision=128)
    monkeypatch.setattr("pmdtheory._cli_certify.enclose", lambda *arguments, **options: lost)
    assert main([*STEP, "--certify"]) == 1
    assert "not proved: UNDECIDED" in capsys.readouterr().err
    assert main([*STEP, "--certify", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)["enclosure"]
    assert data["width"] is None
    assert data["proved"] is False


def test_update_certify_shows_the_first_actions(capsys):
    rng = np.random.default_rng(0)
    arguments = ["update", "--policy", *["0.04"] * 25, "--reward", *map(str, rng.random(25)), "--tau", "0.1"]
    assert main([*arguments, "--certify"]) == 0
    assert "and 5 more actions" in capsys.readouterr().out


def test_verify_rigorous(capsys):
    assert main(["verify", "C4", "--instances", "12", "--rigorous"]) == 0
    said = capsys.readouterr().out
    assert "floating point against proven enclosures" in said
    assert "median ulps" in said
    assert main(["verify", "C4", "--instances", "12", "--rigorous", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["holds"]
    assert data["rigorous"]["holds"]
    assert {row["member"] for row in data["rigorous"]["rows"]} == set(MEMBERS_IN_FLOATS)


def test_verify_rigorous_fails_with_the_floats(capsys, monkeypatch):
    bad = _rigorous.Accuracy("mean", "log_ratio", 3, 1.0, math.inf, "binary", 2.0, ("binary #1",))
    monkeypatch.setattr("pmdtheory._cli_certify.rigorous", lambda **options: [bad])
    assert main(["verify", "C4", "--instances", "12", "--rigorous"]) == 1
    said = capsys.readouterr().out
    assert "FAILS" in said
    assert "disagree on whether there is a step: binary #1" in said
    assert main(["verify", "C4", "--instances", "12", "--rigorous", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert not data["holds"]
    assert data["rigorous"]["rows"][0]["worst_ulps"] == "inf"
