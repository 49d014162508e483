"""The form of a derivation: steps that are equations or inequalities, each with its reason and decided by sympy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Literal

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable, linear

__all__ = ["Derivation", "Relation", "Step", "perturbations"]

Relation = Literal["=", "<=", "<", ">=", ">"]
Pair = tuple[sp.Expr, sp.Expr]


@dataclass(frozen=True)
class Step:
    r"""One equation or inequality of a derivation, with its reason and the relations it may use.

    Formula: `=` holds when, after the replacements of `where`, the numerator of lhs - rhs is in the ideal of the
    numerators of `given` (a Groebner basis, logarithms, exponentials and moments as indeterminates). An inequality
    holds when its larger side minus its smaller one equals `witness` in the same sense, and sympy finds the sign of
    `witness` from the assumptions on its symbols. No number is put in for a symbol.

    Attributes:
        lhs: left side; derivatives and integrals may stand unevaluated.
        relation: one of =, <=, <, >=, >.
        rhs: right side, not the same expression as `lhs`.
        reason: why the step holds, in words.
        where: what is replaced first, within expectations too, such as a by log rho + lambda rho.
        given: equations between constants or at one action, such as (E[rho], 1); every denominator is nonzero.
        witness: for an inequality, the signed form of the difference; None for an equation.
    """

    lhs: sp.Expr
    relation: Relation
    rhs: sp.Expr
    reason: str
    where: Mapping[sp.Expr, sp.Expr] = field(default_factory=dict)
    given: Sequence[Pair] = ()
    witness: sp.Expr | None = None

    def __post_init__(self) -> None:
        """Refuse what says nothing: the same expression twice, or what is given."""
        if self.relation not in ("=", "<=", "<", ">=", ">"):
            raise ValueError(f"relation must be one of =, <=, <, >=, >, got {self.relation!r}; choose one of them")
        for name, sides in self._sides():
            for side in sides:
                if not isinstance(side, sp.Expr):
                    raise TypeError(f"{name} must be a sympy expression, got {side!r}; pass sympy.sympify of it")
                if side.has(sp.Float):
                    raise ValueError(f"{name} is {side}, a rounded number in it; write it as a fraction or a symbol")
        if self.lhs == self.rhs:
            raise ValueError(f"lhs and rhs are both {self.lhs}, which says nothing; state what the step shows")
        for left, right in [*self.where.items(), *self.given]:
            if self.relation == "=" and {left, right} == {self.lhs, self.rhs}:
                raise ValueError(f"rhs restates the given {left} = {right}; derive it, or drop the step")
        if (self.witness is None) != (self.relation == "="):
            raise ValueError(f"witness is {self.witness} for {self.relation!r}; an inequality needs it, and only that")
        for left, right in (
            self.where.items() if any(side.has(E) for _, sides in self._sides() for side in sides) else ()
        ):
            if not left.has(Variable) and right.xreplace({one: sp.Dummy() for one in right.atoms(E)}).has(Variable):
                raise ValueError(f"where puts {right}, which varies, for the constant {left}; write means without it")
        if not self.reason.strip():
            raise ValueError(f"reason is {self.reason!r}; say why the step holds")

    def _sides(self) -> Iterator[tuple[str, Sequence[sp.Expr]]]:
        """Everything that the step is made of, by name."""
        yield "lhs", [self.lhs]
        yield "rhs", [self.rhs]
        yield "witness", [] if self.witness is None else [self.witness]
        yield "where", [side for pair in self.where.items() for side in pair]
        yield "given", [side for pair in self.given for side in pair]

    def _vanishes(self, difference: sp.Expr) -> bool:
        replaced = tuple(self.where.items())
        numerator, _ = _fraction(difference, replaced)
        if numerator == 0 or not self.given or numerator.has(sp.I, sp.nan, sp.zoo):
            return bool(numerator == 0)
        given = [_fraction(left - right, replaced) for left, right in self.given]
        cleared = sp.Mul(*(denominator for _, denominator in given))
        return _in_ideal(numerator, cleared, tuple(basis for basis, _ in given))

    def check(self) -> bool:
        """Whether sympy decides that the step holds; False when it refutes it or cannot tell."""
        if self.witness is None:
            return self._vanishes(self.lhs - self.rhs)
        larger, smaller = (self.lhs, self.rhs) if self.relation[0] == ">" else (self.rhs, self.lhs)
        witness = self.witness.xreplace(dict(self.where))
        signed = witness.is_positive if len(self.relation) == 1 else witness.is_nonnegative
        return signed is True and self._vanishes(larger - smaller - self.witness)


@dataclass(frozen=True)
class Derivation:
    """A claim derived in steps.

    Attributes:
        claim: its id, such as C5.
        statement: LaTeX, what the steps establish.
        assumptions: what the symbols mean and which signs they have, in words.
        steps: in order; each may use what came before it.
    """

    claim: str
    statement: str
    assumptions: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse an empty derivation."""
        if not self.steps:
            raise ValueError(f"steps of {self.claim} is empty; give at least one")

    def check(self) -> tuple[bool, ...]:
        """The verdict on every step, in order."""
        return tuple(step.check() for step in self.steps)


def perturbations(step: Step) -> Iterator[Step]:
    r"""Wrong versions of a step: in one term of it a sign, a factor 2, or an exponent one further from zero.

    Every sum in the right side is taken (also within expectations, logarithms and exponentials), and the witness of
    an inequality; the left side where the right one is a number.

    Args:
        step: whose sides are changed.

    Returns:
        Steps, each of which must fail its check.

    Source: this project.

    >>> import sympy as sp
    >>> x = sp.Symbol("x", positive=True)
    >>> step = Step(sp.log(x**2), "=", 2 * sp.log(x), "a power in a logarithm")
    >>> step.check(), [wrong.check() for wrong in perturbations(step)]
    (True, [False, False, False, False, False, False])
    """
    sides = ["rhs"] if step.rhs != 0 else []
    sides += ["lhs"] if step.rhs.is_number else []
    for name in sides if step.witness is None else [*sides, "witness"]:
        for changed in _changed(getattr(step, name)):
            yield replace(step, **{name: changed})


def _changed(expression: sp.Expr) -> Iterator[sp.Expr]:
    """Each term of a sum changed in each way, then the same within its parts."""
    terms = sp.Add.make_args(expression)
    for term in terms:
        rest = expression - term
        yield rest - term
        yield rest + 2 * term
        for factor in sp.Mul.make_args(term):
            if not factor.is_Number:
                yield rest + term * (factor.base ** sp.sign(factor.exp) if factor.is_Pow else factor)
            for changed in _changed_within(factor):
                yield rest + term / factor * changed


def _changed_within(factor: sp.Expr) -> Iterator[sp.Expr]:
    """Changes within a power of a sum, and within the argument of a function."""
    if isinstance(factor, sp.Pow) and isinstance(factor.base, sp.Add):
        yield from (changed**factor.exp for changed in _changed(factor.base))
    elif isinstance(factor, (E, sp.log, sp.exp)):
        yield from (factor.func(changed) for changed in _changed(factor.args[0]))
    elif isinstance(factor, sp.Add):
        yield from _changed(factor)


@lru_cache(maxsize=256)
def _fraction(expression: sp.Expr, replaced: tuple[Pair, ...]) -> Pair:
    """Expanded numerator, and denominator; derivatives and integrals are evaluated before the replacements."""
    value = linear(expression.doit().xreplace(dict(replaced)))
    powers = {}
    for one in value.atoms(sp.exp):
        times, exponent = one.args[0].as_coeff_Mul()
        powers[one] = _exponential(exponent) ** times if times.is_Integer else _exponential(one.args[0])
    over, under = sp.fraction(sp.together(value.xreplace(powers)))
    return sp.expand(over), under


@cache
def _exponential(exponent: sp.Expr) -> sp.Symbol:
    """The indeterminate that stands for exp(exponent), the inverse of the one for exp(-exponent)."""
    return sp.Dummy("exp", positive=True)


def _in_ideal(numerator: sp.Expr, cleared: sp.Expr, basis: tuple[sp.Expr, ...]) -> bool:
    """Whether a polynomial, or its product with what was cleared (not zero), is a combination of others."""
    ring = set().union(*(sp.Poly(one).gens if one.free_symbols else () for one in (numerator, cleared, *basis)))
    marks, groebner = _groebner(basis, tuple(sorted(ring, key=sp.default_sort_key)))
    tried = [numerator] if cleared.is_number else [numerator, sp.expand(numerator * cleared)]
    return any(groebner.contains(one.xreplace(marks)) for one in tried)


@lru_cache(maxsize=256)
def _groebner(basis: tuple[sp.Expr, ...], ring: tuple[sp.Expr, ...]) -> tuple[dict[sp.Expr, sp.Expr], Any]:
    """Symbols that stand for the indeterminates, and a Groebner basis in them."""
    marks = {one: sp.Dummy() for one in ring}
    return marks, sp.groebner([one.xreplace(marks) for one in basis], *marks.values(), order="grevlex")
