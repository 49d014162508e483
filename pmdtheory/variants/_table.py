"""The public objects called PMD, OPMD or Kimi, and their neighbours: each a short description with its source."""

from dataclasses import dataclass, field
from typing import Any, Final

from pmdtheory.variants._recipe import Recipe

TAU: Final = 0.1  # of every row, reward units

__all__ = ["TAU", "VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        name: an identifier.
        source: where its formula stands.
        description: what the formula is, in a few words.
        loss: a callable `loss(logp, old_logp, rewards, mask)`, at tau = 0.1.
        expected: fields of `Classification` that `classify(loss)` must find, for groups of 4.
        library: the library that differentiates it; "jax" where something is detached.
    """

    name: str
    source: str
    description: str
    loss: Recipe
    expected: dict[str, Any] = field(default_factory=dict)
    library: str = "numpy"


_SQUARE: Final = {"form": "regression", "level": "sequence", "uses_old_logp": True, "tau": TAU}
_GROUP: Final = _SQUARE | {"baseline": "mean of the group", "effective_tau": TAU * 4 / 3}
_OTHERS: Final = _SQUARE | {"baseline": "mean of the others", "effective_tau": TAU}
_GRADIENT: Final = {"form": "policy gradient", "member": "none of the family", "uses_old_logp": False}
_TOKENS: Final = _GROUP | {"level": "token", "member": "per-token PMD-mean"}

VARIANTS: Final = (
    Variant(
        "kimi",
        "Kimi K1.5, arXiv:2501.12599, and K2: (r - rbar - tau log pi/pi_old)^2",
        "the square itself, log Z replaced by the group's mean reward",
        Recipe(factor=2 * TAU),
        _GROUP | {"member": "PMD-mean", "gradient_scale": 2 * TAU, "length_rule": "none"},
    ),
    Variant(
        "pmd-mean",
        "arXiv:2602.05933",
        "the square in nats times tau/2, the others' mean as baseline",
        Recipe(baseline="others' mean"),
        _OTHERS | {"member": "PMD-mean", "gradient_scale": 1.0, "length_rule": "none"},
    ),
    Variant(
        "pmd-part",
        "arXiv:2602.05933",
        "the same with the others' log-partition, summed directly",
        Recipe(baseline="others' partition"),
        _SQUARE | {"member": "PMD-part", "baseline": "partition of the others", "baseline_tau": TAU},
    ),
    Variant(
        "openkimi-rloo",
        "OpenKimi (horizon-rl/OpenKimi), opmd with rloo",
        "the others' mean as baseline; divided by the response's length",
        Recipe(baseline="others' mean", lengths="own length"),
        _OTHERS | {"member": "PMD-mean", "length_rule": "own length", "length_exponent": 1.0},
    ),
    Variant(
        "openkimi-ploo",
        "OpenKimi (horizon-rl/OpenKimi), opmd with ploo",
        "the others' partition as sum less own term, clamped at 1e-8; divided by the response's length",
        Recipe(baseline="clamped partition", lengths="own length"),
        _SQUARE
        | {
            "member": "PMD-part",
            "baseline": "clamped partition of the others",
            "baseline_tau": TAU,
            "floor": 1e-8,
            "length_rule": "own length",
        },
    ),
    Variant(
        "openkimi-weighted",
        "OpenKimi (horizon-rl/OpenKimi), weighted helper",
        "weights exp((r - max)/tau) over their mean; only groups with a mean reward strictly inside (0, 1)",
        Recipe(baseline="others' mean", lengths="own length", weight_tau=TAU, mean_between=(0.0, 1.0)),
        _OTHERS
        | {
            "member": "weighted PMD-mean",
            "weights": "exponential",
            "weight_tau": TAU,
            "dropped": "mean reward outside",
            "dropped_range": (0.0, 1.0),
        },
    ),
    Variant(
        "trinity-opmd",
        "Trinity-RFT, opmd with the mean as baseline",
        "-A log pi/(1 + tau): the old log-probability is not used",
        Recipe("linear", factor=1 / (1 + TAU)),
        _GRADIENT | {"baseline": "mean of the group", "gradient_scale": 1 / (1 + TAU)},
    ),
    Variant(
        "trinity-opmd-logavgexp",
        "Trinity-RFT, opmd with tau log-avg-exp as baseline",
        "the same with the group's own partition",
        Recipe("linear", "group partition", factor=1 / (1 + TAU)),
        _GRADIENT | {"baseline": "partition of the group", "baseline_tau": TAU, "gradient_scale": 1 / (1 + TAU)},
    ),
    Variant(
        "trinity-rec-k2",
        "Trinity-RFT, rec with the regularizer k2",
        "-A log pi + c (log-ratio)^2 for each token, the half absorbed into c = tau/2, summed",
        Recipe("linear + token square"),
        _TOKENS | {"length_rule": "none"},
    ),
    Variant(
        "verl-dro",
        "verl, dro",
        "-(A log pi - beta/2 (log-ratio)^2) for each token, mean over all tokens, beta = tau",
        Recipe("linear + token square", lengths="all tokens"),
        _TOKENS | {"length_rule": "all tokens", "reduction": "mean over tokens"},
    ),
    Variant(
        "prime-rl",
        "prime-rl, default loss",
        "-A pi/pi_old + tau/2 (log-ratio)^2 for each token, mean over all tokens",
        Recipe("token ratio + token square", lengths="all tokens"),
        {"form": "mixed", "member": "none of the family", "level": "token", "tau": TAU, "uses_old_logp": True},
    ),
    Variant(
        "prime-rl-3381",
        "prime-rl, pull request 3381",
        "the sequence's residual, detached, times its log-ratio",
        Recipe(detach=True),
        _GROUP | {"member": "PMD-mean", "detached": True},
        library="jax",
    ),
    Variant(
        "kl-chi2",
        "this project, pmdtheory.losses.penalised_loss",
        "explicit KL and chi2 penalties on an importance-weighted gradient, c = 0.5",
        Recipe("ratio + KL + chi2", "others' mean", chi2_weight=0.5),
        {"form": "penalised", "member": "KL-chi2 step", "tau": TAU, "effective_tau": TAU, "chi2_weight": 0.5},
    ),
    Variant(
        "grpo",
        "arXiv:2402.03300",
        "clipped ratio of each token, standardised rewards, mean over each sequence",
        Recipe("clip", standardise=True, lengths="own length"),
        {"form": "clipped", "member": "none of the family", "clip": (0.8, 1.2), "baseline": "standardised"},
    ),
)
