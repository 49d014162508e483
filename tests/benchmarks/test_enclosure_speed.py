"""Speed of proven enclosures on one core: 50 levels in under 20 ms, 10,000 levels in under 5 s."""

import statistics
import time

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory.enclosure import EnclosureStatus
from tests.benchmarks.test_update_speed import numbers

LIMITS = {50: 0.02, 10_000: 5.0}
MEMBERS = {
    "mean": lambda problem: {},
    "baseline below log Z": lambda problem: {"baseline": problem.log_partition - 0.3},
    "baseline above log Z": lambda problem: {"baseline": problem.log_partition + 0.01},
    "mixed": lambda problem: {"weight": 0.3},
    "ideal": lambda problem: {"ideal": True},
    "mismatched": lambda problem: {"log_sampler": np.log(np.roll(problem.policy, 1))},
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("size", [50, pytest.param(10_000, marks=pytest.mark.slow)])
def test_enclosures(benchmark, table, size, member):
    """Existence, uniqueness and every enclosure of a step on distinct rewards, tau 0.05, widths below 1e-13."""
    took = []

    def set_up():
        problem = pmd.Problem.from_policy(*numbers(size, seed=len(took)), 0.05)
        return (problem, MEMBERS[member](problem)), {}

    def prove(problem, options):
        started = time.process_time()
        proof = pmd.enclose(problem, **options)
        took.append(time.process_time() - started)
        return proof

    prove(*set_up()[0])  # imports, once
    proof = benchmark.pedantic(prove, setup=set_up, rounds=15 if size == 50 else 3, iterations=1)
    assert proof.status is EnclosureStatus.PROVED
    assert proof.width <= 1e-13
    median = statistics.median(took[1:])
    benchmark.extra_info.update({"bits": proof.precision, "largest relative width": proof.width})
    table(f"enclosure, {size:,} levels, {member}", median, None, None, None, f"< {LIMITS[size]:g} s")
    if benchmark.enabled:
        assert median < LIMITS[size]
