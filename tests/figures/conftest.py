"""What the tests of figures share."""

import pytest

from pmdtheory import figures
from pmdtheory.figures import _make
from pmdtheory.figures._style import Style


@pytest.fixture(scope="module")
def canvases(arrays):
    """The figures whose `arrays` a module has, drawn from them, by name."""
    style = Style.of("icml2024")
    return {name: _make._drawn(figures.available()[name], values, style) for name, values in arrays.items()}
