"""Products in the precision of what they multiply.

Left to itself JAX rounds the factors of a float32 product to ten bits on a GPU (TF32) and to eight on a TPU: logits
would be wrong in the third digit, and not equally in the sampler and in the trainer.
"""

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp

__all__ = ["einsum", "matmul"]

einsum: Final[Any] = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
matmul: Final[Any] = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
