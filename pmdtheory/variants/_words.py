"""The verdict in words."""

import math
from typing import Any

from pmdtheory.variants._findings import Findings

__all__ = ["verdict"]


def verdict(record: dict[str, Any], found: Findings) -> str:
    """Two to five sentences: what it is, with which parameters, what it converges to, what is wrong with it."""
    parts = [_none(record) if record["reason"] else _member(record, found)]
    parts += [sentence for sentence in (_lengths(record), _weights(record), *record["notes"]) if sentence]
    if not record["reason"]:
        parts.append(_populations(record, found))
    return " ".join(part for part in parts if part)


def _none(record: dict[str, Any]) -> str:
    """Why it is none, and its advantage where one was recognised."""
    text = f"None of the family: {record['reason']}."
    baseline = record.get("baseline", "unknown")
    scale = record.get("gradient_scale", math.nan)
    if baseline != "unknown" and math.isfinite(scale):
        inner = record["baseline_tau"]
        at = f" at tau = {inner:.6g}" if math.isfinite(inner) else ""
        if math.isfinite(record["tau"]):
            text += f" Its square alone has tau = {record['tau']:.6g}."
        gradient = "one with standardised rewards" if baseline == "standardised" else f"baseline {baseline}{at}"
        text += f" At the old policy: {scale:.6g} times the policy gradient, {gradient}."
    return text


def _member(record: dict[str, Any], found: Findings) -> str:
    """The member with its temperature."""
    n, tau, effective = record["group_size"], record["tau"], record["effective_tau"]
    baseline = record["baseline"]
    if record["form"] == "pairwise":
        return (
            f"Pairwise PMD with tau = {tau:.6g}: a square of differences within the group, which needs no baseline "
            "and converges to KL-PMD exactly."
        )
    what = "KL and chi2 penalties on an importance-weighted gradient" if record["form"] == "penalised" else "a square"
    unit = {"token": "each token's log-ratio", "none": "the log-ratio"}.get(record["level"], "the sequence log-ratio")
    name = record["member"]
    if baseline == "standardised":
        eps = record["epsilon"]
        return (
            f"{name}: {what} of {unit} towards {found.rewards.target.scale:.6g} times the reward less the "  # type: ignore[union-attr]
            f"group's mean over (sd + {eps:.2g}). Each group has a temperature of its own, proportional to its "
            "standard deviation: no single tau, and no step on the rewards themselves."
        )
    text = f"{name} with tau = {tau:.6g}: {what} of {unit}, baseline {baseline}"
    if baseline == "constant":
        text += f" (b = {record['baseline_value']:.6g} nats)"
    text += "."
    if record["form"] == "penalised":
        text += f" The chi2 has the explicit weight {record['chi2_weight']:.6g}."
    if baseline == "mean of the group":
        text += (
            f" The group's mean holds the rollout itself, so groups of {n} converge to tau n/(n-1) = {effective:.6g}."
        )
    elif baseline == "mean of the others" and record["form"] == "regression":
        text += f" The same as the whole group's mean at tau (n-1)/n = {tau * (n - 1) / n:.6g} for n = {n}."
    elif baseline == "partition of the others":
        text += f" In population PMD(b) with the expected partition of {n - 1} rollouts, between PMD-mean and KL-PMD."
    elif baseline == "partition of the group":
        text += f" The partition holds the rollout itself: no target exceeds log n = {math.log(n):.4g} nats."
    elif baseline == "clamped partition of the others":
        top = -math.log(record["floor"])
        text += (
            f" The partition is clamped at {record['floor']:.3g}: the only success of a group never gets more than "
            f"{top:.4g} nats, an advantage of {top * record['baseline_tau']:.4g} reward units however far it is above."
        )
    return text


def _lengths(record: dict[str, Any]) -> str:
    rule, inner = record.get("length_rule", "unknown"), record.get("log_ratio_exponent", math.nan)
    text = {
        "own length": "Each sequence is divided by its own length: long responses count less (C15).",
        "all tokens": "The mean is over all tokens of the batch: a sequence counts the same whatever its length.",
        "padded length": "Everything is divided by the padded length: the step depends on the longest response.",
    }.get(rule, "")
    if rule.startswith("length^"):
        text = f"Each sequence is multiplied by its length to the power {-record['length_exponent']:.4g}."
    if math.isfinite(inner) and abs(inner) > 0.01 and not record["reason"]:
        text += f" The log-ratio is divided by length^{inner:.4g}, so that long responses have a larger tau."
    return text.strip()


def _weights(record: dict[str, Any]) -> str:
    parts = []
    if str(record.get("weights", "equal")).startswith("exponential"):
        mean = "of mean one" if record["weights"] == "exponential" else "relative to the best"
        tau = record["weight_tau"]
        parts.append(f"Rollouts are weighted by exp(r/{tau:.6g}), {mean}, which moves the sampler (C15).")
    if record.get("dropped") == "equal rewards":
        parts.append("Groups of equal rewards are dropped.")
    if record.get("dropped") == "mean reward outside":
        low, high = record["dropped_range"]
        parts.append(f"Groups are dropped unless their mean reward lies in ({low:.6g}, {high:.6g}).")
    return " ".join(parts)


def _populations(record: dict[str, Any], found: Findings) -> str:
    """How well the description reproduces the loss's own stationary policies."""
    known = [one for one in found.populations if not math.isnan(one.residual)]
    if not known:
        return ""
    text = (
        f"Its own stationary policies on {len(known)} probe bandits are those of this description to "
        f"{max(one.residual for one in known):.1e} in total variation"
    )
    if record["form"] == "regression" and math.isfinite(record["multiplier"]):
        text += f"; implicit chi2 weight {record['multiplier']:.4g} on the first" if _mean(record) else ""
    return text + "."


def _mean(record: dict[str, Any]) -> bool:
    return bool(record["member"].endswith("PMD-mean"))
