"""The throughput model: its limits, its units, its terms against the compiler's counts, and what it refuses."""

import json
import math
from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmdtheory import _console
from tests.wrong import refused
from tiny_llm_rl._cli_sweep import Plan as Command
from tiny_llm_rl._hardware import ASSUMED, DEVICES, Device, Efficiency
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.plan import Work, plan, ring

pytestmark = pytest.mark.jax

SMALL = Work(parameters=5_000_000, layers=8, width=256)
H100 = DEVICES["h100"]
TIMES = ("sample", "verify", "update", "collectives")
RATES = ("flops", "bandwidth", "link", "network")

works = st.builds(
    Work,
    parameters=st.integers(10**3, 10**11),
    layers=st.integers(1, 100),
    width=st.integers(8, 10_000),
    prompts=st.just(4096),
    rollouts=st.integers(4, 16),
    minibatches=st.sampled_from([1, 2, 16]),
    shards=st.sampled_from([1, 2, 8]),
)
devices = st.builds(
    Device,
    **dict.fromkeys(("flops", "bandwidth", "memory", "link", "network"), st.floats(1e8, 1e16)),
    node=st.sampled_from([1, 4, 8]),
    latency=st.floats(1e-7, 1e-3),
)


def test_one_device_is_the_floor():
    """By hand, term for term; and nothing to collect."""
    (found,) = plan(SMALL, H100, (1,))
    n, rows, slots, attention = 5e6, 4096, 122, 4 * 8 * 256 * 122
    reading = (4 * n + rows * 2 * 8 * 256 * slots * 2) / (0.5 * 3.35e12)
    prefill = 512 * 32 * (2 * n + attention) / (0.3 * 989e12)
    assert found.sample == pytest.approx(90 * (reading + 1e-4) + prefill, rel=1e-12)
    each = 256 * slots * 3 * (2 * n + attention) / (0.3 * 989e12)
    after = rows * slots * (2 * n + attention) / (0.3 * 989e12)
    assert found.update == pytest.approx(16 * (each + 1e-4) + after, rel=1e-12)
    assert found.verify == pytest.approx(rows * 1e-5, rel=1e-12)
    assert found.collectives == 0.0
    assert found.bottleneck == "sampling, memory bandwidth"
    assert found.tokens_per_second == pytest.approx(rows * 90 / found.seconds, rel=1e-12)
    assert found.memory == pytest.approx(28 * n + rows * 2 * 8 * 256 * slots * 2, rel=1e-12)
    assert found.fits


def test_twenty_devices_by_hand():
    """Term for term where nothing divides: three nodes, five copies of four shards, epochs, a last minibatch."""
    work = Work(
        parameters=10**9, layers=10, width=512, prompts=100, rollouts=6, prompt_slots=20, response_slots=50,
        response_tokens=30.0, minibatches=7, epochs=3, weight_bytes=2, cache_bytes=1, shards=4,
    )  # fmt: skip
    reached = replace(ASSUMED, overlap=0.25, wire=0.8)
    (found,) = plan(work, H100, (20,), reached=reached)
    n, rows, slots, steps = 1e9, 30, 70, 21
    each = 2 * n + 4 * 10 * 512 * slots  # operations of a token
    cache = 2 * 10 * 512 * slots * rows
    step = max(rows * each / (0.3 * 989e12), (2 * n + cache) / (0.5 * 3.35e12))
    assert found.sample == pytest.approx(50 * (step + 1e-4) + 5 * 20 * each / (0.3 * 989e12), rel=1e-12)
    assert found.verify == pytest.approx(34 * 6 * 1e-5, rel=1e-12)
    update = max(5 * slots * 3 * each / (0.3 * 989e12), 28 * n / 4 / (0.6 * 3.35e12))
    after = rows * slots * each / (0.3 * 989e12)
    assert found.update == pytest.approx(steps * (update + 1e-4) + after, rel=1e-12)
    between = 2 * 4 / 5 * n / (8 * 50e9 / 4)  # four rings share the ports of a node
    within = 3 / 4 * 4 * n / 450e9  # of one pass: three in a minibatch, two in a batch
    wire = steps * (between + 3 * within) + 2 * within
    messages = (steps * (2 * 3 + 3 * 2) + 2 * 2) * 5e-6
    assert found.collectives == pytest.approx(0.75 * (wire / 0.8 + messages), rel=1e-12)
    assert found.memory == pytest.approx(24 * n / 4 + 8 * n + cache, rel=1e-12)
    assert found.tokens_per_second == pytest.approx(600 * 30 / found.seconds, rel=1e-12)
    assert found.fits
    assert not plan(replace(work, parameters=10**10), H100, (20,), reached=reached)[0].fits


def test_an_update_is_bound_by_memory_where_its_batch_is_small():
    """Weights, gradient and moments are read and written once a minibatch, each device its shard."""
    work = replace(SMALL, parameters=10**10, prompts=8, rollouts=2, minibatches=2, response_slots=2, prompt_slots=2)
    one, four = (plan(replace(work, shards=shards), H100, (4,))[0].update for shards in (1, 4))
    after = 4 * 4 * (2e10 + 4 * 8 * 256 * 4) / (0.3 * 989e12)
    for update, shards in ((one, 1), (four, 4)):
        assert update == pytest.approx(2 * (28e10 / shards / (0.6 * 3.35e12) + 1e-4) + after, rel=1e-12)


def test_without_limits_only_the_steps_are_left():
    infinite = Device(*[math.inf] * 5, latency=0.0)
    for found in plan(SMALL, infinite, (1, 8, 64), reached=replace(ASSUMED, verify=0.0)):
        assert found.sample == pytest.approx(90 * 1e-4, rel=1e-12)
        assert found.update == pytest.approx(16 * 1e-4, rel=1e-12)
        assert found.collectives == found.verify == 0.0
        assert found.bottleneck == "sampling, steps"


@given(works, devices, st.sampled_from(RATES), st.floats(1.0, 100.0), st.sampled_from([8, 64, 1024]))
def test_a_faster_device_is_never_slower(work, device, name, factor, n):
    (before,) = plan(work, device, (n,))
    (after,) = plan(work, replace(device, **{name: factor * getattr(device, name)}), (n,))
    assert after.seconds <= before.seconds * (1 + 1e-12)


@given(works, devices, st.floats(1e-3, 1e3), st.sampled_from([8, 64, 1024]))
def test_times_have_the_unit_of_time(work, device, unit, n):
    """With rates per another unit, and times in it, every predicted time is the same time in that unit."""
    other = replace(device, latency=device.latency / unit, **{name: unit * getattr(device, name) for name in RATES})
    reached = replace(ASSUMED, step=ASSUMED.step / unit, verify=ASSUMED.verify / unit)
    (one,), (two,) = plan(work, device, (n,)), plan(work, other, (n,), reached=reached)
    for name in TIMES:
        assert getattr(two, name) * unit == pytest.approx(getattr(one, name), rel=1e-9)
    assert two.tokens_per_second == pytest.approx(one.tokens_per_second * unit, rel=1e-9)


@given(works, devices)
def test_weak_scaling_is_linear_at_best_and_strong_scaling_shares_the_batch(work, device):
    weak = plan(work, device, (8, 16, 64, 1024), scaling="weak")
    for before, after in zip(weak, weak[1:], strict=False):
        share = after.tokens_per_second / after.devices / (before.tokens_per_second / before.devices)
        assert share <= 1 + 1e-9
        assert after.sample == pytest.approx(before.sample, rel=1e-9)
    strong = plan(work, device, (8, 16, 64, 1024))
    for before, after in zip(strong, strong[1:], strict=False):
        assert after.sample <= before.sample * (1 + 1e-12)
        assert after.memory <= before.memory
        assert after.tokens_per_second / before.tokens_per_second <= after.devices / before.devices * (1 + 1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64])
def test_a_ring_moves_what_a_ring_moves(n):
    """Against a ring played step by step: n - 1 steps add a piece to the neighbour's, n - 1 pass the sums on."""
    held = [[{owner} for _ in range(n)] for owner in range(n)]  # held[device][piece]: whose parts are in it
    moved = 0.0
    for step in range(2 * (n - 1)):
        for owner in range(n):
            piece = (owner - step) % n if step < n - 1 else (owner + 1 - (step - n + 1)) % n
            neighbour = (owner + 1) % n
            held[neighbour][piece] = held[neighbour][piece] | held[owner][piece]
        moved += 1 / n
    assert all(piece == set(range(n)) for own in held for piece in own)
    seconds, messages = ring(1e9, n, replace(H100, node=64))
    assert seconds == pytest.approx(moved * 1e9 / H100.link)
    assert messages == 2 * math.ceil(math.log2(n)) * H100.latency


def test_ports_of_a_node_are_shared():
    slow = replace(H100, network=1e9)
    inside, outside = (ring(8e9, n, slow)[0] for n in (8, 16))
    assert inside == pytest.approx(2 * 7 / 8 * 8e9 / H100.link)
    assert outside == pytest.approx(2 * 15 / 16 * 8e9 / 8e9)
    assert ring(8e9, 16, slow, rings=8)[0] == pytest.approx(8 * outside)
    assert ring(8e9, 16, slow, crossing=False)[0] == pytest.approx(2 * 15 / 16 * 8e9 / H100.link)


def test_shards_trade_memory_for_collectives():
    big = replace(SMALL, parameters=7 * 10**9, layers=32, width=4096)
    whole, shared = (plan(replace(big, shards=shards), H100, (64,))[0] for shards in (1, 8))
    assert shared.memory < whole.memory
    assert shared.collectives > whole.collectives
    free = plan(replace(big, shards=8), H100, (64,), reached=replace(ASSUMED, overlap=1.0))[0]
    assert free.collectives == 0.0


def test_operations_are_those_the_compiler_counts():
    """A forward pass of the model, tokens times 2 N + 4 L D S; norms, softmax and rotations are a few per cent."""
    config = ModelConfig(vocabulary=32, width=128, layers=3, heads=4)
    model = jax.eval_shape(lambda: Transformer(config, jax.random.key(0)))
    rows, slots = 4, 63
    text = [jax.ShapeDtypeStruct((rows, slots), kind) for kind in (jnp.int32, jnp.int32, bool)]
    cost = jax.jit(Transformer.logits).lower(model, *text).compile().cost_analysis()
    predicted = rows * slots * (2 * config.parameters + 4 * config.layers * config.width * slots)
    assert cost["flops"] == pytest.approx(predicted, rel=0.1)
    assert cost["flops"] != pytest.approx(predicted / 2, rel=0.1)  # multiplications and additions


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: plan(SMALL, H100, (0,)), ("devices", "0")),
        (lambda: plan(SMALL, H100, ()), ("devices", "none")),
        (lambda: plan(SMALL, H100, (512,)), ("devices", "256", "512")),
        (lambda: plan(SMALL, H100, (8,), scaling="linear"), ("scaling", "linear")),
        (lambda: plan(replace(SMALL, shards=3), H100, (8,)), ("shards", "8", "3")),
        (lambda: replace(SMALL, parameters=0), ("parameters", "0")),
        (lambda: replace(SMALL, response_tokens=100.0), ("response_tokens", "90", "100")),
        (lambda: replace(SMALL, response_tokens=-1.0), ("response_tokens", "-1")),
        (lambda: replace(H100, link=0.0), ("link", "0")),
        (lambda: replace(H100, flops=math.nan), ("flops", "nan")),
        (lambda: replace(H100, latency=-1.0), ("latency", "-1")),
        (lambda: Efficiency(wire=0.0), ("wire", "0")),
        (lambda: Efficiency(update_flops=1.5), ("update_flops", "1.5")),
        (lambda: Efficiency(step=-1.0), ("step", "-1")),
        (lambda: Efficiency(verify=-1.0), ("verify", "-1")),
        (lambda: replace(H100, node=0), ("node", "0")),
        (lambda: Efficiency(overlap=2.0), ("overlap", "2")),
    ],
)
def test_what_is_no_plan_is_refused(call, fragments):
    refused(ValueError, call, *fragments)


def command(capsys, *more):
    arguments = ["--parameters", "5000000", "--layers", "8", "--width", "256", *more]
    status = _console.main(Command, "tiny-llm-rl", "", arguments)
    return status, *capsys.readouterr()


def test_the_command_says_what_was_assumed(capsys):
    status, out, _ = command(capsys, "--devices", "1", "8", "--wire", "0.9", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["origin"] == {field.name: "given" if field.name == "wire" else "assumed" for field in fields(ASSUMED)}
    expected = plan(SMALL, H100, (1, 8), reached=replace(ASSUMED, wire=0.9), scaling="weak")
    assert [row["tokens_per_second"] for row in found["plans"]] == [each.tokens_per_second for each in expected]
    status, out, _ = command(capsys, "--node", "4", "--scaling", "strong", "--devices", "8")
    assert status == 0
    assert "predicted, not measured" in out
    assert "wire 0.7 (assumed)" in out
    for more, fragment in (
        (["--device", "abacus"], "abacus"),
        (["--devices", "1000000", "--scaling", "strong"], "1000000"),
        (["--shards", "8"], "shards"),
    ):
        status, out, err = command(capsys, *more)
        assert status == 2
        assert err.count("\n") == 1
        assert fragment in err


def test_every_input_can_be_given():
    names = {field.name for field in fields(Command)}
    for record in (Work, Device, Efficiency):
        assert {field.name for field in fields(record)} <= names
