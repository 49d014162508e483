r"""A response space that can be written down: every sequence, a verifiable reward, and the model with a free table.

Letters: `V` symbols, `L` tokens of a response, `A` = V^L responses in lexicographic order, `P` trained scalars.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, positive_scalar, real_vector
from tiny_llm_rl._checks import choice, whole

__all__ = ["RULES", "SequenceModel", "Tabular", "responses", "sequence_reward"]

_LARGEST: Final = 2**16  # responses: beyond this an enumeration is a mistake, not an instance
_SMALL: Final = "take a few symbols and tokens, such as 4 and 5"


class SequenceModel(Protocol):
    """A model of responses of one length whose law over all of them, and its derivative, can be written down."""

    @property
    def vocabulary(self) -> int:
        """V, symbols."""

    @property
    def length(self) -> int:
        """L, tokens of every response."""

    @property
    def base(self) -> FloatArray:
        """`[P]`, the weights that sample: the policy a step starts from."""

    def log_probs(self, weights: FloatArray) -> FloatArray:
        """`[A]`, log-probability of every response, nats."""

    def jacobian(self, weights: FloatArray) -> FloatArray:
        """`[A, P]`, its derivative."""


def responses(vocabulary: int, length: int) -> NDArray[np.int64]:
    """Every sequence of `length` symbols, `[A, L]` in lexicographic order.

    Args:
        vocabulary: V, at least 2.
        length: L, at least 2.

    Returns:
        Integers from 0 to V - 1.

    Raises:
        TypeError, ValueError: for sizes that are no integers, too small, or make more than 65,536 responses.

    Source: this project (C20).

    >>> responses(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    v, l = whole("vocabulary", vocabulary, _SMALL, least=2), whole("length", length, _SMALL, least=2)
    if l > 16 or v**l > _LARGEST:
        raise ValueError(f"vocabulary and length make {v}^{l} responses, more than {_LARGEST}; {_SMALL}")
    return np.stack(np.unravel_index(np.arange(v**l), (v,) * l), axis=1).astype(np.int64)


def _checksum(sequences: NDArray[np.int64], vocabulary: int) -> FloatArray:
    correct: FloatArray = (sequences.sum(axis=1) % (2 * vocabulary) == 0).astype(np.float64)
    return correct


def _palindrome(sequences: NDArray[np.int64], vocabulary: int) -> FloatArray:
    del vocabulary
    half = sequences.shape[1] // 2
    equal: FloatArray = (sequences[:, :half] == sequences[:, ::-1][:, :half]).mean(axis=1)
    return equal


# "checksum": 1 where the symbols sum to a multiple of 2V, else 0. "palindrome": share of mirrored pairs that agree.
RULES: Final[Mapping[str, Callable[[NDArray[np.int64], int], FloatArray]]] = MappingProxyType(
    {"checksum": _checksum, "palindrome": _palindrome}
)


def sequence_reward(rule: str, vocabulary: int, length: int) -> FloatArray:
    """The verifiable reward of every response, by one of `RULES`.

    Args:
        rule: "checksum" (0 or 1: the symbols sum to a multiple of 2V) or "palindrome" (share of mirrored pairs equal).
        vocabulary: V.
        length: L.

    Returns:
        `[A]`, reward units, between 0 and 1.

    Raises:
        TypeError, ValueError: for an unknown rule or a wrong size.

    Source: this project (C20).

    >>> sequence_reward("palindrome", 2, 2).tolist(), sequence_reward("checksum", 2, 2).tolist()
    ([1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0])
    """
    rewarded = RULES[choice("rule", rule, RULES)]
    return rewarded(responses(vocabulary, length), vocabulary)


@dataclass(frozen=True, eq=False)
class Tabular:
    r"""The sequence model with a free logit for every prefix and symbol: it realises every law exactly.

    Formula: \(\log\pi_\theta(y) = \sum_l \theta[y_{<l}, y_l] - \log\sum_v e^{\theta[y_{<l}, v]}\). What separates
    optimisation from realisability: a fit of this model misses its target only through the optimiser.

    Args:
        vocabulary: V, at least 2.
        length: L, at least 2.
        seed: of the base policy's logits, normal with the given spread.
        spread: their standard deviation, nats.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C20).

    >>> model = Tabular(3, 4, seed=0)
    >>> abs(float(np.exp(model.log_probs(model.base)).sum()) - 1.0) < 1e-13
    True
    """

    vocabulary: int
    length: int
    seed: int = 0
    spread: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be enumerated."""
        responses(self.vocabulary, self.length)
        whole("seed", self.seed, "pass any whole number from 0 on", least=0)
        positive_scalar("spread", self.spread, "pass the standard deviation of the base logits, such as 1")

    @property
    def nodes(self) -> int:
        """Prefixes, the empty one included: 1 + V + ... + V^(L-1)."""
        return sum(self.vocabulary**level for level in range(self.length))

    @cached_property
    def base(self) -> FloatArray:
        """`[P]`, the logits of the base policy, prefix by prefix."""
        return self.spread * np.random.default_rng(self.seed).normal(size=self.nodes * self.vocabulary)

    @cached_property
    def _path(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`[A, L]`: the prefix that each token of a response follows, numbered level by level; and the token."""
        tokens = responses(self.vocabulary, self.length)
        node = np.zeros(len(tokens), dtype=np.int64)
        nodes = [node]
        for token in tokens.T[:-1]:
            node = node * self.vocabulary + token + 1
            nodes.append(node)
        return np.stack(nodes, axis=1), tokens

    def _conditionals(self, weights: FloatArray) -> FloatArray:
        """`[nodes, V]`, log-probability of each symbol after each prefix."""
        logits = np.asarray(weights, dtype=np.float64).reshape(self.nodes, self.vocabulary)
        logits = logits - logits.max(axis=1, keepdims=True)
        table: FloatArray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return table

    def log_probs(self, weights: FloatArray) -> FloatArray:
        """`[A]`, log-probability of every response, nats."""
        total: FloatArray = self._conditionals(weights)[self._path].sum(axis=1)
        return total

    def jacobian(self, weights: FloatArray) -> FloatArray:
        """`[A, P]`, its derivative: one minus, or minus, the probability at every prefix that is passed."""
        nodes, tokens = self._path
        law = np.exp(self._conditionals(weights))
        rows = np.arange(len(nodes))[:, None]
        table = np.zeros((len(nodes), self.nodes, self.vocabulary))
        table[rows, nodes] = -law[nodes]
        table[rows, nodes, tokens] += 1.0
        return table.reshape(len(nodes), -1)

    def weights_of(self, log_policy: ArrayLike) -> FloatArray:
        """`[P]`, weights that realise a law of positive masses: the logarithms of its prefixes' masses."""
        law, _ = real_vector("log_policy", log_policy, "pass the log-probability of every response")
        if law.shape != (self.vocabulary**self.length,) or not np.isfinite(law).all():
            raise ValueError(
                f"log_policy must hold {self.vocabulary**self.length} finite numbers, got shape {law.shape}; pass the "
                "log-probability of every response, all of positive mass"
            )
        levels = []
        for _ in range(self.length):
            levels.append(law)
            top = law.reshape(-1, self.vocabulary).max(axis=1, keepdims=True)
            law = (top + np.log(np.exp(law.reshape(-1, self.vocabulary) - top).sum(axis=1, keepdims=True)))[:, 0]
        return np.concatenate(levels[::-1])
