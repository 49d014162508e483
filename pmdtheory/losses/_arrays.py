"""One set of array operations for every library: found from the inputs, never imported here."""

import sys
from typing import Any

import numpy as np

from pmdtheory._checks import finite_scalar, shown

Array = Any  # numpy.ndarray, jax.Array (traced or not), torch.Tensor
Namespace = Any  # the module with that library's where, exp, sum, ...

__all__ = ["Array", "Namespace", "as_array", "counted", "namespace", "scalar"]


def namespace(arrays: dict[str, Array]) -> Namespace:
    """The library that the named arrays come from; numpy for lists and scalars, which go along with any library."""
    found: dict[str, tuple[str, Namespace]] = {}
    for name, array in arrays.items():
        if any(kind.__module__.partition(".")[0] == "torch" for kind in type(array).__mro__):
            found["torch"] = name, sys.modules["torch"]
        elif hasattr(array, "__array_namespace__"):
            library = array.__array_namespace__()
            found[library.__name__] = name, library
    found.pop("numpy", None)
    if len(found) > 1:
        held = " and ".join(f"{name} is of {library}" for library, (name, _) in found.items())
        raise TypeError(f"arrays of different libraries: {held}; convert them to one library first")
    return next(iter(found.values()), ("", np))[1]


def as_array(
    xp: Namespace, name: str, value: Any, remedy: str, *, like: Array | None = None, dtype: Any = None
) -> Array:
    """The value in the library `xp`, with its history of gradients, on the device of `like` and in the given dtype."""
    try:
        if hasattr(xp, "as_tensor"):  # torch.asarray would drop the history
            array = xp.as_tensor(value, device=None if like is None else like.device)
        else:
            array = xp.asarray(value)
        kind = str(array.dtype)
        if "complex" in kind or not any(part in kind for part in ("float", "int", "bool")):
            raise TypeError(f"dtype {kind}")
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of real numbers, got {shown(value)}; {remedy}") from None
    if dtype is None or array.dtype == dtype:
        return array
    return array.to(dtype) if hasattr(xp, "as_tensor") else array.astype(dtype)


def counted(xp: Namespace, which: Array, like: Array, axis: int | None = None) -> Array:
    """How many entries are true, as a float of the dtype of `like`; 1 where none is, to divide by."""
    number = xp.sum(which) if axis is None else xp.sum(which, axis)
    number = as_array(xp, "count", number, "", like=like, dtype=like.dtype)
    return xp.where(number > 0, number, 1.0)


def scalar(xp: Namespace, name: str, value: Any, remedy: str, *, like: Array, positive: bool) -> Any:
    """A Python float, checked; or, for an array of jax or torch, that scalar, whose value may not be known yet."""
    if isinstance(value, np.ndarray | np.generic) or not hasattr(value, "shape"):
        number = finite_scalar(name, value, remedy)
        if number < 0.0 or (positive and number == 0.0):
            raise ValueError(
                f"{name} must be {'greater than' if positive else 'at least'} zero, got {number}; {remedy}"
            )
        return number
    if tuple(value.shape) != ():
        raise ValueError(f"{name} must be a scalar, got shape {tuple(value.shape)}; {remedy}")
    return as_array(xp, name, value, remedy, like=like, dtype=like.dtype)
