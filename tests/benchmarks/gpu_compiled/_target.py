"""An H100 that XLA compiles for without one being there."""

import os
import re
from collections.abc import Callable
from typing import Any

# What XLA asks of a device: numbers of NVIDIA's data sheet and of CUDA's occupancy tables.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 device_memory_size: 84929347584 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 patch: 0 }
"""
BANDWIDTH, MEMORY = (int(re.search(rf"{name}: (\d+)", H100)[1]) for name in ("memory_bandwidth", "device_memory_size"))


def compiler() -> Callable[..., Any]:
    """A function that compiles (function, arguments, donated) for an H100; to be called before JAX is imported.

    Arguments are trees of shapes. While it traces, JAX says that it runs on a GPU, as it does on the machine that has
    one.
    """
    os.environ |= {
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # both choose by timing on the device
        "XLA_FLAGS": "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false",
    }
    import jax
    from jax._src import xla_bridge
    from jax.experimental import topologies

    known = xla_bridge.canonicalize_platform

    def canonical(platform: str) -> str:
        try:
            return known(platform)
        except RuntimeError:  # no backend that runs: github.com/jax-ml/jax/issues/23971
            return "cuda"

    xla_bridge.canonicalize_platform = canonical
    jax.default_backend = lambda: "gpu"
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    one = jax.sharding.NamedSharding(topologies.make_mesh(topology, (1,), ("device",)), jax.sharding.PartitionSpec())

    def placed(shape: Any) -> Any:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=one)

    def compiled(function: Callable[..., Any], arguments: Any, donated: tuple[int, ...] = ()) -> Any:
        return jax.jit(function, donate_argnums=donated).lower(*jax.tree.map(placed, arguments)).compile()

    return compiled
