"""What decides a witness: bounds that are bounds, undecided where they are not, and a sign that is proved."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import assume, given
from hypothesis import strategies as st

from pmdtheory.hunt import STATEMENTS, hunt
from pmdtheory.hunt import _collapsed as collapsed
from pmdtheory.hunt._balls import BITS, BallCase, ball
from pmdtheory.hunt._families import coordinates
from pmdtheory.hunt._search import Searched, slacks

WORSE = STATEMENTS["C14-worse"]
shares = st.integers(0, 16).map(lambda k: Fraction(k, 16))


@pytest.fixture(autouse=True)
def bits():
    with ctx.workprec(BITS):
        yield


@given(side=st.tuples(shares, shares).map(sorted), mass=shares, target=st.integers(-24, 24), part=shares)
def test_a_part_of_the_loss_is_bounded_from_below(side, mass, target, part):
    """mass (log(x/mass) - target)^2 at any x between the sides."""
    mass, aim = max(mass, Fraction(1, 16)), arb(target) / 4
    x = side[0] + part * (side[1] - side[0])
    bound = collapsed._part(tuple(side), mass, aim)
    assert not bound < 0
    if x > 0:
        assert not bound > ball(mass) * (ball(x / mass).log() - aim) ** 2


@given(st.lists(st.tuples(shares, shares).map(sorted), min_size=3, max_size=3), st.permutations([-1, 0, 2]))
def test_the_best_reward_is_reached_and_not_exceeded(sides, reward):
    """Against every way to fill the shares one after the other: the best of them is an end of the region."""
    sides, reward = [tuple(side) for side in sides], [Fraction(r) for r in reward]
    low, high = (sum(side[k] for side in sides) for k in (0, 1))
    assume(low <= 1)  # as for all sides that a simplex has
    found = collapsed._best_reward(sides, reward)
    if high < 1:
        assert found < -1000  # no policy is there
        return
    reached = []
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        x, left = [side[0] for side in sides], 1 - low
        for k in order:
            more = min(left, sides[k][1] - sides[k][0])
            x[k], left = x[k] + more, left - more
        reached.append(sum(share * r for share, r in zip(x, reward, strict=True)))
    assert found == max(reached)


def law(excess=None):
    witness = WORSE.witness
    return BallCase(witness.weights, witness.reward, witness.extra if excess is None else {"excess": excess})


def test_no_policy_with_the_mean_reward_has_less_loss_than_the_bound():
    case = law()
    policy = [Fraction(w, sum(case.weights)) for w in case.weights]
    mean = sum(p * r for p, r in zip(policy, case.exact_reward, strict=True))
    targets = (case.advantage - case.gap[0] - case.extra["excess"][0])[0]
    fine = [[Fraction(k, 240), Fraction(240 - k, 240)] for k in range(1, 81)]  # at most 1/3 on the failure
    assert all(sum(x * r for x, r in zip(one, case.exact_reward, strict=True)) >= mean for one in fine)
    losses = [collapsed._loss(one, policy, targets) for one in fine]
    least = min(losses, key=lambda loss: float(loss.mid()))
    level = least * arb(0.999)  # so near that the boxes have to be halved
    bound = collapsed._least(policy, targets, case.exact_reward, mean, level)
    assert bound > level
    assert not any(bound > loss for loss in losses)


def test_too_few_boxes_decide_nothing(monkeypatch):
    assert WORSE.refutes(WORSE.witness)
    monkeypatch.setattr(collapsed, "_BOXES", 3)
    (found,) = collapsed.decided(law())
    assert found.contains(arb(0))
    assert not WORSE.refutes(WORSE.witness)


def test_boxes_that_are_left_decide_nothing(monkeypatch):
    """At a smaller excess the best policy has the higher reward: most boxes exclude it, and one never does."""
    monkeypatch.setattr(collapsed, "_BOXES", 60)
    (found,) = collapsed.decided(law(Fraction(17, 16)))
    assert found.contains(arb(0))
    assert collapsed._candidates(law(Fraction(17, 16)), Fraction(1, 128))


def saying(value):
    return replace(WORSE, exact=lambda case: np.array([value], dtype=object))


@pytest.mark.parametrize("value", [arb(0), arb(0, 1), arb(-1, 1), arb("1e-12"), arb("nan")])
def test_what_is_not_proved_negative_refutes_nothing(value):
    assert not saying(value).refutes(WORSE.witness)


def test_a_slack_is_rounded_outward():
    assert saying(arb("-1e-12")).refutes(WORSE.witness)
    for value in (arb(1) / 3, -arb(1) / 3, arb(1) / 10):
        low, high = saying(value).slack(WORSE.witness)
        assert arb(low) < value < arb(high)
        assert high - low < 1e-14


def test_rounding_noise_has_no_slack():
    noise = replace(STATEMENTS["C4"], measure=lambda case: np.sin(1e20 * case.reward[:, 0]))
    found, undecided = slacks(noise, coordinates(np.random.default_rng(0), 900, 3, {}), 3)
    assert (found < 0).mean() < 0.05  # of about a half
    assert undecided > 300
    smooth = replace(noise, measure=lambda case: -case.gap)
    found, undecided = slacks(smooth, coordinates(np.random.default_rng(0), 900, 3, {}), 3)
    assert (found < 0).mean() > 0.9
    assert undecided < 30


def test_two_searches_are_one():
    first, second = Searched(10, 1, -1.0, 3, np.ones(6)), Searched(5, 2, -2.0, 2, np.zeros(4), True)
    for one, other in ((first, second), (second, first)):
        both = one.joined(other)
        assert (both.instances, both.undecided, both.slack, both.actions) == (15, 3, -2.0, 2)
        assert both.at is second.at
        assert both.interrupted == other.interrupted  # the later one


@pytest.mark.parametrize("left", [True, False])
def test_every_box_has_to_be_proved(monkeypatch, left):
    monkeypatch.setattr("pmdtheory.hunt._hunter._proved", lambda one: {"two levels": True, "three levels": not left})
    easy = replace(STATEMENTS["C4"], measure=lambda case: np.ones(len(case.mass)))
    assert hunt(easy, instances=1_000).verdict == ("survived" if left else "proved over boxes")
