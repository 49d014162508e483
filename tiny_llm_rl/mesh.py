r"""Many devices: the rows of a batch are split over all of them, weights and optimiser are copied or sharded.

A mesh has two axes: `copies` devices in one direction, each column with a whole copy of the state, and `shards` in the
other, which divide a copy among themselves. One shard is data parallelism; as many shards as devices is the fully
sharded form. The batch is split over both axes. The compiler inserts the collectives: sums of gradients over the rows'
devices, gathers of sharded weights where they are used.

The code of one device runs unchanged: without a mesh in context every function here returns what it is given.
Everything random and everything on the host is a function of the seed and the batch's number, so that all processes of
`jax.distributed` do the same and only rows are exchanged; `processes` is what they say to each other.
"""

import resource
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tiny_llm_rl._checks import whole

__all__ = [
    "COPIES",
    "SHARDS",
    "bytes_per_device",
    "can_split",
    "check_rows",
    "copied",
    "gathered",
    "in_context",
    "make_mesh",
    "on_host",
    "peak_memory",
    "shard_batch",
    "shard_model",
    "split_over",
    "split_rows",
    "split_state",
    "unsplit",
]

COPIES: Final = "copies"
SHARDS: Final = "shards"
Spec: Final[Any] = PartitionSpec
_ROWS: Final = Spec((COPIES, SHARDS))


def make_mesh(shards: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of the devices of all processes.

    Args:
        shards: devices that share one copy of the state; 1 copies it to each, as many as there are shards it fully.
        devices: some devices; None takes all.

    Raises:
        ValueError: when shards does not divide the number of devices.

    >>> dict(make_mesh(devices=jax.devices()[:1]).shape)
    {'copies': 1, 'shards': 1}
    """
    found = list(jax.devices() if devices is None else devices)
    whole("shards", shards, "1 copies the weights to each device", most=len(found))
    if len(found) % shards:
        raise ValueError(f"shards must divide the {len(found)} devices, got {shards}; take a divisor of them")
    return jax.make_mesh(
        (len(found) // shards, shards), (COPIES, SHARDS), (AxisType.Auto, AxisType.Auto), devices=found
    )


def in_context(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """The context in which compiled functions split their rows over the mesh; None changes nothing."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def _spec(shape: tuple[int, ...], shards: int) -> Any:
    """How an array of the state lies on a mesh: its longest axis that can be divided is."""
    for axis in sorted(range(len(shape)), key=lambda k: -shape[k]):
        if shards > 1 and shape[axis] % shards == 0 and shape[axis] >= shards:
            return Spec(*(SHARDS if k == axis else None for k in range(axis + 1)))
    return Spec()


_laid_out: Final[Any] = jax.lax.with_sharding_constraint  # without types in jax, as PartitionSpec is


def _constrained(tree: Any, spec: Any) -> Any:
    """In a compiled function with a mesh in context, the arrays laid out as spec(array) says; else as they are."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or COPIES not in mesh.shape:
        return tree
    return jax.tree.map(lambda x: _laid_out(x, spec(x, mesh)) if isinstance(x, jax.Array) else x, tree)


def split_rows(tree: Any) -> Any:
    """Arrays whose first axis is split over all devices, where it can be."""

    def spec(x: Any, mesh: Any) -> Any:
        return _ROWS if x.ndim and x.shape[0] % mesh.size == 0 else Spec()

    return _constrained(tree, spec)


def _devices() -> int:
    """Of the mesh in context; 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or COPIES not in mesh.shape else int(mesh.size)


def can_split(rows: int) -> bool:
    """Whether so many rows can be split over the devices of the mesh in context."""
    return rows % _devices() == 0


def split_over(rows: int) -> int:
    """Devices over which so many rows are split in a compiled function: 1 without a mesh in context."""
    return _devices() if can_split(rows) else 1


def split_state(tree: Any) -> Any:
    """Weights, gradients or the optimiser's state as they are stored: split over the shards of a copy."""
    return _constrained(tree, lambda x, mesh: _spec(x.shape, mesh.shape[SHARDS]))


def unsplit(tree: Any) -> Any:
    """Arrays whole on every device: weights where they are used."""
    return _constrained(tree, lambda x, mesh: Spec())


def check_rows(mesh: Mesh | None, **rows: int) -> None:
    """ValueError unless every one of these numbers of rows can be split over the devices."""
    for name, value in rows.items():
        if mesh is not None and value % mesh.size:
            raise ValueError(
                f"rows of {name} must be a multiple of the {mesh.size} devices, got {value}; change prompts, rollouts "
                "or minibatches"
            )


def _placed(x: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, NamedSharding(mesh, spec), lambda index: host[index])


def shard_batch(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays of the host, the same in every process, split by their first axis over all devices.

    Args:
        mesh: of `make_mesh`; None moves them to the one device.
        tree: of arrays whose first axis is a multiple of the number of devices.

    Raises:
        ValueError: when it is not.

    >>> shard_batch(make_mesh(devices=jax.devices()[:1]), np.arange(4)).shape
    (4,)
    """
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    for leaf in jax.tree.leaves(tree):
        check_rows(mesh, batch=leaf.shape[0])
    return jax.tree.map(lambda x: _placed(x, mesh, _ROWS), tree)


def shard_model(mesh: Mesh | None, tree: Any) -> Any:
    """A model or an optimiser's state, the same in every process, laid out on a mesh.

    Args:
        mesh: of `make_mesh`; None leaves it where it is.
        tree: its arrays are split over the shards of a copy along their longest axis that can be divided; those that
            have none are copied.

    >>> shard_model(make_mesh(devices=jax.devices()[:1]), {"w": jnp.ones(3)})["w"].tolist()
    [1.0, 1.0, 1.0]
    """
    if mesh is None:
        return tree
    shards = mesh.shape[SHARDS]
    return jax.tree.map(lambda x: _placed(x, mesh, _spec(x.shape, shards)) if isinstance(x, jax.Array) else x, tree)


def on_host(tree: Any) -> Any:
    """Arrays as NumPy's, whole in every process; all processes have to ask for them."""

    def fetched(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return np.asarray(x)
        if x.is_fully_replicated:
            return np.asarray(x.addressable_data(0))
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(x, tiled=True))

    return jax.tree.map(fetched, tree)


def gathered(tree: Any) -> Any:
    """A state that several processes hold, as arrays of this one alone, to save or to evaluate; others as they are."""
    if all(x.is_fully_addressable for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)):
        return tree
    return jax.tree.map(lambda x: jnp.asarray(on_host(x)) if isinstance(x, jax.Array) else x, tree)


@partial(jax.jit, static_argnums=1)
def _relaid(arrays: list[Any], sharding: NamedSharding) -> list[Any]:
    return [_laid_out(x, sharding) for x in arrays]


def copied(mesh: Mesh | None, tree: Any) -> Any:
    """A sharded state whole on every device, gathered once; what is whole already stays as it is."""
    if mesh is None or mesh.shape[SHARDS] == 1:
        return tree
    leaves, shape = jax.tree.flatten(tree)
    arrays = iter(_relaid([x for x in leaves if isinstance(x, jax.Array)], NamedSharding(mesh, Spec())))
    return jax.tree.unflatten(shape, [next(arrays) if isinstance(x, jax.Array) else x for x in leaves])


def bytes_per_device(tree: Any) -> dict[int, int]:
    """Bytes of a tree's arrays on each device of this process, by its id; copies count wherever they are.

    >>> list(bytes_per_device({"w": jnp.ones((2, 3))}).values())
    [24]
    """
    found: dict[int, int] = {}
    for leaf in jax.tree.leaves(tree):
        for piece in leaf.addressable_shards if isinstance(leaf, jax.Array) else ():
            found[piece.device.id] = found.get(piece.device.id, 0) + piece.data.nbytes
    return found


def peak_memory() -> float:
    """Peak bytes since the start: the most of a device of this process where they count them, else of the process."""
    counted = [device.memory_stats() or {} for device in jax.local_devices()]
    found = [float(stats["peak_bytes_in_use"]) for stats in counted if "peak_bytes_in_use" in stats]
    if found:
        return max(found)
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
