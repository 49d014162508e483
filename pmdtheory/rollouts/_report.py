"""Diagnoses and calibrations as rows for tables. Nothing here prints."""

import math
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._calibrate import TARGETS, Calibration
from pmdtheory.rollouts._diagnosis import Diagnosis
from pmdtheory.rollouts._pooled import Pooled
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._regimes import COLLAPSE_PRONE, REGIMES

__all__ = [
    "calibration_rows",
    "data_rows",
    "figure",
    "group_rows",
    "overall_rows",
    "realised_rows",
    "regime_rows",
    "renamed",
    "size_rows",
    "step_rows",
]

_LABELS: Final = {
    "pass_rate": "pass rate",
    "new_pass_rate": "new pass rate",
    "gain": "gain",
    "multiplier": "lambda (chi2 weight)",
    "kl": "KL(new||old), nats",
    "chi2_share": "chi2 share of penalty",
    "no_signal": "groups without signal",
    "collapse": "partition collapse",
}


def renamed(name: str, binary: bool) -> str:
    """A functional's name: graded rewards have a mean reward where binary ones have a pass rate."""
    return name if binary else name.replace("pass_rate", "mean_reward").replace("pass rate", "mean reward")


def figure(value: float) -> str:
    """Four digits, or a dash where there is no number."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) or math.isnan(high) else f"{low:.4g} .. {high:.4g}"


def _tau(value: float) -> str:
    return f"{value:.4g}"


def data_rows(rollouts: Rollouts, groups: int, sizes: tuple[int, int]) -> list[tuple[str, str]]:
    """What was read."""
    rows = [
        ("rollouts", f"{rollouts.size:,}"),
        ("prompts", f"{len(rollouts.labels):,}"),
        ("groups", f"{groups:,} of {sizes[0]}" + (f" to {sizes[1]}" if sizes[1] > sizes[0] else "") + " rollouts"),
        ("layout", rollouts.layout + "".join(f", {role} = {name}" for role, name in rollouts.columns.items())),
    ]
    if rollouts.length is not None:
        rows.append(("length", _lengths(rollouts.length, rollouts.reward)))
    return [*rows, ("broken rows", f"{rollouts.broken_count:,}")] if rollouts.broken_count else rows


def _lengths(length: FloatArray, reward: FloatArray) -> str:
    """Mean length of a response, and of those with the highest and the lowest reward where these differ."""
    text = f"{length.mean():.4g} tokens"
    low, high = reward.min(), reward.max()
    if low == high:
        return text
    best, worst = length[reward == high].mean(), length[reward == low].mean()
    return f"{text}; {best:.4g} at reward {high:g}, {worst:.4g} at {low:g}"


def overall_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """Quantity, estimate, interval, plug-in estimate."""
    binary = found.scale.binary
    rows: list[tuple[str, ...]] = []
    for name, label in _LABELS.items():
        one = found.overall[name]
        plug = "-" if name in ("pass_rate", "no_signal") else figure(one.plug_in)
        rows.append((renamed(label, binary), figure(one.value), _range(one.low, one.high), plug))
    return rows


def regime_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """Regime, groups, share."""
    count = found.regime.size
    return [(name, f"{round(share * count):,}", f"{100 * share:.1f} %") for name, share in found.regime_share.items()]


def step_rows(found: Diagnosis, most: int) -> list[tuple[str, ...]]:
    """Step, groups, pass rate, predicted, lambda, KL; the middle is left out where there are too many."""
    steps = list(found.steps)
    if len(steps) > most:
        half = most // 2
        steps = steps[:half] + steps[-half:]

    def cell(one: Pooled) -> str:
        return f"{figure(one.value)} ± {figure(one.standard_error)}"

    rows = [
        (str(row.step), f"{row.groups:,}", *map(cell, (row.pass_rate, row.new_pass_rate, row.multiplier, row.kl)))
        for row in steps
    ]
    if len(found.steps) > most:
        rows.insert(most // 2, ("...", *([""] * 5)))
    return rows


def _order(found: Diagnosis) -> list[int]:
    """Groups by predicted gain, the largest first."""
    gain = np.where(np.isnan(found.measures.improvement), -np.inf, found.measures.improvement)
    return [int(i) for i in np.argsort(-gain, kind="stable")]


def _regime(found: Diagnosis, index: int) -> str:
    prone = ", collapse-prone" if found.collapse[index] >= COLLAPSE_PRONE else ""
    return REGIMES[int(found.regime[index])] + prone


def group_rows(found: Diagnosis, most: int) -> list[tuple[str, ...]]:
    """Prompt, step, n, pass rate, new pass rate with interval, lambda, KL, chi2 share, no signal, regime."""
    m = found.measures
    rows: list[tuple[str, ...]] = []
    low, high = found.intervals["new_pass_rate"]
    for i in _order(found)[:most]:
        groups = found.groups
        rows.append(
            (
                found.rollouts.labels[int(groups.prompt[i])][:32],
                "-" if found.rollouts.step is None else str(groups.step[i]),
                str(groups.size[i]),
                figure(m.mean_reward[i]),
                figure(m.expected_reward[i]),
                _range(low[i], high[i]),
                figure(m.multiplier[i]),
                figure(m.kl[i]),
                figure(m.chi2_share[i]),
                figure(found.no_signal[i]),
                _regime(found, i),
            )
        )
    return rows


def realised_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """Quantity, predicted, realised, interval of the realised; empty without log-probabilities."""
    made = found.realised
    if made is None:
        return []
    over = found.overall
    rows: list[tuple[str, Pooled, Pooled]] = [
        ("KL(old||new) = lambda, nats", over["multiplier"], made.multiplier),
        ("KL(new||old), nats", over["kl"], made.kl),
        (renamed("new pass rate", found.scale.binary), over["new_pass_rate"], made.new_pass_rate),
    ]
    table = [
        (label, _range(one.low, one.high), figure(real.value), _range(real.low, real.high)) for label, one, real in rows
    ]
    for label, one in (("share of the predicted step", made.slope), ("mean ratio new/old", made.mass)):
        table.append((label, "1", figure(one.value), _range(one.low, one.high)))
    return [*table, ("effective sample share", "-", figure(made.effective_share), "-")]


def calibration_rows(found: Calibration) -> list[tuple[str, str]]:
    """What was asked and what was found."""
    rows = [("target", f"{found.goal:g}, {TARGETS[found.target]}"), ("tau", _tau(found.tau))]
    if not math.isnan(found.low):
        rows.append((f"interval of tau, {100 * found.level:g} %", _range(found.low, found.high)))
    if found.safe_tau is not None:
        rows.append(("tau at which no prompt can exceed it", _tau(found.safe_tau)))
    if len(found.crossings) > 1:
        rows.append(("all crossings", ", ".join(map(_tau, found.crossings))))
    falls = "falls with tau throughout the scan" if found.monotone else "is not monotone in tau (C22)"
    rows.append(("the estimate", falls))
    rows.append((f"n for at most {100 * found.no_signal:g} % without signal", _advice(found)))
    return rows


def _advice(found: Calibration) -> str:
    likely = f"{found.n} by the estimate" if found.n is not None else f"none up to {found.sizes[-1].n} by the estimate"
    sure = f"{found.sure_n} by its upper bound" if found.sure_n is not None else "none by its upper bound"
    return f"{likely}, {sure}"


def size_rows(found: Calibration) -> list[tuple[str, ...]]:
    """Rollouts n, chance of no signal, bounds."""
    return [(str(one.n), figure(one.probability), _range(one.low, one.high)) for one in found.sizes]
