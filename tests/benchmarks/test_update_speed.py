r"""Speed, side by side: the exact update against what one would write with SciPy, and against a conic solver.

The repetitions of a comparison alternate within one process: set-up draws fresh numbers and times the opponent on
them, then the benchmark times the update on the same numbers, so that both see the same machine. The time of an update
covers everything from a new `Problem` to the last field of the result; building the `Problem` is timed apart and
reported beside it. The opponent is charged for the multiplier only, not for a policy or divergences.

`pytest tests/benchmarks --benchmark-only` (`make bench`) prints the ratios at its end.
"""

import gc
import statistics
import time
import tracemalloc

import numpy as np
import pytest
from scipy import optimize, special

import pmdtheory as pmd
from tests.tolerances import ROOT

MILLION = 1_000_000
FIELDS = ("policy", "log_policy", "log_ratio", "multiplier", "expected_reward", "kl", "reverse_kl", "chi2")


def numbers(size, seed):
    """A Dirichlet(1) policy and distinct random rewards."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_exponential(size)
    return weights / weights.sum(), rng.random(size)


def timed(function, *arguments):
    gc.collect()
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def updated(problem):
    """PMD-mean with every field of the result read."""
    step = pmd.mean_update(problem).unwrap()
    for name in FIELDS:
        getattr(step, name)
    return step


def by_brentq(policy, reward, tau, plain):
    """Lambda by `brentq` on the mass of W(lambda e^a)/lambda with SciPy's Lambert W, to 1e-12 relative.

    The bracket is what one writes first, (tiny, J], or the one that C7 proves.
    """
    tilt = np.exp((reward - np.dot(policy, reward)) / tau)
    partition = float(np.dot(policy, tilt))
    gap = float(np.log(partition))

    def excess(weight):
        return float(np.dot(policy, special.lambertw(weight * tilt).real)) / weight - 1.0

    low = 1e-12 if plain else gap * partition**2 / float(np.dot(policy, tilt * tilt))
    return optimize.brentq(excess, low, gap, xtol=1e-300, rtol=ROOT)


def reference(policy, reward, tau, start):
    """Lambda in extended precision, by Newton steps on every log-ratio and then on lambda."""
    law, r = policy.astype(np.longdouble), reward.astype(np.longdouble)
    law = law / law.sum()
    a = (r - np.dot(law, r)) / np.longdouble(tau)
    weight = np.longdouble(start)
    v = np.asarray(
        np.log(special.lambertw(float(weight) * np.exp(a.astype(float))).real / float(weight)), np.longdouble
    )
    for _ in range(3):
        for _ in range(2):
            lift = weight * np.exp(v)
            v -= (v + lift - a) / (1 + lift)
        rho = np.exp(v)
        weight += (np.dot(law, rho) - 1) / np.dot(law, rho * rho / (1 + weight * rho))
    return float(weight)


class Duel:
    """Alternate an opponent (in the set-up) and the update (in the benchmark) on fresh numbers."""

    def __init__(self, size, tau, opponents):
        self.size, self.tau, self.opponents = size, tau, opponents
        self.built, self.here = [], []
        self.there = {name: [] for name in opponents}
        self.found = {name: [] for name in opponents}
        self.round = 0

    def set_up(self):
        self.round += 1
        self.policy, self.reward = numbers(self.size, seed=self.round)
        for name, opponent in self.opponents.items():
            seconds, answer = timed(opponent, self.policy, self.reward, self.tau)
            self.there[name].append(seconds)
            self.found[name].append(answer)
        seconds, problem = timed(pmd.Problem.from_policy, self.policy, self.reward, self.tau)
        self.built.append(seconds)
        gc.collect()
        return (problem,), {}

    def update(self, problem):
        started = time.perf_counter()
        self.step = updated(problem)
        self.here.append(time.perf_counter() - started)
        return self.step

    def run(self, benchmark, rounds):
        updated(pmd.Problem.from_policy(*numbers(self.size, seed=0), self.tau))  # tables and caches, once
        benchmark.pedantic(self.update, setup=self.set_up, rounds=rounds, iterations=1)
        self.medians = {name: statistics.median(times) for name, times in self.there.items()}
        self.median, self.constructor = statistics.median(self.here), statistics.median(self.built)
        ratios = {name: takes / self.median for name, takes in self.medians.items()}
        benchmark.extra_info.update({f"times faster than {name}": ratio for name, ratio in ratios.items()})
        benchmark.extra_info["constructor"] = self.constructor
        return ratios


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.3, 0.05, 1.0])
def test_a_million_actions_against_brentq(benchmark, table, tau):
    """At least ten times faster than either bracket, on the same equation to the same accuracy."""
    duel = Duel(
        MILLION,
        tau,
        {
            "brentq, plain bracket": lambda *law: by_brentq(*law, plain=True),
            "brentq, bracket of C7": lambda *law: by_brentq(*law, plain=False),
        },
    )
    ratios = duel.run(benchmark, rounds=7 if tau == 0.3 else 5)
    what = f"mean_update, 1e6 distinct rewards, tau {tau:g}"
    for name, takes in duel.medians.items():
        table(what, duel.median, duel.constructor, name, takes, ">= 10")
    exact = reference(duel.policy, duel.reward, tau, duel.step.multiplier)
    errors = {"here": abs(duel.step.multiplier / exact - 1.0)}
    errors |= {name: abs(answers[-1] / exact - 1.0) for name, answers in duel.found.items()}
    benchmark.extra_info.update({f"error in lambda, {name}": error for name, error in errors.items()})
    assert max(errors.values()) <= ROOT, errors
    assert duel.step.multiplier == pytest.approx(duel.step.reverse_kl, rel=ROOT)
    if benchmark.enabled:
        assert min(ratios.values()) >= 10.0, ratios


@pytest.mark.slow
def test_ten_thousand_levels_against_a_conic_solver(benchmark, table):
    """At least 200 times faster than Clarabel on the same step, which is given the multiplier."""
    weights = {}

    def conic(policy, reward, tau):
        return pmd.solve_subproblem(pmd.Problem.from_policy(policy, reward, tau), weight=weights[policy.tobytes()])

    class Informed(Duel):
        def set_up(self):
            policy, reward = numbers(self.size, seed=self.round + 1)
            weights[policy.tobytes()] = updated(pmd.Problem.from_policy(policy, reward, self.tau)).multiplier
            return super().set_up()

    duel = Informed(10_000, 0.3, {"Clarabel": conic})
    (ratio,) = duel.run(benchmark, rounds=9).values()
    what = "mean_update, 1e4 distinct rewards, tau 0.3"
    table(what, duel.median, duel.constructor, "Clarabel", duel.medians["Clarabel"], ">= 200")
    other = duel.found["Clarabel"][-1].unwrap()
    distance = 0.5 * float(np.abs(other.policy - duel.step.policy).sum())
    benchmark.extra_info["total variation between them, relative to the step"] = distance / duel.step.step_size
    assert distance <= 1e-5 * duel.step.step_size
    if benchmark.enabled:
        assert ratio >= 200.0


@pytest.mark.parametrize("dtype", ["bool", "int8", "float64"])
def test_a_million_prompts(benchmark, table, dtype):
    """A million prompts with 16 binary rollouts in under a second."""
    took = []

    def set_up():
        rng = np.random.default_rng(len(took))
        rewards = rng.random((MILLION, 16), dtype=np.float32) < rng.random((MILLION, 1), dtype=np.float32)
        return (rewards.astype(dtype),), {}

    def solve(rewards):
        started = time.perf_counter()
        step = pmd.batch.mean_update(rewards, 0.3)
        took.append(time.perf_counter() - started)
        return step

    step = benchmark.pedantic(solve, setup=set_up, rounds=5, iterations=1)
    assert step.distinct == 17
    assert step.multiplier.shape == (MILLION,)
    median = statistics.median(took)
    table(f"batch, 1e6 prompts of 16 rollouts, {dtype}", median, None, None, None, "< 1 s")
    if benchmark.enabled:
        assert median < 1.0


def test_memory_of_a_million_actions(benchmark, table):
    """At most twelve arrays of the problem's size at the peak, the problem's own three included."""
    peaks = []

    def measured(policy, reward):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            problem = pmd.Problem.from_policy(policy, reward, 0.3)
            updated(problem)
            own = policy.nbytes + reward.nbytes  # the problem keeps views of these
            peaks.append((tracemalloc.get_traced_memory()[1] - before + own) / (8 * MILLION))
        finally:
            tracemalloc.stop()

    benchmark.pedantic(measured, args=numbers(MILLION, seed=1), rounds=1, iterations=1)
    peak = max(peaks)
    benchmark.extra_info["arrays at the peak"] = peak
    table("memory, 1e6 distinct rewards", f"{peak:.1f} arrays", None, None, None, "<= 12")
    assert peak <= 12.0
