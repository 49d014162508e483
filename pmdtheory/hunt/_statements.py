"""The statements about every law, what is known of each, and the witnesses of those that are false."""

from collections.abc import Sequence
from typing import Final

from pmdtheory._ids import chosen, named
from pmdtheory.hunt import _bounds, _known
from pmdtheory.hunt._collapsed import decided
from pmdtheory.hunt._statement import Statement, Witness
from pmdtheory.hunt._tau_statements import TAU

__all__ = ["STATEMENTS", "select", "statement"]

_ALL: Final = (
    Statement(
        id="C4",
        claim="C4",
        words="The multiplier is KL(old||new), here to a relative 1e-7",
        formula="1e-7 - |lambda - KL(pi|pi+)|/E|log rho|",
        verdict="proved",
        reason="E_pi of C1",
        measure=_known.weight_is_step,
    ),
    Statement(
        id="C8-KL",
        claim="C8",
        words="PMD-mean moves no further in KL(new||old) than KL-PMD",
        formula="KL(pi_KL|pi)/KL(pi+|pi) - 1",
        verdict="proved",
        reason="convex order of the two ratios",
        measure=_known.conservative(1.0),
        boxes=("C8-KL", "C8-KL-ternary"),
    ),
    Statement(
        id="C8-KL-strong",
        claim="C8",
        words="KL-PMD moves further in KL(new||old) than PMD-mean by a tenth",
        formula="KL(pi_KL|pi)/(1.1 KL(pi+|pi)) - 1",
        verdict="refuted",
        reason="both steps agree to first order as tau grows (C11)",
        measure=_known.conservative(1.1),
        witness=Witness.of("1:1", "0, 3/256"),
        mutant=True,
    ),
    Statement(
        id="C13-top",
        claim="C13",
        words="The largest ratio of PMD-mean depends less on the baseline than that of KL-PMD",
        formula="|d log rho_max/db| of KL-PMD minus that of PMD-mean",
        verdict="refuted",
        reason="C13: there is no general ordering for large ratios",
        measure=_known.sensitivity,
        witness=Witness.of("2:1", "0, 5"),
    ),
    Statement(
        id="C14-worse",
        claim="C14",
        words="However far b exceeds log Z, the global minimiser of PMD(b) has at least the old mean reward",
        formula="least loss with E r below the old one minus least loss with E r not below it",
        verdict="refuted",
        reason="C14: the missing mass goes to the least probable action, even a failure",
        measure=_known.overestimated,
        extra=_known.EXCESS,
        witness=Witness.of("1:2", "0, 3/256", excess="7/4"),
        exact=decided,
    ),
    Statement(
        id="floor-pairs",
        claim="C8",
        words="KL-PMD's KL exceeds PMD-mean's by N, the pair mean of |log rho - log rho'|(1 - e^{-lambda|rho - rho'|})",
        formula="(KL(pi_KL|pi) - KL(pi+|pi))/N - 1, N = (1/2) E over two independent actions of pi+",
        verdict="proved",
        reason="three points, upper sets, Jensen; it is C8-floor for two levels",
        measure=_bounds.floor_of_pairs(1.0),
        boxes=("C8-floor",),
    ),
    Statement(
        id="floor-pairs-strong",
        claim="C8",
        words="The same with N larger by a tenth",
        formula="(KL(pi_KL|pi) - KL(pi+|pi))/(1.1 N) - 1",
        verdict="refuted",
        reason="the constant 1 is the best one, already for two actions",
        measure=_bounds.floor_of_pairs(1.1),
        witness=Witness.of("1:1", "0, 3/256"),
        mutant=True,
    ),
    Statement(
        id="floor-ends",
        claim="C8",
        words="C8-floor holds as for two levels, with the best action as success and the range of log rho and rho",
        formula="(KL(pi_KL|pi) - KL(pi+|pi))/(u p+(1 - p+)(1 - e^{-delta})) - 1, u and delta from worst to best",
        verdict="refuted",
        reason="two nearly equal best actions: N stays, the worst action vanishes",
        measure=_bounds.floor_of_ends,
        witness=Witness.of("1:1:1", "0, 1/256, 3/256"),
    ),
    Statement(
        id="equal-KL",
        claim="",
        words="At the same KL(new||old) PMD-mean gains at least a hundredth of what KL-PMD gains",
        formula="gain of PMD-mean/gain of the tilt of the same KL - 1/100",
        verdict="refuted",
        reason="no share survives: a rare, very large reward",
        measure=_bounds.equal_kl(0.01),
        witness=Witness.of("30000000:10000000:1", "0, 10, 18810"),
    ),
    Statement(
        id="equal-KL-bound",
        claim="",
        words="At the same KL(new||old) KL-PMD gains at most tau (KL + J); PMD-mean gains tau (KL + lambda(1 + chi2))",
        formula="tau (KL(pi+|pi) + J)/gain of the tilt of the same KL - 1",
        verdict="proved",
        reason="Donsker-Varadhan at tau, C5",
        measure=_bounds.equal_kl_bound,
    ),
    Statement(
        id="contraction",
        claim="C17",
        words="Failures shrink at least by e^{-c p}, c = min(1, gap/tau)/100, p the mass of the best actions",
        formula="-log((1 - p+)/(1 - p))/(p min(1, gap/tau)) - 1/100",
        verdict="refuted",
        reason="no c of tau and the gap alone: a very bad action makes lambda large",
        measure=_bounds.contraction(0.01),
        witness=Witness.of("1:200:1", "0, 64121, 64122"),
    ),
    Statement(
        id="contraction-regret",
        claim="C17",
        words="Failures shrink at least by e^{-c p}, c = gap/(tau + r_max - r_bar)",
        formula="-log((1 - p+)/(1 - p)) (tau + r_max - r_bar)/(p gap) - 1",
        verdict="proved",
        reason="lambda rho_max <= (r_max - r_bar)/tau; Jensen",
        measure=_bounds.contraction_by_regret(1.0),
    ),
    Statement(
        id="contraction-regret-strong",
        claim="C17",
        words="The same with c larger by a tenth",
        formula="-log((1 - p+)/(1 - p)) (tau + r_max - r_bar)/(1.1 p gap) - 1",
        verdict="refuted",
        reason="the constant 1 is the best one: p near 1",
        measure=_bounds.contraction_by_regret(1.1),
        witness=Witness.of("1:1", "0, 3/256"),
        mutant=True,
    ),
    *TAU,
)

STATEMENTS: Final[dict[str, Statement]] = {one.id: one for one in _ALL}


def statement(name: str) -> Statement:
    """The statement of an id.

    Args:
        name: such as "tau-KL"; case does not matter.

    Returns:
        A `Statement`.

    Raises:
        TypeError: for what is no string.
        ValueError: for what is no id.

    Source: this project.

    >>> from pmdtheory.hunt import statement
    >>> statement("TAU-kl").verdict
    'refuted'
    """
    return named(name, STATEMENTS, "tau-KL")


def select(names: Sequence[str]) -> list[Statement]:
    """The statements of the given ids, and those of whole claims, in the order of `STATEMENTS`; all of them for none.

    Args:
        names: ids of statements such as "tau-KL", or of claims such as "C22".

    Returns:
        The statements.

    Raises:
        TypeError, ValueError: as `statement`.

    Source: this project.

    >>> from pmdtheory.hunt import select
    >>> [one.id for one in select(["C13"])]
    ['C13-top']
    """
    return chosen(names, STATEMENTS, "tau-KL")
