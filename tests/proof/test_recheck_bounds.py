"""The second program's bounds over boxes lie below the slack of every law in them, by its own definitions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmdtheory.proof import STATEMENTS, statement
from pmdtheory.proof.recheck import _bound
from pmdtheory.proof.recheck._definitions import defined
from pmdtheory.proof.recheck._interval import DIGITS, precise
from tests.proof.test_statements import TELLING, boxes_and_points


@pytest.fixture(autouse=True)
def usual_digits():
    yield
    precise(DIGITS[0])


def assert_below(name, box, point):
    """The bound is at most the slack at the point; None only where no law of the statement is."""
    found = _bound(name, box)
    precise(DIGITS[1])
    value = defined(name, point, int(statement(name).limit))
    if value is not None:
        assert found is not None, "a law of the statement was left out"
        assert found <= Fraction(value.hi)


@pytest.mark.parametrize(("name", "box", "point"), TELLING)
def test_bounds_are_below_the_slack_where_they_are_tight(name, box, point):
    exactly = tuple((Fraction(low), Fraction(high)) for low, high in box)
    assert_below(name, exactly, tuple(map(Fraction, point)))


@pytest.mark.parametrize("name", STATEMENTS)
@settings(max_examples=5)
@given(data=st.data())
def test_bounds_are_below_the_slack(name, data):
    assert_below(name, *data.draw(boxes_and_points(statement(name))))
