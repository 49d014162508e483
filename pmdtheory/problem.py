r"""One step's data: a law \(\pi\) over actions, their rewards and the strength \(\tau\) of the regularisation."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray, finite_scalar, positive_scalar, real_vector, unit_interval
from pmdtheory._levels import Levels, Merge, merge_levels
from pmdtheory._quadrature import RewardLaw, reward_law
from pmdtheory._series import blocks, exp_remainder, weighted_exp

__all__ = ["Problem"]

_TAU = "tau is the regularisation strength in reward units, for instance 0.1"
_REWARD = "pass one finite real reward per action"
_POLICY = "pass probabilities that are at least zero and sum to one (divide by their sum)"
_LOG_POLICY = "pass log-probabilities (logits minus their logsumexp; -inf for no mass)"


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    r"""A policy mirror descent step to be solved: \(\max_x \langle x, r\rangle - \tau D(x, \pi)\) in some divergence D.

    The law is \(\pi/\sum\pi\), renormalised; a policy is accepted when its sum is within max(1e-9, A eps) of one,
    eps of the dtype it comes in, so that a float32 softmax passes. Rewards matter only through r/tau: rewards
    of -1 and +1, common in public code, are twice as far apart as 0 and 1 and **double the effective 1/tau**.

    Attributes:
        log_policy: `[A]`, log-probabilities, nats; -inf is legal (the action stays without mass).
        reward: `[A]`, finite, reward units.
        tau: greater than zero, reward units.
        policy: `[A]`, the same law in linear space; empty means: derive it.
        law: for continuous reward laws, what the quadrature knows beyond its nodes; None otherwise.
        merge_equal: whether actions of equal reward share a level; see `atomic`.

    Raises:
        ValueError, TypeError: naming the argument, its value and the remedy.

    Source: setting of arXiv:2602.05933.

    >>> problem = Problem.from_policy([0.7, 0.2, 0.1], reward=[0, 0, 1], tau=0.1)
    >>> abs(problem.jensen_gap - (problem.log_partition - problem.mean_reward / problem.tau)) < 1e-12
    True
    """

    log_policy: FloatArray
    reward: FloatArray
    tau: float
    policy: FloatArray = field(default_factory=lambda: np.empty(0))
    law: RewardLaw | None = None
    merge_equal: bool = True

    def __post_init__(self) -> None:
        tau = positive_scalar("tau", self.tau, _TAU)
        log_policy, eps = real_vector("log_policy", self.log_policy, _LOG_POLICY)
        reward, _ = real_vector("reward", self.reward, _REWARD)
        if np.isposinf(log_policy).any():
            raise ValueError(f"log_policy holds +inf; {_LOG_POLICY}")
        if not np.isfinite(reward).all():
            raise ValueError(f"reward holds {reward[~np.isfinite(reward)][0]}; {_REWARD}")
        if reward.shape != log_policy.shape:
            raise ValueError(f"reward has {reward.size} entries for {log_policy.size} actions; {_REWARD}")
        if self.policy.size == 0:
            with np.errstate(over="ignore", under="ignore"):
                policy = np.exp(log_policy)
            total = _accepted(float(policy.sum()), policy.size, eps, "log_policy", _LOG_POLICY)
            log_policy = log_policy - math.log(total) if total != 1.0 else log_policy
            object.__setattr__(self, "policy", policy / total if total != 1.0 else policy)
        object.__setattr__(self, "tau", tau)
        for name, array in (("log_policy", log_policy), ("reward", reward), ("policy", self.policy)):
            frozen = array.view()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)
        with np.errstate(over="ignore"):
            spread = (float(reward.max()) - float(reward.min())) / tau
        if not math.isfinite(spread):
            raise ValueError(f"tau={tau} makes r/tau overflow (reward spread / tau = {spread}); {_TAU}")

    # -- constructors ---------------------------------------------------------------------------------------------

    @classmethod
    def from_policy(cls, policy: ArrayLike, reward: ArrayLike, tau: float) -> "Problem":
        """A problem from probabilities `[A]` that sum to one, rewards `[A]` and tau.

        >>> Problem.from_policy([0.5, 0.5], [0, 1], tau=1.0).mean_reward
        0.5
        """
        law, eps = real_vector("policy", policy, _POLICY)
        if float(law.min()) < 0.0:
            index = int(np.argmin(law))
            raise ValueError(f"policy holds {float(law[index])} at index {index}, below zero; {_POLICY}")
        total = _accepted(float(law.sum()), law.size, eps, "policy", _POLICY)
        law = law / total if total != 1.0 else law
        with np.errstate(divide="ignore"):
            return cls(np.log(law), reward, tau, policy=law)  # type: ignore[arg-type]

    @classmethod
    def from_log_policy(cls, log_policy: ArrayLike, reward: ArrayLike, tau: float) -> "Problem":
        """A problem from log-probabilities `[A]` (a log-softmax, say), rewards `[A]` and tau.

        >>> Problem.from_log_policy([-800.0, 0.0], [1, 0], tau=1e-3).mean_reward < 1e-300  # far below float64
        True
        """
        return cls(log_policy, reward, tau)  # type: ignore[arg-type]

    @classmethod
    def binary(
        cls, p: float, tau: float, *, failure: float | None = None, rewards: tuple[float, float] = (0, 1)
    ) -> "Problem":
        """Two actions, failure then success, of masses 1 - p and p: a prompt with verifiable rewards (C9, C10).

        Args:
            p: success probability in [0, 1], exact down to 1e-300.
            tau: regularisation, reward units.
            failure: the failure probability 1 - p, for p so near one that 1 - p rounds; None computes it.
            rewards: of failure and of success. (-1, 1) is common in public code and doubles the effective 1/tau.

        >>> Problem.binary(1.0, 0.1, failure=1e-300).policy[0]
        np.float64(1e-300)
        """
        success = unit_interval("p", p, "pass the probability of success")
        if failure is None:
            missed = 1.0 - success
            log_missed = math.log1p(-success) if success < 1.0 else -math.inf
        else:
            missed = unit_interval("failure", failure, "pass 1 - p, or leave it out")
            log_missed = math.log(missed) if missed > 0.0 else -math.inf
            _accepted(success + missed, 2, 0.0, "p + failure", "pass failure = 1 - p")
        total = success + missed
        if np.shape(rewards) != (2,):
            raise ValueError(f"rewards must be a pair (failure, success), got {rewards!r}; pass (0, 1) or (-1, 1)")
        law = np.array([missed / total, success / total])
        log_success = math.log(success) if success > 0.0 else -math.inf
        log_law = np.array([log_missed, log_success])
        return cls(log_law, np.asarray(rewards), tau, policy=law)

    @classmethod
    def from_rollouts(cls, rewards: ArrayLike, tau: float) -> "Problem":
        """The empirical law of `n` sampled rewards, one action per rollout, each with mass 1/n.

        >>> Problem.from_rollouts([0, 1, 1, 0], tau=0.5).mean_reward
        0.5
        """
        sample, _ = real_vector("rewards", rewards, "pass the finite rewards of one group of rollouts")
        law = np.full(sample.size, 1.0 / sample.size)
        return cls(np.full(sample.size, -math.log(sample.size)), sample, tau, policy=law)

    @classmethod
    def from_distribution(cls, distribution: Any, tau: float) -> "Problem":
        r"""A problem for a law of rewards: a frozen `scipy.stats` distribution, or anything with `ppf` and `isf`.

        The law is replaced by quadrature nodes in the quantile variable, refined until integrals of the kind the
        update needs settle; `law.error` reports their relative error. Nodes are in `reward`, their masses in
        `policy`. Discrete laws are enumerated, jumps of the quantile function are resolved by bisection.
        Heavy tails are welcome: the update exists for every law with a finite mean (C19), and `log_partition` is
        inf where \(E e^{r/\tau}\) is.

        Raises:
            TypeError: for an object without `ppf` and `isf`.
            ValueError: for a law without a finite mean, or a quantile function that returns NaN.

        >>> from scipy import stats
        >>> Problem.from_distribution(stats.expon(), tau=0.5).log_partition
        inf
        """
        tau = positive_scalar("tau", tau, _TAU)
        law = reward_law(distribution, tau)
        with np.errstate(divide="ignore"):
            return cls(np.log(law.mass), law.node, tau, policy=law.mass, law=law)

    # -- what the law says ----------------------------------------------------------------------------------------

    @cached_property
    def _merge(self) -> Merge:
        return merge_levels(self.policy, self.log_policy, self.reward, self.merge_equal)

    @cached_property
    def levels(self) -> Levels:
        """The law of the reward, `[K]` levels with mass: all that a step depends on (C10)."""
        return Levels.build(self._merge, self.tau)

    def atomic(self) -> "Problem":
        """The same problem with every action of positive mass a level of its own."""
        return replace(self, merge_equal=False)

    def expand(self, per_level: FloatArray, missing: float = 0.0) -> FloatArray:
        """Values `[K]` per level as values `[A]` per action; `missing` where an action has no mass."""
        return self._merge.expand(per_level, self.reward.size, missing)

    @property
    def mean_reward(self) -> float:
        r"""\(\bar r = E_\pi r\), reward units."""
        return self.levels.mean

    @cached_property
    def scaled_advantage(self) -> FloatArray:
        r"""`[A]`, \(a = (r - \bar r)/\tau\), nats; exact to rounding however small the spread of the rewards."""
        if self._merge.inverse is None:
            return self.levels.advantage
        return self.levels.scale(self.reward)

    @cached_property
    def jensen_gap(self) -> float:
        r"""\(J = \log Z - \bar r/\tau \ge 0\), nats, without cancellation; inf or NaN where log Z is."""
        if self.law is not None and not self.law.partition_reached:
            return math.nan if self.law.partition_finite else math.inf
        levels = self.levels
        a = levels.advantage
        sums = []
        with np.errstate(under="ignore", over="ignore"):
            for block in blocks(a.size):
                big = a[block] > 500.0
                term = levels.mass[block] * exp_remainder(np.where(big, 0.0, a[block]))
                if big.any():
                    term = np.where(big, weighted_exp(levels.mass[block], levels.log_mass[block], a[block]), term)
                sums.append(float(term.sum()))
            total = float(np.sum(sums))
        if math.isfinite(total):
            return math.log1p(total)
        exponent = levels.log_mass + a
        top = float(exponent.max())
        with np.errstate(under="ignore"):
            return top + math.log(float(np.exp(exponent - top).sum()))

    @property
    def log_partition(self) -> float:
        r"""\(\log Z = \log E_\pi e^{r/\tau}\), nats; inf where the reward law's tail is too heavy.

        NaN for continuous laws whose log Z is finite but decided beyond the quantile 1e-300 (`kl_update` says so too).
        """
        return self.mean_reward / self.tau + self.jensen_gap

    @property
    def upper_second_moment_finite(self) -> bool:
        r"""Whether \(E (r^+)^2 < \infty\): otherwise the step's expected reward is infinite (C19)."""
        return self.law is None or self.law.second_moment_finite

    def __repr__(self) -> str:
        return f"Problem({self.reward.size} actions, mean_reward={self.mean_reward:.6g}, tau={self.tau:.6g})"


def _accepted(total: float, size: int, eps: float, name: str, remedy: str) -> float:
    """The sum of a law, if it is one within max(1e-9, A eps)."""
    finite_scalar(f"sum of {name}", total, remedy)
    if abs(total - 1.0) > max(1e-9, size * eps):
        raise ValueError(f"{name} sums to {total!r}, not to one; {remedy}")
    return total
