r"""Throughput of a batch of training on 1 to 1,024 devices, predicted from bytes, operations and collective sizes.

Letters: `N` parameters, `L` layers, `D` width, `P` and `R` prompt and response slots, `S = P + R`, `B` responses of a
batch, `M` minibatches, `E` epochs, `n` devices, `b = ceil(B / n)` responses of a device.

Formula: sampling takes R steps of \(\max(b\,(2N + 4LDS)/F,\; (wN + 2LDSb\,c)/W) + t\) behind a prefill; an update
takes E M minibatches of \(\max(6N + 12LDS) \lceil b/M \rceil S/F,\; 28N/W)\), and a forward pass over the batch; a
gradient is \(4N\) bytes. F and W are what is reached of the device's operations and bytes a second, w and c
bytes of a weight and of an entry of the cache, t the cost of a step that does nothing. `docs/scaling.md` says what is
left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from tiny_llm_rl._checks import choice, positive_scalar, whole
from tiny_llm_rl._hardware import ASSUMED, DEVICES, Device, Efficiency

__all__ = ["ASSUMED", "DEVICES", "SCALINGS", "Device", "Efficiency", "Plan", "Work", "plan", "ring"]

SCALINGS: Final = ("strong", "weak")
_ADAM: Final = 28.0  # bytes a parameter of an update in float32: weight, gradient, two moments; three of them written


@dataclass(frozen=True)
class Work:
    """A batch of training.

    Attributes:
        parameters: N.
        layers: L.
        width: D, of the keys and values of a layer.
        prompts: G.
        rollouts: of a prompt; B = prompts * rollouts.
        prompt_slots: P.
        response_slots: R, steps of the sampler: the longest response.
        response_tokens: of a response on average; None takes R.
        minibatches: M.
        epochs: E.
        weight_bytes: of a stored weight.
        cache_bytes: of an entry of the cache.
        shards: devices that share one copy of weights and optimiser; 1 keeps a whole copy on each.
    """

    parameters: int
    layers: int
    width: int
    prompts: int = 512
    rollouts: int = 8
    prompt_slots: int = 32
    response_slots: int = 90
    response_tokens: float | None = None
    minibatches: int = 16
    epochs: int = 1
    weight_bytes: int = 4
    cache_bytes: int = 2
    shards: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no batch."""
        for field in fields(self):
            if field.name != "response_tokens":
                whole(field.name, getattr(self, field.name), "take a positive number")
        if self.response_tokens is not None:
            positive_scalar("response_tokens", self.response_tokens, "give tokens of a response, or leave it out")
            if self.response_tokens > self.response_slots:
                raise ValueError(
                    f"response_tokens must be at most response_slots = {self.response_slots}, got "
                    f"{self.response_tokens}; no response is longer than its slots"
                )

    @property
    def tokens(self) -> float:
        """Response tokens of a batch."""
        mean = self.response_slots if self.response_tokens is None else self.response_tokens
        return self.prompts * self.rollouts * mean


@dataclass(frozen=True)
class Plan:
    """A prediction.

    Attributes:
        devices: n.
        sample: seconds of a batch's sampling.
        verify: seconds of its verification.
        update: seconds of its update, the collectives aside.
        collectives: seconds of its collectives that nothing hides.
        bottleneck: what takes most of the time.
        tokens_per_second: response tokens.
        memory: bytes of a device, without the activations.
        fits: whether that is less than it has.
    """

    devices: int
    sample: float
    verify: float
    update: float
    collectives: float
    bottleneck: str
    tokens_per_second: float
    memory: float
    fits: bool

    @property
    def seconds(self) -> float:
        """Of a batch."""
        return self.sample + self.verify + self.update + self.collectives


def ring(
    size: float, devices: int, device: Device, *, passes: int = 2, crossing: bool | None = None, rings: int = 1
) -> tuple[float, float]:
    r"""Seconds of the bytes and of the messages of a collective.

    Formula: \(k \frac{n-1}{n} \frac{size}{speed}\) for the bytes, which is what a ring moves, and
    \(k \lceil\log_2 n\rceil\) messages, as in a tree; k = 2 for a sum everywhere, 1 for a gather or a scatter. The
    speed is that of a link, or what a node's ports have together for each ring that crosses them, if that is less.

    Args:
        size: bytes of the whole array.
        devices: n.
        device: whose links they are.
        passes: k.
        crossing: whether they are of more than one node; None when they are more than a node has.
        rings: that share a node's ports.

    >>> ring(8e9, 1, DEVICES["h100"])
    (0.0, 0.0)
    """
    ports = device.node * device.network / rings
    crosses = devices > device.node if crossing is None else crossing
    speed = min(device.link, ports) if crosses else device.link
    return passes * (devices - 1) / devices * size / speed, passes * math.ceil(math.log2(devices)) * device.latency


def _parts(work: Work, devices: int, device: Device, reached: Efficiency) -> dict[str, float]:
    """Seconds of everything that takes time, by name."""
    n, slots = work.parameters, work.prompt_slots + work.response_slots
    rows, prompts = -(-work.prompts * work.rollouts // devices), -(-work.prompts // devices)
    attention = 4.0 * work.layers * work.width * slots  # operations a token, forwards; the mask saves none
    flops, bandwidth = reached.sample_flops * device.flops, reached.sample_bandwidth * device.bandwidth
    cache = 2.0 * work.layers * work.width * slots * work.cache_bytes
    step = {
        "sampling, operations": rows * (2.0 * n + attention) / flops,
        "sampling, memory bandwidth": (work.weight_bytes * n + rows * cache) / bandwidth,
    }
    slower = max(step, key=lambda name: step[name])
    found = {name: work.response_slots * seconds * (name == slower) for name, seconds in step.items()}
    found["sampling, operations"] += prompts * work.prompt_slots * (2.0 * n + attention) / flops
    found["sampling, steps"] = work.response_slots * reached.step
    hosts = -(-devices // device.node)
    found["verification, host"] = -(-work.prompts // hosts) * work.rollouts * reached.verify
    flops, bandwidth = reached.update_flops * device.flops, reached.update_bandwidth * device.bandwidth
    steps = work.epochs * work.minibatches
    each = {
        "update, operations": -(-rows // work.minibatches) * slots * 3.0 * (2.0 * n + attention) / flops,
        "update, memory bandwidth": _ADAM * n / work.shards / bandwidth,
    }
    slower = max(each, key=lambda name: each[name])
    found |= {name: steps * seconds * (name == slower) for name, seconds in each.items()}
    found["update, operations"] += rows * slots * (2.0 * n + attention) / flops  # log-probabilities after the update
    found["update, steps"] = steps * reached.step
    wire, messages = _collectives(work, devices, device)
    hidden = 1.0 - reached.overlap
    return found | {"collectives, bytes": hidden * wire / reached.wire, "collectives, messages": hidden * messages}


def _collectives(work: Work, devices: int, device: Device) -> tuple[float, float]:
    """Seconds of bytes and messages of a batch: gradients are summed over all copies in every minibatch.

    What is sharded is gathered and its gradient summed, three passes; and gathered once for sampling and once for the
    log-probabilities.
    """
    steps, size = work.epochs * work.minibatches, 4.0 * work.parameters
    rings = min(work.shards, device.node)
    summed = ring(size / work.shards, devices // work.shards, device, crossing=devices > device.node, rings=rings)
    within, once = (ring(size, work.shards, device, passes=passes) for passes in (3, 2))
    return steps * (summed[0] + within[0]) + once[0], steps * (summed[1] + within[1]) + once[1]


def _memory(work: Work, devices: int) -> float:
    """Bytes of a device: state, its copy of before the batch, a gradient, the cache.

    What is sharded is whole for a while, first the weights and then, before it is summed, their gradient.
    """
    rows = -(-work.prompts * work.rollouts // devices)
    slots = work.prompt_slots + work.response_slots
    state = 2 * 12.0 * work.parameters / work.shards
    passing = (4.0 if work.shards == 1 else 8.0) * work.parameters
    return state + passing + 2.0 * work.layers * work.width * slots * work.cache_bytes * rows


def plan(
    work: Work,
    device: Device,
    devices: Sequence[int] = (1, 8, 64, 512, 1024),
    *,
    reached: Efficiency = ASSUMED,
    scaling: str = "strong",
) -> list[Plan]:
    """Predict a batch on several numbers of devices.

    Args:
        work: the batch; with weak scaling that of one device.
        device: what it runs on.
        devices: numbers of them.
        reached: efficiencies, measured ones where there are any.
        scaling: "strong" keeps the batch, "weak" gives every device its own prompts.

    Returns:
        One `Plan` each.

    Raises:
        ValueError: for no number of devices, more devices than responses of a minibatch, or shards that do not divide
            them.

    >>> work = Work(parameters=5_000_000, layers=8, width=256)
    >>> one, eight = plan(work, DEVICES["h100"], (1, 8))
    >>> one.collectives, 1.0 < eight.tokens_per_second / one.tokens_per_second < 8.0
    (0.0, True)
    """
    choice("scaling", scaling, SCALINGS)
    if not devices:
        raise ValueError("devices must hold at least one number, got none; give numbers such as 1 8 64")
    found = []
    for n in devices:
        whole("devices", n, "give numbers such as 1 8 64")
        own = replace(work, prompts=work.prompts * n) if scaling == "weak" else work
        rows = own.prompts * own.rollouts
        if n * own.minibatches > rows:
            raise ValueError(
                f"devices must be at most {rows // own.minibatches}, the responses of a minibatch, got {n}; take more "
                "prompts, fewer minibatches, or weak scaling"
            )
        if n % own.shards:
            raise ValueError(
                f"shards must divide devices = {n}, got {own.shards}; take a divisor, or 1 for whole copies"
            )
        parts = _parts(own, n, device, reached)
        sample, verify, update, collectives = (
            math.fsum(seconds for name, seconds in parts.items() if name.startswith(head))
            for head in ("sampling", "verification", "update", "collectives")
        )
        memory = _memory(own, n)
        found.append(
            Plan(
                devices=n,
                sample=sample,
                verify=verify,
                update=update,
                collectives=collectives,
                bottleneck=max(parts, key=lambda name: parts[name]),
                tokens_per_second=own.tokens / math.fsum(parts.values()),
                memory=memory,
                fits=memory < device.memory,
            )
        )
    return found
