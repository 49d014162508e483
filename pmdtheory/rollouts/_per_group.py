"""Measures, intervals and unbiased numbers for every group: exact for binary rewards, approximate for graded ones."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._few_levels import FIELDS, few_levels, level_intervals
from pmdtheory.rollouts._graded import graded_groups, repeat_chance
from pmdtheory.rollouts._grouping import Groups, Scale
from pmdtheory.rollouts._intervals import FUNCTIONALS, Curves, clopper_pearson
from pmdtheory.rollouts._measures import Measures
from pmdtheory.rollouts._mixture import GRID, Band
from pmdtheory.rollouts._pooled import BAND, Counts, Pooled, over_prompts, pooled_mean
from pmdtheory.rollouts._record import Rollouts

__all__ = ["Found", "Interval", "binary_bands", "binary_groups", "binary_strata", "graded_rewards"]

_STRATA: Final = 8  # group sizes for which the bias is bounded by the counts; beyond, by its extremes over all p
Interval = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Found:
    """Per group measures, intervals and the numbers whose mean over groups is the overall estimate."""

    measures: Measures
    intervals: dict[str, Interval]
    regimes: tuple[tuple[int, ...], ...]
    collapse: FloatArray
    no_signal: FloatArray
    overall: dict[str, Pooled]
    estimates: dict[str, FloatArray]
    notes: tuple[str, ...] = ()


def binary_strata(rollouts: Rollouts, groups: Groups, scale: Scale) -> list[tuple[NDArray[np.int64], Counts]]:
    """Binary rewards as counts of successes, one entry per group size, with the groups it holds."""
    success = rollouts.reward == scale.high
    return [
        (chosen, Counts(success[members].sum(axis=1), n, groups.prompt[chosen]))
        for n, chosen, members in groups.by_size()
    ]


def binary_bands(strata: list[Counts], level: float) -> list[Band] | None:
    """Laws of the pass rate that agree with the counts, one set per group size; None where the sizes are too many."""
    if len(strata) > _STRATA:
        return None
    alpha = BAND * (1.0 - level) / len(strata)
    return [Band(one.histogram, alpha, float(np.unique(one.prompt).size)) for one in strata]


def binary_groups(rollouts: Rollouts, groups: Groups, scale: Scale, tau: float, level: float) -> Found:
    """Everything is a function of the number of successes and the size of the group."""
    curves, count = Curves(tau / scale.span), groups.size.size
    measures = Measures.empty(count)
    intervals = {name: (np.empty(count), np.empty(count)) for name in FUNCTIONALS}
    at = {name: np.empty(count) for name in ("collapse", "no_signal")}
    met: list[tuple[int, ...]] = [()] * count
    indexed = binary_strata(rollouts, groups, scale)
    strata = [one for _, one in indexed]
    nodes = []
    for chosen, one in indexed:
        k, inverse = np.unique(one.successes, return_inverse=True)
        low, high = clopper_pearson(k, one.n, level)
        measures.put(chosen, curves.measures(k / one.n).take(inverse))
        for name, ends in curves.image(low, high, one.n).items():
            for kept, end in zip(intervals[name], ends, strict=True):
                kept[chosen] = end[inverse]
        values = curves.at(k / one.n, one.n)
        for name, kept in at.items():
            kept[chosen] = values[name][inverse]
        sets = curves.regimes(low, high)
        for place, index in zip(chosen.tolist(), inverse.tolist(), strict=True):
            met[place] = sets[index]
        nodes.append((curves.at(np.arange(one.n + 1.0) / one.n, one.n), curves.at(GRID, one.n)))
    bands = binary_bands(strata, level)
    overall, estimates = {}, {}
    for name in FUNCTIONALS:
        pairs = [(values[name], curve[name]) for values, curve in nodes]
        exactly = name in ("pass_rate", "no_signal")  # polynomials in p of degree n at most
        if name == "no_signal":
            pairs = [(_ends(one.n), curve[name]) for one, (_, curve) in zip(strata, nodes, strict=True)]
        overall[name], parts = pooled_mean(strata, pairs, level, bands, exactly=exactly)
        estimates[name] = np.empty(count)
        for (chosen, _), part in zip(indexed, parts, strict=True):
            estimates[name][chosen] = part
    notes = []
    if bands is None:
        notes.append(f"more than {_STRATA} group sizes: the bias of overall figures is bounded over all pass rates")
    elif not all(band.consistent for band in bands):
        notes.append(
            "the counts of successes agree with no law of pass rates: are rollouts of a group independent, or "
            "filtered? (groups of equal rewards dropped before the dump make every overall figure conditional)"
        )
    return Found(measures, intervals, tuple(met), at["collapse"], at["no_signal"], overall, estimates, tuple(notes))


def _ends(n: int) -> FloatArray:
    """1 for no success and for n of them, 0 between: whether a group of n has no signal."""
    k = np.arange(n + 1)
    return np.asarray((k == 0) | (k == n), dtype=np.float64)


def graded_rewards(rollouts: Rollouts, groups: Groups, scale: Scale, tau: float, level: float) -> Found:
    """Each group's empirical law by itself."""
    del scale
    count = groups.size.size
    levels = few_levels(rollouts.reward, groups.size)
    measures = Measures.empty(count)
    names = ("new_pass_rate", "gain", "multiplier", "kl")
    intervals = {name: (np.full(count, np.nan), np.full(count, np.nan)) for name in FIELDS}
    estimates = {name: np.empty(count) for name in ("pass_rate", *names, "chi2_share", "no_signal", "collapse")}
    no_signal = np.empty(count)
    for n, chosen, members in groups.by_size():
        rewards = rollouts.reward[members]
        one = graded_groups(rewards, tau)
        measures.put(chosen, one.measures)
        factor = float(special.stdtrit(max(n - 1, 1), 0.5 + 0.5 * level))
        if levels is not None:
            for name, ends in level_intervals(rewards, levels, tau, level).items():
                for kept, end in zip(intervals[name], ends, strict=True):
                    kept[chosen] = end
        values = {"new_pass_rate": "expected_reward", "gain": "improvement", "multiplier": "multiplier", "kl": "kl"}
        centre = {"pass_rate": one.measures.mean_reward}
        centre |= {name: getattr(one.measures, field) for name, field in values.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = rewards.std(axis=1) / np.sqrt(n - 1.0) if n > 1 else np.full(chosen.size, np.nan)
        errors = {"pass_rate": np.where(spread > 0.0, spread, np.nan), **one.errors}
        for name in errors if levels is None else ():
            low, high = intervals[name]
            low[chosen] = centre[name] - factor * errors[name]
            high[chosen] = centre[name] + factor * errors[name]
        for name, value in one.corrected.items():
            estimates[name][chosen] = value
        estimates["pass_rate"][chosen] = one.measures.mean_reward
        estimates["no_signal"][chosen] = rewards.min(axis=1) == rewards.max(axis=1)
        no_signal[chosen] = repeat_chance(rewards)
        estimates["collapse"][chosen] = one.collapse
    plug = {"new_pass_rate": measures.expected_reward, "gain": measures.improvement, "kl": measures.kl}
    plug |= {"multiplier": measures.multiplier, "chi2_share": measures.chi2_share}
    overall = {
        name: over_prompts(value, groups.prompt, level, exact=name in ("pass_rate", "no_signal"))
        for name, value in estimates.items()
    }
    overall |= {name: replace(overall[name], plug_in=float(value.mean())) for name, value in plug.items()}
    note = (
        "graded rewards: intervals per prompt are first-order approximations, none where all rewards agree"
        if levels is None
        else f"graded rewards: intervals per prompt are exact if the {levels.size} levels seen are all there are"
    )
    note += "; overall figures are corrected for the bias of order 1/n only"
    return Found(measures, intervals, (), estimates["collapse"], no_signal, overall, estimates, (note,))
