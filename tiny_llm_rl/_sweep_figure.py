"""What a sweep found: a metric against one axis of its grid, a line for each value of another, every cell a point."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._style import Style
from tiny_llm_rl._checks import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["Group", "draw", "grouped", "picture"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Cells that agree on the axes that are shown.

    Attributes:
        settings: their values on these axes.
        cells: how many there are.
        values: of the metric, finite ones; the other cells failed or have not ended.
    """

    settings: tuple[Any, ...]
    cells: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the values; NaN without any."""
        return float(np.mean(self.values)) if self.values else math.nan


def grouped(rows: Sequence[Row], metric: str, against: Sequence[str]) -> list[Group]:
    """The cells by their values on some axes, in the order of the grid.

    Args:
        rows: of `sweep.rows`.
        metric: a column of numbers.
        against: fields of the config.

    Raises:
        ValueError: for a column that no row has.

    >>> rows = [{"config.tau": 0.1, "x": 1.0}, {"config.tau": 0.1, "x": 3.0}]
    >>> grouped(rows, "x", ["tau"])[0].mean
    2.0
    """
    numbers = {
        name for row in rows for name, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    results = sorted(name for name in numbers if not name.startswith("config."))
    if metric not in results:
        known = ", ".join(results) or "none, since no cell has ended"
        raise ValueError(f"metric {shown(metric)} is no number of a cell; choose from {known}")
    for axis in against:
        if any(f"config.{axis}" not in row for row in rows):
            raise ValueError(f"axis {shown(axis)} is no field of the config; choose an axis of the grid")
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        found.setdefault(tuple(row[f"config.{axis}"] for axis in against), []).append(row.get(metric))
    return [
        Group(settings, len(values), tuple(float(v) for v in values if v is not None and math.isfinite(v)))
        for settings, values in found.items()
    ]


def _places(values: list[Any]) -> tuple[list[float], str]:
    """Where values stand on the axis of abscissas, and its scale: "log" and "linear" for numbers, else "names"."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return [float(k) for k in range(len(values))], "names"
    positive = all(value > 0 for value in values)
    return [float(v) for v in values], "log" if positive and max(values) >= 8 * min(values) else "linear"


def draw(rows: Sequence[Row], metric: str, against: Sequence[str], style: Style) -> "Canvas":
    """The figure.

    Args:
        rows: of `sweep.rows`.
        metric: a column of numbers.
        against: one field of the config, or two; the second one's values are lines.
        style: of the figures of `pmdtheory`.

    Returns:
        The figure: points are cells, lines go through their means. Cells without a number are counted in the title.

    Raises:
        ValueError: for no axis, or more than two, or an unknown column.
    """
    if not 1 <= len(against) <= 2:
        raise ValueError(f"against must name one or two axes, got {shown(tuple(against))}; others are averaged over")
    groups = grouped(rows, metric, against)
    xs = list(dict.fromkeys(group.settings[0] for group in groups))
    lines = list(dict.fromkeys(group.settings[1:] for group in groups))
    places, scale = _places(xs)
    place = dict(zip(xs, places, strict=True))
    with style.context():
        canvas, (axes,) = style.panels(1, 1, height=0.8)
        for look, line in zip(style.ramp(len(lines)), lines, strict=True):
            own = [group for group in groups if group.settings[1:] == line]
            points = [(place[group.settings[0]], value) for group in own for value in group.values]
            label = f"{against[1]} {line[0]}" if line else None
            axes.plot([x for x, _ in points], [y for _, y in points], ".", color=look["color"], alpha=0.5)
            axes.plot([place[group.settings[0]] for group in own], [group.mean for group in own], label=label, **look)
        if scale == "names":
            axes.set_xticks(places, [str(x) for x in xs])
        else:
            axes.set_xscale(scale)
        axes.set_xlabel(against[0].replace("_", " "))
        axes.set_ylabel(metric.replace("_", " "))
        lost = sum(group.cells - len(group.values) for group in groups)
        if lost:
            axes.set_title(f"{lost} of {len(rows)} cells without a number", loc="left", fontsize=style.small)
        if lines != [()]:
            axes.legend()
    return canvas


def picture(rows: Sequence[Row], metric: str, against: Sequence[str], suffix: str, venue: str = "icml2024") -> bytes:
    """The figure as the bytes of a PDF, PNG or SVG, without dates."""
    style = Style.of(venue)
    return style.save(draw(rows, metric, against, style), suffix)
