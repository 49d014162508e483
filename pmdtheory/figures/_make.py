"""Make figures: compute or read their numbers, draw them, write everything at once; or check them and write nothing."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmdtheory.figures._data import RELATIVE, decode, encode, mismatch, read, write_files
from pmdtheory.figures._record import Arrays, Figure
from pmdtheory.figures._registry import choose
from pmdtheory.figures._style import FORMATS, Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Progress = Callable[[str, int, int], None]

__all__ = ["Progress", "Result", "draw", "make", "write_figure"]


@dataclass(frozen=True)
class Result:
    """What became of one figure.

    Attributes:
        name: of the figure.
        files: that were written; none by a check.
        ok: False for a check that failed.
        mismatch: the worst relative difference to the stored numbers; NaN where nothing was compared.
        message: what is wrong and what to do, or a remark; empty when there is nothing to say.
        seconds: spent on it.
    """

    name: str
    files: tuple[Path, ...]
    ok: bool
    mismatch: float
    message: str
    seconds: float


def draw(name: str, *, venue: str = "icml2024") -> "Canvas":
    """A figure computed afresh, as a Matplotlib figure (in a notebook, for instance).

    Args:
        name: of the figure.
        venue: whose column width and font sizes to use, one of `venues()`.

    Returns:
        The figure.

    Raises:
        ValueError: for an unknown figure or venue.

    >>> draw("ratio_tilt").axes[0].get_yscale()
    'log'
    """
    (figure,) = choose((name,))
    return _drawn(figure, _computed(figure)[0], Style.of(venue))


def make(
    names: Sequence[str] = (),
    *,
    out: Path,
    venue: str = "icml2024",
    formats: Sequence[str] = ("pdf", "png"),
    reuse_data: bool = False,
    recompute: bool = False,
    check: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Make the named figures (all for none) in `out`, their data in `out/data`; or check the data that are there.

    Args:
        names: of figures.
        out: directory, made when missing.
        venue: whose column width and font sizes to use, one of `venues()`.
        formats: some of `FORMATS`.
        reuse_data: draw from the stored data and compute nothing.
        recompute: compute also the figures that are marked expensive, which otherwise draw from stored data.
        check: compute, compare with the stored data to 1e-9 relative, draw these, and write nothing.
        progress: called as progress(label, done, total) before each stage, and at the end.

    Returns:
        One `Result` per figure, in order. A check whose data are missing or differ is a result that is not ok.

    Raises:
        ValueError: for an unknown figure, venue or format, data that are malformed (or missing, when they are to be
            drawn), or an `out` that cannot be written. No file is left half-written, and no file at all is written
            when the names, the venue, the formats or the stored data are at fault.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = make(["ratio_tilt"], out=Path(folder), formats=["png"])
    ...     again = make(["ratio_tilt"], out=Path(folder), check=True)
    >>> [file.name for file in made[0].files], again[0].ok
    (['ratio_tilt.json', 'ratio_tilt.png'], True)
    """
    if isinstance(names, str) or isinstance(formats, str):
        raise ValueError(f"names and formats must be sequences of strings, got {names!r}, {formats!r}; pass lists")
    chosen, style = choose(tuple(names)), Style.of(venue)
    for format in formats:
        if format not in FORMATS:
            raise ValueError(f"unknown format {format!r}; choose from {', '.join(FORMATS)}")
    if not formats:
        raise ValueError(f"formats is empty; choose from {', '.join(FORMATS)}")
    out = Path(out)
    stored = {
        figure.name: read(figure, path)
        for figure in chosen
        if (path := _data_path(out, figure)).exists() or not check
        if check or _reads(figure, reuse_data, recompute)
    }
    results = []
    for done, figure in enumerate(chosen):
        start = time.perf_counter()
        tell = _teller(figure.name, done, len(chosen), progress)
        if check:
            ok, far, message = _check(figure, out, stored.get(figure.name), style, recompute, tell)
            files: tuple[Path, ...] = ()
        else:
            ok, far, message = True, math.nan, ""
            files = write_figure(
                figure, out, style, stored=stored.get(figure.name), formats=tuple(dict.fromkeys(formats)), tell=tell
            )  # fmt: skip
        results.append(Result(figure.name, files, ok, far, message, time.perf_counter() - start))
    if progress is not None:
        progress("done", len(chosen), len(chosen))
    return results


def _reads(figure: Figure, reuse_data: bool, recompute: bool) -> bool:
    return reuse_data or (figure.expensive and not recompute)


def _data_path(out: Path, figure: Figure) -> Path:
    return out / "data" / f"{figure.name}.json"


def _teller(name: str, done: int, total: int, progress: Progress | None) -> Callable[[str], None]:
    def tell(stage: str) -> None:
        if progress is not None:
            progress(f"{name}: {stage}", done, total)

    return tell


def _computed(figure: Figure) -> tuple[Arrays, bytes]:
    """The arrays of a figure, as they read from the document that is written of them."""
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in figure.compute(figure.config).items()}
    text = encode(figure, figure.checked(arrays, f"compute of {figure.name}"))
    return decode(figure, text, figure.name)[0], text


def _drawn(figure: Figure, arrays: Arrays, style: Style) -> "Canvas":
    with style.context():
        return figure.draw(arrays, style)


def write_figure(
    figure: Figure,
    out: Path,
    style: Style,
    *,
    stored: tuple[Arrays, object] | None = None,
    formats: tuple[str, ...] = ("pdf", "png"),
    tell: Callable[[str], None] = lambda stage: None,
) -> tuple[Path, ...]:
    """Draw a figure from stored data, or from those that it computes and writes; all its files or none."""
    files: dict[Path, bytes] = {}
    if stored is None:
        tell("computing")
        arrays, text = _computed(figure)
        files[_data_path(out, figure)] = text
    else:
        arrays = stored[0]
    tell("drawing")
    canvas = _drawn(figure, arrays, style)
    for format in formats:
        files[out / f"{figure.name}.{format}"] = style.save(canvas, format)
    write_files(files)
    return tuple(files)


def _check(
    figure: Figure,
    out: Path,
    stored: tuple[Arrays, object] | None,
    style: Style,
    recompute: bool,
    tell: Callable[[str], None],
) -> tuple[bool, float, str]:
    """Whether the stored data of a figure are what its code gives, how far they are from it, and a message."""
    remedy = f"write new ones with `pmdtheory figures {figure.name}` if the change is meant"
    if stored is None:
        return (
            False,
            math.inf,
            f"no data at {_data_path(out, figure)}; write them with `pmdtheory figures {figure.name}`",
        )
    arrays, config = stored
    tell("checking")
    _drawn(figure, arrays, style)
    if config != decode(figure, encode(figure, arrays), figure.name)[1]:
        return False, math.inf, f"the data were made with another configuration, {config}; {remedy}"
    if figure.expensive and not recompute:
        return True, math.nan, "not computed again, since that is expensive"
    far, where = mismatch(figure, arrays, _computed(figure)[0])
    if not far <= RELATIVE:
        return False, far, f"array {where} of the data differs by {far:.2g} relative, more than {RELATIVE:g}; {remedy}"
    return True, far, ""
