"""The tables of the results page, from the data of the figures: every seed behind every number.

A page holds each table between `<!-- table NAME -->` and `<!-- end -->`; `filled` writes what is between them.
"""

import math
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl.presets import preset
from tiny_llm_rl.verdicts import mean_interval

__all__ = ["COMPARISONS", "SWEEPS", "comparison", "filled", "sweep", "tables"]

FloatArray = NDArray[np.float64]
COMPARISONS: Final = ("lm_curves", "lm_long", "lm_ablation")
SWEEPS: Final = ("lm_stability", "lm_tau", "lm_partition_failure", "lm_drift")
_MARKED: Final = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)


def _spread(low: float, high: float) -> str:
    return f"{low:.3f} – {high:.3f}" if math.isfinite(low) else ""


def _seeds(values: FloatArray) -> str:
    return " ".join("–" if math.isnan(value) else f"{value:.3f}" for value in values)


def _markdown(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def comparison(titles: list[str], arrays: dict[str, FloatArray]) -> str:
    """A table of arms, the first of which is the reference: accuracy, its interval, seeds, paired differences.

    >>> arrays = {"base": np.array([0.1, 0.09, 0.11]), "accuracy": np.array([[0.3, 0.32], [0.2, 0.24]]),
    ...           "kl_old_new": np.full((2, 2, 3), 0.5), "eval_entropy": np.full((2, 2), 0.4)}
    >>> print(comparison(["PMD-mean", "GRPO"], arrays).splitlines()[-1])
    | GRPO | 0.220 | -0.034 – 0.474 | 0.200 0.240 | 2.20 | -0.217 – 0.037 | 0.500 | 0.40 |
    """
    base, low, high = arrays["base"]
    head = ("arm", "accuracy", "95 %", "seeds", "over base", "minus the first, 95 %", "KL a batch, nats", "entropy")
    lines: list[tuple[str, ...]] = [("base", f"{base:.3f}", _spread(low, high) + " (prompts)", "", "1", "", "", "")]
    reference = arrays["accuracy"][0]
    for index, title in enumerate(titles):
        values = arrays["accuracy"][index]
        mean, *ends = mean_interval(values[np.isfinite(values)])
        both = values - reference
        _, *difference = mean_interval(both[np.isfinite(both)])
        lines.append(
            (
                title, f"{mean:.3f}", _spread(*ends), _seeds(values), f"{mean / base:.2f}",
                _spread(*difference) if index else "", f"{np.nanmean(arrays['kl_old_new'][index]):.3f}",
                f"{np.nanmean(arrays['eval_entropy'][index]):.2f}",
            )
        )  # fmt: skip
    return _markdown(head, lines)


def sweep(settings: list[float], titles: list[str], accuracy: FloatArray) -> str:
    """A table of accuracies `[settings * titles, seeds]`: the mean, and every seed.

    >>> print(sweep([1, 8], ["PMD-mean"], np.array([[0.2, 0.3], [0.1, 0.1]])).splitlines()[-1])
    | PMD-mean | **0.250** 0.200 0.300 | **0.100** 0.100 0.100 |
    """
    table = accuracy.reshape(len(settings), len(titles), -1)
    lines = [
        (title, *(f"**{np.nanmean(values):.3f}** {_seeds(values)}" for values in table[:, index]))
        for index, title in enumerate(titles)
    ]
    return _markdown(("arm", *(f"{setting:g}" for setting in settings)), lines)


def tables(folder: Path) -> dict[str, str]:
    """Every table, from the JSON of the figures in a folder.

    Raises:
        ValueError: for a file that is missing, damaged, or of a preset that has changed since.
    """
    from importlib import import_module

    from pmdtheory.figures._data import read

    found = {}
    for name in (*COMPARISONS, *SWEEPS):
        figure: Any = import_module(f"tiny_llm_rl.figures.{name}").FIGURE
        arrays, config = read(figure, folder / f"{name}.json")
        if name in SWEEPS:
            found[str(name)] = sweep(config["settings"], config["row_titles"], arrays["accuracy"])
        else:
            titles = [arm.title for arm in preset(config["preset"]).arms]
            if len(titles) != len(arrays["accuracy"]):
                raise ValueError(
                    f"data of {name} holds {len(arrays['accuracy'])} arms, and preset {config['preset']} has "
                    f"{len(titles)}; compute it again with pmdtheory figures {name} --recompute"
                )
            found[str(name)] = comparison(titles, dict(arrays))
    return found


def filled(page: str, found: dict[str, str]) -> str:
    r"""A page with its tables written anew.

    Raises:
        ValueError: for a table that is not known.

    >>> filled("a <!-- table x -->\nold<!-- end --> b", {"x": "new"})
    'a <!-- table x -->\nnew<!-- end --> b'
    """

    def write(match: re.Match[str]) -> str:
        if match[2] not in found:
            raise ValueError(f"table {match[2]!r} is not known; choose from {', '.join(found)}")
        return match[1] + found[match[2]] + match[3]

    return _MARKED.sub(write, page)
