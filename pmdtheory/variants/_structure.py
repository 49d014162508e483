"""What else decides a loss: old log-probabilities, tokens or sequences, lengths, the mask, the rest of the batch."""

import math
from dataclasses import dataclass

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.variants._layout import layout, mixed_rewards, scattered
from pmdtheory.variants._probe import Batch, Probe
from pmdtheory.variants._shape import coefficients

_LENGTHS = (1, 2, 4)

__all__ = ["Anchor", "Lengths", "anchor", "detached", "leaks", "lengths", "other_groups", "token_share"]


@dataclass(frozen=True)
class Anchor:
    """What the gradient depends on: logp alone, old_logp alone, only their difference."""

    logp: bool
    old_logp: bool
    difference: bool


@dataclass(frozen=True)
class Lengths:
    """How lengths enter.

    Attributes:
        policy: exponent q of the gradient at the old policy: it goes as length^-q.
        square: exponent of what multiplies the log-ratio; larger than `policy` where the log-ratio is averaged.
        rule: "none", "own length", "length^q", "all tokens", "padded length" or "unknown".
        groups: whether the batch is averaged over its groups.
        sequences: power of 1/n in the overall scale of the square, NaN where there is no square.
        residual: how far measured ratios are from the rule.
    """

    policy: float
    square: float
    rule: str
    groups: bool
    sequences: float
    residual: float


def anchor(tested: Probe, n: int, scale: float) -> Anchor:
    """Which of logp and old_logp the gradient depends on."""
    rewards = np.stack([mixed_rewards(n, scale), mixed_rewards(n, scale, start=3)])
    base = layout(rewards, lengths=[*_LENGTHS, *[3] * (n - 3)], pad=4, log_ratio=0.4)
    shift = np.where(base.mask, scattered(base.logp.shape, -0.3, 0.3, 7), 0.0)
    before = tested.gradient(base)

    def changed(batch: Batch) -> bool:
        found = tested.gradient(batch)
        size = max(np.abs(before).max(), np.abs(found).max())
        # a square of a log-ratio may be tiny beside an advantage over a small tau: look at it absolutely too
        return bool(np.abs(found - before).max() > 0.1 * tested.tolerance * size)

    return Anchor(
        changed(base._replace(logp=base.logp + shift)),
        changed(base._replace(old_logp=base.old_logp + shift)),
        not changed(base._replace(logp=base.logp + shift, old_logp=base.old_logp + shift)),
    )


def token_share(tested: Probe, n: int, scale: float) -> float:
    """How much of the change that a token's log-ratio makes reaches the other tokens: 1 sequence, 0 token level."""
    rewards = mixed_rewards(n, scale)
    change = (
        tested.gradient(layout(rewards, pad=4, log_ratio=0.4)) - tested.gradient(layout(rewards, pad=4, log_ratio=0.0))
    )[0]
    own, other = change[:, 0], change[:, 1:].mean(axis=1)
    return float(own @ other / (own @ own)) if np.any(own) else math.nan


def detached(tested: Probe, n: int, scale: float) -> bool:
    """Whether the gradient is not that of the value: something in the loss was detached."""
    if tested.library == "numpy":
        return False
    batch = layout(mixed_rewards(n, scale), log_ratio=scattered((1, n), -0.5, 0.5))
    auto, by_value = tested.gradient(batch), tested.numerical_gradient(batch)
    loose = 1e-4 if tested.tolerance < 1e-4 else 0.05
    return bool(np.abs(auto - by_value).max() > loose * max(np.abs(auto).max(), np.abs(by_value).max()))


def leaks(tested: Probe, n: int, scale: float) -> bool:
    """Whether tokens outside the mask have a gradient, or change that of the others."""
    clean = layout(mixed_rewards(n, scale), lengths=[*_LENGTHS, *[3] * (n - 3)], pad=4, log_ratio=0.3)
    spoiled = clean._replace(
        logp=np.where(clean.mask, clean.logp, -2.0), old_logp=np.where(clean.mask, clean.old_logp, -1.0)
    )
    before, after = tested.gradient(clean), tested.gradient(spoiled)
    limit = 10.0 * tested.tolerance * np.abs(before).max()
    return bool(np.abs(after - before).max() > limit or np.abs(after[~clean.mask]).max() > limit)


def other_groups(tested: Probe, n: int, scale: float) -> bool:
    """Whether the rewards, or the log-ratios, of one group change the gradient of another."""
    mixed, other = mixed_rewards(n, scale), mixed_rewards(n, scale, start=3)
    move = np.array([[0.0], [0.6]])
    found = [
        tested.gradient(layout(np.stack([mixed, second]), log_ratio=ratio))[0]
        for second, ratio in ((mixed, 0.0), (0.5 + 0.3 * (other - 0.5), 0.0), (mixed, move))
    ]
    return any(
        bool(np.abs(one - found[0]).max() > 100.0 * tested.tolerance * np.abs(found[0]).max()) for one in found[1:]
    )


def lengths(tested: Probe, functions: tuple[str, ...], n: int, other: int, scale: float) -> Lengths:
    """The rule by which lengths enter, from sequences of 1, 2 and 4 tokens padded to 4."""
    rewards = mixed_rewards(n, scale)[None]
    square = functions.index("s") if "s" in functions else (functions.index("se") if "se" in functions else None)

    def measured(own: FloatArray | int, pad: int = 4, groups: int = 1) -> FloatArray:
        table = np.broadcast_to(own, (groups, n))
        return coefficients(tested, functions, np.repeat(rewards, groups, axis=0), table, pad)[:, 0]  # [F, n]

    def at_old(found: FloatArray) -> FloatArray:
        """Gradients at log-ratio zero: what multiplies 1 and the exponentials."""
        return np.asarray(sum(found[k] for k, name in enumerate(functions) if name in ("1", "e", "e2", "e-")))

    full, half = measured(4), measured(2)
    longer, twice = measured(4, pad=8), measured(4, groups=2)
    main = at_old(full)
    strong = np.argsort(-np.abs(main))[:3]  # an advantage may be zero
    mixed = np.full(n, 4)
    mixed[strong] = _LENGTHS
    some = measured(mixed)
    logs = np.log(np.abs(at_old(some)[strong] / main[strong]))
    policy = (logs[0] - logs[1]) / math.log(2.0)
    residual = abs(logs[1] - logs[2] - policy * math.log(2.0))
    exponent = math.nan
    if square is not None:
        logs2 = np.log(np.abs(some[square] / full[square]))[strong]
        exponent = (logs2[0] - logs2[1]) / math.log(2.0)
        residual = max(residual, abs(logs2[1] - logs2[2] - exponent * math.log(2.0)))
    tokens = _ratio(at_old(half), main) / 2.0**policy  # 2 where the batch is divided by all its tokens
    padded = _ratio(at_old(longer), main)  # 1/2 where it is divided by the padded length
    groups = _ratio(at_old(twice), main)  # 1/2 for a mean over groups, 1 for a sum
    sequences = math.nan
    if square is not None:
        more = coefficients(tested, functions, mixed_rewards(other, scale)[None], np.full((1, other), 4.0), 4)
        sequences = -math.log(abs(more[square, 0].mean() / full[square].mean())) / math.log(other / n)
    near = max(1e-3, 10.0 * tested.tolerance)
    rules = {
        "all tokens": (0.0, 2.0, 1.0),
        "padded length": (0.0, 1.0, 0.5),
        "none": (0.0, 1.0, 1.0),
        "own length": (1.0, 1.0, 1.0),
        f"length^{policy:.4g}": (policy, 1.0, 1.0),
    }
    found = (policy, tokens, padded)
    rule = next((name for name, goal in rules.items() if np.allclose(found, goal, atol=near)), "unknown")
    return Lengths(policy, exponent, rule, abs(groups - 0.5) < near, sequences, float(residual))


def _ratio(values: FloatArray, base: FloatArray) -> float:
    """The factor between two arrays that are proportional."""
    return float(values @ base / (base @ base))
