"""The figures of a report, drawn with Matplotlib in the look of the project's other figures."""

from typing import TYPE_CHECKING, Final

import numpy as np

from pmdtheory.figures._style import BLUE, GUIDE, KL, LIMIT, MEAN, SKY, VERMILLION, Style
from pmdtheory.rollouts._binary_law import binary_measures
from pmdtheory.rollouts._calibrate import Calibration
from pmdtheory.rollouts._diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["STYLE", "calibration_figures", "diagnosis_figures"]

STYLE: Final = "icml2024"
_BINS: Final = 20
_MOST: Final = 2_000  # groups drawn as points
Drawn = tuple[str, str, "Canvas"]  # a title, a caption, the figure


def diagnosis_figures(found: Diagnosis) -> list[Drawn]:
    """Title, caption and figure of each view of a diagnosis."""
    style = Style.of(STYLE)
    with style.context():
        figures = [_step_map(found, style), _histogram(found, style), _regimes(found, style)]
        if len(found.steps) > 1:
            figures.append(_history(found, style))
        if found.realised is not None:
            figures.append(_realised(found, style))
    return figures


def calibration_figures(found: Calibration) -> list[Drawn]:
    """Title, caption and figure of each view of a calibration."""
    style = Style.of(STYLE)
    with style.context():
        figures = [_scan(found, style)]
        if any(np.isfinite(one.probability) for one in found.sizes):
            figures.append(_sizes(found, style))
    return figures


def _rate(found: Diagnosis) -> str:
    return "pass rate" if found.scale.binary else "mean reward"


def _step_map(found: Diagnosis, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.72)
    m, rate = found.measures, _rate(found)
    low, high = found.intervals["new_pass_rate"]
    chosen = np.unique(m.mean_reward, return_index=True)[1]
    if found.scale.binary:
        p = np.linspace(0.0, 1.0, 401)
        axes.plot(p, binary_measures(p, found.tau / found.scale.span).expected_reward, **MEAN, label="PMD-mean's step")
        sizes = found.groups.size
        common = int(np.bincount(sizes).argmax())
        chosen = np.flatnonzero(sizes == common)
        chosen = chosen[np.unique(m.mean_reward[chosen], return_index=True)[1]]
        x, y = m.mean_reward[chosen], m.expected_reward[chosen]
        axes.vlines(x, low[chosen], high[chosen], color=VERMILLION, linewidth=1.0)
        axes.plot(x, y, "o", color=VERMILLION, markerfacecolor="white", label=f"groups of {common}")
        caption = (
            f"The new pass rate after a step at tau = {found.tau:g} as a function of the pass rate (line), and the "
            f"plug-in prediction for each number of successes among {common} rollouts (circles) with its exact "
            f"{100 * found.level:g} % interval. A group with no success, or only successes, does not tell p = 0 or 1."
        )
    else:
        chosen = np.random.default_rng(0).permutation(m.mean_reward.size)[:_MOST]
        axes.plot(m.mean_reward[chosen], m.expected_reward[chosen], "o", color=BLUE, alpha=0.35, label="groups")
        caption = f"Mean reward of each group and its plug-in prediction after a step at tau = {found.tau:g}" + (
            f"; {_MOST:,} groups drawn at random." if m.mean_reward.size > _MOST else "."
        )
    ends = (float(m.mean_reward.min()), float(m.mean_reward.max())) if not found.scale.binary else (0.0, 1.0)
    axes.plot(ends, ends, **GUIDE)
    axes.set(xlabel=rate, ylabel=f"new {rate}")
    axes.legend(loc="lower right")
    return f"New {rate}", caption, canvas


def _histogram(found: Diagnosis, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.72)
    m, rate = found.measures, _rate(found)
    least, most = min(m.mean_reward.min(), 0.0), max(m.mean_reward.max(), m.expected_reward.max())
    edges = np.linspace(least, max(most, least + 1e-9), _BINS + 1)
    edges[-1] += 1e-9 * max(1.0, abs(most))
    size = m.mean_reward.size
    before, after = (np.histogram(values, edges)[0] / size for values in (m.mean_reward, m.expected_reward))
    axes.stairs(before, edges, fill=True, color=SKY, alpha=0.7, label="observed")
    axes.stairs(after, edges, color=BLUE, linewidth=1.3, label="predicted")
    for value, look in ((found.overall["pass_rate"], LIMIT), (found.overall["new_pass_rate"], KL)):
        axes.axvline(value.value, ymax=0.86, **look)
    axes.set(xlabel=rate, ylabel="share of groups", ylim=(0.0, 1.25 * max(before.max(), after.max())))
    axes.legend(loc="upper center", ncols=2)
    one, two = found.overall["pass_rate"], found.overall["new_pass_rate"]
    caption = (
        f"Groups by observed {rate}, and by the plug-in prediction after the step. Means over prompts: {one.value:.3g} "
        f"before (dotted), {two.value:.3g} after, corrected for bias (dashed; {two.low:.3g} to {two.high:.3g})."
    )
    return "Groups before and after", caption, canvas


def _regimes(found: Diagnosis, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.56)
    shares = found.regime_share
    names = list(shares)[::-1]
    colours = [VERMILLION if name == "collapse-prone" else BLUE for name in names]
    bars = axes.barh(names, [shares[name] for name in names], color=colours, height=0.62)
    axes.bar_label(bars, [f"{100 * shares[name]:.1f} %" for name in names], padding=2, fontsize=style.small)
    axes.set(xlabel="share of groups", xlim=(0.0, 1.2 * max(shares.values())))
    axes.tick_params(axis="y", length=0)
    caption = (
        f"Regimes of the step on each group's empirical law at tau = {found.tau:g}. The first five exclude each other; "
        "collapse-prone, which concerns a leave-one-out partition baseline only, does not."
    )
    return "Regimes", caption, canvas


def _history(found: Diagnosis, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.72)
    step, rate = np.array([row.step for row in found.steps]), _rate(found)
    few = "o" if step.size <= 40 else ""
    for name, look, label in (("pass_rate", MEAN, "observed"), ("new_pass_rate", KL, "predicted after the step")):
        value = np.array([getattr(row, name).value for row in found.steps])
        error = np.nan_to_num([getattr(row, name).standard_error for row in found.steps])
        axes.plot(step, value, marker=few, **look, label=label)
        axes.fill_between(step, value - 2 * error, value + 2 * error, color=look["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="training step", ylabel=rate)
    axes.margins(y=0.25)
    axes.locator_params(axis="x", integer=True)
    axes.legend(loc="upper left", ncols=2)
    caption = (
        f"Mean {rate} at each training step, and what one population step at tau = {found.tau:g} would make of the "
        "same prompts; bands of two standard errors over prompts. Where the curves are apart, the run takes smaller "
        "steps than this tau asks for, or its rollouts are of other prompts."
    )
    return "Training steps", caption, canvas


def _realised(found: Diagnosis, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.5)
    made, over = found.realised, found.overall
    assert made is not None
    pairs = [
        ("KL(old||new), nats", over["multiplier"], made.multiplier),
        ("KL(new||old), nats", over["kl"], made.kl),
        (f"new {_rate(found)}", over["new_pass_rate"], made.new_pass_rate),
    ][::-1]
    for shift, column, colour, mark, label in (
        (0.14, 1, BLUE, "s", "predicted"),
        (-0.14, 2, VERMILLION, "o", "realised"),
    ):
        for row, pair in enumerate(pairs):
            one = pair[column]
            assert not isinstance(one, str)
            axes.hlines(row + shift, one.low, one.high, color=colour, linewidth=1.6)
            axes.plot(one.value, row + shift, mark, color=colour, markersize=3.5, label=label if row == 0 else None)
    axes.set_yticks(range(len(pairs)), [pair[0] for pair in pairs])
    axes.set(ylim=(-0.6, len(pairs) + 0.1), xlabel="mean over prompts")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper center", ncols=2)
    caption = (
        "The step that was made, from log-probabilities before and after, against PMD-mean's population step at "
        f"tau = {found.tau:g}, with intervals. KL(old||new) of the predicted step is lambda (C4). Realised values to "
        "the left of the predicted ones: the step fell short."
    )
    return "Realised against predicted", caption, canvas


def _scan(found: Calibration, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.72)
    axes.plot(found.taus, found.values, **MEAN, label="estimate")
    if np.isfinite(found.lows).any():
        axes.fill_between(found.taus, found.lows, found.highs, color=BLUE, alpha=0.18, linewidth=0, label="interval")
    axes.axhline(found.goal, **LIMIT, label="target")
    axes.plot(found.crossings, [found.goal] * len(found.crossings), "o", color=VERMILLION, label="crossing")
    names = {"kl": "mean KL(new||old), nats", "gain": "mean gain", "max_ratio": "largest ratio"}
    axes.set(xscale="log", xlabel=r"$\tau$, reward units", ylabel=names[found.target])
    if found.target == "max_ratio":
        axes.set_yscale("log")
    axes.margins(y=0.1)
    axes.legend(loc="upper right")
    name = names[found.target]
    caption = (
        f"{name[0].upper()}{name[1:]} over tau, with its {100 * found.level:g} % interval where it has one, and the "
        f"target {found.goal:g}, reached at tau = " + ", ".join(f"{tau:.3g}" for tau in found.crossings) + "."
    )
    return "Choice of tau", caption, canvas


def _sizes(found: Calibration, style: Style) -> Drawn:
    canvas, (axes,) = style.panels(1, 1, height=0.72)
    known = [one for one in found.sizes if np.isfinite(one.probability)]
    n = np.array([one.n for one in known])
    axes.fill_between(n, [one.low for one in known], [one.high for one in known], color=SKY, alpha=0.4, linewidth=0)
    axes.plot(n, [one.probability for one in known], marker="o", **MEAN, label="estimate and bounds")
    axes.axhline(found.no_signal, **LIMIT, label="wanted")
    axes.set(xscale="log", ylim=(0.0, 1.0), xlabel="rollouts of a group, $n$", ylabel="groups without signal")
    axes.set_xticks(n, [str(one) for one in n])
    axes.minorticks_off()
    axes.legend(loc="upper right")
    caption = (
        "Share of groups whose rewards all agree, by group size: unbiased up to the size at hand; beyond it from the "
        "most likely law of pass rates, with bounds over every law that agrees with the counts. These widen: prompts "
        "that never succeeded may or may not be solvable."
    )
    return "Group size", caption, canvas
