"""Kernels of a compiled program, and the bytes they read and write, from XLA's text.

Every instruction that runs on the device counts as one kernel, which reads its operands and writes its results whole;
what a kernel slices out of an operand is counted as all of it, and what it writes into one in place as the piece it is.
A loop whose number of turns the compiler knows counts so many times; the others are listed by themselves.
"""

import math
import re
from dataclasses import dataclass

_BITS = {
    "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "f8e4m3fn": 8, "f8e5m2": 8, "s16": 16, "u16": 16, "f16": 16,
    "bf16": 16, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64, "c128": 128,
}  # fmt: skip
_ARRAY = re.compile(rf"\b({'|'.join(_BITS)})\[([\d,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_PLACED = re.compile(r" = (\S+) dynamic-update-slice\(%([\w.\-]+), %([\w.\-]+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id"}


@dataclass(frozen=True)
class Traffic:
    """Of a program, and of one turn of each loop that ends when it has found something.

    Attributes:
        kernels: of one run, these loops aside.
        bytes: read and written by them.
        loops: bodies of these in the order of the program, each with its own.
    """

    kernels: int
    bytes: int
    loops: tuple["Traffic", ...]


def size(shape: str) -> int:
    """Bytes of a shape or a tuple of shapes as XLA prints them.

    >>> size("(f32[2,3]{1,0}, bf16[4]{0})")
    32
    """
    found = ((_BITS[kind], math.prod(map(int, axes.split(","))) if axes else 1) for kind, axes in _ARRAY.findall(shape))
    return sum(bits * elements // 8 for bits, elements in found)


def traffic(text: str) -> Traffic:
    """What the text of a compiled program says.

    Raises:
        ValueError: for text without an entry.
    """
    bodies: dict[str, list[str]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[2]
            bodies[name] = []
            entry = name if head[1] else entry
        elif name:
            bodies[name].append(line)
    if not entry:
        raise ValueError("text must be a compiled program, got none with an ENTRY; pass as_text() of one")
    return _of(entry, bodies)


def _of(name: str, bodies: dict[str, list[str]]) -> Traffic:
    shapes: dict[str, int] = {}
    kernels, moved = 0, 0
    loops: list[Traffic] = []
    for line in bodies[name]:
        if not (found := _LINE.match(line)):
            continue
        result, shape, kind, rest = found.groups()
        shapes[result] = size(shape)
        if kind == "while":
            body = re.search(r"body=%?([\w.\-]+)", rest)
            assert body is not None, line
            inner = _of(body[1], bodies)
            if known := _TURNS.search(rest):
                kernels, moved = kernels + int(known[1]) * inner.kernels, moved + int(known[1]) * inner.bytes
                loops += inner.loops
            else:
                loops.append(inner)
        elif kind not in _FREE:
            operands = re.findall(r"%([\w.\-]+)", rest.partition(")")[0])
            called = re.search(r"calls=%?([\w.\-]+)", rest)
            kernels += 1
            moved += shapes[result] + sum(shapes.get(operand, 0) for operand in operands)
            moved -= _untouched(bodies[called[1]] if called else [line])
    return Traffic(kernels, moved, tuple(loops))


def _untouched(lines: list[str]) -> int:
    """Bytes of arrays, read and written, that updates in place leave alone."""
    shapes = {found[1]: size(found[2]) for line in lines if (found := _LINE.match(line))}
    found = 0
    for line in lines:
        if placed := _PLACED.search(line):
            found += 2 * max(0, size(placed[1]) - shapes.get(placed[3], 0))
    return found
