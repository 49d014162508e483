r"""Speed of the JAX engine on one core: against SciPy's `brentq` + `lambertw`, the NumPy reference and a memory copy.

Each number is measured in a process of its own that is held to one core (two for the prompts), because JAX uses every
core it finds when it starts. The repetitions of a comparison alternate. The time of an update covers every field.
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

def timed(function, *arguments):
    started = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    return time.perf_counter() - started, result

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
        3,
        float64=lambda: fast.mean_update(law, r, tau),
        float32=lambda: fast.mean_update(law32, r32, np.float32(tau)),
        numpy=lambda: updated(pmd.Problem.from_policy(policy, reward, tau)).policy,
        copy=lambda: law + 1.0,
        brentq=lambda: by_brentq(policy, reward, tau, plain=True),
    )
    weight = float(fast.mean_update(law, r, tau).multiplier)
    found["error"] = abs(weight / by_brentq(policy, reward, tau, plain=False) - 1.0)
    found["error32"] = abs(float(fast.mean_update(law32, r32, np.float32(tau)).multiplier) / weight - 1.0)
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
    """To the same accuracy as brentq on one core; 25 times faster is the goal, not yet reached, and 5 what is held."""
    found = benchmark.pedantic(measured, args=("actions", 1, tau), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    what = f"fast.mean_update, 1e6 distinct rewards, tau {tau:g}, one core"
    table(what, found["float64"], None, "brentq, plain bracket", found["brentq"], ">= 25")
    table(what, found["float64"], None, "NumPy, constructor included", found["numpy"], "-")
    table(f"{what}, float32", found["float32"], None, "brentq, plain bracket", found["brentq"], "-")
    table("copy of 1e6 actions", found["copy"], None, "fast.mean_update", found["float64"], "<= 200")
    assert found["error"] <= ROOT
    assert found["error32"] <= 2e-5
    if benchmark.enabled:
        assert found["brentq"] / found["float64"] >= 5.0


@pytest.mark.slow
def test_a_million_prompts(benchmark, table):
    """Sixteen binary rollouts each, as counts: a law of two actions a prompt; two cores."""
    found = benchmark.pedantic(measured, args=("prompts", 2), rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    table("fast.mean_update, 1e6 prompts of 16 binary rollouts, two cores", found["prompts"], None, None, None, "< 1 s")
    assert found["solved"]
    if benchmark.enabled:
        assert found["prompts"] < 1.0
