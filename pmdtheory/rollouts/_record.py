"""Rollouts as arrays, one entry per response, whatever file they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, shown

__all__ = ["BrokenRow", "Rollouts"]

_REMEDY: Final = "pass one entry per rollout"


@dataclass(frozen=True)
class BrokenRow:
    """A row that was left out, and why.

    Attributes:
        file: its name as given.
        row: line of a JSONL file, record of a CSV file (its header is 1), row of a Parquet file from 1.
        column: where the fault is; empty where the row as a whole cannot be read.
        fault: what is wrong with it.
    """

    file: str
    row: int
    column: str
    fault: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.file}: row {self.row}, {f'column {self.column}' if self.column else 'whole row'}: {self.fault}"


@dataclass(frozen=True, eq=False)
class Rollouts:
    r"""Responses with their rewards; a group is all that share a prompt and a step.

    Attributes:
        prompt: `[N]`, number of the prompt, an index into `labels`.
        labels: `[P]`, the prompts as text, shortened.
        reward: `[N]`, finite, reward units.
        step: `[N]`, training step; None where there is none.
        old_log_prob: `[N]`, log-probability of the response under the policy that sampled it, nats; None without.
        new_log_prob: `[N]`, the same under the policy after the step, nats; None without.
        length: `[N]`, tokens of the response; None without.
        layout: how the columns were found ("verl", "trl", "columns", "arrays").
        columns: which column was taken for what.
        broken: rows that were left out, the first ten thousand of them.
        broken_count: how many rows were left out.
    """

    prompt: NDArray[np.int64]
    labels: tuple[str, ...]
    reward: FloatArray
    step: NDArray[np.int64] | None = None
    old_log_prob: FloatArray | None = None
    new_log_prob: FloatArray | None = None
    length: FloatArray | None = None
    layout: str = "arrays"
    columns: dict[str, str] = field(default_factory=dict)
    broken: tuple[BrokenRow, ...] = ()
    broken_count: int = 0

    @property
    def size(self) -> int:
        """Number of rollouts."""
        return int(self.reward.size)

    @classmethod
    def from_arrays(
        cls,
        prompt: Sequence[Any] | ArrayLike,
        reward: ArrayLike,
        *,
        step: ArrayLike | None = None,
        old_log_prob: ArrayLike | None = None,
        new_log_prob: ArrayLike | None = None,
        length: ArrayLike | None = None,
    ) -> "Rollouts":
        """Rollouts from arrays `[N]`; prompts are whatever can be compared: numbers or text.

        Raises:
            TypeError, ValueError: for arrays of different lengths, rewards or log-probabilities that are not finite.

        >>> Rollouts.from_arrays(["a", "a", "b"], [0, 1, 1]).labels
        ('a', 'b')
        """
        rewards = _vector("reward", reward, None)
        keys = np.asarray(prompt)
        if keys.ndim != 1 or keys.dtype.kind not in "iuSU" or keys.size != rewards.size:
            raise ValueError(
                f"prompt must be {rewards.size} numbers or texts, got {shown(prompt)}; pass the prompt of each rollout"
            )
        labels, index = np.unique(keys, return_inverse=True)
        steps = None if step is None else _whole(_vector("step", step, rewards.size))
        old, new, size = (
            None if value is None else _vector(name, value, rewards.size)
            for name, value in (("old_log_prob", old_log_prob), ("new_log_prob", new_log_prob), ("length", length))
        )
        texts = tuple(str(one) for one in labels.tolist())
        return cls(index.astype(np.int64), texts, rewards, steps, old, new, size)


def _vector(name: str, value: ArrayLike, size: int | None) -> FloatArray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is ragged; {_REMEDY}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}; {_REMEDY}")
    if array.ndim != 1 or array.size == 0 or (size is not None and array.size != size):
        raise ValueError(f"{name} must have shape [{size or 'N'}], got {array.shape}; {_REMEDY}")
    result = array.astype(np.float64)
    if not np.isfinite(result).all():
        place = int(np.flatnonzero(~np.isfinite(result))[0])
        raise ValueError(f"{name} holds {result[place]} at index {place}; drop that rollout or repair it")
    return result


def _whole(step: FloatArray) -> NDArray[np.int64]:
    if np.any(step != np.rint(step)):
        raise ValueError(f"step holds {step[step != np.rint(step)][0]}; pass whole numbers of training steps")
    return step.astype(np.int64)
