"""The derivations: every step is decided, every perturbed step is not, and what they say agrees with the numbers."""

import ast
import json
from dataclasses import replace
from fractions import Fraction
from math import log2
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from mpmath import exp as mp_exp
from mpmath import findroot, lambertw, mpf, workdps

import pmdtheory as pmd
from pmdtheory import cli, symbolic
from pmdtheory.claims import CLAIMS
from pmdtheory.symbolic import DERIVATIONS, Derivation, E, Step, Variable, perturbations, prove, select
from pmdtheory.symbolic._expectation import linear
from pmdtheory.symbolic._report import proof_page
from pmdtheory.symbolic._symbols import LAM, RHO, A
from pmdtheory.symbolic.series import COEFFICIENT, GAP, MOMENT, multiplier_series
from tests.wrong import refused

ROOT = Path(__file__).parents[2]
X, Y = sp.symbols("x y", positive=True)
STEPS = [(claim, k) for claim, one in DERIVATIONS.items() for k in range(len(one.steps))]


# -- the derivations ------------------------------------------------------------------------------------------------


def test_every_claim_with_a_proof_in_steps_is_there():
    assert list(DERIVATIONS) == ["C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9", "C11", "C13", "C15", "C17", "C22"]
    assert set(DERIVATIONS) <= set(CLAIMS)


@pytest.mark.parametrize("claim", DERIVATIONS)
def test_every_step_is_decided(claim):
    verdicts = prove(claim).check()
    assert len(verdicts) == len(DERIVATIONS[claim].steps) >= 2
    assert [k + 1 for k, decided in enumerate(verdicts) if decided is not True] == []


@pytest.mark.parametrize("claim", DERIVATIONS)
def test_every_perturbation_is_rejected(claim):
    survivors = []
    for k, step in enumerate(DERIVATIONS[claim].steps):
        wrong = list(perturbations(step))
        assert len(wrong) >= 3, f"step {k + 1} has no sign, factor and exponent to change"
        survivors += [(k + 1, one.lhs, one.relation, one.rhs, one.witness) for one in wrong if one.check()]
    assert survivors == []


@pytest.mark.parametrize(("claim", "k"), STEPS)
def test_reversed_relations_are_rejected(claim, k):
    step, turned = DERIVATIONS[claim].steps[k], {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    if step.relation in turned:
        assert not replace(step, relation=turned[step.relation]).check()
    else:
        assert not replace(step, relation="=", rhs=step.rhs + 1).check()


@pytest.mark.parametrize(("claim", "k"), STEPS)
def test_what_a_step_uses_is_needed(claim, k):
    """Without any one of its replacements and given equations a step is not decided, so none stands for show."""
    step = DERIVATIONS[claim].steps[k]
    fewer = [replace(step, where={a: b for a, b in step.where.items() if a != one}) for one in step.where]
    fewer += [replace(step, given=[*step.given[:j], *step.given[j + 1 :]]) for j in range(len(step.given))]
    assert [one for one in fewer if one.check()] == []


@pytest.mark.parametrize(("claim", "k"), STEPS)
def test_no_number_stands_for_a_symbol(claim, k):
    step = DERIVATIONS[claim].steps[k]
    assert step.lhs.free_symbols | step.rhs.free_symbols
    assert all(symbol.is_real for side in [step.lhs, step.rhs] for symbol in side.free_symbols)


def test_no_decision_by_evaluation():
    """The package calls nothing in sympy that puts numbers in: `equals` and `simplify` may, evalf and N do."""
    numeric = {"evalf", "n", "N", "equals", "lambdify", "nsimplify", "simplify", "nsolve", "random_point"}
    files = sorted((ROOT / "pmdtheory" / "symbolic").glob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in numeric, f"{path.name}:{node.lineno}"


def test_sympy_is_loaded_by_this_package_only():
    """No other module of `pmdtheory` imports it, so that `import pmdtheory` stays light."""
    importing = set()
    for path in (ROOT / "pmdtheory").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "sympy" for name in names):
                importing.add(path.parent.name)
    assert importing == {"symbolic"}


# -- steps ----------------------------------------------------------------------------------------------------------


def test_a_step_decides_both_ways():
    square = Step((X - Y) ** 2, ">=", 4 * X * Y - (X + Y) ** 2, "two squares", witness=2 * (X - Y) ** 2)
    assert square.check()
    assert not replace(square, witness=(X - Y) ** 2).check()  # a right sign of the wrong difference
    assert not replace(square, relation=">").check()  # x = y
    assert not Step(X, ">", Y, "sign unknown", witness=X - Y).check()
    assert not Step(X, "<", Y, "sign unknown", witness=Y - X).check()
    assert Step((sp.exp(2 * X) + 1) * sp.exp(-X), "=", sp.exp(X) + 1 / sp.exp(X), "powers").check()
    assert not Step(sp.log(X + Y), "=", sp.log(X) + sp.log(Y), "logarithms are not linear").check()


def test_the_sign_is_that_after_the_replacements():
    """A positive symbol may be replaced by something negative, and then its sign is no longer given."""
    z = sp.Symbol("z", positive=True)
    assert not Step(X, ">", sp.S.Zero, "wrong", where={X: -z}, witness=X).check()
    assert Step(X, "<", sp.S.Zero, "right", where={X: -z}, witness=z).check()


def test_given_equations_combine():
    z = sp.Symbol("z", positive=True)
    given = ((X * Y, z), (X**2, 1 + Y))
    step = Step(z * X, "=", Y + Y**2, "both", given=given)
    assert step.check()
    assert not replace(step, given=given[:1]).check()
    assert not replace(step, given=given[1:]).check()


def test_a_division_by_what_may_vanish_is_not_assumed():
    """From xy = xz follows nothing about y and z unless x was a denominator, hence is not zero."""
    y, z = sp.symbols("y z", real=True)
    x = sp.Symbol("x", real=True)
    assert not Step(y, "=", z, "x may be zero", given=((x * y, x * z),)).check()
    assert Step(y, "=", z, "1/x was written", given=((y / x, z / x),)).check()


WRONG_STEPS = {
    "a = a": (lambda: Step(X, "=", X, "nothing"), ValueError, "lhs and rhs are both x"),
    "a >= a": (lambda: Step(X, ">=", X, "nothing", witness=X), ValueError, "lhs and rhs are both x"),
    "restates a given": (lambda: Step(X, "=", Y, "given", given=((Y, X),)), ValueError, "rhs restates the given"),
    "restates a replacement": (lambda: Step(X, "=", Y, "given", where={X: Y}), ValueError, "rhs restates the given"),
    "no such relation": (lambda: Step(X, "==", Y, "equal"), ValueError, "relation must be one of"),
    "no witness": (lambda: Step(X + Y, ">", Y, "positive"), ValueError, "witness is None"),
    "witness of an equation": (lambda: Step(X, "=", Y, "equal", witness=X), ValueError, "witness is x"),
    "no reason": (lambda: Step(X, "=", Y, " "), ValueError, "reason is"),
    "a float": (lambda: Step(X, "=", 2.0, "half"), TypeError, "rhs must be a sympy expression"),
    "a text": (lambda: Step("x", "=", X, "half"), TypeError, "lhs must be a sympy expression"),
    "a truth": (lambda: Step(X, ">", Y, "half", witness=True), TypeError, "witness must be a sympy expression"),
    "a rounded number": (lambda: Step(X, "=", sp.Float(0.5), "half"), ValueError, "rhs is 0.5"),
    "a rounded replacement": (lambda: Step(X, "=", Y, "half", where={Y: 0.5 * X}), ValueError, "where is 0.5*x"),
    "a number in given": (lambda: Step(X, "=", Y, "half", given=((Y, 2),)), TypeError, "given must be a sympy"),
    "a constant that varies": (
        lambda: Step(E(X * RHO), "=", Y, "wrong", where={X: RHO}),
        ValueError,
        "where puts rho, which varies, for the constant x",
    ),
    "a mean of a function": (
        lambda: Step(E(sp.Function("f")(X)), "=", X, "wrong").check(),
        ValueError,
        "E[f(x)] has an undefined function",
    ),
    "no steps": (lambda: Derivation("C5", "", "", ()), ValueError, "steps of C5 is empty"),
}


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_steps_refuse(wrong):
    build, error, message = WRONG_STEPS[wrong]
    refused(error, build, message)


@pytest.mark.parametrize("wrong", ["C7", "C99", "", "C 5"])
@pytest.mark.parametrize("function", [prove, lambda claim: select([claim])])
def test_unknown_claims(wrong, function):
    refused(ValueError, lambda: function(wrong), "has no derivation; choose from C1, C2")


def test_claims_that_are_no_text():
    refused(TypeError, lambda: prove(5), "claim must be an id such as 'C5', got 5")


def test_perturbations_change_signs_factors_and_exponents():
    step = Step(X, "=", sp.log(Y) + E(RHO**2), "none")
    changed = {one.rhs for one in perturbations(step)}
    moment = E(RHO**2)
    expected = {sp.log(Y) - moment, sp.log(Y) + 2 * moment, moment - sp.log(Y), moment + sp.log(Y**2)}
    assert expected <= changed
    assert {sp.log(Y) + E(RHO**3), sp.log(Y) + E(-(RHO**2)), sp.log(Y) ** 2 + moment} <= changed
    assert step.rhs not in changed


# -- means ----------------------------------------------------------------------------------------------------------


def mean(expression, law, values):
    """The value of an expression, each E a sum over the actions of a law: shares, and variables by action."""
    found = expression.atoms(E)
    while found:
        one = found.pop()
        total = sum(share * one.args[0].xreplace(at) for share, at in law)
        expression = expression.xreplace({one: total})
    return expression.xreplace(values)


def test_means_are_linear():
    """Against sums over three actions with rational shares."""
    c = sp.Symbol("c", positive=True)
    values = [Fraction(1, 2), Fraction(4, 3), Fraction(7, 5)]
    law = [
        (sp.Rational(share), {RHO: sp.Rational(value), A: sp.Rational(value) - 1})
        for share, value in zip([Fraction(1, 6), Fraction(1, 3), Fraction(1, 2)], values, strict=True)
    ]
    for inside in [
        c + 2,
        (RHO + c * A) ** 3,
        (RHO + c) / (c * (1 + c * RHO)),
        sp.log(c * RHO) * A,
        sp.exp(c + A) - c * A,
    ]:
        difference = mean(linear(c * E(inside)) - c * E(inside), law, {})
        assert sp.expand(sp.numer(sp.together(sp.expand_log(sp.expand(difference), force=True)))) == 0, inside


def test_means_keep_signs():
    assert E(RHO**2).is_positive
    assert E((RHO - A) ** 2).is_nonnegative
    assert E(A).is_real
    assert E(A).is_positive is None
    assert linear(E(Y + RHO)) == Y + E(RHO)
    assert not linear(E(Variable("r", real=True))).has(Y)


@pytest.mark.parametrize("claim", ["C4", "C5", "C6"])
def test_identities_hold_in_numbers(claim):
    """The steps in E, rho, a and lambda on a solved step, by another road: sums over its actions in float64."""
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0.0, 1.0, 3.0], 0.7)
    step = pmd.mean_update(problem).unwrap()
    ratio, scaled = np.exp(step.log_ratio), (problem.reward - problem.mean_reward) / problem.tau
    law = [(share, {RHO: x, A: a}) for share, x, a in zip(problem.policy, ratio, scaled, strict=True)]
    tried = 0
    for one in DERIVATIONS[claim].steps:
        difference = one.lhs - one.rhs
        if one.relation == "=" and difference.atoms(E) and difference.free_symbols <= {RHO, A, LAM}:
            assert abs(float(mean(difference, law, {LAM: step.multiplier}))) < 1e-12
            tried += 1
    assert tried >= 1


# -- the series -----------------------------------------------------------------------------------------------------


def test_the_series_of_the_multiplier():
    m2, m3, m4, m5, m6, m7 = MOMENT.values()
    whole = sp.Rational
    stated = {
        2: m2 / 2,
        3: m3 / 6,
        4: (m4 - 15 * m2**2) / 24,
        5: (m5 - 90 * m2 * m3) / 120,
        6: (m6 - 255 * m2 * m4 - 130 * m3**2 + 1200 * m2**3) / 720,
        7: m7 / 5040 - 7 * m3 * m4 / 48 - whole(11, 80) * m2 * m5 + whole(27, 8) * m2**2 * m3,
    }
    assert {k: sp.expand(value) for k, value in stated.items()} == multiplier_series()


def test_the_series_of_the_gap():
    m2, m3 = MOMENT[2], MOMENT[3]
    shown = {one.lhs: one.rhs for one in prove("C11").steps}
    assert shown[GAP[2]] in (m2 / 2, COEFFICIENT[2])
    assert shown[GAP[4] - COEFFICIENT[4]] == m2**2 / 2
    assert shown[GAP[5] - COEFFICIENT[5]] == sp.Rational(2, 3) * m2 * m3


def test_the_series_approaches_the_multiplier():
    """Its error falls as the eighth power of 1/tau, in 50 digits."""
    law = [(sp.Rational(share, 10), sp.Rational(x, 10)) for share, x in ((5, -9), (3, 1), (2, 21))]
    moments = {symbol: sum(share * x**k for share, x in law) for k, symbol in MOMENT.items()}

    def exact(number):
        return mpf(int(number.p)) / int(number.q)

    def error(tau):
        series = exact(sum(one.xreplace(moments) / tau**k for k, one in multiplier_series().items()))
        actions = [(exact(share), exact(x / tau)) for share, x in law]

        def excess(weight):
            return sum(share * lambertw(weight * mp_exp(a)).real / weight for share, a in actions) - 1

        return abs(findroot(excess, series) - series)

    with workdps(50):
        assert log2(error(320) / error(640)) == pytest.approx(8, abs=0.1)


# -- the command and the page ---------------------------------------------------------------------------------------


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return cli.main(["prove", *arguments]), *capsys.readouterr()

    return run


@pytest.fixture
def broken(monkeypatch):
    """C6 with a wrong last step."""
    steps = DERIVATIONS["C6"].steps
    wrong = replace(DERIVATIONS["C6"], steps=(steps[0], next(perturbations(steps[1]))))
    monkeypatch.setitem(DERIVATIONS, "C6", wrong)


def test_prove_prints_unicode(command):
    status, out, err = command("C6", "c4")
    assert (status, err) == (0, "")
    assert out.startswith("C4 The weight is the step\n")
    assert out.index("C4 ") < out.index("C6 Loss value")
    assert "E[a] = λ + E[log(ρ)]" in out
    assert "\n6 of 6 steps decided; " in out
    assert not any(word in out for word in ("NOT DECIDED", "lambda", "\\"))


def test_prove_prints_differences(command):
    status, out, _ = command("C2")
    assert status == 0
    assert "    the difference is\n            1\n        λ + ─\n            ξ\n" in out


def test_prove_prints_latex(command):
    status, out, _ = command("C6", "--latex")
    assert status == 0
    assert DERIVATIONS["C6"].statement in out
    assert r"E\left[\rho^{2}\right]" in out


def test_prove_json_is_only_json(command):
    status, out, err = command("C1", "C6", "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["decided"] is True
    assert [one["claim"] for one in data["derivations"]] == ["C1", "C6"]
    assert {step["relation"] for step in data["derivations"][0]["steps"]} == {"=", "<", ">", ">="}
    assert all(step["decided"] for one in data["derivations"] for step in one["steps"])


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("flags", [(), ("--json",), ("--latex",)])
def test_an_undecided_step_is_exit_status_1(command, flags):
    status, out, err = command("C6", *flags)
    assert (status, err) == (1, "")
    if "--json" in flags:
        assert [step["decided"] for step in json.loads(out)["derivations"][0]["steps"]] == [True, False]
    else:
        assert out.count("NOT DECIDED") == 1
        assert "\n1 of 2 steps decided; " in out


@pytest.mark.usefixtures("broken")
def test_an_undecided_step_writes_no_page(command, tmp_path):
    status, out, err = command("C6", "--out", "page.md")
    assert (status, out) == (1, "")
    assert err == "pmdtheory: not decided: C6 2; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "unknown claim": (["C7"], "claim 'C7' has no derivation; choose from C1"),
    "two forms": (["C6", "--json", "--latex"], "more than one of --latex, --json and --out"),
    "a form and a page": (["C6", "--latex", "--out", "x.md"], "more than one of --latex, --json and --out"),
    "no folder": (["C6", "--out", "no/page.md"], "cannot be written"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_prove_refuses(command, wrong):
    arguments, message = WRONG[wrong]
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_prove_writes_the_page(command, tmp_path):
    assert command("C6", "--out", "page.md") == (0, "", "")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == proof_page([DERIVATIONS["C6"]])


def test_the_page_of_proofs_is_current():
    path = ROOT / "docs" / "proofs.md"
    page = proof_page(list(symbolic.DERIVATIONS.values()))
    assert path.read_text(encoding="utf-8") == page, "renew it: pmdtheory prove --out docs/proofs.md"
    assert page.count("$$") == 2 * (len(DERIVATIONS) + len(STEPS))
