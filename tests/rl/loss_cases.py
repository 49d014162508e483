"""Second opinions on the losses: plain loops over Python floats that share no code with them, and their mistakes.

`B` sequences, `T` tokens. A term takes the log-ratios of the tokens that count, the signal, a length and options.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

OPTIONS: dict[str, dict[str, Any]] = {
    "pmd_loss": {"tau": 0.3},
    "penalised_loss": {"tau": 0.3, "chi2_weight": 0.7},
    "rloo_loss": {},
    "gspo_loss": {"clip_low": 0.1, "clip_high": 0.15},
    "grpo_loss": {"clip_low": 0.2, "clip_high": 0.3},
    "dr_grpo_loss": {"clip_low": 0.2, "clip_high": 0.3, "horizon": 5},
    "dapo_loss": {"clip_low": 0.2, "clip_high": 0.3},
}
SIGNAL = {name: "target" if name == "pmd_loss" else "advantages" for name in OPTIONS}
HAS_LENGTHS = ("pmd_loss", "gspo_loss")


@dataclass(frozen=True)
class Case:
    """A batch `[B, T]`, with garbage wherever nothing counts if `spoiled`."""

    logp: np.ndarray
    old_logp: np.ndarray
    signal: np.ndarray
    mask: np.ndarray
    weights: np.ndarray | None = None
    lengths: np.ndarray | None = None

    def arguments(self, name):
        """Keyword arguments of the loss, options included."""
        found = {"logp": self.logp, "old_logp": self.old_logp, SIGNAL[name]: self.signal, "mask": self.mask}
        if self.weights is not None:
            found["weights"] = self.weights
        if self.lengths is not None and name in HAS_LENGTHS:
            found["lengths"] = self.lengths
        return found | OPTIONS[name]

    def spoiled(self):
        """The same batch with NaN and infinities under the mask, and in the signal of sequences that do not count."""
        garbage = np.resize([np.nan, -np.inf, np.inf], self.mask.shape)
        signal = np.where(self.mask.any(1), self.signal, np.nan)
        logp, old = (np.where(self.mask, x, g) for x, g in ((self.logp, garbage), (self.old_logp, garbage[::-1])))
        return Case(logp, old, signal, self.mask, self.weights, self.lengths)


def random_case(seed, *, size=4, tokens=6, spread=0.5, weights=True, lengths=False):
    """Log-probabilities of ragged sequences, one of them without any token that counts."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(-4.0, -0.1, (size, tokens))
    mask = rng.random((size, tokens)) < 0.7
    mask[:, 0] = True
    mask[rng.integers(size)] = False
    drawn = rng.uniform(0.2, 2.0, size) if weights else None
    counts = np.where(mask.any(1), rng.integers(1, 9, size), 0) if lengths else None
    return Case(old + spread * rng.normal(size=old.shape), old, rng.normal(size=size), mask, drawn, counts)


def _clip(ratio, a, options):
    clipped = min(max(ratio, 1.0 - options["clip_low"]), 1.0 + options["clip_high"])
    return min(ratio * a, clipped * a)


def _pmd(ell, a, length, options):
    return 0.5 * options["tau"] * (a - math.fsum(ell)) ** 2 / length


def _penalised(ell, a, length, options):
    ratio, tau, c = math.exp(math.fsum(ell)), options["tau"], options["chi2_weight"]
    return -ratio * a + tau * (ratio * math.log(ratio) - ratio + 1.0) + tau * c / 2 * (ratio - 1.0) ** 2


def _rloo(ell, a, length, options):
    return -math.exp(math.fsum(ell)) * a


def _gspo(ell, a, length, options):
    return -_clip(math.exp(math.fsum(ell) / length), a, options)


def _tokens(ell, a, options):
    return -math.fsum(_clip(math.exp(e), a, options) for e in ell)


TERMS: dict[str, Callable[..., float]] = {
    "pmd_loss": _pmd,
    "penalised_loss": _penalised,
    "rloo_loss": _rloo,
    "gspo_loss": _gspo,
    "grpo_loss": lambda ell, a, length, options: _tokens(ell, a, options) / length,
    "dr_grpo_loss": lambda ell, a, length, options: _tokens(ell, a, options) / options["horizon"],
    "dapo_loss": lambda ell, a, length, options: _tokens(ell, a, options),
}


def naive(name, case, reduction="mean", *, term=None, per_token=None, over_all=False):
    """The loss by loops: `term` and the two switches are there to make mistakes with."""
    term = TERMS[name] if term is None else term
    per_token = name == "dapo_loss" if per_token is None else per_token
    lengths = case.lengths if name in HAS_LENGTHS else None
    terms, live, tokens = [], 0, 0
    for i, row in enumerate(case.mask):
        ell = [float(case.logp[i, t] - case.old_logp[i, t]) for t in range(row.size) if row[t]]
        if not ell or (lengths is not None and lengths[i] <= 0):
            terms.append(0.0)
            continue
        length = float(lengths[i]) if lengths is not None else 1.0 if name == "pmd_loss" else float(len(ell))
        weight = 1.0 if case.weights is None else float(case.weights[i])
        terms.append(weight * term(ell, float(case.signal[i]), length, OPTIONS[name]))
        live, tokens = live + 1, tokens + len(ell)
    if reduction == "none":
        return np.array(terms)
    count = len(terms) if over_all else tokens if per_token else live
    return math.fsum(terms) / (max(count, 1) if reduction == "mean" else 1)


def _unclipped_side(ell, a, options):
    """PPO's surrogate without the minimum: clipped on both sides whatever the sign."""
    return -math.fsum(min(max(math.exp(e), 1 - options["clip_low"]), 1 + options["clip_high"]) * a for e in ell)


# The nearest plausible mistakes: for each loss, what a careless implementation computes instead.
MUTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "pmd_loss": {
        "no half": {"term": lambda ell, a, n, o: 2 * _pmd(ell, a, n, o)},
        "square per token": {"term": lambda ell, a, n, o: 0.5 * o["tau"] * math.fsum((a - e) ** 2 for e in ell) / n},
        "mean over tokens": {"term": lambda ell, a, n, o: _pmd([math.fsum(ell) / len(ell)], a, n, o)},
        "no lengths": {"term": lambda ell, a, n, o: _pmd(ell, a, 1.0, o)},
        "wrong sign of the ratio": {"term": lambda ell, a, n, o: _pmd([-e for e in ell], a, n, o)},
        "target in reward units": {"term": lambda ell, a, n, o: _pmd(ell, a / o["tau"], n, o)},
        "mean over all rows": {"over_all": True},
        "mean over tokens of the batch": {"per_token": True},
    },
    "penalised_loss": {
        "KL the wrong way round": {
            "term": lambda ell, a, n, o: (
                _penalised(ell, a, n, o)
                - o["tau"] * math.exp(math.fsum(ell)) * math.fsum(ell)
                - o["tau"] * math.fsum(ell)
                + 2 * o["tau"] * (math.exp(math.fsum(ell)) - 1)
            )
        },
        "chi2 without its half": {
            "term": lambda ell, a, n, o: (
                _penalised(ell, a, n, o) + o["tau"] * o["chi2_weight"] / 2 * math.expm1(math.fsum(ell)) ** 2
            )
        },
        "chi2 of each token": {
            "term": lambda ell, a, n, o: (
                _penalised(ell, a, n, {**o, "chi2_weight": 0.0})
                + o["tau"] * o["chi2_weight"] / 2 * math.fsum(math.expm1(e) ** 2 for e in ell)
            )
        },
        "mean over all rows": {"over_all": True},
    },
    "rloo_loss": {
        "ratio per token": {"term": lambda ell, a, n, o: -a * math.fsum(map(math.exp, ell))},
        "length-normalised": {"term": lambda ell, a, n, o: -a * math.exp(math.fsum(ell) / n)},
        "mean over all rows": {"over_all": True},
    },
    "gspo_loss": {
        "no length normalisation": {"term": lambda ell, a, n, o: _gspo(ell, a, 1.0, o)},
        "arithmetic mean of ratios": {
            "term": lambda ell, a, n, o: -_clip(math.fsum(map(math.exp, ell)) / len(ell), a, o)
        },
        "never clipped": {"term": lambda ell, a, n, o: -a * math.exp(math.fsum(ell) / n)},
    },
    "grpo_loss": {
        "no minimum": {"term": lambda ell, a, n, o: _unclipped_side(ell, a, o) / n},
        "never clipped": {"term": lambda ell, a, n, o: -a * math.fsum(map(math.exp, ell)) / n},
        "no length normalisation": {"term": lambda ell, a, n, o: _tokens(ell, a, o)},
        "mean over tokens of the batch": {"term": TERMS["dapo_loss"], "per_token": True},
    },
    "dr_grpo_loss": {
        "divided by the length": {"term": lambda ell, a, n, o: _tokens(ell, a, o) / n},
        "no horizon": {"term": lambda ell, a, n, o: _tokens(ell, a, o)},
        "mean over tokens of the batch": {"per_token": True},
    },
    "dapo_loss": {
        "mean within sequences": {"term": TERMS["grpo_loss"], "per_token": False},
        "clipped alike above and below": {"term": lambda ell, a, n, o: _tokens(ell, a, {**o, "clip_high": 0.2})},
        "mean over sequences": {"per_token": False},
    },
}
