"""The statements about a step that grows as tau falls: C22 for one f-divergence after the other."""

from fractions import Fraction
from typing import Final

from pmdtheory.hunt import _tau
from pmdtheory.hunt._statement import Statement, Witness

__all__ = ["TAU"]


def _grows(
    name: str, words: str, f: _tau.Divergence, reason: str, witness: Witness | None = None, *, ratio: bool = True
) -> Statement:
    return Statement(
        id=f"tau-{name}",
        claim="C22",
        words=f"A smaller tau gives a step that is at least as large in {words}",
        formula="D_f(tau/scale)/D_f(tau) - 1, scale >= 1" if ratio else "D_f(tau/scale) - D_f(tau), scale >= 1",
        verdict="proved" if witness is None else "refuted",
        reason=reason,
        measure=_tau.grows(f) if ratio else _tau.rises(f),
        extra=_tau.SCALE,
        witness=witness,
    )


TAU: Final = (
    _grows("alpha-minus-1", "the alpha-divergence of order -1", _tau.alpha(Fraction(-1)), "order at most 0"),
    _grows("reverse-KL", "KL(old||new), order 0: lambda", _tau.reverse_kl, "order at most 0"),
    _grows("TV", "total variation", _tau.hockey(Fraction(1)), "f is affine beyond 1"),
    _grows("hockey-half", "E_gamma, gamma = 1/2", _tau.hockey(Fraction(1, 2)), "f is affine beyond 1", ratio=False),
    _grows(
        "alpha-tenth",
        "the alpha-divergence of order 1/10",
        _tau.alpha(Fraction(1, 10)),
        "order above 0",
        Witness.of("50:50:1", "0, 200, 1800", scale="17/4"),
    ),
    _grows(
        "Hellinger",
        "the Hellinger distance, order 1/2",
        _tau.alpha(Fraction(1, 2)),
        "order above 0",
        Witness.of("60:60:1", "0, 30, 260", scale="17/4"),
    ),
    _grows(
        "KL",
        "KL(new||old), order 1",
        _tau.kl,
        "order above 0",
        Witness.of("3000:20000:1", "0, 5, 445", scale=13),
    ),
    _grows(
        "chi2",
        "chi2, order 2",
        _tau.alpha(Fraction(2)),
        "order above 0",
        Witness.of("100:200:1", "0, 5, 35", scale=4),
    ),
    _grows(
        "hockey-2",
        "E_gamma, gamma = 2",
        _tau.hockey(Fraction(2)),
        "gamma above 1",
        Witness.of("20:10:1", "0, 10, 50", scale="7/2"),
        ratio=False,
    ),
    _grows(
        "Jeffreys",
        "KL(new||old) + KL(old||new)",
        _tau.jeffreys,
        "f' is unbounded",
        Witness.of("700000000000000000000:1000000000000:1", "0, 2, 80648", scale="5/4"),
    ),
    Statement(
        id="tau-reward",
        claim="C22",
        words="A smaller tau gives at least the same E r",
        formula="(E_{pi+} r - r_bar) at tau/scale over that at tau, minus 1",
        verdict="refuted",
        reason="C22",
        measure=_tau.gain,
        extra=_tau.SCALE,
        witness=Witness.of("500:900:1", "0, 5, 55", scale=6),
    ),
)
