r"""Speed of the JAX engine on one core: against SciPy's `brentq` + `lambertw`, the NumPy reference and a memory copy.

Each number is measured in a process of its own that is held to one core (two for the prompts), because JAX uses every
core it finds when it starts. The repetitions of a comparison alternate. The time of an update covers every field. On
one core it is the time of the processor, so that others who want the core do not count; on two it is that on the wall.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.tolerances import ROOT

pytest.importorskip("jax")

PROGRAM = """
import json, os, statistics, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(sys.argv[2]):])
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import pmdtheory as pmd
from pmdtheory import fast

clock = time.process_time if sys.argv[2] == "1" else time.perf_counter

def timed(function, *arguments):
    started = clock()
    result = jax.block_until_ready(function(*arguments))
    return clock() - started, result

def duel(rounds, **functions):
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(timed(function)[0])
    return {name: statistics.median(found) for name, found in times.items()}

rng = np.random.default_rng(0)
million = 1_000_000
if sys.argv[1] == "actions":
    from tests.benchmarks.test_update_speed import by_brentq, numbers, updated
    tau = float(sys.argv[3])
    policy, reward = numbers(million, seed=1)
    law, r = jnp.asarray(np.log(policy)), jnp.asarray(reward)
    law32, r32 = law.astype(np.float32), r.astype(np.float32)
    found = duel(
        11,  # one disturbed round in three would move a median of three
        float64=lambda: fast.mean_update(law, r, tau),
        float32=lambda: fast.mean_update(law32, r32, np.float32(tau)),
        numpy=lambda: updated(pmd.Problem.from_policy(policy, reward, tau)).policy,
        copy=lambda: law + 1.0,
        brentq=lambda: by_brentq(policy, reward, tau, plain=True),
    )
    weight = float(fast.mean_update(law, r, tau).multiplier)
    found["error"] = abs(weight / by_brentq(policy, reward, tau, plain=False) - 1.0)
    found["error32"] = abs(float(fast.mean_update(law32, r32, np.float32(tau)).multiplier) / weight - 1.0)
elif sys.argv[1] == "sizes":
    from tests.benchmarks.test_update_speed import by_brentq, numbers, updated
    tau, size = float(sys.argv[3]), int(sys.argv[4])
    policy, reward = numbers(size, seed=1)
    law, r = jnp.asarray(np.log(policy)), jnp.asarray(reward)
    add = jax.jit(lambda x: x + 1.0)
    functions = {
        "fast": lambda: fast.mean_update(law, r, tau),
        "numpy": lambda: updated(pmd.Problem.from_policy(policy, reward, tau)).policy,
        "brentq": lambda: by_brentq(policy, reward, tau, plain=True),
        "copy": lambda: add(law),
    }
    weight = float(fast.mean_update(law, r, tau).multiplier)
    if size <= 10_000:
        problem = pmd.Problem.from_policy(policy, reward, tau)
        functions["clarabel"] = lambda: pmd.solve_subproblem(problem, weight=weight)
    found = duel(2 if size > million else 5, **functions)
    found["error"] = abs(weight / by_brentq(policy, reward, tau, plain=False) - 1.0)
elif sys.argv[1] == "rollouts":
    reward = jnp.asarray(rng.random((int(sys.argv[3]), 16)))
    law = jnp.zeros_like(reward)
    add = jax.jit(lambda x: x + 1.0)
    found = duel(3, fast=lambda: fast.mean_update(law, reward, 0.3), copy=lambda: add(law))
    found["solved"] = bool((np.asarray(fast.mean_update(law, reward, 0.3).status) == 0).all())
else:
    wins = rng.binomial(16, rng.random(million))
    counts = jnp.asarray(wins)
    def prompts():
        p = counts / 16.0
        return fast.mean_update(jnp.stack([jnp.log1p(-p), jnp.log(p)], -1), jnp.array([0.0, 1.0]), 0.3)
    found = duel(5, prompts=prompts)
    found["solved"] = bool((np.asarray(prompts().status) == 0).all())
print(json.dumps(found))
"""


def measured(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.3, 0.05, 1.0])
def test_a_million_actions(benchmark, table, tau):
    """To the same accuracy as brentq on one core, 25 times faster, within the time of 60 copies."""
    found = benchmark.pedantic(measured, args=("actions", 1, tau), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    what = f"fast.mean_update, 1e6 distinct rewards, tau {tau:g}, one core"
    table(what, found["float64"], None, "brentq, plain bracket", found["brentq"], ">= 25")
    table(what, found["float64"], None, "NumPy, constructor included", found["numpy"], "-")
    table(f"{what}, float32", found["float32"], None, "brentq, plain bracket", found["brentq"], "-")
    table("copy of 1e6 actions", found["copy"], None, "fast.mean_update", found["float64"], "<= 60")
    assert found["error"] <= ROOT
    assert found["error32"] <= 2e-5
    if benchmark.enabled:
        assert found["brentq"] / found["float64"] >= 25.0
        assert found["float64"] <= 60.0 * found["copy"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 10_000, 1_000_000, 10_000_000])
def test_sizes(benchmark, table, size):
    """One core, tau 0.3: against brentq + lambertw, the NumPy reference, Clarabel where it is feasible, and a copy."""
    found = benchmark.pedantic(measured, args=("sizes", 1, 0.3, size), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    what = f"fast.mean_update, {size:.0e} distinct rewards, one core"
    against = {"brentq": "brentq, plain bracket", "numpy": "NumPy, constructor included", "clarabel": "Clarabel"}
    for name in against.keys() & found.keys():
        table(what, found["fast"], None, against[name], found[name], "-")
    table(f"copy of {size:.0e} actions", found["copy"], None, "fast.mean_update", found["fast"], "-")
    assert found["error"] <= ROOT
    if benchmark.enabled and size >= 1_000_000:
        assert found["fast"] < found["numpy"]


@pytest.mark.slow
def test_a_million_prompts_of_sixteen_rollouts(benchmark, table):
    """Sixteen rollouts with rewards of their own each, two cores."""
    found = benchmark.pedantic(measured, args=("rollouts", 2, 1_000_000), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    what = "fast.mean_update, 1e6 prompts of 16 distinct rewards, two cores"
    table(what, found["fast"], None, None, None, "-")
    table("copy of 1.6e7 actions", found["copy"], None, "fast.mean_update", found["fast"], "-")
    assert found["solved"]


@pytest.mark.slow
def test_a_million_prompts(benchmark, table):
    """Sixteen binary rollouts each, as counts: a law of two actions a prompt; two cores."""
    found = benchmark.pedantic(measured, args=("prompts", 2), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    table("fast.mean_update, 1e6 prompts of 16 binary rollouts, two cores", found["prompts"], None, None, None, "< 1 s")
    assert found["solved"]
    if benchmark.enabled:
        assert found["prompts"] < 1.0
