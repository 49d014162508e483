"""Which figures there are: the files of this package, and what other packages offer."""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from pmdtheory.figures._record import Figure

GROUP = "pmdtheory.figures"

__all__ = ["GROUP", "available", "choose", "readme"]


def available() -> dict[str, Figure]:
    """Every figure by name: this package's in alphabetical order, then those of the group `pmdtheory.figures`.

    Raises:
        ValueError: for an entry point that cannot be loaded, is no `Figure`, or takes the name of another figure.

    >>> available()["binary_step"].claims
    ('C9',)
    """
    package = import_module(GROUP)
    found: dict[str, Figure] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            figure = import_module(f"{GROUP}.{module.name}").FIGURE
            found[figure.name] = figure
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        remedy = "correct or uninstall the package that offers it"
        try:
            figure = point.load()
        except Exception as error:
            raise ValueError(f"figure {point.name} ({point.value}) cannot be loaded: {error!r}; {remedy}") from error
        if not isinstance(figure, Figure) or figure.name != point.name:
            raise ValueError(f"figure {point.name} ({point.value}) is no Figure of that name; {remedy}")
        if point.name in found:
            raise ValueError(f"figure {point.name} ({point.value}) takes a name that is in use; {remedy}")
        found[point.name] = figure
    return found


def choose(names: tuple[str, ...]) -> list[Figure]:
    """The named figures, each once; all of them for no names. ValueError for an unknown name."""
    figures = available()
    for name in names:
        if name not in figures:
            raise ValueError(f"unknown figure {name!r}; choose from {', '.join(figures)}")
    return [figures[name] for name in dict.fromkeys(names or figures)]


def readme() -> str:
    """The text of `figures/README.md`: which command makes a figure, of which claims, and what it shows.

    >>> readme().startswith("# Figures")
    True
    """
    lines = [
        "# Figures",
        "",
        "Each figure is a file of `pmdtheory/figures/` (or of a package that offers one). Its numbers, with the",
        "configuration and the versions they were made with, are in `data/<name>.json`; the pictures are drawn from",
        "these. `pmdtheory figures --reuse-data` redraws without computing, `pmdtheory figures --check` computes again",
        "and compares to 1e-9. Claims are listed in `docs/claims.md`. This file is generated from the registry.",
        "",
        "| figure | command | claims | caption |",
        "|---|---|---|---|",
    ]
    for name, figure in available().items():
        claims, caption = ", ".join(figure.claims), " ".join(figure.caption.split()).replace("|", r"\|")
        lines.append(f"| [{name}]({name}.pdf) | `pmdtheory figures {name}` | {claims} | {caption} |")
    return "\n".join(lines) + "\n"
