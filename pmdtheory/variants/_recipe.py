"""Losses from a short declarative description: the rows of the table, written from their formulas."""

from dataclasses import dataclass
from typing import Any, Final

from pmdtheory.losses._arrays import Array, Namespace, namespace

SHAPES: Final = ("square", "linear", "linear + token square", "token ratio + token square", "ratio + KL + chi2", "clip")
BASELINES: Final = ("group mean", "others' mean", "others' partition", "clamped partition", "group partition", "none")
LENGTHS: Final = ("sum", "own length", "all tokens")

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    r"""A loss in a few words; calling it evaluates it, for arrays of numpy, jax or torch.

    With \(\ell_{it}\) the log-ratio of a token, \(s_i = \sum_t \ell_{it}\), \(\rho = e^s\) and the advantage
    A = r - baseline, the term of a sequence is, times `factor`:

    | shape | term |
    |---|---|
    | square | \(\tfrac\tau2 (A/\tau - s)^2\) |
    | linear | \(-A\sum_t\log\pi\) |
    | linear + token square | \(\sum_t -A\log\pi + \tfrac\tau2\ell^2\) |
    | token ratio + token square | \(\sum_t -A e^\ell + \tfrac\tau2\ell^2\) |
    | ratio + KL + chi2 | \(-\rho A + \tau(\rho s - \rho + 1) + \tfrac{\tau c}2(\rho-1)^2\) |
    | clip | \(-\sum_t\min(e^\ell A, \mathrm{clip}(e^\ell, 1-\epsilon, 1+\epsilon)A)\) |

    Attributes:
        shape: see the table.
        baseline: of the advantage: "group mean", "others' mean", "others' partition", "clamped partition" (one's own
            term subtracted from the sum, the mean of what is left at least `floor`), "group partition" or "none".
        tau: reward units.
        baseline_tau: inside a partition; None is tau.
        lengths: "sum" over tokens and mean over sequences, "own length" (each sum divided by its tokens) or
            "all tokens" (the mean is over the tokens of the batch).
        factor: of the whole.
        weight_tau: of weights exp((r - max)/weight_tau) of mean one in each group, reward units; None for none.
        mean_between: groups count whose mean reward lies strictly between; None for all.
        standardise: whether advantages are divided by the group's standard deviation plus 1e-6.
        detach: whether the square is replaced by its gradient's form, \(-(A/\tau - s)\tau\) detached, times s.
        chi2_weight: c.
        clip: epsilon.
        floor: of the clamped partition.
    """

    shape: str = "square"
    baseline: str = "group mean"
    tau: float = 0.1
    baseline_tau: float | None = None
    lengths: str = "sum"
    factor: float = 1.0
    weight_tau: float | None = None
    mean_between: tuple[float, float] | None = None
    standardise: bool = False
    detach: bool = False
    chi2_weight: float = 0.0
    clip: float = 0.2
    floor: float = 1e-8

    def __post_init__(self) -> None:
        for name, known in (("shape", SHAPES), ("baseline", BASELINES), ("lengths", LENGTHS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}; see Recipe")

    def __call__(self, logp: Array, old_logp: Array, rewards: Array, mask: Array) -> Array:
        """The loss, a scalar."""
        xp = namespace({"logp": logp, "old_logp": old_logp, "rewards": rewards, "mask": mask})
        tokens = xp.sum(xp.where(mask, 1.0, 0.0), -1)
        terms = self.factor * self._terms(xp, logp, old_logp, self.advantages(xp, rewards), mask)
        if self.lengths == "own length":
            terms = terms / tokens
        return xp.sum(terms * self._weights(xp, rewards)) / (
            xp.sum(tokens) if self.lengths == "all tokens" else rewards.shape[0] * rewards.shape[1]
        )

    def advantages(self, xp: Namespace, r: Array) -> Array:
        """`[G, n]`, rewards less their baseline, reward units."""
        n, tau = r.shape[1], self.baseline_tau or self.tau
        mean = xp.sum(r, -1)[:, None] / n
        if self.baseline in ("group mean", "others' mean"):
            result = (r - mean) * (n / (n - 1) if self.baseline == "others' mean" else 1.0)
        elif self.baseline == "none":
            result = r
        else:
            top = xp.amax(r, -1)[:, None]
            terms = xp.exp((r - top) / tau)
            total = xp.sum(terms, -1)[:, None]
            if self.baseline == "group partition":
                inner = total / n
            elif self.baseline == "clamped partition":
                inner = xp.clip((total - terms) / (n - 1), self.floor, None)
            else:  # the others' terms themselves: nothing is subtracted
                return r - tau * _others(xp, r / tau)
            result = r - (top + tau * xp.log(inner))
        if self.standardise:
            result = result / (xp.sqrt(xp.sum((r - mean) ** 2, -1) / n)[:, None] + 1e-6)
        return result

    def _terms(self, xp: Namespace, logp: Array, old_logp: Array, advantage: Array, mask: Array) -> Array:
        """`[G, n]`, the term of each sequence."""
        tau, each = self.tau, advantage[..., None]
        token = xp.where(mask, logp - old_logp, 0.0)
        plain = xp.where(mask, logp, 0.0)
        s = xp.sum(token, -1)
        if self.shape == "square":
            miss = advantage / tau - s
            return -tau * _fixed(xp, miss) * s if self.detach else 0.5 * tau * miss * miss
        if self.shape == "linear":
            return -advantage * xp.sum(plain, -1)
        if self.shape == "linear + token square":
            return xp.sum(-each * plain + 0.5 * tau * token * token, -1)
        if self.shape == "token ratio + token square":
            return xp.sum(xp.where(mask, -each * xp.exp(token) + 0.5 * tau * token * token, 0.0), -1)
        if self.shape == "clip":
            ratio = xp.exp(token)
            held = xp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip)
            return -xp.sum(xp.where(mask, xp.minimum(ratio * each, held * each), 0.0), -1)
        ratio = xp.exp(s)
        change = ratio - 1.0
        return -ratio * advantage + tau * (ratio * s - change) + 0.5 * tau * self.chi2_weight * change * change

    def _weights(self, xp: Namespace, r: Array) -> Array:
        """`[G, n]`, weights of the terms."""
        n = r.shape[1]
        weight = 0.0 * r + 1.0
        if self.weight_tau is not None:
            raw = xp.exp((r - xp.amax(r, -1)[:, None]) / self.weight_tau)
            weight = raw / (xp.sum(raw, -1)[:, None] / n)
        if self.mean_between is not None:
            mean = xp.sum(r, -1)[:, None] / n
            weight = xp.where((mean > self.mean_between[0]) & (mean < self.mean_between[1]), weight, 0.0)
        return weight


def _others(xp: Namespace, scaled: Array) -> Array:
    """`[G, n]`, log of the mean of exp over the others of each group."""
    n = scaled.shape[1]
    columns = []
    for i in range(n):
        rest = xp.stack([scaled[:, j] for j in range(n) if j != i], -1)
        top = xp.amax(rest, -1)
        columns.append(top + xp.log(xp.sum(xp.exp(rest - top[:, None]), -1) / (n - 1)))
    return xp.stack(columns, -1)


def _fixed(xp: Namespace, value: Any) -> Any:
    """The value without a gradient; numpy arrays have none."""
    if hasattr(value, "detach"):
        return value.detach()
    if xp.__name__ == "numpy":
        return value
    import jax

    return jax.lax.stop_gradient(value)
