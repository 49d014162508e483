"""The figures: one file each, `compute` and `draw` apart, and one machinery that makes, stores and checks them.

`compute(config)` gives named arrays, which go to `data/<name>.json`; `draw(arrays, style)` sees nothing else, so that a
figure redrawn from its data has the same bytes. A file of this package that defines `FIGURE` is a figure; other
packages add theirs through the entry-point group `pmdtheory.figures`. Matplotlib is imported when something is drawn.

>>> from pmdtheory import figures
>>> "ratio_tilt" in figures.available()
True
"""

from pmdtheory.figures._make import Result as Result
from pmdtheory.figures._make import draw as draw
from pmdtheory.figures._make import make as make
from pmdtheory.figures._record import Figure as Figure
from pmdtheory.figures._registry import available as available
from pmdtheory.figures._registry import readme as readme
from pmdtheory.figures._style import FORMATS as FORMATS
from pmdtheory.figures._style import venues as venues
