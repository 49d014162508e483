"""What the tests of figures share."""

import pytest

from pmdtheory import figures
from pmdtheory.figures import _make
from pmdtheory.figures._style import Style


class Canvases(dict):
    """Figures by name, each drawn when it is first asked for."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __missing__(self, name):
        drawn = _make._drawn(figures.available()[name], self.arrays[name], Style.of("icml2024"))
        return self.setdefault(name, drawn)


@pytest.fixture(scope="module")
def canvases(arrays):
    """The figures whose `arrays` a module has, drawn from them, by name."""
    return Canvases(arrays)
