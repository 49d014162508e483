"""Measures, intervals that cover and numbers for overall means, for every group of binary or graded rewards."""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._bands import Cells
from pmdtheory.rollouts._extremes import FIELDS
from pmdtheory.rollouts._graded import graded_groups, repeat_chance
from pmdtheory.rollouts._graded_bias import GRADED_ENDS, GradedBias
from pmdtheory.rollouts._graded_intervals import graded_intervals
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
    errors: dict[str, FloatArray] = field(default_factory=dict)


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
    """Each group's empirical law by itself; intervals from exact bands of its distribution function."""
    count = groups.size.size
    measures = Measures.empty(count)
    intervals = {name: (np.empty(count), np.empty(count)) for name in FIELDS}
    estimates = {name: np.empty(count) for name in (*FIELDS, "no_signal", "collapse")}
    errors = {name: np.empty(count) for name in ("pass_rate", "new_pass_rate", "gain", "multiplier", "kl")}
    no_signal = np.empty(count)
    strata = [(chosen, rollouts.reward[members]) for _, chosen, members in groups.by_size()]
    ranges, cells = graded_intervals([rewards for _, rewards in strata], tau, level)
    for (chosen, rewards), ends in zip(strata, ranges, strict=True):
        one = graded_groups(rewards, tau)
        measures.put(chosen, one.measures)
        for name, pair in ends.items():
            for kept, end in zip(intervals[name], pair, strict=True):
                kept[chosen] = end
        for name, value in one.errors.items():
            errors[name][chosen] = value
        for name, value in one.corrected.items():
            estimates[name][chosen] = value
        estimates["pass_rate"][chosen] = one.measures.mean_reward
        estimates["no_signal"][chosen] = rewards.min(axis=1) == rewards.max(axis=1)
        no_signal[chosen] = repeat_chance(rewards)
        estimates["collapse"][chosen] = one.collapse
    plain = ("pass_rate", "no_signal")
    overall = {
        name: over_prompts(
            estimates[name], groups.prompt, level, exact=name in plain,
            ends=(scale.low, scale.high) if name == "pass_rate" else (0.0, 1.0),
        )
        for name in (*plain, "collapse")
    }  # fmt: skip
    left = GradedBias([(rewards, groups.prompt[chosen]) for chosen, rewards in strata], level)
    names = [name for name in FIELDS if name not in plain]
    for name, (least, most) in zip(names, left.bounds([FIELDS[name] for name in names], tau).tolist(), strict=True):
        cut = GRADED_ENDS.get(name, (scale.low, scale.high))
        mean = over_prompts(
            estimates[name], groups.prompt, level, bias=(least, most), share=BAND, ends=cut, exact=False
        )
        overall[name] = replace(mean, plug_in=float(getattr(measures, FIELDS[name]).mean()))
    found = (measures, intervals, (), estimates["collapse"], no_signal, overall, estimates)
    return Found(*found, notes=_graded_notes(cells, left), errors=errors)


def _graded_notes(cells: Cells, left: GradedBias) -> tuple[str, ...]:
    """What the intervals of graded rewards rest on."""
    size, ends = cells.last.size, f"{cells.first[0]:g} to {cells.last[-1]:g}"
    rest = f"no reward lies outside of {ends}" if cells.closed else "the levels seen are all there are"
    apart = "" if cells.known else f"; {size} ranges of rewards are told apart"
    notes = [
        f"graded rewards: intervals per prompt cover at the stated rate if {rest}{apart}",
        "graded rewards: the bias left in overall figures is bounded over mixtures of laws on at most five rewards",
    ]
    if not left.consistent:
        notes.append(
            "the groups agree with no mixture of these laws: are rollouts of a group independent, or filtered? "
            "(groups of equal rewards dropped before the dump make every overall figure conditional)"
        )
    return tuple(notes)
