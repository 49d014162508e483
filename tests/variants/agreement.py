"""Whether a classification holds what is expected of it."""

import math

PARAMETER = 1e-3  # the promise for recovered parameters


def differences(found, expected, rel=PARAMETER):
    """Fields that are not as expected, with both values; numbers to a relative 1e-3."""
    return {
        name: (getattr(found, name), wanted)
        for name, wanted in expected.items()
        if not _same(getattr(found, name), wanted, rel)
    }


def _same(got, wanted, rel):
    if isinstance(wanted, tuple):
        return len(got) == len(wanted) and all(_same(a, b, rel) for a, b in zip(got, wanted, strict=True))
    if isinstance(wanted, float):
        return math.isclose(got, wanted, rel_tol=rel, abs_tol=1e-6)
    return got == wanted
