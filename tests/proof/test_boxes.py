"""Branch and bound: exact volumes, boxes that fill, and honest failures."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from pmdtheory.proof import STATEMENTS, Proof, boxes, prove_over_box, statement
from pmdtheory.proof._span import Span, exact
from pmdtheory.proof._statement import volume
from tests.wrong import refused

FAST = [
    name for name in STATEMENTS if name not in ("C8-KL-ternary", "C8-price-ternary", "C8-price")
]  # their certificates are renewed elsewhere
HALF = ((Fraction(1, 4), Fraction(3, 4)), (Fraction(0), Fraction(2)))


@pytest.mark.parametrize("name", FAST)
def test_statements_are_proved(name):
    found = prove_over_box(statement(name))
    assert found.proved
    assert found.unproved_volume == 0
    assert found.proved_volume == volume(statement(name).root)
    assert all(one.slack is None or one.slack[0] >= statement(name).at_least for one in found.boxes)
    assert any(one.slack is not None for one in found.boxes)
    assert found.seconds < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C8-KL-ternary", "C8-price-ternary", "C8-price"])
def test_long_proofs(name):
    found = prove_over_box(statement(name))
    assert found.proved
    assert found.unproved_volume == 0
    assert found.seconds < 120


def test_a_part_of_three_levels_is_proved():
    part = ((Fraction(1, 4), Fraction(1, 2)), (Fraction(1, 4), Fraction(1, 2)), (Fraction(0), Fraction(1, 2)))
    assert prove_over_box(statement("C8-price-ternary"), box=(*part, (Fraction(0), Fraction(1, 2)))).proved


@pytest.mark.parametrize("name", ["C8-TV", "C8-price", "C8-price-ternary"])
def test_too_few_boxes_leave_volume(name):
    one = statement(name)
    found = prove_over_box(one, max_boxes=3)
    assert not found.proved
    assert found.witness is None
    assert found.unproved_volume == sum(volume(box) for box in found.unproved) > 0
    assert found.proved_volume + found.unproved_volume == volume(one.root)


def test_a_constant_that_is_too_large_is_refuted():
    one = replace(statement("C8-price"), at_least=Fraction(1, 10))
    found = prove_over_box(one)
    assert not found.proved
    assert found.witness is not None
    with ctx.workprec(200):
        assert one.slack([exact(x) for x in found.witness.point]) < exact(Fraction(1, 10))


def test_what_is_no_number_proves_nothing():
    """An enclosure without ends is no proof, and no refutation either."""
    true = statement("C8-TV")
    one = replace(true, enclose=lambda box: true.enclose(box) and Span(arb.nan(), arb.nan()))
    found = prove_over_box(one, box=HALF, max_boxes=20)
    assert not found.proved
    assert found.witness is None
    assert found.proved_volume == 0


def test_a_point_at_which_nothing_can_be_said_is_no_counterexample():
    true = statement("C8-TV")
    nothing = [one._replace(larger=arb.nan()) for one in true.terms([arb(0.5), arb(1)])]
    one = replace(true, enclose=lambda box: Span(arb(0), arb(1)), terms=lambda point: tuple(nothing))
    found = prove_over_box(one, box=HALF, max_boxes=20)
    assert (found.proved, found.witness) == (False, None)


@pytest.mark.parametrize("name", ["C8-chi2", "C8-TV"])
def test_max_boxes_is_how_many_there_may_be(name):
    one = statement(name)
    needed = len(prove_over_box(one).boxes)
    assert needed > 1
    assert prove_over_box(one, max_boxes=needed).proved
    fewer = prove_over_box(one, max_boxes=needed - 1)
    assert not fewer.proved
    assert len(fewer.boxes) + len(fewer.unproved) <= needed - 1


def test_a_proof_is_of_the_whole_box():
    """What it says of itself does not count: the boxes have to add up, and a counterexample ends it."""
    found = prove_over_box(statement("C8-chi2"))
    assert found.proved
    for wrong in (
        replace(found, boxes=found.boxes[1:]),
        replace(found, unproved=(HALF,)),
        replace(found, witness=prove_over_box(statement("C8-chi2").mutant(sign=-1)).witness),
    ):
        assert isinstance(wrong, Proof)
        assert not wrong.proved


@given(st.tuples(st.integers(0, 6), st.integers(1, 8)))
def test_boxes_fill_the_part(ends):
    low, length = ends
    box = ((Fraction(low, 16), Fraction(low + length, 16)), (Fraction(low), Fraction(low + length)))
    found = prove_over_box(statement("C8-chi2"), box=box)
    assert found.proved
    assert sum(volume(one.box) for one in found.boxes) == volume(box)
    for k, one in enumerate(found.boxes):
        assert all(a <= x < y <= b for (x, y), (a, b) in zip(one.box, box, strict=True))
        for other in found.boxes[:k]:
            overlap = [min(y, t) - max(x, s) for (x, y), (s, t) in zip(one.box, other.box, strict=True)]
            assert min(overlap) <= 0, "two boxes overlap"


def test_progress_tells_the_proved_volume():
    told = []
    found = prove_over_box(statement("C8-chi2"), progress=lambda share, boxes: told.append((share, boxes)))
    assert told[-1] == (1.0, len(found.boxes))
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_processes_prove_the_same():
    told = []
    one = statement("C8-chi2")
    found = prove_over_box(one, workers=2, progress=lambda share, boxes: told.append(share))
    assert found.proved
    assert told[-1] == 1.0
    assert found.proved_volume == volume(one.root)
    assert list(found.boxes) == sorted(found.boxes, key=lambda one: one.box)


@pytest.fixture
def one_thread(monkeypatch):
    """What processes would do, in a thread of this one."""
    monkeypatch.setattr(boxes, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(1))


def test_processes_leave_what_one_would_leave(one_thread):
    found = prove_over_box(statement("C8-price"), workers=2, max_boxes=40)
    assert not found.proved
    assert found.unproved_volume == sum(volume(box) for box in found.unproved) > 0
    assert len(found.boxes) + len(found.unproved) <= 40


def test_processes_tell_of_a_counterexample(one_thread, monkeypatch):
    false = replace(statement("C8-price"), at_least=Fraction(1, 10))
    monkeypatch.setitem(STATEMENTS, "C8-price", false)
    found = prove_over_box(false, workers=2)
    assert not found.proved
    with ctx.workprec(200):
        assert false.slack([exact(x) for x in found.witness.point]) < exact(Fraction(1, 10))


def test_wrong_inputs():
    one = statement("C8-KL")
    wide = ((Fraction(0), Fraction(2)), (Fraction(0), Fraction(1)))
    below = ((Fraction(-1), Fraction(1, 2)), (Fraction(0), Fraction(1)))
    refused(ValueError, lambda: prove_over_box(one, box=wide), "is not inside that of C8-KL")
    refused(ValueError, lambda: prove_over_box(one, box=below), "is not inside that of C8-KL")
    refused(ValueError, lambda: prove_over_box(one, box=HALF[:1]), "is not inside that of C8-KL")
    refused(ValueError, lambda: prove_over_box(one, box=((Fraction(1), Fraction(0)), HALF[1])), "is not inside")
    refused(ValueError, lambda: prove_over_box(one, max_boxes=0), "max_boxes", "got 0")
    refused(ValueError, lambda: prove_over_box(one, workers=True), "workers", "got True")
    refused(ValueError, lambda: prove_over_box(one.mutant(sign=-1), workers=2), "mutant", "workers=1")
