"""Diagnoses and calibrations as JSON text: no NaN, infinities as words. Nothing here prints."""

import json
import math
from typing import Any, Final

from pmdtheory.rollouts._calibrate import Calibration
from pmdtheory.rollouts._diagnosis import Diagnosis
from pmdtheory.rollouts._pooled import Pooled
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._regimes import COLLAPSE_PRONE, REGIMES
from pmdtheory.rollouts._report import renamed

__all__ = ["SCHEMA", "calibration_data", "diagnosis_data"]

SCHEMA: Final = 1


def _number(value: Any) -> float | str | None:
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _pooled(one: Pooled) -> dict[str, Any]:
    names = ("value", "low", "high", "standard_error", "bias_low", "bias_high", "plug_in")
    return {**{name: _number(getattr(one, name)) for name in names}, "exact": one.exact}


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)


def _data(rollouts: Rollouts) -> dict[str, Any]:
    named = [vars(row) for row in rollouts.broken]
    return {
        "rollouts": rollouts.size,
        "prompts": len(rollouts.labels),
        "layout": rollouts.layout,
        "columns": rollouts.columns,
        "broken": {"count": rollouts.broken_count, "rows": named},
    }


def diagnosis_data(found: Diagnosis) -> str:
    """A diagnosis as JSON text, every group included."""
    binary, m = found.scale.binary, found.measures
    points = {
        "pass_rate": m.mean_reward,
        "new_pass_rate": m.expected_reward,
        "gain": m.improvement,
        "multiplier": m.multiplier,
        "kl": m.kl,
        "chi2_share": m.chi2_share,
        "no_signal": found.no_signal,
        "collapse": found.collapse,
    }
    rows = []
    for i in range(found.regime.size):
        row: dict[str, Any] = {
            "prompt": found.rollouts.labels[int(found.groups.prompt[i])],
            "step": None if found.rollouts.step is None else int(found.groups.step[i]),
            "n": int(found.groups.size[i]),
            "regime": REGIMES[int(found.regime[i])],
            "regimes": [REGIMES[code] for code in found.regimes[i]] if found.regimes else None,
            "collapse_prone": bool(found.collapse[i] >= COLLAPSE_PRONE),
        }
        for name, values in points.items():
            ends = found.intervals.get(name)
            cell = {"value": _number(values[i])}
            if ends is not None:
                cell |= {"low": _number(ends[0][i]), "high": _number(ends[1][i])}
            if name in found.errors:
                cell["first_order_error"] = _number(found.errors[name][i])
            row[renamed(name, binary)] = cell
        if found.realised is not None:
            row["realised"] = {
                "multiplier": _number(found.realised.group_multiplier[i]),
                "slope": _number(found.realised.group_slope[i]),
            }
        rows.append(row)
    made = found.realised
    names = ("multiplier", "kl", "new_pass_rate", "mass", "slope")
    document = {
        "schema": SCHEMA,
        "tau": found.tau,
        "level": found.level,
        "rewards": {"binary": binary, "low": found.scale.low, "high": found.scale.high, "assumed": found.scale.assumed},
        "data": _data(found.rollouts),
        "overall": {renamed(name, binary): _pooled(one) for name, one in found.overall.items()},
        "regimes": found.regime_share,
        "steps": [
            {
                "step": row.step,
                "groups": row.groups,
                "length": row.length,
                **{
                    renamed(name, binary): _pooled(getattr(row, name))
                    for name in ("pass_rate", "new_pass_rate", "multiplier", "kl")
                },
            }
            for row in found.steps
        ],
        "realised": None
        if made is None
        else {
            **{renamed(name, binary): _pooled(getattr(made, name)) for name in names},
            "effective_share": _number(made.effective_share),
        },
        "notes": list(found.notes),
        "groups": rows,
    }
    return _dumped(document)


def calibration_data(found: Calibration, rollouts: Rollouts) -> str:
    """A calibration as JSON text."""
    document = {
        "schema": SCHEMA,
        "target": found.target,
        "goal": found.goal,
        "tau": found.tau,
        "low": _number(found.low),
        "high": _number(found.high),
        "level": found.level,
        "crossings": list(found.crossings),
        "safe_tau": found.safe_tau,
        "monotone": found.monotone,
        "scan": [
            {"tau": tau, "value": _number(value), "low": _number(low), "high": _number(high)}
            for tau, value, low, high in zip(found.taus.tolist(), found.values, found.lows, found.highs, strict=True)
        ],
        "group_size": {
            "no_signal": found.no_signal,
            "n": found.n,
            "sure_n": found.sure_n,
            "sizes": [
                {"n": one.n, **{key: _number(getattr(one, key)) for key in ("probability", "low", "high")}}
                for one in found.sizes
            ],
        },
        "data": _data(rollouts),
    }
    return _dumped(document)
