"""What a comparison shows: accuracies with intervals, and ratios to the base and to PMD-mean, in numbers and in words.

Seeds are the units: an interval of a mean over seeds is Student's, at 95 %, and a claim is called shown only when the
whole interval is on its side. With one seed the interval is that of its evaluation prompts.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tiny_llm_rl.presets import Preset

__all__ = ["COLUMNS", "crossing", "mean_interval", "rows", "sentences", "table"]

COLUMNS: Final = (
    "arm",
    "accuracy",
    "95 % interval",
    "seeds",
    "over base",
    "over PMD-mean",
    "tokens",
    "entropy",
    "ended",
)
FloatArray = NDArray[np.float64]


def mean_interval(values: FloatArray) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval of independent values; NaN ends for a single one.

    >>> mean_interval(np.array([1.0, 2.0, 3.0]))[0]
    2.0
    """
    n = values.size
    mean = float(values.mean())
    if n < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


def crossing(settings: Sequence[float], accuracy: FloatArray, base: float) -> float:
    """The setting above the best one at which accuracy falls to the base's.

    Args:
        settings: positive and rising.
        accuracy: at each of them.
        base: to be crossed.

    Returns:
        The first crossing above the best setting, interpolated in the logarithm of the setting; inf where accuracy
        stays above the base, 0 where the best is not above it.

    Raises:
        ValueError: for settings that are not positive, rising and as many as accuracies; for accuracies with gaps.

    >>> round(crossing([1.0, 10.0, 100.0], np.array([0.2, 0.4, 0.1]), 0.25), 6)  # half way between 10 and 100
    31.622777
    >>> crossing([1.0, 10.0], np.array([0.2, 0.3]), 0.1), crossing([1.0, 10.0], np.array([0.1, 0.0]), 0.1)
    (inf, 0.0)
    """
    places, values = np.asarray(settings, np.float64), np.asarray(accuracy, np.float64)
    if places.shape != values.shape or not (places > 0).all() or not (np.diff(places) > 0).all():
        raise ValueError(
            f"settings must be positive, rising and as many as the {values.size} accuracies, got {list(settings)}; "
            "sort them, and give an accuracy for each"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"accuracy must be finite, got {values.tolist()}; leave out the settings without one")
    best = int(values.argmax())
    if values[best] <= base:
        return 0.0
    for k in range(best, places.size - 1):
        if values[k + 1] <= base:
            share = (values[k] - base) / (values[k] - values[k + 1])
            return float(places[k] * (places[k + 1] / places[k]) ** share)
    return math.inf


def _ratio(value: float, other: float) -> float:
    """NaN over nothing, which a run that broke down may end at."""
    return value / other if other else math.nan


def table(chosen: Preset, arrays: dict[str, FloatArray], made: str | None = None) -> dict[str, Any]:
    """Numbers of a preset's arms, from `experiments.collected`; the first arm is the reference (PMD-mean).

    Returns:
        base (accuracy and interval of the untrained model), and arms: a dict for each.
    """
    base = base_accuracy(chosen, made)
    reference = arrays["accuracy"][0]
    arms = []
    for index, arm in enumerate(chosen.arms):
        accuracy = arrays["accuracy"][index]
        done = np.isfinite(accuracy)
        mean, low, high = mean_interval(accuracy[done]) if done.any() else (math.nan,) * 3
        if done.sum() == 1:
            low, high = float(arrays["accuracy_low"][index][done][0]), float(arrays["accuracy_high"][index][done][0])
        arms.append(
            {
                "arm": arm.name,
                "title": arm.title,
                "accuracy": mean,
                "interval": (low, high),
                "by_seed": accuracy,
                "over_base": _ratio(mean, base["accuracy"]),
                "over_reference": _ratio(mean, float(np.nanmean(reference))),
                "length": float(np.nanmean(arrays["eval_length"][index])) if done.any() else math.nan,
                "entropy": float(np.nanmean(arrays["eval_entropy"][index])) if done.any() else math.nan,
                "ended": int((arrays["ended"][index] == 0).sum()),
            }
        )
    return {"base": base, "arms": arms}


def base_accuracy(chosen: Preset, made: str | None = None) -> dict[str, Any]:
    """Of the base model (`made`: path of the preset's own) on the prompts that the arms are evaluated on."""
    import jax

    from tiny_llm_rl.evaluate import evaluate
    from tiny_llm_rl.train import load_base

    config = chosen.arms[0].config
    model, task, tokenizer = load_base(made or config.base, config.difficulty)
    found = evaluate(model, task, tokenizer, jax.random.key(0), prompts=config.evaluation_prompts, samples=4)
    return {
        "accuracy": found.average, "interval": found.average_interval, "length": found.length, "entropy": found.entropy
    }  # fmt: skip


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table as text, the base first."""

    def spread(pair: tuple[float, float]) -> str:
        return f"{pair[0]:.3f} ... {pair[1]:.3f}"

    base = found["base"]
    lines: list[tuple[str, ...]] = [
        (
            "base",
            f"{base['accuracy']:.3f}",
            spread(base["interval"]),
            "",
            "1",
            "",
            f"{base['length']:.1f}",
            f"{base['entropy']:.2f}",
            "",
        )
    ]
    for arm in found["arms"]:
        lines.append(
            (
                arm["arm"], f"{arm['accuracy']:.3f}", spread(arm["interval"]),
                " ".join(f"{value:.3f}" for value in arm["by_seed"]), f"{arm['over_base']:.2f}",
                f"{arm['over_reference']:.2f}", f"{arm['length']:.1f}", f"{arm['entropy']:.2f}", str(arm["ended"]),
            )
        )  # fmt: skip
    return lines


def _word(ends: tuple[float, float], bound: float, *, above: bool = False) -> str:
    """Shown when the whole interval is on the side of the claim, reversed when it is on the other."""
    low, high = ends if not above else (-ends[1], -ends[0])
    bound = -bound if above else bound
    word = "shown" if high < bound else "reversed" if low > bound else "not shown"
    return f"{word} ({ends[0]:.3f} ... {ends[1]:.3f} against {abs(bound):.3f})"


def sentences(found: dict[str, Any]) -> list[str]:
    """What the numbers say about the paper's claims: shown, not shown or reversed.

    Arms share prompts seed by seed, so two of them are compared by the interval of their difference.

    >>> arm = dict(arm="mean", accuracy=0.4, interval=(0.38, 0.42), by_seed=np.array([0.39, 0.4, 0.41]))
    >>> low = dict(arm="part", accuracy=0.05, interval=(0.03, 0.07), by_seed=np.array([0.04, 0.05, 0.06]))
    >>> base = dict(accuracy=0.1, interval=(0.09, 0.11))
    >>> for line in sentences({"base": base, "arms": [arm, low]}):
    ...     print(line)
    mean above twice its base: shown (0.380 ... 0.420 against 0.200)
    part below its base: shown (0.030 ... 0.070 against 0.100)
    part - .6 mean below zero: shown (-0.200 ... -0.180 against 0.000)
    """
    base, arms = found["base"], found["arms"]
    reference = arms[0]
    lines = [
        f"{reference['arm']} above twice its base: {_word(reference['interval'], 2 * base['accuracy'], above=True)}"
    ]

    def difference(arm: dict[str, Any], share: float, text: str) -> None:
        both = np.asarray(arm["by_seed"]) - share * np.asarray(reference["by_seed"])
        _, low, high = mean_interval(both[np.isfinite(both)])
        if math.isfinite(low):
            lines.append(f"{arm['arm']} - {text}{reference['arm']} below zero: {_word((low, high), 0.0)}")

    for arm in arms[1:]:
        if arm["arm"].startswith("part"):
            lines.append(f"{arm['arm']} below its base: {_word(arm['interval'], base['accuracy'])}")
        if arm["arm"] in ("part", "none"):
            difference(arm, 0.6, ".6 ")
        if arm["arm"] in ("grpo", "gspo", "penalty"):
            difference(arm, 1.0, "")
    return lines
