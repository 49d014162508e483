r"""Check certificates again with a program of its own: decimals with directed rounding, no Arb and no prover.

It imports nothing of this package, so that its agreement is evidence. What it needs from mathematics is what
docs/boxes.md states: how each slack factors, and that \(G\) and \(A\) fall in the mass and have one maximum in d.
A certificate passes when its boxes fill the statement's box without overlap, every box outside is outside, the slack
over every other box is at least the constant (after up to `_DEEPER` bisections of it here), and the slack in the middle
of each, computed from the definitions of the divergences, lies within the enclosure that the certificate gives.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from pmdtheory.proof.recheck._definitions import defined
from pmdtheory.proof.recheck._interval import DIGITS, TINY, Box, Interval, Invalid, precise
from pmdtheory.proof.recheck._three_levels import TERNARY, ternary
from pmdtheory.proof.recheck._two_levels import BINARY, binary

__all__ = ["Recheck", "recheck"]

_DEEPER: Final = 6


def _bound(name: str, box: Box) -> Fraction | None:
    """A lower bound of slack/N over a box; None where 1/tau is beyond the limit on all of it."""
    for digits in DIGITS:
        precise(digits)
        try:
            if name in BINARY:
                one, at_least, limit = BINARY[name]
                law = binary(box, Interval(limit))
                found = None if law is None else one(law).lo
            else:
                three, at_least, limit = TERNARY[name]
                whole = ternary(box, Interval(limit))
                found = None if whole is None else three(whole).lo
        except Invalid:
            continue
        if found is None:
            return None
        if Fraction(found) >= Fraction(at_least):
            break
    else:
        return Fraction(-1)
    return Fraction(found)


def _halves(box: Box, axis: int) -> tuple[Box, Box]:
    low, high = box[axis]
    middle = (low + high) / 2
    return (*box[:axis], (low, middle), *box[axis + 1 :]), (*box[:axis], (middle, high), *box[axis + 1 :])


def _holds(name: str, box: Box, outside: bool, deeper: int = _DEEPER) -> bool:
    """Whether the slack is at least the constant on a box, or, where that is asked, 1/tau beyond the limit."""
    found = _bound(name, box)
    if found is None or (not outside and found >= Fraction(_table(name)[0])):
        return True
    if deeper == 0:
        return False
    return all(_holds(name, half, outside, deeper - 1) for half in _halves(box, deeper % len(box)))


def _table(name: str) -> tuple[str, int, Box]:
    """Constant, largest 1/tau and box of a statement."""
    if name in BINARY:
        _, at_least, limit = BINARY[name]
        return at_least, limit, ((Fraction(0), Fraction(1)), (Fraction(0), Fraction(limit)))
    _, at_least, limit = TERNARY[name]
    unit, gain = (Fraction(0), Fraction(1)), (Fraction(0), Fraction(limit))
    return at_least, limit, (unit, unit, gain, gain)


def _fill(region: Box, boxes: list[Box]) -> None:
    """Refuse boxes that leave a hole in a region or overlap: they must come from halving it again and again."""
    pending = [(region, boxes)]
    while pending:
        whole, parts = pending.pop()
        if parts == [whole]:
            continue
        if not parts:
            raise Invalid(f"no box covers {_shown(whole)}")
        for axis, (low, high) in enumerate(whole):
            middle = (low + high) / 2
            left = [one for one in parts if one[axis][1] <= middle]
            right = [one for one in parts if one[axis][0] >= middle]
            if len(left) + len(right) == len(parts):
                pending += zip(_halves(whole, axis), (left, right), strict=True)
                break
        else:
            raise Invalid(f"boxes in {_shown(whole)} overlap, or are cut elsewhere than in the middle")


def _shown(box: Box) -> str:
    return " x ".join(f"[{float(low):.6g}, {float(high):.6g}]" for low, high in box)


def _read(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"certificate is no JSON (line {error.lineno}); pass what `prove --certificate` wrote"
        ) from None
    except (ValueError, RecursionError):  # an integer of thousands of digits, thousands of brackets
        raise ValueError("certificate cannot be read as JSON; pass what `prove --certificate` wrote") from None
    if not isinstance(data, dict) or data.get("schema") != 1:
        raise ValueError("certificate is not of schema 1; pass what `prove --certificate` wrote")
    return data


def _digest(text: str) -> str:
    return hashlib.sha256("".join(text.rpartition(',\n "digest"')[0].split()).encode()).hexdigest()


def _unpacked(row: Any, root: Box) -> tuple[Box, tuple[Decimal, Decimal | None] | None]:
    """Ends and slack of a line."""
    size = 2 * len(root)
    numbers = row[:size] if isinstance(row, list) and len(row) in (size, size + 2) else []
    if not numbers or not all(type(one) is int and 0 <= one < 2**2000 for one in numbers):
        raise Invalid(f"a line is malformed: {str(row)[:60]}")
    ends = []
    for (low, high), index, level in zip(root, numbers[::2], numbers[1::2], strict=True):
        if level > 2000 or index >= 2**level:
            raise Invalid(f"a line is outside the box: {str(row)[:60]}")
        ends.append(
            (low + (high - low) * Fraction(index, 2**level), low + (high - low) * Fraction(index + 1, 2**level))
        )
    if len(row) == size:
        return tuple(ends), None
    low_slack, high_slack = row[size:]
    if not _is_float(low_slack) or not (high_slack is None or _is_float(high_slack)):
        raise Invalid(f"a line is malformed: {str(row)[:60]}")
    return tuple(ends), (Decimal(low_slack), None if high_slack is None else Decimal(high_slack))


def _is_float(value: Any) -> bool:
    """Whether a number of JSON is within the range of float64: 1e999999999 as a fraction would fill the memory."""
    return type(value) in (int, Decimal) and abs(Decimal(value).adjusted()) < 400


def _middle(name: str, box: Box, slack: tuple[Decimal, Decimal | None]) -> None:
    """Refuse an enclosure that does not contain the slack, by definition, in the middle of its box."""
    for digits in DIGITS:
        precise(digits)
        try:
            found = defined(name, tuple((low + high) / 2 for low, high in box), _table(name)[1])
        except Invalid:
            continue
        if found is None:
            return  # no law of the statement; its box has some elsewhere
        if found.hi - found.lo < found.hi * TINY:
            break
    else:
        raise Invalid(f"the slack in the middle of {_shown(box)} could not be computed")
    if found.hi < slack[0] or (slack[1] is not None and found.lo > slack[1]):
        raise Invalid(f"slack {float(found.lo):.6g} in the middle of {_shown(box)} is outside the stated enclosure")


def _verify(text: str, data: dict[str, Any], progress: Callable[[int, int], None] | None) -> None:
    name = data["statement"]
    at_least, limit, root = _table(name)
    if data.get("digest") != _digest(text):
        raise Invalid("the digest does not fit: the file was changed")
    stated = (data.get("at_least"), data.get("largest_inverse_tau"), data.get("box"))
    if stated != (at_least, str(limit), [[str(low), str(high)] for low, high in root]):
        raise Invalid(f"constant, limit or box is not that of {name}")
    if data.get("unproved_volume") != "0" or not isinstance(data.get("boxes"), list):
        raise Invalid(f"it leaves the volume {data.get('unproved_volume')} unproved")
    boxes = [_unpacked(row, root) for row in data["boxes"]]
    _fill(root, [box for box, _ in boxes])
    for count, (box, slack) in enumerate(boxes):
        if slack is not None and Fraction(slack[0]) < Fraction(at_least):
            raise Invalid(f"the stated slack {float(slack[0]):.6g} over {_shown(box)} is below the constant {at_least}")
        if slack is not None:
            _middle(name, box, slack)
        if not _holds(name, box, outside=slack is None):
            what = "1/tau is not beyond the limit" if slack is None else f"the slack is not at least {at_least}"
            raise Invalid(f"{what} everywhere in {_shown(box)}, as far as can be shown")
        if progress is not None:
            progress(count + 1, len(boxes))


@dataclass(frozen=True)
class Recheck:
    """What became of a certificate.

    Attributes:
        statement: the id it names.
        passed: whether it proves that statement.
        boxes: how many boxes it has.
        reason: why it does not pass; empty when it does.
    """

    statement: str
    passed: bool
    boxes: int
    reason: str


def recheck(text: str, *, progress: Callable[[int, int], None] | None = None) -> Recheck:
    """Check a certificate with arithmetic and formulas of its own.

    Args:
        text: what `certificate` gave.
        progress: called with the number of boxes that passed and of all.

    Returns:
        A `Recheck`; a certificate that proves nothing is no error.

    Raises:
        ValueError: for text that is no certificate, or of a statement that does not exist.

    Source: this project.

    >>> from pmdtheory.proof import certificate, prove_over_box, statement
    >>> one = statement("C8-TV")
    >>> recheck(certificate(one, prove_over_box(one))).passed
    True
    """
    data = _read(text)
    name = data.get("statement")
    if not isinstance(name, str) or name not in {*BINARY, *TERNARY}:
        raise ValueError(
            f"certificate of {name!r}, which is no statement; choose from {', '.join([*BINARY, *TERNARY])}"
        )
    count = len(data["boxes"]) if isinstance(data.get("boxes"), list) else 0
    try:
        _verify(text, data, progress)
    except Invalid as reason:
        return Recheck(name, False, count, str(reason))
    finally:
        precise(DIGITS[0])
    return Recheck(name, True, count, "")
