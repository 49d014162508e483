"""What every loss starts from and ends with: log-ratios with the mask applied, and the reduction of its terms."""

from typing import Any, Final, NamedTuple

import numpy as np

from pmdtheory._checks import shown
from pmdtheory.losses._arrays import Array, Namespace, as_array, counted, namespace

REDUCTIONS: Final = ("mean", "sum", "none")
_LOGP = "pass log-probabilities in nats, [B] sums over sequences or [B, T] with a mask"

__all__ = ["Batch", "prepare", "reduced"]


class Batch(NamedTuple):
    """Sequences ready for a formula: zero wherever nothing counts, so that no garbage reaches value or gradient."""

    xp: Namespace
    log_ratio: Array  # [B, T], nats
    keep: Array  # [B, T], whether the token counts
    live: Array  # [B], whether the sequence counts
    lengths: Array  # [B], as given or tokens that count; 1 where none does
    signal: Array  # [B], the target or the advantages
    weights: Array | None  # [B]
    reduction: str


def prepare(
    logp: Array,
    old_logp: Array,
    signal: Array,
    *,
    name: str,
    mask: Array | None,
    weights: Array | None,
    reduction: str,
    lengths: Array | None = None,
    scalars: dict[str, Any] | None = None,
) -> Batch:
    """Check what is static and apply the mask; `name` is what the loss calls its signal `[B]`.

    `scalars` are options that may be scalar arrays, and then decide on the library too: a traced tau makes it jax.
    """
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {shown(reduction)}; mean is the default")
    if old_logp is None:
        raise ValueError(
            "old_logp must not be None, because without it the log-ratio is zero and what is left is a plain policy "
            "gradient; pass the log-probabilities recorded when the responses were sampled"
        )
    given = {"logp": logp, "old_logp": old_logp, name: signal, "mask": mask, "lengths": lengths, "weights": weights}
    xp = namespace(given | (scalars or {}))
    new = as_array(xp, "logp", logp, _LOGP)
    if "float" not in str(new.dtype):
        raise TypeError(f"logp must be of a floating-point dtype, got {new.dtype}; {_LOGP}")
    if new.ndim not in (1, 2):
        raise ValueError(f"logp must have shape [B] or [B, T], got {tuple(new.shape)}; {_LOGP}")
    shape = tuple(new.shape)
    per_token = "it goes with logp entry by entry"
    per_sequence = f"pass one number per sequence, {shape[:1]}"
    old = _shaped(xp, "old_logp", old_logp, shape, per_token, like=new)
    kept = np.ones(shape, dtype=bool) if mask is None else mask
    keep = _shaped(xp, "mask", kept, shape, per_token, like=new, dtype=xp.bool)
    if new.ndim == 1:
        new, old, keep = new[:, None], old[:, None], keep[:, None]
    live = xp.sum(keep, 1) > 0
    if lengths is not None:
        lengths = _shaped(xp, "lengths", lengths, shape[:1], per_sequence, like=new)
        live = live & (lengths > 0)
        keep = keep & live[:, None]
        lengths = xp.where(live, lengths, 1.0)
    # the zero goes in before the difference is taken: no gradient passes a masked entry, whatever it holds
    log_ratio = xp.where(keep, new, 0.0) - xp.where(keep, old, 0.0)
    value = xp.where(live, _shaped(xp, name, signal, shape[:1], per_sequence, like=new), 0.0)
    if weights is not None:
        weights = xp.where(live, _shaped(xp, "weights", weights, shape[:1], per_sequence, like=new), 0.0)
    tokens = counted(xp, keep, new, 1) if lengths is None else lengths
    return Batch(xp, log_ratio, keep, live, tokens, value, weights, reduction)


def reduced(batch: Batch, terms: Array, counting: Array | None = None) -> Array:
    """Terms `[B]`, weighted, and reduced; a mean is over what counts: sequences unless `counting` says otherwise."""
    if batch.weights is not None:
        terms = terms * batch.weights
    if batch.reduction == "none":
        return terms
    total = batch.xp.sum(terms)
    if batch.reduction == "sum":
        return total
    return total / counted(batch.xp, batch.live if counting is None else counting, terms)


def _shaped(
    xp: Namespace, name: str, value: Array, shape: tuple[int, ...], remedy: str, *, like: Array, dtype: Any = None
) -> Array:
    """The value as an array of exactly this shape; nothing broadcasts, since [B, 1] against [B] would give [B, B]."""
    array = as_array(xp, name, value, remedy, like=like, dtype=like.dtype if dtype is None else dtype)
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(array.shape)}; {remedy}")
    return array
