"""From findings to a classification: which member it is, or why it is none, and the sentences that say so."""

import math
from typing import Any

import numpy as np

from pmdtheory.variants._classification import Classification
from pmdtheory.variants._findings import Findings
from pmdtheory.variants._words import verdict

NONE = "none of the family"

__all__ = ["NONE", "judged"]


def judged(found: Findings) -> Classification:
    """The classification that the findings add up to."""
    record = _record(found)
    reason = _why_none(found, record)
    member = NONE if reason else _member(found, record)
    residual = math.nan if reason else _residual(found)
    if not reason and residual > found.near:
        reason = f"its stationary policies are not those of what its gradients look like (residual {residual:.2g})"
        member, residual = NONE, math.nan
    record |= {"member": member, "reason": reason, "residual": residual, "notes": _notes(found)}
    return Classification(verdict=verdict(record, found), **record)


def _record(found: Findings) -> dict[str, Any]:
    """Every field that does not depend on the verdict."""
    rewards, named, lengths = found.rewards, found.named, found.lengths
    record: dict[str, Any] = {
        "form": "pairwise" if found.pairwise is not None else found.shape.form,
        "level": _level(found.share),
        "uses_old_logp": found.anchor.old_logp,
        "detached": found.detached,
        "clip": found.shape.clip,
        "group_size": found.n,
        "library": found.tested.library,
        "populations": found.populations,
        "policy_gradient_scale": found.policy_gradient[0],
        "policy_gradient_residual": found.policy_gradient[1],
        "multiplier": _multiplier(found),
    }
    if found.pairwise is not None:
        record |= {"tau": found.pairwise.tau, "effective_tau": found.pairwise.tau, "baseline": "mean of the group"}
    if lengths is not None:
        record |= {
            "length_rule": lengths.rule,
            "length_exponent": lengths.policy,
            "log_ratio_exponent": lengths.square - lengths.policy,
            "reduction": _reduction(found),
        }
    if rewards is not None and named is not None:
        fit = rewards.target
        partition = "partition" in named.baseline
        value = fit.offset * (fit.scale if rewards.square else 1.0)
        record |= {
            "baseline": named.baseline,
            "tau": named.tau,
            "effective_tau": named.effective_tau,
            "tau_power": named.tau_power,
            "gradient_scale": named.scale,
            "baseline_tau": fit.parameters[0] if partition else math.nan,
            "baseline_value": value if named.baseline == "constant" else math.nan,
            "floor": fit.parameters[1] if fit.kind == "clamped partition" else math.nan,
            "epsilon": fit.parameters[0] if fit.kind == "standardised" else math.nan,
            "weights": rewards.weights.kind,
            "weight_tau": rewards.weights.tau,
            "dropped": rewards.dropped.rule,
            "dropped_range": (rewards.dropped.low, rewards.dropped.high),
            "chi2_weight": rewards.chi2_weight,
        }
    return record


def _level(share: float) -> str:
    if math.isnan(share):
        return "none"
    return "token" if abs(share) < 0.01 else "sequence" if abs(share - 1.0) < 0.01 else "sequence and token"


def _multiplier(found: Findings) -> float:
    """KL(old||new) on the flat bandit: lambda of a regression with the mean as baseline (C4)."""
    if not found.populations or found.populations[0].policy is None:
        return math.nan
    old, new = found.populations[0].old_policy, found.populations[0].policy
    return float(np.sum(old * np.log(old / new)))


def _reduction(found: Findings) -> str:
    if found.lengths is None:
        return "unknown"
    if found.lengths.rule == "all tokens":
        return "mean over tokens"
    return {
        (True, True): "mean over sequences",
        (True, False): "mean over groups, sum within",
        (False, True): "sum over groups, mean within",
        (False, False): "sum",
    }[found.lengths.groups, found.per_sequence]


def _why_none(found: Findings, record: dict[str, Any]) -> str:
    """Why no member reproduces the loss; empty where one may."""
    form = found.shape.form
    if form == "no gradient":
        return "its gradient is zero on ordinary batches"
    if form == "clipped":
        low, high = found.shape.clip
        ends = [f"{word} {value:.6g}" for word, value in (("below", low), ("above", high)) if math.isfinite(value)]
        return (
            f"a clipped surrogate: its gradient is exactly zero for ratios {' and '.join(ends)}, so that policies "
            "outside of these bounds are all stationary and nothing pulls back towards the old one"
        )
    if form == "policy gradient":
        anchor = "" if found.anchor.old_logp else ", and old_logp does not enter"
        return (
            f"a plain policy gradient: its gradient does not depend on the log-ratio{anchor}; there is no square, no "
            "implicit chi2 and no stationary policy inside the simplex"
        )
    if form == "importance-weighted":
        return (
            "an importance-weighted policy gradient without a penalty: minus the expected advantage, which no policy "
            "inside the simplex minimises"
        )
    if not found.anchor.old_logp:
        return "its square is of log pi itself: old_logp does not enter, and so nothing anchors it to the old policy"
    if not found.anchor.difference:
        return "its gradient depends on logp and old_logp otherwise than through their difference"
    if form == "mixed":
        return (
            f"its gradient is a sum of {_functions(found)} of the log-ratio s: a penalty beside an importance weight "
            "or of another kind, which is the step of no regression; to first order it is one"
        )
    if form == "coupled" and found.pairwise is None:
        return "the log-ratio of one rollout enters the gradient of others in its group"
    if form == "other":
        return "its gradient is no known function of the log-ratio"
    if found.batch:
        return "the rewards or log-ratios of one group change the gradient of others: no population per prompt"
    if found.pairwise is not None:
        return ""
    if record["baseline"] == "unknown":
        return "its targets are no known function of the rewards of the group"
    if record["weights"] == "unknown":
        return "its weights are no known function of the rewards of the group"
    if found.named is not None and found.named.scale < 0.0:
        return "it lowers the log-probability of what is better than the baseline: a sign is wrong"
    if found.populations and found.populations[0].policy is None:
        return "its population gradient has no stable root inside the simplex"
    return ""


def _functions(found: Findings) -> str:
    names = {"1": "1", "s": "s", "e": "exp(s)", "se": "s exp(s)", "e2": "exp(2s)", "e-": "exp(-s)"}
    return " and ".join(names[name] for name in found.shape.functions)


def _member(found: Findings, record: dict[str, Any]) -> str:
    """The name of the member, with what reweights it in front."""
    if found.pairwise is not None:
        return "pairwise PMD"
    names = {
        "mean of the group": "PMD-mean",
        "mean of the others": "PMD-mean",
        "constant": "PMD(b)",
        "standardised": "standardised PMD",
    }
    name = "KL-chi2 step" if record["form"] == "penalised" else names.get(str(record["baseline"]), "PMD-part")
    front = ["per-token"] if record["level"] == "token" else []
    front += ["weighted"] if record["weights"] != "equal" else []
    return " ".join([*front, name])


def _residual(found: Findings) -> float:
    """The worst of all misfits."""
    parts = [0.0]
    if found.pairwise is not None:
        parts += [found.pairwise.residual]
    if found.rewards is not None:
        parts += [found.rewards.target.residual, found.rewards.weights.residual]
    if found.lengths is not None:
        parts += [found.lengths.residual]
    parts += [one.residual for one in found.populations if not math.isnan(one.residual)]
    return max(parts)


def _notes(found: Findings) -> tuple[str, ...]:
    """Findings that are no parameter."""
    notes = []
    if found.leaks:
        notes.append("Tokens outside the mask have a gradient, or change that of others: padding is not ignored.")
    if found.detached:
        notes.append("The gradient is not that of the value: something is detached, and the loss curve means little.")
    if not found.equal_finite:
        notes.append("Not finite where all rewards of a group are equal.")
    if found.rewards is not None:
        named, rewards = found.named, found.rewards
        ratio = rewards.far
        if rewards.target.kind not in ("unknown", "clamped partition") and abs(ratio - 1.0) > found.near:
            notes.append(
                f"Large rewards are treated otherwise: 60 tau above the others gets {ratio:.3g} of its target."
            )
        if named is not None and named.tau_power not in (0.0,) and not math.isnan(named.tau_power):
            notes.append(f"tau goes as the group size to the power {named.tau_power:.4g}.")
        tau, inner = (named.tau if named else math.nan), rewards.target.parameters[:1]
        if inner and "partition" in rewards.target.kind and abs(inner[0] / tau - 1.0) > found.near:
            notes.append(f"The partition is taken at tau = {inner[0]:.6g}, the square at {tau:.6g}.")
    if found.rewards is not None and not found.populations:
        notes.append("No population could be solved: the loss is not finite on one of its groups.")
    return tuple(notes)
