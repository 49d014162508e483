"""`classify`: what a loss is, from its gradients on chosen batches and its stationary policies on probe bandits."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pmdtheory._checks import positive_scalar
from pmdtheory._groups import whole_number
from pmdtheory.variants._classification import Classification
from pmdtheory.variants._findings import Findings, other_size
from pmdtheory.variants._layout import layout, mixed_rewards
from pmdtheory.variants._populations import populations
from pmdtheory.variants._probe import Probe, probe
from pmdtheory.variants._rewards import pairwise, rewards_of
from pmdtheory.variants._shape import Shape, shape
from pmdtheory.variants._structure import anchor, detached, leaks, lengths, other_groups, token_share
from pmdtheory.variants._verdict import judged
from pmdtheory.variants._weights import dropped_groups

_SIZE: Final = "leave-one-out baselines of fewer rollouts cannot be told apart; pass at least 3"

__all__ = ["classify"]


def classify(
    loss: Callable[[Any, Any, Any, Any], Any],
    *,
    group_size: int = 4,
    tau_hint: float | None = None,
    library: str | None = None,
) -> Classification:
    r"""Find out which member of the PMD family a loss is, or that it is none, from its values and gradients.

    Formula: a member has the gradient \(-w_i(t_i - s_i)\nabla s_i\) with \(s_i = \sum_t \log\pi_\theta -
    \log\pi_{old}\) and a target \(t_i = (r_i - \text{baseline}_i)/\tau\). The loss is differentiated at chosen
    log-ratios, rewards, lengths and group sizes, which gives t and w as functions of these; the functions are
    matched with the known ones. Independently, the gradient of the loss over all groups of a probe bandit is solved
    for its root, and the two policies are compared. Names and source code are never looked at.

    Args:
        loss: callable `loss(logp[G,n,T], old_logp[G,n,T], rewards[G,n], mask[G,n,T]) -> scalar`, logp in nats,
            rewards in reward units, mask boolean, deterministic. It is called with float64 arrays.
        group_size: n, rollouts of a group, at least 3; the loss is also called with groups of 3, or of 5 where n is 3.
        tau_hint: rough size of tau, reward units, when it is far from 0.01 ... 1; None probes rewards from 0.01 to 1.
        library: "numpy", "jax" or "torch"; None tries numpy and follows the type of the result. numpy losses are
            differentiated by finite differences, and so a detached factor shows only in jax and torch.

    Returns:
        A `Classification`. Its `verdict` says it in words, `member` is "none of the family" where nothing fits.

    Raises:
        TypeError: for a loss that is not callable, a group size that is no whole number.
        ValueError: for a loss that raises, returns no scalar, is not finite or not deterministic; an unknown library.

    Numerics: parameters to about 1e-6 in float64; about 1e-3 for losses that return float32. A temperature is
        recognised from 1e-4 to 1e2 times the size of the rewards.

    Source: this project (C1, C12, C15).

    >>> import numpy as np
    >>> def mine(logp, old_logp, rewards, mask):  # Kimi's square, with the group's mean
    ...     log_ratio = ((logp - old_logp) * mask).sum(-1)
    ...     return np.mean((rewards - rewards.mean(-1, keepdims=True) - 0.3 * log_ratio) ** 2)
    >>> found = classify(mine)
    >>> found.member, found.baseline, round(found.tau, 6), round(found.effective_tau, 6)
    ('PMD-mean', 'mean of the group', 0.3, 0.4)
    """
    n = whole_number("group_size", group_size, 3, _SIZE)
    unit = 1.0 if tau_hint is None else 10.0 * positive_scalar("tau_hint", tau_hint, "pass a rough tau, such as 0.1")
    first = layout(np.stack([mixed_rewards(n, unit), mixed_rewards(n, unit, 3)]), lengths=[1, 2, *[4] * (n - 2)], pad=4)
    tested = probe(loss, first, library)
    return judged(_examined(tested, n, unit))


def _examined(tested: Probe, n: int, unit: float) -> Findings:
    """All measurements, each only where those before leave it a meaning."""
    found_shape = _shape(tested, n, unit)
    found = Findings(tested, n, unit, found_shape, anchor(tested, n, 0.01 * unit))
    if found_shape.form == "no gradient":
        return found
    found = replace(
        found,
        detached=detached(tested, n, unit),
        leaks=leaks(tested, n, unit),
        batch=other_groups(tested, n, unit),
        share=math.nan if found_shape.form == "policy gradient" else token_share(tested, n, unit),
    )
    if found_shape.form == "coupled":
        return populations(replace(found, pairwise=pairwise(tested, n, unit)))
    if found_shape.form in ("regression", "penalised") and not found.anchor.old_logp:
        return found  # a square of log pi itself has no target in the rewards alone
    functions = found_shape.functions or ("1",)  # of a form that is not known, only the gradient at the old policy
    dropped, finite = dropped_groups(tested, n, unit, square="s" in functions or "se" in functions)
    return populations(
        replace(
            found,
            equal_finite=finite,
            lengths=lengths(tested, functions, n, other_size(n), 0.1 * unit),
            rewards=rewards_of(tested, functions, n, other_size(n), unit, dropped),
        )
    )


def _shape(tested: Probe, n: int, unit: float) -> Shape:
    """The form at rewards of size one, or at small ones where these show more of it (a square beside a large A/tau)."""
    large = shape(tested, n, unit)
    if large.form in ("no gradient", "clipped", "regression", "penalised"):
        return large
    small = shape(tested, n, 0.01 * unit)
    return small if len(small.functions) > len(large.functions) and small.form != "mixed" else large
