"""Where a run takes place: one device, many, or those of many processes."""

import re
from dataclasses import dataclass

from jax.sharding import Mesh

from tiny_llm_rl._checks import shown, whole

__all__ = ["Devices"]

_ALL = "all"


@dataclass(frozen=True)
class Devices:
    """The devices of a run, and the processes that it is shared among.

    Args:
        devices: how many, or "all"; None is one device, or all of them where there are several processes.
        shards: devices that share one copy of weights and optimiser; 1 copies both to every device.
        distributed: join the processes that Slurm or Open MPI has started.
        coordinator: HOST:PORT of the first process, to join processes that were started by hand.
        processes: how many those are.
        process_id: number of this one, from 0.

    Raises:
        ValueError: for values out of range, or some that need or exclude others, naming them and the remedy.
        TypeError: for a number that is no integer.

    >>> Devices().mesh() is None  # one device needs no mesh
    True
    """

    devices: str | None = None
    shards: int = 1
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is started."""
        whole("shards", self.shards, "1 copies the weights to each device")
        if self.devices not in (None, _ALL) and not re.fullmatch("[1-9][0-9]*", self.devices or ""):
            raise ValueError(f"devices must be a number from 1 or 'all', got {shown(self.devices)}; take all of them")
        if self.coordinator is None:
            for name in ("processes", "process_id"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}={getattr(self, name)} needs a coordinator; give HOST:PORT of the first process"
                    )
        elif self.distributed:
            raise ValueError(
                f"coordinator={shown(self.coordinator)} and distributed exclude each other; drop distributed, which "
                "finds the coordinator by itself"
            )
        else:
            if not re.fullmatch(r"[^\s:]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}", self.coordinator):
                raise ValueError(
                    f"coordinator must be HOST:PORT, got {shown(self.coordinator)}; take a free port of the first "
                    "process's machine"
                )
            for name in ("processes", "process_id"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"{name} is missing beside coordinator={shown(self.coordinator)}; say how many processes there "
                        "are and which this is"
                    )
            count = whole("processes", self.processes, "count those that are started")
            whole("process_id", self.process_id, "number the processes from 0", least=0, most=count - 1)
        if self.shards > 1 and not self._several and self.devices in (None, "1"):
            raise ValueError(f"shards must be 1 on one device, got {self.shards}; give devices, a number or 'all'")

    @property
    def _several(self) -> bool:
        return self.distributed or self.coordinator is not None

    def mesh(self) -> Mesh | None:
        """Join the other processes, if there are any, and lay out the mesh; None for one device.

        To be called before anything else that uses JAX's devices, in all processes alike.

        Raises:
            ValueError: for processes that cannot be joined, more devices than there are, or shards that do not divide
                them.
        """
        if self._several:
            self._join()
        elif self.devices in (None, "1"):
            return None
        import jax

        from tiny_llm_rl.mesh import make_mesh

        found = jax.devices()
        count = len(found) if self.devices in (None, _ALL) else int(self.devices or 0)
        if count > len(found):
            raise ValueError(f"devices must be at most the {len(found)} that were found, got {count}; take 'all'")
        if jax.process_count() > 1 and count < len(found):
            raise ValueError(
                f"devices must be all {len(found)} of the {jax.process_count()} processes, got {count}; take 'all'"
            )
        return None if count == 1 else make_mesh(self.shards, found[:count])

    def _join(self) -> None:
        """`jax.distributed.initialize`, whose complaints are many lines long."""
        import jax

        try:
            jax.distributed.initialize(self.coordinator, self.processes, self.process_id)
        except (RuntimeError, ValueError, OSError) as problem:
            first = (str(problem).splitlines() or [type(problem).__name__])[0][:160]
            if self.distributed:
                raise ValueError(
                    f"distributed found no processes to join ({first}); start them with srun or mpirun, or give "
                    "coordinator, processes and process_id"
                ) from None
            raise ValueError(
                f"coordinator={shown(self.coordinator)} cannot be joined ({first}); give HOST:PORT of the first "
                "process, a port that is free there, and start each process once"
            ) from None
