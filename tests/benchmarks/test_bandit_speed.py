r"""Speed of bandit training: optimiser steps a second against the same loop in PyTorch.

Both run in processes of their own that are held to one core, one after the other for three rounds, and are charged for
the time of the processor, so that others who want the core do not count. The PyTorch loop
is what one would write: draw, leave-one-out advantages, 50 Adam steps on the logits with autograd. It runs in the
environment of these tests if torch is there, else in `.venv-torch`, which `make test-torch` builds.
"""

import json
import os
import statistics
import subprocess
import sys

import pytest

pytest.importorskip("jax")

PINNED = """
import os, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
"""
HERE = (
    PINNED
    + """
import sys, jax
from tiny_llm_rl.bandit import BanditConfig, make_train
config = BanditConfig(batches=60)
seeds = int(sys.argv[1])
train = jax.jit(jax.vmap(make_train(config)))
keys = jax.random.split(jax.random.key(0), seeds)
jax.block_until_ready(train(keys))
started = time.process_time()
found = jax.block_until_ready(train(keys))
taken = time.process_time() - started
print(seeds * config.batches * config.epochs / taken, float(found.metrics["success"][:, -1].mean()))
"""
)
THERE = (
    PINNED
    + """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
actions, successes, mass, tau, n, groups, batches, epochs, rate = 1000, 100, 0.01, 0.03, 4, 32, 60, 50, 0.005
law = torch.cat([torch.full((900,), (1 - mass) / 900), torch.full((100,), mass / 100)])
reward = torch.cat([torch.zeros(900), torch.ones(100)])
logits = law.log().requires_grad_()
adam = torch.optim.Adam([logits], lr=rate)
started = time.process_time()
for batch in range(batches):
    with torch.no_grad():
        old = logits.log_softmax(-1)
        drawn = torch.multinomial(old.exp(), groups * n, replacement=True)
        r = reward[drawn].reshape(groups, n)
        target = ((r - r.mean(1, keepdim=True)) * n / (n - 1) / tau).reshape(-1)
    for epoch in range(epochs):
        adam.zero_grad()
        ratio = logits.log_softmax(-1)[drawn] - old[drawn]
        (0.5 * tau * (target - ratio) ** 2).mean().backward()
        adam.step()
print(batches * epochs / (time.process_time() - started), float(logits.softmax(-1)[900:].sum().detach()))
"""
)


def torch_python():
    """An interpreter that has torch; skipped where there is none."""
    from importlib.util import find_spec
    from pathlib import Path

    if find_spec("torch"):
        return sys.executable
    other = Path(__file__).parents[2] / ".venv-torch" / "bin" / "python"
    if not other.exists():
        pytest.skip("torch is not installed; `make test-torch` builds an environment with it")
    return str(other)


def measured(python, program, *arguments):
    done = subprocess.run(
        [python, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(float, done.stdout.split()))


TRAINED = """
import json, os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
started = time.perf_counter()
import jax, jax.numpy as jnp
from tiny_llm_rl.bandit import BanditConfig, make_train
keys, taus = jax.random.split(jax.random.key(0), 20), jnp.array([0.03, 1.0])
for name in ("pmd-mean", "pmd-part"):
    train = make_train(BanditConfig(algorithm=name))
    found = jax.vmap(lambda tau: jax.vmap(lambda key: train(key, tau=tau))(keys))(taus)
    last = found.metrics["success"][:, :, -1].mean(1)
    print(*map(float, last))
print(time.perf_counter() - started, 0.0)
"""


@pytest.mark.slow
def test_the_bandit_of_rare_successes(benchmark, table):
    """Twenty seeds, two algorithms, two strengths, 60 batches each, imports and compilation too: two cores."""
    found = benchmark.pedantic(measured, args=(sys.executable, TRAINED), rounds=1, iterations=1)
    mean, mean_strong, part, part_strong, seconds, _ = found
    table("bandit of rare successes, 20 seeds, 2 algorithms, 2 taus, two cores", seconds, None, None, None, "< 60 s")
    assert mean >= 0.99
    assert part < 0.5
    assert abs(mean_strong - part_strong) < 0.02
    if benchmark.enabled:
        assert seconds < 60.0


@pytest.mark.slow
def test_steps_a_second(benchmark, table):
    """One run, and twenty at once; the metrics of every batch, exact step included, are charged to this side."""
    python, rounds = torch_python(), {"one": [], "twenty": [], "torch": []}

    def once():
        rounds["one"].append(measured(sys.executable, HERE, 1))
        rounds["torch"].append(measured(python, THERE))
        rounds["twenty"].append(measured(sys.executable, HERE, 20))

    benchmark.pedantic(once, rounds=3, iterations=1)
    pace = {name: statistics.median(rate for rate, _ in found) for name, found in rounds.items()}
    benchmark.extra_info.update(pace)
    for name, what in (("one", "one run"), ("twenty", "twenty seeds at once, for each")):
        label = f"bandit training, 1,000 actions, {what}: a step"
        table(label, 1.0 / pace[name], None, "PyTorch loop", 1.0 / pace["torch"], "-")
    assert all(success > 0.98 for found in rounds.values() for _, success in found), json.dumps(rounds)  # both learn
    if benchmark.enabled:
        assert pace["one"] > pace["torch"]
