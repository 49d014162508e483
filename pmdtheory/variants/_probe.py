"""A loss under test: its value and its gradient in logp, by its own library's autodiff or by finite differences."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np

from pmdtheory._checks import FloatArray, shown

Loss = Callable[[Any, Any, Any, Any], Any]
LIBRARIES: Final = ("numpy", "jax", "torch")
_SIGNATURE = "write it as loss(logp[G,n,T], old_logp[G,n,T], rewards[G,n], mask[G,n,T]) -> scalar"
_DOUBLE: Final = 1e-10  # machine epsilon below which a result counts as float64

__all__ = ["LIBRARIES", "Batch", "Loss", "Probe", "probe"]


class Batch(NamedTuple):
    """The arguments of a loss: `[G, n, T]`, `[G, n, T]`, `[G, n]` and booleans `[G, n, T]`."""

    logp: FloatArray
    old_logp: FloatArray
    rewards: FloatArray
    mask: Any


class LossFailed(ValueError):
    """The loss raised, or gave what is no finite scalar, on an ordinary batch."""


@dataclass(frozen=True)
class Probe:
    """A loss with the library that differentiates it.

    Attributes:
        loss: the callable under test.
        library: "numpy" (finite differences), "jax" or "torch".
        eps: machine epsilon of the value it returns.
        compiled: its value and gradient under jit, for a jax loss that can be traced; None takes it eagerly.
        float_mask: whether the loss gets its mask as floats, because it does not take booleans.
    """

    loss: Loss
    library: str
    eps: float
    compiled: Callable[..., Any] | None = None
    float_mask: bool = False

    @property
    def tolerance(self) -> float:
        """Relative size below which a difference of gradients is rounding, finite differences included."""
        return 1e-6 if self.eps < _DOUBLE else 3e-3

    @property
    def step(self) -> float:
        """Step of finite differences; in float64 shorter than the narrowest clip in use, 3e-4."""
        return 1e-4 if self.eps < _DOUBLE else 0.03

    def value(self, batch: Batch) -> float:
        """The loss on a batch, as a finite float."""
        with _float64(self.library):
            if self.compiled is None:
                number = _scalar(_called(self.loss, self.library, batch, self.float_mask))
            else:
                number = float(self.compiled(*_arguments(self.library, batch, self.float_mask))[0])
        if not np.isfinite(number):
            raise LossFailed(f"loss returned {number} for finite arguments; {_where(batch)}")
        return number

    def difference(self, along: Callable[[float], Batch]) -> float:
        """Derivative of the value at 0 along a path of batches, by a difference of fourth order."""
        h = self.step
        f = [self.value(along(k * h)) for k in (-2, -1, 1, 2)]
        return (8.0 * (f[2] - f[1]) - (f[3] - f[0])) / (12.0 * h)

    def gradient(self, batch: Batch) -> FloatArray:
        """`[G, n, T]`, derivative of the loss in every entry of logp."""
        if self.library == "numpy":
            found = self.numerical_gradient(batch)
        elif self.library == "jax":
            import jax

            with _float64("jax"):
                given = _arguments("jax", batch, self.float_mask)
                both = self.compiled or jax.value_and_grad(lambda *arrays: _called_with(self.loss, list(arrays)).sum())
                found = np.asarray(both(*given)[1], dtype=np.float64)
        else:
            given = _arguments("torch", batch, self.float_mask)
            logp = given[0].requires_grad_()
            result = _called_with(self.loss, given)
            if result.requires_grad:
                result.backward()
            found = np.zeros(batch.logp.shape) if logp.grad is None else logp.grad.numpy().astype(np.float64)
        if not np.isfinite(found).all():
            raise LossFailed(f"loss has a gradient that is not finite for finite arguments; {_where(batch)}")
        return found

    def numerical_gradient(self, batch: Batch) -> FloatArray:
        """The same by finite differences of the value, whatever the library."""
        found = np.zeros(batch.logp.shape)
        for index in np.ndindex(*found.shape):

            def nudged(h: float, index: tuple[int, ...] = index) -> Batch:
                logp = batch.logp.copy()
                logp[index] += h
                return batch._replace(logp=logp)

            found[index] = self.difference(nudged)
        return found


def probe(loss: Loss, batch: Batch, library: str | None = None) -> Probe:
    """Find out which library a loss is written for, from what it accepts and returns on a first batch."""
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {shown(loss)}; {_SIGNATURE}")
    if library is not None and library not in LIBRARIES:
        raise ValueError(f"library must be one of {LIBRARIES} or None, got {shown(library)}; None finds it out")
    loaded = [name for name in ("jax", "torch") if name in sys.modules]
    if library not in (None, "numpy") and find_spec(str(library)) is None:
        raise ValueError(f"library {library!r} is not installed; install it, or pass a loss that takes numpy arrays")
    first: Exception | None = None
    for name, floats in product([library] if library else ["numpy", *loaded], (False, True)):
        try:
            with _float64(name):
                result = _called(loss, name, batch, floats)
        except LossFailed as error:
            first = first or error
            continue
        kinds = {kind.__module__.partition(".")[0] for kind in type(result).__mro__}
        kinds |= {type(result).__module__.partition(".")[0]}
        returned = "torch" if "torch" in kinds else "jax" if kinds & {"jax", "jaxlib"} else name
        if library is None and returned != name:  # it took numpy arrays to a library that differentiates by itself
            name = returned
            with _float64(name):
                result = _called(loss, name, batch, floats)
        plain = Probe(loss, name, _epsilon(result), float_mask=floats)
        value = plain.value(batch)
        tested = _compiled(plain, batch, value)
        if value != _scalar(result):
            raise LossFailed(f"loss gave two values for one batch; make it deterministic ({_SIGNATURE})")
        return tested
    assert first is not None
    raise first


def _compiled(tested: Probe, batch: Batch, value: float) -> Probe:
    """The probe under jit, where tracing works and changes nothing; otherwise as it is."""
    if tested.library != "jax":
        return tested
    import jax

    faster = replace(tested, compiled=jax.jit(jax.value_and_grad(lambda *arrays: tested.loss(*arrays).sum())))
    try:
        same = np.isclose(faster.value(batch), value, rtol=1e-5, atol=1e-12)
    except Exception:  # a loss with Python branches on values: it runs eagerly, and speaks for itself there
        return tested
    return faster if same else tested


def _float64(library: str) -> Any:
    """Double precision where the library needs to be asked for it."""
    if library != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


def _arguments(library: str, batch: Batch, float_mask: bool) -> list[Any]:
    """The batch in the arrays of a library."""
    if float_mask:
        batch = batch._replace(mask=batch.mask.astype(np.float64))
    if library == "jax":
        import jax.numpy as jnp

        return [jnp.asarray(array) for array in batch]
    if library == "torch":
        torch = import_module("torch")
        return [torch.from_numpy(np.array(array)) for array in batch]
    return [np.array(array) for array in batch]


def _called(loss: Loss, library: str, batch: Batch, float_mask: bool) -> Any:
    """The loss on the batch, in the arrays of a library."""
    return _called_with(loss, _arguments(library, batch, float_mask))


def _called_with(loss: Loss, given: list[Any]) -> Any:
    """What the loss returns; LossFailed, on one line, for anything it raises."""
    try:
        with np.errstate(all="ignore"):
            return loss(*given)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        shapes = tuple(tuple(array.shape) for array in given)
        raise LossFailed(f"loss raised {text[:200]} for shapes {shapes}; {_SIGNATURE}") from error


def _scalar(result: Any) -> float:
    """A scalar result as a float; LossFailed for anything else."""
    try:
        array = np.asarray(result.detach().tolist() if hasattr(result, "detach") else result)
        number = float(array) if array.ndim == 0 and array.dtype.kind in "fiu" else None
    except (TypeError, ValueError, RuntimeError):
        number = None
        array = np.empty(0)
    if number is None:
        raise LossFailed(f"loss returned {shown(result)}, not a real scalar; {_SIGNATURE}")
    return number


def _epsilon(result: Any) -> float:
    """Machine epsilon of the dtype of a result; of float64 for Python numbers."""
    kind = str(getattr(result, "dtype", "float64"))
    known = {"bfloat16": 7.8e-3, "float16": 9.8e-4, "float32": 1.2e-7}
    return next((eps for name, eps in known.items() if kind.endswith(name)), 2.2e-16)


def _where(batch: Batch) -> str:
    """The shape and the first rewards of a batch on which something went wrong, and a remedy."""
    rewards = np.array2string(batch.rewards.ravel()[:6], precision=4)
    return f"its shape was {batch.logp.shape}, its rewards began {rewards}: keep logarithms and divisions away from 0"
