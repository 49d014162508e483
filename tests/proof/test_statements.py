"""Statements: about the steps of the package, enclosed where they are factored, and false when they are changed."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import ctx
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory.claims import CLAIMS
from pmdtheory.proof import STATEMENTS, prove_over_box, select, statement
from pmdtheory.proof._span import PRECISION, exact
from tests.wrong import refused

BINARY = [one for one in STATEMENTS.values() if len(one.root) == 2]
TERNARY = [one for one in STATEMENTS.values() if len(one.root) == 4]
ids = {"ids": lambda one: one.id}


def test_what_there_is():
    assert [one.id for one in BINARY][:4] == ["C7-1", "C7-2", "C7-3", "C7-4"]
    measures = ("KL", "reverse-KL", "chi2", "TV", "Hellinger", "Renyi-2", "reward")
    assert {f"C8-{one}" for one in measures} <= set(STATEMENTS)
    assert {"C9-contraction", "C9-minimum"} <= set(STATEMENTS)
    assert {f"C7-{k}-ternary" for k in (1, 2, 3, 4)} | {"C8-KL-ternary"} <= set(STATEMENTS)
    assert {one.claim for one in STATEMENTS.values()} <= set(CLAIMS)
    assert all(one.root[-1] == (0, one.limit) and one.at_least > 0 for one in STATEMENTS.values())
    assert {one.id for one in STATEMENTS.values() if one.kind == "quantitative"} == {
        "C7-tight-upper",
        "C7-tight-lower",
        "C8-price",
        "C8-price-ternary",
    }


# -- definitions: the coordinates are steps of the package, the terms its divergences ----------------------------------


def problem_of(point):
    """The problem whose PMD-mean step has these coordinates, rewards in units of tau."""
    if len(point) == 2:
        pi, gains = np.array([1 - point[0], point[0]]), point[1:]
    else:
        w, y, *gains = point
        pi = np.array([1 - w, w * (1 - y), w * y])
    log_ratio = np.concatenate([[0.0], np.cumsum(gains)])
    log_ratio -= np.log(pi @ np.exp(log_ratio))
    multiplier = -(pi @ log_ratio)
    return pmd.Problem.from_policy(pi, log_ratio + multiplier * np.exp(log_ratio), 1.0), log_ratio, multiplier


def measured(name, problem):
    """Larger and smaller side of a statement, from the package's own steps."""
    ideal, step = pmd.kl_update(problem).unwrap(), pmd.mean_update(problem).unwrap()
    kind = name.removesuffix("-ternary").partition("-")[2]
    cross = float(np.sum(step.policy * np.exp(ideal.log_ratio)))
    chain = problem.jensen_gap / np.array([1 + ideal.chi2, cross, 1.0, 1 + step.chi2, 1.0])
    chain[2] = step.multiplier
    if kind in ("1", "2", "3", "4"):
        return chain[int(kind)], chain[int(kind) - 1]
    if kind.startswith("tight"):
        return (chain[2], 0.0) if kind.endswith("upper") else (chain[1], 0.0)
    sizes = {
        "KL": lambda one: one.kl,
        "price": lambda one: one.kl,
        "reverse-KL": lambda one: one.reverse_kl,
        "chi2": lambda one: one.chi2,
        "TV": lambda one: 0.5 * np.sum(np.abs(one.policy - problem.policy)),
        "Hellinger": lambda one: 0.5 * np.sum((np.sqrt(one.policy) - np.sqrt(problem.policy)) ** 2),
        "Renyi-2": lambda one: np.log1p(one.chi2),
        "reward": lambda one: one.policy[-1] if len(problem.policy) == 2 else one.expected_reward,
    }
    if kind in sizes:
        return sizes[kind](ideal), sizes[kind](step)
    if kind == "contraction":
        p = problem.policy[1]
        return (1 - p) * np.exp(-p * np.ptp(problem.reward)), step.policy[0]
    return None


POINTS = {2: (0.3, 1.1), 4: (0.6, 0.3, 0.4, 0.7)}


@pytest.mark.parametrize("one", STATEMENTS.values(), **ids)
def test_terms_are_those_of_the_package(one):
    point = POINTS[len(one.root)]
    problem, log_ratio, multiplier = problem_of(point)
    step = pmd.mean_update(problem).unwrap()
    assert np.allclose(step.log_ratio, log_ratio, atol=1e-12)
    assert step.multiplier == pytest.approx(multiplier, rel=1e-11)
    found = measured(one.id, problem)
    if found is None:
        assert one.id in ("C8-floor", "C9-fraction", "C9-minimum")
        return
    with ctx.workprec(PRECISION):
        (terms,) = one.terms([exact(Fraction(x)) for x in point])
    shift = problem.reward[0] if one.id == "C8-reward-ternary" else 0.0  # rewards are measured from the lowest there
    assert float(terms.larger) == pytest.approx(found[0] - shift, rel=1e-10)
    assert float(terms.smaller) == pytest.approx(found[1] - shift, rel=1e-10)


@pytest.mark.parametrize("name", ["C8-floor", "C9-fraction", "C9-minimum"])
def test_the_other_terms(name):
    p, u = POINTS[2]
    problem, *_ = problem_of((p, u))
    ideal, step = pmd.kl_update(problem).unwrap(), pmd.mean_update(problem).unwrap()
    strength = np.ptp(problem.reward)
    with ctx.workprec(PRECISION):
        terms = statement(name).terms([exact(Fraction(p)), exact(Fraction(u))])
    values = [(float(one.larger), float(one.smaller), float(one.normaliser)) for one in terms]
    if name == "C8-floor":
        extra = u * step.policy[1] * step.policy[0] * -np.expm1(u - strength)
        assert values[0][0] == pytest.approx(ideal.kl, rel=1e-10)
        assert values[0][1] == pytest.approx(step.kl + extra, rel=1e-10)
    elif name == "C9-fraction":
        assert values[0][0] / values[0][2] == pytest.approx(u / strength, rel=1e-10)
    else:
        m = np.expm1(u)
        level = [1 - u / m - np.log1p(x * m) for x in (0.0, p - 1e-6, p + 1e-6, 1.0)]
        assert values[0][0] - values[0][1] == pytest.approx(level[0], rel=1e-10)
        assert values[1][0] - values[1][1] == pytest.approx(-level[3], rel=1e-10)
        assert values[2][0] - values[2][1] == pytest.approx((level[1] - level[2]) / 2e-6, rel=1e-6)


# -- enclosures --------------------------------------------------------------------------------------------------------


@st.composite
def boxes_and_points(draw, one):
    """A dyadic part of a statement's box, often at an edge, and a point inside it."""
    box, point = [], []
    for low, high in one.root:
        level = draw(st.integers(0, 14))
        index = draw(st.one_of(st.just(0), st.just(2**level - 1), st.integers(0, 2**level - 1)))
        size = (high - low) / 2**level
        box.append((low + size * index, low + size * (index + 1)))
        point.append(low + size * index + size * Fraction(draw(st.integers(1, 2**12 - 1)), 2**12))
    return tuple(box), tuple(point)


@pytest.mark.parametrize("one", STATEMENTS.values(), **ids)
@given(data=st.data())
def test_enclosures_contain_the_slack(one, data):
    """The factored enclosure over a box contains the unfactored slack of every law in it."""
    box, point = data.draw(boxes_and_points(one))
    with ctx.workprec(PRECISION):
        if one.enclose(tuple((x, x) for x in point)) is None:
            return  # no law of the statement
        found, value = one.enclose(box), one.slack([exact(x) for x in point])
        assert found is not None, "a law of the statement was left out"
        assert not value < found.lo
        assert not value > found.hi


@pytest.mark.parametrize("one", [one for one in BINARY if one.id not in ("C8-floor", "C8-Renyi-2")], **ids)
def test_enclosures_shrink_to_the_slack(one):
    """Over a small box the enclosure is close to the value: no looseness that halving does not remove.

    Not for the two statements that leave a positive term out, and not for three levels: their bound is the least of
    the values of two tilts, of which the slack is a mean.
    """
    point = (Fraction(1, 4), Fraction(1, 2))
    box = tuple((x, x + Fraction(1, 2**20)) for x in point)
    with ctx.workprec(PRECISION):
        found, value = one.enclose(box), float(one.slack([exact(x) for x in point]))
        assert float(found.lo) == pytest.approx(value, rel=1e-4)
        assert one.id == "C9-minimum" or float(found.hi) == pytest.approx(value, rel=1e-4)


# -- mutants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"sign": -1}, {"factor": 2.0}, {"factor": 1.1}], ids=str)
@pytest.mark.parametrize("one", STATEMENTS.values(), **ids)
def test_mutants_are_refuted(one, change):
    """The inequality turned round, or its right side times a factor: false, at a point that is shown."""
    found = prove_over_box(one.mutant(**change), max_boxes=2000)
    assert not found.proved
    witness = found.witness
    assert witness is not None
    assert all(low <= x <= high for x, (low, high) in zip(witness.point, one.root, strict=True))
    with ctx.workprec(2 * PRECISION):  # the witness once more, from the terms alone
        values = [exact(x) for x in witness.point]
        factor, sign = change.get("factor", 1.0), change.get("sign", 1)
        false = False
        for terms in one.terms(values):
            right = terms.smaller + exact(one.at_least) * terms.normaliser
            left = terms.larger
            false |= bool(left < factor * right) if sign == 1 else bool(terms.smaller < left)
        assert false


SHARP = [
    *("C7-3", "C7-4", "C8-KL", "C8-reverse-KL", "C8-TV", "C8-reward", "C8-price"),
    *("C9-contraction", "C9-fraction", "C9-minimum", "C8-price-ternary"),
]


@pytest.mark.parametrize("name", SHARP)
def test_constants_are_within_a_quarter_of_the_best(name):
    one = statement(name)
    found = prove_over_box(replace(one, at_least=one.at_least * Fraction(5, 4)), max_boxes=300)
    assert found.witness is not None


@pytest.mark.parametrize("name", ["C7-tight-upper", "C7-tight-lower"])
def test_what_tightness_loses_is_within_a_third_of_the_best(name):
    """The bracket of C7 is within 1.5 % for tau >= 1, and not within 0.95 %."""
    one = statement(name)
    assert one.at_least == Fraction(985, 1000)
    assert prove_over_box(replace(one, at_least=Fraction(9905, 10000)), max_boxes=2000).witness is not None


# -- wrong inputs ------------------------------------------------------------------------------------------------------


def test_selection():
    assert [one.id for one in select(["C9", "c7-3"])] == ["C7-3", "C9-contraction", "C9-fraction", "C9-minimum"]
    assert select([]) == list(STATEMENTS.values())
    refused(ValueError, lambda: select(["C5"]), "statement 'C5' does not exist", "C8-KL")
    refused(TypeError, lambda: statement(8), "got 8")


def test_mutants_refuse():
    one = statement("C8-KL")
    refused(ValueError, lambda: one.mutant(), "factor must exceed one, got 1.0")
    refused(ValueError, lambda: one.mutant(factor=0.5), "factor must exceed one, got 0.5")
    refused(ValueError, lambda: one.mutant(sign=2), "sign must be 1 or -1, got 2")
    refused(TypeError, lambda: one.mutant(factor="2"), "factor must be a real number, got '2'")
