r"""Probe bandits: every group of n responses once for each unit of its probability, so that a mean is an expectation.

Old policies have masses that are whole multiples of 1/4, so that the batch of all groups, each repeated as often as
its probability asks for, is the population exactly; the loss is called on it as on any batch and nothing is sampled.

| bandit | responses | what it tells apart |
|---|---|---|
| flat | three of one token, masses 1/2, 1/4, 1/4 | baselines, weights, temperatures |
| lengths | the same with 1, 2 and 4 tokens, of which the first decides | division by length |
| tree | four of two tokens, each token a choice of two | squares of sequences and of tokens |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.variants._layout import CENTRE
from pmdtheory.variants._probe import Batch, Probe

UNITS: Final = 4  # masses are multiples of 1/UNITS
_STEPS: Final = 80
_STRIDE: Final = 3.0  # nats that one step may move a logit
_FAR: Final = 25.0  # nats from the start at which a policy has run to a corner
_TIGHT: Final = 1e-12

__all__ = ["BANDITS", "Bandit", "Stationary", "stationary"]


@dataclass(frozen=True, eq=False)
class Bandit:
    """Responses of a policy that is tabular in its tokens.

    Attributes:
        name: of the bandit.
        repeats: whole numbers, one a response; response y has the mass repeats[y]/sum.
        reward: from 0 to 1, one a response; scaled before use.
        lengths: tokens of each response.
        choices: for each response its choices as (node, branch), one for each of its first tokens; later tokens have
            no alternative.
    """

    name: str
    repeats: tuple[int, ...]
    reward: tuple[float, ...]
    lengths: tuple[int, ...]
    choices: tuple[tuple[tuple[int, int], ...], ...]

    @cached_property
    def policy(self) -> FloatArray:
        """`[A]`, the old policy."""
        return np.array(self.repeats) / sum(self.repeats)

    @cached_property
    def branches(self) -> tuple[int, ...]:
        """Branches of each node."""
        flat = [step for path in self.choices for step in path]
        return tuple(1 + max(b for node, b in flat if node == k) for k in range(1 + max(node for node, _ in flat)))

    def rewards(self, spread: float) -> FloatArray:
        """`[A]`, rewards about `CENTRE`, from lowest to highest `spread` apart."""
        return CENTRE + spread * (np.array(self.reward) - 0.5)

    def conditionals(self, policy: FloatArray) -> list[FloatArray]:
        """For each node the probabilities of its branches."""
        tables = [np.zeros(size) for size in self.branches]
        for mass, path in zip(policy, self.choices, strict=True):
            for node, branch in path:
                tables[node][branch] += mass
        return [table / table.sum() for table in tables]

    def token_logp(self, logits: list[FloatArray]) -> FloatArray:
        """`[A, T]`, log-probabilities of the tokens under softmax logits."""
        tables = [row - _logsumexp(row) for row in logits]
        out = np.zeros((len(self.choices), max(self.lengths)))
        for y, path in enumerate(self.choices):
            for t, (node, branch) in enumerate(path):
                out[y, t] = tables[node][branch]
        return out

    def split(self, theta: FloatArray) -> list[FloatArray]:
        """Free parameters as logits: the first branch of each node has the logit 0."""
        out, at = [], 0
        for size in self.branches:
            out.append(np.concatenate([[0.0], theta[at : at + size - 1]]))
            at += size - 1
        return out

    def theta(self, policy: FloatArray) -> FloatArray:
        """The free parameters of a policy."""
        return np.concatenate([np.log(table[1:] / table[0]) for table in self.conditionals(policy)])

    def law(self, theta: FloatArray) -> FloatArray:
        """`[A]`, the policy of free parameters."""
        return np.asarray(np.exp(self.token_logp(self.split(theta)).sum(axis=1)))

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """`[P, A, T]`, derivative of the tokens' log-probabilities in the free parameters."""
        logits = self.split(theta)
        out, at = np.zeros((theta.size, len(self.choices), max(self.lengths))), 0
        starts = []
        for size in self.branches:
            starts.append(at)
            at += size - 1
        for y, path in enumerate(self.choices):
            for t, (node, branch) in enumerate(path):
                chosen = np.exp(logits[node] - _logsumexp(logits[node]))
                rows = slice(starts[node], starts[node] + chosen.size - 1)
                out[rows, y, t] = np.eye(chosen.size)[branch][1:] - chosen[1:]
        return out

    def groups(self, n: int) -> NDArray[np.int64]:
        """`[units^n, n]`, all groups of n responses, each as often as its probability asks for."""
        tickets = [y for y, count in enumerate(self.repeats) for _ in range(count)]
        return np.array(list(product(tickets, repeat=n)))

    def batch(self, theta: FloatArray, groups: NDArray[np.int64], reward: FloatArray) -> Batch:
        """The population batch at free parameters."""
        mask = np.arange(max(self.lengths)) < np.array(self.lengths)[groups][..., None]
        old = self.token_logp(self.split(self.theta(self.policy)))
        return Batch(self.token_logp(self.split(theta))[groups], old[groups], reward[groups], mask)


_FIRST = (((0, 0),), ((0, 1),), ((0, 2),))
BANDITS: Final = (
    Bandit("flat", (2, 1, 1), (0.0, 0.5, 1.0), (1, 1, 1), _FIRST),
    Bandit("lengths", (2, 1, 1), (0.0, 0.5, 1.0), (1, 2, 4), _FIRST),
    Bandit(
        "tree",
        (1, 1, 1, 1),
        (1.0, 0.0, 0.2, 0.4),
        (2, 2, 2, 2),
        (((0, 0), (1, 0)), ((0, 0), (1, 1)), ((0, 1), (2, 0)), ((0, 1), (2, 1))),
    ),
)


@dataclass(frozen=True, eq=False)
class Stationary:
    """Where the population loss of a bandit comes to rest.

    Attributes:
        policy: `[A]`; None where no stationary policy was found inside the simplex.
        residual: size of the gradient there, relative to that at the old policy.
        gradient: its gradient at the old policy.
    """

    policy: FloatArray | None
    residual: float
    gradient: FloatArray


def stationary(tested: Probe, bandit: Bandit, n: int, spread: float, *, solve: bool = True) -> Stationary:
    """The stationary policy of the loss itself, from its own gradient, from the old policy on and by no formula.

    A root of the gradient counts where it is stable: the eigenvalues of its derivative have positive real parts.
    Without `solve` only the gradient at the old policy is taken.
    """
    groups, reward = bandit.groups(n), bandit.rewards(spread)
    start = bandit.theta(bandit.policy)

    def along(theta: FloatArray, row: FloatArray, h: float) -> Batch:
        return bandit.batch(theta + h * row, groups, reward)

    def field(theta: FloatArray) -> FloatArray:
        if tested.library == "numpy":
            return np.array([tested.difference(partial(along, theta, row)) for row in np.eye(theta.size)])
        found = tested.gradient(bandit.batch(theta, groups, reward))
        slopes = bandit.jacobian(theta)[:, groups]  # [P, G, n, T]
        return np.asarray((slopes * found).sum(axis=(1, 2, 3)))

    first = field(start)
    size = float(np.abs(first).max())
    if size == 0.0 or not solve:
        return Stationary(None, math.nan, first)
    exact = tested.tolerance < 1e-4
    limit = 1e-6 if exact else 1e-3
    end, residual, curvature = _settled(lambda theta: field(theta) / size, start, 1e-5 if exact else 1e-2, limit)
    if residual > limit or curvature < limit:
        return Stationary(None, residual, first)
    return Stationary(bandit.law(end), residual, first)


def _settled(
    field: Callable[[FloatArray], FloatArray], start: FloatArray, step: float, limit: float
) -> tuple[FloatArray, float, float]:
    """Where the flow against a field ends: the point, the size of the field there, its least curvature.

    Implicit Euler steps of growing length, measured by the curvature at the start: at first they follow the flow,
    which leads to stable points only, at last they are Newton's. The curvature is relative to that at the start.
    """

    def slope(theta: FloatArray) -> FloatArray:
        columns = [(field(theta + h) - field(theta - h)) / (2.0 * step) for h in step * np.eye(theta.size)]
        return np.stack(columns, axis=1)

    theta, value = start, field(start)
    jacobian = slope(theta)
    unit = np.eye(theta.size) * np.abs(jacobian).max()
    length, size = 1.0, float(np.abs(value).max())
    for _ in range(_STEPS):
        if size < _TIGHT or unit[0, 0] == 0.0:
            break
        move = np.linalg.lstsq(jacobian + unit / length, -value, rcond=None)[0]
        move *= min(1.0, _STRIDE / np.abs(move).max())
        after = field(theta + move)
        new = float(np.abs(after).max())
        if new > 2.0 * size:
            length /= 4.0
            if length < 1e-4:
                break
            continue
        if new > 0.5 * size and size < 1e-3 * limit:  # rounding: it gets no smaller
            break
        length *= min(10.0, max(1.5, size / max(new, 1e-300)))
        theta, value, size = theta + move, after, new
        if np.abs(theta - start).max() > _FAR:
            break
        jacobian = slope(theta)
    eigenvalues = np.linalg.eigvals(jacobian / max(unit[0, 0], 1e-300)).real
    return theta, size, float(eigenvalues.min())


def _logsumexp(row: FloatArray) -> float:
    top = float(row.max())
    return top + math.log(float(np.exp(row - top).sum()))
