r"""Measurements of the project on an accelerator, in parts that are each written once.

`make gpu PYTHON=python3 OUT=DIR` runs every part that has no result in DIR yet and then writes `DIR/<device>.json`;
`PART=name` picks one part and `SIZE=tiny` runs the same code in seconds on a processor. Nothing is installed: numpy,
scipy, jax, equinox and optax suffice. A part takes well under nine minutes, and an interrupted
run goes on where it stopped. Results are kept in `tests/benchmarks/results/`, one file per device: schema version,
device, versions, and for each part medians in seconds, repetitions, sizes, dtype, and the time of a memory copy of
the same array with the ratio to it.

A part is a function of the size ("full" or "tiny") that returns a dict of JSON values; `@part("name")` registers it,
and `PARTS_IN` names the modules that do so.
"""

from tests.benchmarks.gpu._registry import PARTS, SCHEMA, part

__all__ = ["PARTS", "SCHEMA", "part"]
