"""The tables of the results page, from the data of the figures: every seed behind every number.

A page holds each table between `<!-- table NAME -->` and `<!-- end -->`; `filled` writes what is between them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl.experiments import ENDINGS
from tiny_llm_rl.presets import preset
from tiny_llm_rl.verdicts import crossing, mean_interval

__all__ = ["COMPARISONS", "SWEEPS", "apart", "comparison", "filled", "sweep", "tables", "thresholds"]

FloatArray = NDArray[np.float64]
COMPARISONS: Final = ("lm_curves", "lm_quick", "lm_long", "lm_ablation")
SWEEPS: Final = ("lm_stability", "lm_tau", "lm_partition_failure", "lm_drift", "lm_shuffle")
STOPPED: Final = "†"  # behind the accuracy of a run that stopped before its last batch
_MARKED: Final = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.S)


def _spread(low: float, high: float) -> str:
    return f"{low:.3f} – {high:.3f}" if math.isfinite(low) else ""


def _seeds(values: FloatArray, ended: FloatArray) -> str:
    return " ".join(
        ("–" if math.isnan(value) else f"{value:.3f}") + (STOPPED if code else "")
        for value, code in zip(values, ended, strict=True)
    )


def _stopped(names: list[str], arrays: dict[str, FloatArray]) -> str:
    """Under a table: which runs stopped, why and after how many batches; empty where none did."""
    lines = []
    for name, ended, done in zip(names, arrays["ended"], arrays["batches_done"], strict=True):
        for code in np.unique(ended[ended != 0]):
            counts = " ".join(f"{count:g}" for count in done[ended == code])
            lines.append(f"{name}: {ENDINGS[int(code)]} after {counts}")
    return f"\n{STOPPED} stopped early, batches done: {'; '.join(lines)}.\n" if lines else ""


def _markdown(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def comparison(titles: list[str], arrays: dict[str, FloatArray]) -> str:
    """A table of arms, the first of which is the reference: accuracy, its interval, seeds, paired differences.

    Args:
        titles: of the arms.
        arrays: of a figure, arms first.

    >>> arrays = {"base": np.array([0.1, 0.09, 0.11]), "accuracy": np.array([[0.3, 0.32], [0.2, 0.24]]),
    ...           "kl_old_new": np.full((2, 2, 3), 0.5), "eval_entropy": np.full((2, 2), 0.4),
    ...           "ended": np.array([[0, 0], [0, 3]]), "batches_done": np.array([[3, 3], [3, 1]])}
    >>> for line in comparison(["PMD-mean", "GRPO"], arrays).splitlines()[-3:]:
    ...     print(line)
    | GRPO | 0.220 | -0.034 – 0.474 | 0.200 0.240† | 2.20 | -0.217 – 0.037 | 0.500 | 0.40 |
    <BLANKLINE>
    † stopped early, batches done: GRPO: NO_SIGNAL after 1.
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
                title, f"{mean:.3f}", _spread(*ends), _seeds(values, arrays["ended"][index]), f"{mean / base:.2f}",
                _spread(*difference) if index else "", f"{np.nanmean(arrays['kl_old_new'][index]):.3f}",
                f"{np.nanmean(arrays['eval_entropy'][index]):.2f}",
            )
        )  # fmt: skip
    return _markdown(head, lines) + _stopped(titles, arrays)


def sweep(
    settings: Sequence[float | str],
    titles: list[str],
    arrays: dict[str, FloatArray],
    more: Mapping[str, list[str]] | None = None,
) -> str:
    """A table of accuracies: the mean, and every seed.

    Args:
        settings: over the columns.
        titles: of the rows.
        arrays: of a figure, `[settings * titles, seeds]`.
        more: further columns, a cell for each title.

    >>> arrays = {"accuracy": np.array([[0.2, 0.3], [0.1, 0.1]]), "ended": np.zeros((2, 2)),
    ...           "batches_done": np.full((2, 2), 8.0)}
    >>> print(sweep([1, 8], ["PMD-mean"], arrays, {"best at": ["1"]}).splitlines()[-1])
    | PMD-mean | **0.250** 0.200 0.300 | **0.100** 0.100 0.100 | 1 |
    """
    shape, words, more = (len(settings), len(titles), -1), [_word(setting) for setting in settings], more or {}
    accuracy, ended = (arrays[name].reshape(shape) for name in ("accuracy", "ended"))
    lines = [
        (
            title,
            *(
                f"**{np.nanmean(values):.3f}** {_seeds(values, codes)}"
                for values, codes in zip(accuracy[:, index], ended[:, index], strict=True)
            ),
            *(cells[index] for cells in more.values()),
        )
        for index, title in enumerate(titles)
    ]
    names = [f"{title} at {word}" for word in words for title in titles]
    return _markdown(("arm", *words, *more), lines) + _stopped(names, arrays)


def _word(setting: float | str) -> str:
    return setting if isinstance(setting, str) else f"{setting:g}"


def thresholds(settings: list[float], accuracy: FloatArray, base: float) -> list[str]:
    """Cells for `accuracy[settings, rows, seeds]`: where each row's mean falls to the base, and the range over seeds.

    >>> accuracy = np.array([[[0.2, 0.2]], [[0.4, 0.3]], [[0.1, 0.2]]])
    >>> thresholds([1.0, 10.0, 100.0], accuracy, 0.16)
    ['**89** 63 – > 100']
    """

    def shown(place: float) -> str:
        outside = f"< {settings[0]:g}" if place == 0 else f"> {settings[-1]:g}"
        return f"{place:.2g}" if 0 < place < math.inf else outside

    cells = []
    for row in accuracy.transpose(1, 2, 0):
        seeds = [crossing(settings, values, base) for values in row]
        middle = crossing(settings, row.mean(0), base)
        cells.append(f"**{shown(middle)}** {shown(min(seeds))} – {shown(max(seeds))}")
    return cells


def apart(accuracy: FloatArray) -> list[str]:
    """Cells for `accuracy[2, rows, seeds]`: the 95 % interval of the second setting minus the first, seed by seed.

    >>> apart(np.array([[[0.2, 0.3]], [[0.1, 0.21]]]))
    ['-0.159 – -0.031']
    """
    return [_spread(*mean_interval(row)[1:]) for row in accuracy[1] - accuracy[0]]


def _more(name: str, config: Mapping[str, Any], arrays: dict[str, FloatArray]) -> dict[str, list[str]]:
    """Further columns of a sweep's table."""
    accuracy = arrays["accuracy"].reshape(len(config["settings"]), len(config["rows"]), -1)
    if name == "lm_drift":
        return {"falls to the base at; seeds": thresholds(config["settings"], accuracy, float(arrays["base"][0]))}
    if name == "lm_shuffle":
        return {"groups minus responses, 95 %": apart(accuracy)}
    return {}


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
            more = _more(name, config, dict(arrays))
            found[str(name)] = sweep(config["settings"], config["row_titles"], dict(arrays), more)
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
