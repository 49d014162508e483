"""Speed of the leave-one-out baseline against the naive formula, and of many trajectories; run by `make bench`."""

import statistics
import time

import numpy as np
import pytest

from pmdtheory import finite_sample as fs
from pmdtheory.trajectory import binary_grid

pytestmark = pytest.mark.slow

RATIO = 5.0  # times the naive formula that exactness may cost
TRAJECTORIES = 10.0  # seconds for 10,000 trajectories of 100 steps
ROUNDS = 7


def naive(rewards, tau):
    """One pass: the group's sum less one's own term, clamped. Its value is wrong, its cost is the yardstick."""
    scaled = rewards / tau
    top = scaled.max(axis=-1, keepdims=True)
    with np.errstate(under="ignore"):
        terms = np.exp(scaled - top)
    left = np.maximum(terms.sum(axis=-1, keepdims=True) - terms, 1e-8)
    return top + np.log(left / (rewards.shape[-1] - 1))


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_partition_baseline_costs_at_most_five_times_the_naive_formula(benchmark, table):
    """A million groups of 16 rewards of -1 and 1 at tau = 0.01; both are timed in turn, so a busy machine hits both."""
    rewards, tau = np.random.default_rng(0).choice([-1.0, 1.0], size=(1_000_000, 16)), 0.01
    opponent = [seconds(lambda: naive(rewards, tau))]
    here = []

    def set_up():
        opponent.append(seconds(lambda: naive(rewards, tau)))

    def measured():
        start = time.perf_counter()
        found = fs.partition_baseline(rewards, tau)
        here.append(time.perf_counter() - start)
        return found

    found = benchmark.pedantic(measured, setup=set_up, rounds=ROUNDS, warmup_rounds=1, iterations=1)
    ratio = statistics.median(here[1:]) / statistics.median(opponent[2:])
    least = min(here[1:]) / min(opponent[2:])
    benchmark.extra_info["times the cost of the naive formula"] = ratio
    benchmark.extra_info["times the cost of the naive formula, fastest of each"] = least
    table(
        "partition_baseline, [1e6, 16], tau 0.01",
        statistics.median(here[1:]),
        None,
        "subtract and clamp",
        statistics.median(opponent[2:]),
        f">= {1 / RATIO:g}",
    )
    # the values, by reward level: among the other 15 a success counts 1, a failure e^-200
    others = (rewards > 0).sum(axis=1, keepdims=True) - (rewards > 0)
    wanted = np.where(others > 0, 1.0 / tau + np.log(np.maximum(others, 1) / 15.0), -1.0 / tau)
    assert np.max(np.abs(found - wanted)) <= 1e-12
    if benchmark.enabled:
        assert max(ratio, least) <= RATIO, (ratio, least)


@pytest.mark.parametrize(("method", "n"), [("mean", None), ("part", 8)])
def test_ten_thousand_trajectories_of_a_hundred_steps(benchmark, table, method, n):
    """A grid of 100 masses and 100 strengths, 100 steps each."""
    p0, tau = np.geomspace(1e-6, 0.9, 100)[:, None], np.geomspace(0.01, 10.0, 100)
    spent = []

    def run():
        start = time.perf_counter()
        grid = binary_grid(p0, tau, steps=100, method=method, n=n)
        spent.append(time.perf_counter() - start)
        return grid

    grid = benchmark.pedantic(run, rounds=2, iterations=1)
    table(f"1e4 trajectories of 100 steps, {method}", min(spent), None, None, None, f"< {TRAJECTORIES:g} s")
    assert grid.log_odds.shape == (101, 100, 100)
    assert np.isfinite(grid.log_odds).all()
    assert np.all(grid.gain > 0.0)
    if benchmark.enabled:
        assert min(spent) < TRAJECTORIES
