"""Parts: the exact update of very many actions and of very many prompts, memory copies, and agreement with NumPy."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pmdtheory as pmd
from pmdtheory import fast
from tests.benchmarks.gpu._registry import part

ACTIONS = {"full": (10**6, 10**7, 10**8), "tiny": (4_000,)}
PROMPTS = {"full": 10**6, "tiny": 2_000}
ROLLOUTS = 16
REPEATS = {"full": 9, "tiny": 2}
WANTED = {"float64": 0.020, "float32": 0.008}  # seconds for 10^8 actions on an H100
TAU = 0.3


def timed(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repetition after one that compiles; results are freed before the next."""
    jax.block_until_ready(call())
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - started)
    return found


def against_copy(call: Callable[[], Any], array: jax.Array, size: str) -> dict[str, Any]:
    """Median seconds of a call, of a copy of an array, and their ratio."""
    copied = jax.jit(lambda x: x + 1)
    times, copies = timed(call, REPEATS[size]), timed(lambda: copied(array), REPEATS[size])
    median, copy = statistics.median(times), statistics.median(copies)
    return {
        "median": median,
        "fastest": min(times),
        "repetitions": len(times),
        "copy": copy,
        "ratio to copy": median / copy,
    }


def actions(count: int, dtype: str, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """Log-weights of a Dirichlet(1) law and distinct rewards, drawn on the device."""
    first, second = jax.random.split(jax.random.key(seed))
    return jnp.log(jax.random.exponential(first, (count,), dtype)), jax.random.uniform(second, (count,), dtype)


def updates(size: str, dtype: str) -> dict[str, Any]:
    found = {}
    for count in ACTIONS[size]:
        law, reward = actions(count, dtype)
        tau = jnp.asarray(TAU, dtype)
        row = against_copy(lambda law=law, reward=reward, tau=tau: fast.mean_update(law, reward, tau), law, size)
        step = fast.mean_update(law, reward, tau)
        row |= {"status": int(step.status), "residual": float(step.residual), "multiplier": float(step.multiplier)}
        # C4: the weight of the chi2 is the size of the step
        row["C4"] = abs(float(step.reverse_kl) / float(step.multiplier) - 1.0)
        if count == 10**8:
            row["wanted"] = WANTED[dtype]
        found[str(count)] = row
    return {"dtype": dtype, "tau": TAU, "actions": found}


@part("updates-float64")
def updates_float64(size: str) -> dict[str, Any]:
    return updates(size, "float64")


@part("updates-float32")
def updates_float32(size: str) -> dict[str, Any]:
    return updates(size, "float32")


@part("prompts")
def prompts(size: str) -> dict[str, Any]:
    """Many prompts of sixteen rollouts each with rewards of their own, in both dtypes."""
    found = {}
    for dtype in ("float64", "float32"):
        reward = jax.random.uniform(jax.random.key(1), (PROMPTS[size], ROLLOUTS), dtype)
        law, tau = jnp.zeros_like(reward), jnp.asarray(TAU, dtype)
        row = against_copy(lambda r=reward, law=law, tau=tau: fast.mean_update(law, r, tau), reward, size)
        found[dtype] = row | {"solved": bool((fast.mean_update(law, reward, tau).status == 0).all())}
    return {"prompts": PROMPTS[size], "rollouts": ROLLOUTS, "tau": TAU, "dtypes": found}


@part("memory-copy")
def memory_copy(size: str) -> dict[str, Any]:
    """Bytes read and written per second by x + 1."""
    copied, found = jax.jit(lambda x: x + 1), {}
    for count in ACTIONS[size]:
        array = jnp.ones(count, "float32")
        times = timed(lambda array=array: copied(array), REPEATS[size])
        median = statistics.median(times)
        found[str(count)] = {"median": median, "repetitions": len(times), "bytes per second": 8 * count / median}
    return {"dtype": "float32", "actions": found}


@part("agreement")
def agreement(size: str) -> dict[str, Any]:
    """The update on the device against the NumPy reference, relative; 1e-12 is asserted."""
    count = {"full": 10**6, "tiny": 4_000}[size]
    found = {}
    for tau in (0.05, TAU, 1.0):
        weights, reward = (np.asarray(array) for array in actions(count, "float64", seed=2))
        law = weights - np.log(np.exp(weights).sum())
        reference = pmd.mean_update(pmd.Problem.from_log_policy(law, reward, tau)).unwrap()
        step = fast.mean_update(law, reward, tau)
        worst = max(1.0, float(np.abs(reference.problem.scaled_advantage).max()))
        row = {
            name: abs(float(getattr(step, name)) / getattr(reference, name) - 1.0)
            for name in ("multiplier", "kl", "reverse_kl", "chi2", "improvement")
        }
        row["log_ratio"] = float(np.abs(np.asarray(step.log_ratio) - reference.log_ratio).max()) / worst
        if not max(row.values()) <= 1e-12:
            raise AssertionError(f"tau {tau}: the device and NumPy differ by {row}")
        found[str(tau)] = row
    return {"dtype": "float64", "actions": count, "relative errors": found}
