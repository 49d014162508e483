"""Kernels of a compiled program, and the bytes they read and write, from XLA's text.

Every instruction that runs on the device counts as one kernel, which reads its operands and writes its results once. Of
an operand that it only slices, the slices count; of an array that it writes into in place, the piece; the workspace of
a library's product does not. Caches are left out: what a kernel finds in one counts too. A loop whose number of turns
the compiler knows counts so many times; the others are listed by themselves.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_BITS = {
    "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "f8e4m3fn": 8, "f8e5m2": 8, "s16": 16, "u16": 16, "f16": 16,
    "bf16": 16, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64, "c128": 128,
}  # fmt: skip
_ARRAY = re.compile(rf"\b({'|'.join(_BITS)})\[([\d,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SLICES = {"slice", "dynamic-slice", "gather"}
_BRANCHES = {"conditional", "async-start", "async-done"}
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
        ValueError: for text without an entry, or with branches.
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


class _Line(NamedTuple):
    """An instruction: the name of its result, its shape, what it is, its operands, and what else its line says."""

    name: str
    shape: str
    kind: str
    operands: list[str]
    rest: str


def _lines(body: list[str]) -> Iterator[_Line]:
    for line in body:
        if found := _LINE.match(line):
            name, shape, kind, rest = found.groups()
            inside = rest.partition(")")[0]
            operands = [inside] if kind == "parameter" else re.findall(r"%([\w.\-]+)", inside)
            yield _Line(name, shape, kind, operands, rest)


def _of(name: str, bodies: dict[str, list[str]]) -> Traffic:
    shapes: dict[str, int] = {}
    kernels, moved = 0, 0
    loops: list[Traffic] = []
    for line in _lines(bodies[name]):
        shapes[line.name] = size(line.shape)
        if line.kind in _BRANCHES:
            raise ValueError(
                f"text must hold no branches, got {line.kind!r} in {line.name}; teach this function to read it"
            )
        if line.kind in ("while", "call"):
            inner = _of(_named("body" if line.kind == "while" else "to_apply", line), bodies)
            known = re.search(_TURNS, line.rest)
            if line.kind == "while" and known is None:
                loops.append(inner)
                continue
            turns = int(known[1]) if known else 1
            kernels, moved, loops = kernels + turns * inner.kernels, moved + turns * inner.bytes, [*loops, *inner.loops]
        elif line.kind not in _FREE:
            kernels += 1
            body = list(_lines(bodies[_named("calls", line)])) if line.kind == "fusion" else _alone(line, shapes)
            reads, kept = _reads(body)
            moved += sum(reads.get(k, shapes.get(operand, 0)) for k, operand in enumerate(line.operands))
            moved += shapes[line.name] - kept
            if 'custom_call_target="__cublas' in line.rest:  # a product and its workspace
                moved -= sum(size(part) for part in re.findall(r"s8\[\d+\]", line.shape))
    return Traffic(kernels, moved, tuple(loops))


def _named(role: str, line: _Line) -> str:
    found = re.search(rf"\b{role}=%?([\w.\-]+)", line.rest)
    assert found is not None, line
    return found[1]


def _alone(line: _Line, shapes: dict[str, int]) -> list[_Line]:
    """An instruction outside a fusion, as the body of one whose operands are bytes."""
    given = [
        _Line(operand, f"u8[{shapes.get(operand, 0)}]", "parameter", [str(k)], "")
        for k, operand in enumerate(line.operands)
    ]
    return [*given, line]


def _reads(body: list[_Line]) -> tuple[dict[int, int], int]:
    """Bytes read of the operands of a kernel, where that is not all of them; and bytes of results that are kept."""
    place, whole = {}, set()  # of what is an operand, looked at in another shape or not; and those that are read whole
    shapes = {line.name: size(line.shape) for line in body}
    pieces: dict[int, int] = {}
    kept = 0
    for line in body:
        if line.kind == "parameter":
            place[line.name] = int(line.operands[0])
        elif line.kind == "bitcast" and line.operands[0] in place:
            place[line.name] = place[line.operands[0]]
        else:
            first, others = line.operands[:1], line.operands[1:]
            if first and first[0] in place and line.kind in _SLICES:
                pieces[place[first[0]]] = pieces.get(place[first[0]], 0) + shapes[line.name]
            elif first and first[0] in place and line.kind == "dynamic-update-slice":
                pieces.setdefault(place[first[0]], 0)
                kept += shapes[line.name] - shapes.get(others[0], 0)
            else:
                others = line.operands
            whole |= {place[operand] for operand in others if operand in place}
    return {k: read for k, read in pieces.items() if k not in whole}, kept
