"""Accelerators from their data sheets, and what of that is reached: the inputs of `plan`."""

import math
from dataclasses import dataclass
from typing import Final

from tiny_llm_rl._checks import positive_scalar, unit_interval, whole

__all__ = ["ASSUMED", "DEVICES", "Device", "Efficiency"]


@dataclass(frozen=True)
class Device:
    """An accelerator and what connects it.

    Attributes:
        flops: operations a second of its products in the number type of the computation.
        bandwidth: bytes a second of its memory.
        memory: bytes.
        link: bytes a second that it sends to its neighbour within a node.
        network: bytes a second of its port to other nodes; the ports of a node share what leaves it.
        node: devices of a node.
        latency: seconds of a message.
    """

    flops: float
    bandwidth: float
    memory: float
    link: float
    network: float
    node: int = 8
    latency: float = 5e-6

    def __post_init__(self) -> None:
        """Refuse what is no device; infinities are allowed, as limits."""
        for name in ("flops", "bandwidth", "memory", "link", "network"):
            if getattr(self, name) != math.inf:
                positive_scalar(name, getattr(self, name), "give a number per second, for instance 1e12, or inf")
        whole("node", self.node, "8 devices are usual")
        if self.latency:
            positive_scalar("latency", self.latency, "give seconds, for instance 5e-6, or 0")


# Data sheets: dense bfloat16 products, memory, NVLink in one direction, a network port of 400 or 200 Gbit/s a device.
DEVICES: Final = {
    "a100": Device(312e12, 2.04e12, 80e9, 300e9, 25e9),
    "h100": Device(989e12, 3.35e12, 80e9, 450e9, 50e9),
    "h200": Device(989e12, 4.8e12, 141e9, 450e9, 50e9),
}


@dataclass(frozen=True)
class Efficiency:
    """What is reached of a device, and what the host costs. The defaults are assumed: none was measured on a GPU.

    Attributes:
        sample_flops: share of the operations a second while sampling.
        sample_bandwidth: share of the bytes a second while sampling.
        update_flops: share of the operations a second while updating.
        update_bandwidth: share of the bytes a second while updating.
        wire: share of a link's or the network's bytes a second.
        step: seconds that a step of the sampler or a minibatch costs at least.
        verify: seconds that a host takes to decode and verify a response; those of its own devices, in turn.
        overlap: share of the collectives that is hidden behind the update.
    """

    sample_flops: float = 0.3
    sample_bandwidth: float = 0.5
    update_flops: float = 0.3
    update_bandwidth: float = 0.6
    wire: float = 0.7
    step: float = 1e-4
    verify: float = 1e-5
    overlap: float = 0.0

    def __post_init__(self) -> None:
        """Refuse shares outside (0, 1] and negative times."""
        for name in ("sample_flops", "sample_bandwidth", "update_flops", "update_bandwidth", "wire"):
            unit_interval(
                name, positive_scalar(name, getattr(self, name), "give a share, for instance 0.5"), "give a share"
            )
        for name in ("step", "verify"):
            if getattr(self, name):
                positive_scalar(name, getattr(self, name), "give seconds, or 0")
        unit_interval("overlap", self.overlap, "0 hides nothing, 1 everything")


ASSUMED: Final = Efficiency()
