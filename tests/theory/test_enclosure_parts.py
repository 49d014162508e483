"""The parts of an enclosure, asked for so coarsely that what each of them adds for its own error shows.

At the widths that are asked for in practice a forgotten second-order term disappears in rounding. Here a radius may be
as large as the proof allows, and the truth still has to be inside.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import assume, given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory._enclosure_law import ExactLaw
from pmdtheory._enclosure_root import Equation, proved_root
from pmdtheory._enclosure_round import relative_width
from pmdtheory._enclosure_status import EnclosureStatus
from pmdtheory._enclosure_tilt import Unresolved, enclosed_tilt
from tests.tolerances import REFERENCE
from tests.wrong import refused

ANY = arb(10) ** 6  # a radius that is not worth improving
BITS = 200
small = st.integers(-40, 40).map(lambda k: Fraction(k, 8))


@given(v=small, w=st.integers(-31, 96).map(lambda k: Fraction(k, 32)), away=small, anchored=st.booleans())
def test_a_coarse_log_ratio_contains_the_exact_one(v, w, away, anchored):
    """Made backwards from v and w = lift e^v, down to the branch point -1, from starts up to 5 nats away."""
    with ctx.workprec(BITS):
        truth, weight = arb(v.numerator) / v.denominator, arb(w.numerator) / w.denominator
        lift = weight * (-truth).exp()
        x = truth + (weight - lift if anchored else weight)
        try:
            found, near = enclosed_tilt(x, lift, (truth + arb(away.numerator) / away.denominator).mid(), ANY, anchored)
        except Unresolved:
            assume(False)  # beyond the branch point there is no way back
        assert found.is_finite()
        assert found.overlaps(truth)
        assert near.overlaps(weight)


@pytest.mark.parametrize("beyond", [2.0**-20, 2.0**-6, 0.1])
@pytest.mark.parametrize("start", [k / 16 for k in range(-32, 1)])
def test_no_log_ratio_is_claimed_where_none_exists(beyond, start):
    """v - e^v is at most -1: a target above it has no solution, whatever the start and however coarse the goal."""
    with ctx.workprec(BITS), pytest.raises(Unresolved):
        enclosed_tilt(arb(-1) + arb(beyond), arb(-1), arb(start), ANY, False)


FAMILIES = {"raised": 0.0, "weighted": 0.5, "nearly KL": 2.0**-40, "lifted": 0.0}


def equation(name):
    """Three actions at tau = 1/4: lambda > 0 at the mean, two weights c, and lambda < 0 beyond log Z."""
    family = "weighted" if FAMILIES[name] else name
    mass, reward = [arb(7) / 10, arb(2) / 10, arb(1) / 10], [arb(0), arb(1) / 2, arb(1)]
    mean = sum((m * r for m, r in zip(mass, reward, strict=True)), arb(0))
    x = [4 * (r - mean) for r in reward]
    if family == "lifted":
        gap = sum((m * t.exp() for m, t in zip(mass, x, strict=True)), arb(0)).log()
        x = [t - gap - arb(1) / 4 for t in x]
    return Equation(family, mass, x, None, arb(0), arb(FAMILIES[name]), None)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_coarse_root_contains_the_exact_one(family):
    """The first pass that proves anything is taken, from starts all over the place."""
    low, high = (None if family == "raised" else arb(-30)), arb(0) if family == "lifted" else arb(10)
    with ctx.workprec(BITS):
        fine = proved_root(equation(family), arb(-1), low, high, arb(2) ** -120)
        assert relative_width(fine.theta) < 1e-30
        widest = 0.0
        for k in range(-120, 40):
            start = fine.theta.mid() + arb(k) / 8
            if family == "lifted" and not start < 0:
                continue
            found = proved_root(equation(family), start, low, high, ANY)
            widest = max(widest, float(found.theta.rad()))
            assert found.theta.overlaps(fine.theta), k
            assert found.multiplier.overlaps(fine.multiplier), k
            for coarse, exact in zip(found.log_ratio, fine.log_ratio, strict=True):
                assert coarse.overlaps(exact), k
        assert widest > 0.03  # coarse indeed


def test_widths_are_relative_to_the_least_modulus():
    with ctx.workprec(64):
        assert relative_width(arb(3, 1)) == pytest.approx(1.0)  # [2, 4]
        assert relative_width(-arb(3, 1)) == pytest.approx(1.0)
        assert relative_width(arb(3, 1), arb(8)) == pytest.approx(0.25)
        assert relative_width(arb(0, 1)) == math.inf
        assert relative_width(arb("nan")) == math.inf
        assert relative_width(arb(0, arb(2) ** -1081)) == relative_width(arb(5)) == 0.0


@pytest.mark.parametrize(("mu", "baseline"), [([0.5, 0.3, 0.2], None), ([0.5, 0.3, 0.2], 1.0), ([0.0, 0.3, 0.7], -1.0)])
def test_chi2_against_the_sampler_is_that_of_its_definition(mu, baseline):
    """The sum of x^2/mu less one, x the enclosed policy; chi2 against the policy is another number."""
    problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.3)
    with np.errstate(divide="ignore"):
        proof = pmd.enclose(problem, log_sampler=np.log(mu), baseline=baseline)
    assert proof.proved
    new, seen = proof.policy_lo, np.array(mu) > 0.0
    assert proof.chi2[0] == pytest.approx(np.sum(new**2 / problem.policy) - 1.0, rel=REFERENCE)
    assert proof.chi2_sampler[0] == pytest.approx(np.sum(new[seen] ** 2 / np.array(mu)[seen]) - 1.0, rel=REFERENCE)
    assert abs(proof.chi2_sampler[0] - proof.chi2[0]) > 0.1


def law_of(terms, reward, kind="log_policy"):
    return ExactLaw.build(kind, [Fraction(t) for t in terms], reward, 1.0, None)


def test_exponentials_agree_term_by_term_or_not_at_all():
    """E e^{r - b} = 1 exactly only where the exponents of both sides are the same numbers."""
    assert law_of([-2, -1], [1.0, -1.0]).partition_is_one(Fraction(0))
    assert not law_of([-2, -1], [1.0, -1.0]).partition_is_one(Fraction(1))
    assert not law_of([-3, -1], [1.0, -1.0]).partition_is_one(Fraction(0))  # the same sum of exponents, other terms
    assert law_of([1, 2], [3.0, 3.0], "weights").partition_is_one(Fraction(3))
    assert not law_of([1, 2], [3.0, 4.0], "weights").partition_is_one(Fraction(3))  # one exponent is zero, not both


def test_subnormal_probabilities_are_not_the_law():
    """Exp(-740) has two of its 16 digits left as a float: the logarithm says more."""
    problem = pmd.Problem.from_log_policy([-740.0, 0.0], [1, 0], tau=1e-3)
    assert 0.0 < problem.policy[0] < np.finfo(np.float64).tiny
    proof = pmd.enclose(problem)
    assert proof.law == "log_policy"
    assert pmd.enclose(problem, law="policy").multiplier[0] != proof.multiplier[0]
    assert pmd.enclose(pmd.Problem.from_log_policy([-700.0, 0.0], [1, 0], tau=1e-3)).law == "policy"


def test_weights_say_what_the_policy_says():
    problem = pmd.Problem.from_policy([0.5, 0.5], [0, 1], tau=0.1)
    assert pmd.enclose(problem, weights=[1, 1 + Fraction(1, 10**10)]).proved
    refused(ValueError, lambda: pmd.enclose(problem, weights=[1, 1 + Fraction(1, 10**7)]), "weights", "action 0", "0.5")


def test_a_width_that_is_missed_is_said():
    """Whatever is asked for at 64 bits: proved to that width, or wide."""
    problem, seen = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.1), set()
    for k in range(36, 64):
        proof = pmd.enclose(problem, width=2.0**-k, max_precision=64)
        assert (proof.status is EnclosureStatus.PROVED) == (proof.width <= 2.0**-k), k
        seen.add(proof.status)
    assert seen == {EnclosureStatus.PROVED, EnclosureStatus.WIDE}
