"""Products in the precision of what they multiply.

Left to itself JAX rounds the factors of a float32 product to ten bits on a GPU (TF32) and to eight on a TPU: logits
would be wrong in the third digit, and not equally in the sampler and in the trainer.
"""

from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["einsum", "matmul"]

_FULL: Final = jax.lax.Precision.HIGHEST


def einsum(subscripts: str, *arrays: Array, preferred_element_type: Any = None) -> Array:
    """`jnp.einsum` of these arrays.

    >>> float(einsum("i,i", jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])))
    11.0
    """
    found: Array = jnp.einsum(subscripts, *arrays, precision=_FULL, preferred_element_type=preferred_element_type)
    return found


def matmul(left: Array, right: Array) -> Array:
    """`left @ right`.

    >>> float(matmul(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])))
    11.0
    """
    found: Array = jnp.matmul(left, right, precision=_FULL)
    return found
