"""One look for all figures: a venue's width and font sizes, a palette that survives grey and colour blindness.

Colour never carries a meaning alone: lines differ in dashes or markers too, and the colours of a ramp in lightness.
Fonts are those that come with Matplotlib, so that a figure is the same on every machine.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FORMATS = ("pdf", "png", "svg")
BLACK, BLUE, VERMILLION, ORANGE, SKY, GREEN = "#000000", "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73"

# What means the same in every figure looks the same in every figure.
KL: dict[str, Any] = {"color": VERMILLION, "linestyle": (0, (4, 1.4)), "linewidth": 1.1}  # KL-PMD
MEAN: dict[str, Any] = {"color": BLUE, "linestyle": "-", "linewidth": 1.5}  # PMD-mean
LIMIT: dict[str, Any] = {"color": BLACK, "linestyle": (0, (1, 1.2)), "linewidth": 0.9}  # asymptotes and bounds
GUIDE: dict[str, Any] = {"color": "0.6", "linestyle": "-", "linewidth": 0.5, "zorder": 0.5}  # rho = 1 and the like
MARKERS = ("o", "s", "^", "D", "v", "P")

_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}

__all__ = ["FORMATS", "GUIDE", "KL", "LIMIT", "MARKERS", "MEAN", "Style", "venues"]


def venues() -> tuple[str, ...]:
    """Names of the venues whose column width and font sizes are known, from tueplots.

    >>> "neurips2024" in venues()
    True
    """
    from tueplots import bundles

    return tuple(
        name for name, _ in inspect.getmembers(bundles, inspect.isfunction) if name[0] != "_" and "dark" not in name
    )


@dataclass(frozen=True)
class Style:
    """Sizes of a venue, and what every figure shares.

    Attributes:
        venue: its name in tueplots.
        width: of one column, inches.
        font: size of labels and titles, points.
        small: size of tick labels and legends, points, at least 6.5.
    """

    venue: str
    width: float
    font: float
    small: float

    @classmethod
    def of(cls, venue: str) -> "Style":
        """The style of a venue; ValueError for an unknown one."""
        known = venues()
        if venue not in known:
            raise ValueError(f"unknown venue {venue!r}; choose from {', '.join(known)}")
        from tueplots import bundles

        bundle = getattr(bundles, venue)
        options = {"usetex": False} if "usetex" in inspect.signature(bundle).parameters else {}
        sizes = bundle(**options)
        font = float(sizes["axes.labelsize"])
        return cls(venue, float(sizes["figure.figsize"][0]), font, max(6.5, float(sizes["xtick.labelsize"])))

    @property
    def rc(self) -> Any:
        """Matplotlib's settings."""
        return {
            "font.family": "STIXGeneral",
            "mathtext.fontset": "stix",
            "font.size": self.font,
            "axes.labelsize": self.font,
            "axes.titlesize": self.font,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "legend.fontsize": self.small,
            "legend.frameon": False,
            "legend.handlelength": 2.2,
            "legend.columnspacing": 1.2,
            "axes.linewidth": 0.5,
            "axes.labelpad": 2.0,
            "axes.titlepad": 3.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.1,
            "lines.markersize": 2.8,
            "lines.markeredgewidth": 0.7,
            **{f"{axis}tick.{kind}.width": 0.5 for axis in "xy" for kind in ("major", "minor")},
            **{f"{axis}tick.major.size": 2.5 for axis in "xy"},
            **{f"{axis}tick.minor.size": 1.4 for axis in "xy"},
            **{f"{axis}tick.major.pad": 2.0 for axis in "xy"},
            "figure.constrained_layout.h_pad": 0.03,
            "figure.constrained_layout.w_pad": 0.03,
            "pdf.fonttype": 42,
            "svg.fonttype": "path",
            "svg.hashsalt": "pmdtheory",
            "savefig.dpi": 300,
            "savefig.transparent": False,
        }

    @contextmanager
    def context(self) -> Iterator[None]:
        """Matplotlib with these settings and otherwise its own defaults, whatever the user's are."""
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(self.rc)
            yield

    def panels(self, rows: int, columns: int, *, height: float, **options: Any) -> "tuple[Canvas, list[Axes]]":
        """A figure one column wide, `height` times 3.25 inches high (wider ones by the root of it), and its panels."""
        from matplotlib.figure import Figure as Canvas

        size = (self.width, height * 3.25 * (self.width / 3.25) ** 0.5)
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False, **options)
        return canvas, list(axes.flat)

    def title(self, axes: "Axes", letter: str, text: str = "") -> None:
        """A panel's letter, and a few words, above its left end."""
        axes.set_title(rf"$\bf{{{letter}}}$  {text}".rstrip(), loc="left", fontsize=self.small + 0.5)

    def ramp(self, size: int) -> list[dict[str, Any]]:
        """Looks for `size` values of an ordered parameter: from dark to light, with a marker each."""
        from matplotlib import colormaps

        colours = colormaps["viridis"]([0.82 * i / max(1, size - 1) for i in range(size)])
        return [
            {"color": tuple(map(float, colour)), "marker": MARKERS[i % len(MARKERS)], "markerfacecolor": "white"}
            for i, colour in enumerate(colours)
        ]

    def save(self, canvas: "Canvas", format: str) -> bytes:
        """The picture's bytes in one of `FORMATS`, without dates: the same for the same figure."""
        buffer = BytesIO()
        with self.context():
            canvas.savefig(buffer, format=format, metadata=_METADATA[format])
        return buffer.getvalue()
