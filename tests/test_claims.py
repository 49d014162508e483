"""The registry: every claim holds, every mutant is caught, and a claim that is wrong is not called right."""

import math
import warnings
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

import pmdtheory as pmd
from pmdtheory import claims
from pmdtheory.claims import CLAIMS, Certificate, Part, Verdict
from pmdtheory.claims._base import Kind
from pmdtheory.claims._instances import NAMED
from pmdtheory.claims._verify import SUBSAMPLE, verify
from tests.strategies import any_case

REQUIRED = [f"C{number}" for number in (*range(1, 12), 19, 21, 22)]
INSTANCES = 25
# Those whose check takes at most a few milliseconds and is made of a Problem.
CHEAP = [name for name in REQUIRED if name not in ("C11", "C19")]
PROBLEM = pmd.Problem.binary(0.3, 0.5)
GOOD = Part("good", "identity", 0.0, 1e-12)
BAD = Part("bad", "identity", 1.0, 1e-12)


@cache
def found(name, seed=0, instances=INSTANCES):
    (report,) = verify([CLAIMS[name]], instances=instances, seed=seed)
    return report


def toy(check=lambda case: [GOOD], mutant=lambda case: [BAD], *, opinion=None, cases=10):
    """A claim about nothing, for what the machinery makes of it; its cases are numbers."""

    def stream(rng):
        return ((f"case {k}", k) for k in range(cases))

    return replace(CLAIMS["C4"], instances=stream, check=check, mutant=mutant, opinion=opinion)


def run(claim, instances=10):
    (report,) = verify([claim], instances=instances)
    return report


# -- the registry ---------------------------------------------------------------------------------------------------


def test_the_required_claims_are_there_in_order():
    assert [name for name in CLAIMS if name in REQUIRED] == REQUIRED
    assert list(CLAIMS) == sorted(CLAIMS, key=lambda name: int(name[1:]))
    assert all(claim.id == name for name, claim in CLAIMS.items())


def test_no_claim_is_defined_twice():
    groups = ("exact", "identities", "bounds", "binary", "structure", "tails", "strength")
    ids = [claim.id for group in groups for claim in getattr(claims, group).CLAIMS]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(CLAIMS)
    assert len({claim.title for claim in CLAIMS.values()}) == len(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_complete(name):
    claim = CLAIMS[name]
    for field in ("title", "statement", "source", "assumes", "mistake", "blunt"):
        text = getattr(claim, field)
        assert text.strip() == text, field
        assert len(text) > 2, field
    assert claim.kind in get_args(Kind)
    assert "\n" not in claim.title + claim.statement
    if claim.opinion is not None:
        assert (claim.opinion.__doc__ or "").strip(), "the page quotes the docstring of the second opinion"


@pytest.mark.parametrize("name", CLAIMS)
def test_statements_are_balanced(name):
    statement = CLAIMS[name].statement
    depth = 0
    for opened in statement.replace(r"\{", "").replace(r"\}", ""):
        depth += (opened == "{") - (opened == "}")
        assert depth >= 0
    assert depth == 0
    assert statement.count("(") == statement.count(")")
    assert statement.count(r"\left") == statement.count(r"\right")
    assert statement.count(r"\begin") == statement.count(r"\end")
    assert "$" not in statement


def test_the_package_offers_the_registry():
    assert pmd.CLAIMS is CLAIMS
    assert pmd.check is claims.check
    assert {pmd.Verdict, pmd.Certificate, pmd.Claim} == {claims.Verdict, claims.Certificate, claims.Claim}


# -- every claim on real instances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds(name):
    report = found(name)
    assert report.failures == ()
    assert report.instances > 0
    assert report.instances + report.skipped == INSTANCES
    assert report.worst.verdict is Verdict.HOLDS
    assert report.worst_case
    assert 0.0 <= report.worst.residual <= report.worst.tolerance
    assert all(part.kind in get_args(Kind) and 0.0 < part.tolerance < math.inf for part in report.worst.parts)


@pytest.mark.parametrize("name", CLAIMS)
def test_mutant_is_caught(name):
    report = found(name)
    assert report.mutants >= 2, "the mutant was hardly tried"
    assert report.caught >= 0.9 * report.mutants
    assert report.ok


@pytest.mark.parametrize("name", CLAIMS)
def test_second_opinions_are_counted(name):
    report = found(name)
    assert (report.opinions > 0) == (CLAIMS[name].opinion is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_at_the_default_size(name):
    """Another seed than the default's, so that this is news."""
    report = found(name, seed=1, instances=200)
    assert report.failures == ()
    assert report.ok
    if CLAIMS[name].opinion is not None:
        assert report.opinions >= SUBSAMPLE >= 50


@pytest.mark.parametrize("name", CHEAP)
def test_claim_holds_on_problems_of_others(name):
    """Properties: small readable problems, nine decades of tau, success as rare as 1e-300."""

    @settings(max_examples=settings.default.max_examples // 2)
    @given(any_case())
    def holds(case):
        for part in CLAIMS[name].check(case.problem()):
            assert part.holds, part

    holds()


@pytest.mark.parametrize("name", ["C4", "C7", "C9"])
def test_the_same_seed_repeats_itself(name):
    first, again = (verify([CLAIMS[name]], instances=30, seed=3)[0] for _ in range(2))
    assert first.worst == again.worst
    assert replace(first, seconds=0.0) == replace(again, seconds=0.0)
    other = verify([CLAIMS[name]], instances=30, seed=4)[0]
    assert (other.worst, other.mutants) != (first.worst, first.mutants)


def test_a_claim_has_its_own_stream():
    """So that `verify C5` and `verify` report the same numbers for C5."""
    alone = verify([CLAIMS["C5"]], instances=25)[0]
    both = verify([CLAIMS["C4"], CLAIMS["C5"]], instances=25)[1]
    assert alone.worst == both.worst


def test_named_cases_go_to_the_corners():
    labels = [label for label, _ in NAMED()]
    assert len(labels) == len(set(labels))
    for kind in ("binary", "graded", "tied", "-1/+1", "1e-300", "law", "nearly constant", "constant", "one action"):
        assert any(kind in label for label in labels), kind


def test_tau_spans_nine_decades():
    rng = np.random.default_rng(0)
    drawn = [claims._instances.random_tau(rng) for _ in range(2000)]
    assert 1e-5 < min(drawn) < 1e-4
    assert 1e4 < max(drawn) < 1e5


# -- check: one claim, one case -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "C19"])
def test_check_on_a_problem(name):
    certificate = claims.check(name, PROBLEM)
    assert certificate.verdict is Verdict.HOLDS
    assert certificate.claim == name
    assert certificate.parts
    assert certificate.residual <= certificate.tolerance


@pytest.mark.parametrize("name", ["C6", "C7", "C8", "C9", "C11", "C21", "C22"])
def test_check_says_not_applicable(name):
    """Constant rewards: nothing moves, and these claims say nothing."""
    certificate = claims.check(name, pmd.Problem.from_policy([0.5, 0.5], [1, 1], 0.5))
    assert certificate.verdict is Verdict.NOT_APPLICABLE
    assert certificate.parts == ()
    assert math.isnan(certificate.residual)


def test_a_claim_about_laws_has_nothing_to_say_about_two_actions():
    assert claims.check("C19", PROBLEM).verdict is Verdict.NOT_APPLICABLE


def test_check_on_a_law_of_its_own():
    label, case = next(CLAIMS["C19"].instances(np.random.default_rng(0)))
    assert label.startswith("exponential")
    assert claims.check("C19", case).verdict is Verdict.HOLDS


def test_check_adds_the_second_opinion():
    with_opinion = claims.check("C2", PROBLEM).parts
    assert len(with_opinion) == len(CLAIMS["C2"].check(PROBLEM)) + len(CLAIMS["C2"].opinion(PROBLEM))


@pytest.mark.parametrize(("name", "solver"), [("C1", "solve_regression"), ("C2", "solve_subproblem")])
def test_a_solver_that_gives_up_is_no_agreement(monkeypatch, name, solver):
    failed = pmd.Solution(None, pmd.Status.SOLVER_FAILED)
    monkeypatch.setattr(claims.exact, solver, lambda *arguments, **options: failed)
    certificate = claims.check(name, PROBLEM)
    assert certificate.verdict is Verdict.FAILS
    assert "SOLVER_FAILED" in certificate.parts[-1].name


def test_claims_where_a_divergence_is_infinite():
    """Success of mass e^-800: KL-PMD's chi2 overflows, and the rest is still compared. Pareto: nothing is left."""
    rare = pmd.Problem.from_log_policy([0.0, -800.0], [0, 1], 1e-4)
    assert pmd.kl_update(rare).unwrap().chi2 == math.inf
    certificate = claims.check("C8", rare)
    assert certificate.verdict is Verdict.HOLDS
    assert "chi2: PMD-mean <= KL-PMD" not in [part.name for part in certificate.parts]
    assert "TV: PMD-mean <= KL-PMD" in [part.name for part in certificate.parts]
    heavy = pmd.Problem.from_distribution(stats.pareto(1.5), 0.5)
    for name in ("C5", "C6", "C7", "C8"):
        assert claims.check(name, heavy).verdict is Verdict.NOT_APPLICABLE, name


def test_check_finds_a_false_claim(monkeypatch):
    monkeypatch.setitem(CLAIMS, "C4", replace(CLAIMS["C4"], check=CLAIMS["C4"].mutant))
    certificate = claims.check("C4", PROBLEM)
    assert certificate.verdict is Verdict.FAILS
    assert certificate.residual > certificate.tolerance


@pytest.mark.parametrize("name", ["C99", "", "4", "C", "C04", "KL", "C4 "])
def test_unknown_ids_are_refused(name):
    with pytest.raises(ValueError, match=r"claim .* is not in the registry; choose from C1, C2") as caught:
        claims.check(name, PROBLEM)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", [None, 4, ["C4"]])
def test_ids_that_are_no_strings_are_refused(name):
    with pytest.raises((TypeError, ValueError), match="claim"):
        claims.check(name, PROBLEM)


@pytest.mark.parametrize("case", ["abc", None, 0.3])
def test_cases_that_are_no_problems_are_refused(case):
    with pytest.raises((TypeError, ValueError), match="case"):
        claims.check("C4", case)


def test_select_keeps_the_order_of_the_registry():
    assert [claim.id for claim in claims.select(["C9", "c1", "C9"])] == ["C1", "C9"]
    assert [claim.id for claim in claims.select([])] == list(CLAIMS)
    with pytest.raises(ValueError, match="'C77' is not in the registry"):
        claims.select(["C1", "C77"])


def test_other_packages_add_claims(monkeypatch):
    extra = replace(CLAIMS["C4"], id="C20", title="From elsewhere")
    entry = SimpleNamespace(name="extra", value="elsewhere:CLAIMS", load=lambda: (extra,))
    asked = []
    monkeypatch.setattr(claims.metadata, "entry_points", lambda group: asked.append(group) or [entry])
    merged = claims._registry()
    assert asked == ["pmdtheory.claims"]
    assert list(merged) == sorted({*CLAIMS, "C20"}, key=lambda name: int(name[1:]))
    assert merged["C20"] is extra


@pytest.mark.parametrize("name", ["C4", "X1", "Cx"])
def test_other_packages_cannot_take_an_id_or_invent_a_form(monkeypatch, name):
    entry = SimpleNamespace(name="extra", value="elsewhere:CLAIMS", load=lambda: (replace(CLAIMS["C5"], id=name),))
    monkeypatch.setattr(claims.metadata, "entry_points", lambda group: [entry])
    with pytest.raises(ValueError, match=name):
        claims._registry()


# -- the machinery does not let a false claim pass ------------------------------------------------------------------


def boom(case):
    raise ArithmeticError(f"no\nluck with {case}")


def warn(case):
    warnings.warn("something is off", RuntimeWarning, stacklevel=2)
    return [GOOD]


def overflow(case):
    np.exp(np.array([1e4]))
    return [GOOD]


FALSE = {
    "wrong": (lambda case: [BAD], "bad"),
    "one part of two": (lambda case: [GOOD, BAD], "bad"),
    "one case of ten": (lambda case: [BAD if case == 7 else GOOD], "case 7 #8: bad"),
    "just beyond its tolerance": (lambda case: [Part("edge", "upper", 1.001e-12, 1e-12)], "edge"),
    "NaN": (lambda case: [Part("lost", "identity", math.nan, 1e-12)], "lost"),
    "NaN among good parts": (lambda case: [GOOD, Part("lost", "identity", math.nan, 1.0), GOOD], "lost"),
    "infinite": (lambda case: [Part("far", "identity", math.inf, 1e-12)], "far"),
    "raises": (boom, "ArithmeticError: no luck with 0"),
    "raises midway": (lambda case: (boom(case) for _ in range(1)), "ArithmeticError"),
    "warns": (warn, "RuntimeWarning: something is off"),
    "numpy warns": (overflow, "RuntimeWarning: overflow"),
    "no parts but None": (lambda case: None, "TypeError"),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_is_reported(name):
    check, said = FALSE[name]
    report = run(toy(check))
    assert not report.ok
    assert any(said in failure for failure in report.failures), report.failures
    assert all("\n" not in failure for failure in report.failures)
    assert report.worst.verdict is Verdict.FAILS
    assert report.instances == 10


def test_a_true_toy_passes():
    """A guard: what is reported above is reported because of the mistake."""
    report = run(toy())
    assert report.ok
    assert (report.instances, report.mutants, report.caught, report.opinions) == (10, 10, 10, 0)


@pytest.mark.parametrize("name", ["C4", "C9"])
def test_a_real_claim_that_is_broken_is_reported(name):
    report = run(replace(CLAIMS[name], check=CLAIMS[name].mutant))
    assert not report.ok
    assert report.failures


def test_a_claim_that_never_applies_fails():
    report = run(toy(lambda case: []))
    assert not report.ok
    assert report.failures == ()
    assert (report.instances, report.skipped, report.worst) == (0, 10, None)


def test_a_claim_without_cases_fails():
    assert not run(toy(cases=0)).ok


def test_a_claim_may_have_fewer_cases_than_asked():
    report = run(toy(cases=4), instances=50)
    assert report.ok
    assert report.instances == 4


SURVIVORS = {
    "true": lambda case: [GOOD],
    "never tried": lambda case: [],
    "nine tolerances": lambda case: [Part("close", "identity", 9e-12, 1e-12)],
    "caught on 8 of 10": lambda case: [BAD if case < 8 else GOOD],
}


@pytest.mark.parametrize("name", SURVIVORS)
def test_a_surviving_mutant_is_reported(name):
    report = run(toy(mutant=SURVIVORS[name]))
    assert report.failures == ()
    assert not report.mutant_caught
    assert not report.ok


CAUGHT = {
    "eleven tolerances": lambda case: [Part("far", "identity", 1.1e-11, 1e-12)],
    "one of its parts": lambda case: [GOOD, BAD],
    "NaN": lambda case: [Part("lost", "identity", math.nan, 1e-12)],
    "on 9 of 10": lambda case: [BAD if case < 9 else GOOD],
    "on all 3 where it matters": lambda case: [BAD] if case < 3 else [],
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_mutant_counts_as_caught(name):
    assert run(toy(mutant=CAUGHT[name])).ok


@pytest.mark.parametrize("mutant", [boom, warn, lambda case: None], ids=["raises", "warns", "None"])
def test_a_crashing_mutant_is_not_caught(mutant):
    report = run(toy(mutant=mutant))
    assert report.caught == 0
    assert not report.ok
    assert all("mutant" in failure for failure in report.failures)
    assert len(report.failures) == 10


def test_a_mutant_that_crashes_once_fails_the_claim():
    report = run(toy(mutant=lambda case: boom(case) if case == 3 else [BAD]))
    assert report.caught == 9
    assert not report.ok


def test_a_wrong_second_opinion_fails_the_claim():
    assert not run(toy(opinion=lambda case: [BAD])).ok
    report = run(toy(opinion=boom))
    assert not report.ok
    assert "ArithmeticError" in report.failures[0]


@pytest.mark.parametrize(("instances", "opinions"), [(10, 10), (120, SUBSAMPLE), (3000, 150)])
def test_the_subsample_of_second_opinions(instances, opinions):
    report = run(toy(opinion=lambda case: [GOOD], cases=instances), instances)
    assert report.opinions == opinions
    assert report.ok


def test_second_opinions_that_do_not_apply_are_not_counted():
    report = run(toy(opinion=lambda case: [GOOD] if case % 2 else [], cases=200), 200)
    assert report.opinions == SUBSAMPLE
    assert run(toy(opinion=lambda case: [])).opinions == 0


def test_no_second_opinion_where_the_claim_does_not_apply():
    report = run(toy(lambda case: [] if case < 5 else [GOOD], opinion=lambda case: [BAD if case < 5 else GOOD]))
    assert report.ok
    assert report.opinions == 5


def test_an_interrupt_is_not_a_verdict():
    def interrupted(case):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(toy(interrupted))


@pytest.mark.parametrize("instances", [0, -3])
def test_no_instances_is_bad_input(instances):
    with pytest.raises(ValueError, match=rf"instances must be at least 1, got {instances}; ."):
        verify([CLAIMS["C4"]], instances=instances)


def test_a_negative_seed_is_bad_input():
    with pytest.raises(ValueError, match=r"seed .*-1.*; ."):
        verify([CLAIMS["C4"]], instances=2, seed=-1)


def test_progress_is_told_after_every_case():
    told = []
    verify([toy(cases=3), CLAIMS["C5"]], instances=3, progress=lambda name, done: told.append((name, done)))
    assert told == [("C4", 1), ("C4", 2), ("C4", 3), ("C5", 1), ("C5", 2), ("C5", 3)]


# -- parts and certificates -----------------------------------------------------------------------------------------


def test_a_part_holds_up_to_its_tolerance():
    assert Part("edge", "identity", 1e-12, 1e-12).holds
    assert not Part("over", "identity", 1.1e-12, 1e-12).holds
    assert not Part("lost", "identity", math.nan, 1e-12).holds
    assert Part("lost", "identity", math.nan, 1e-12).excess == math.inf
    assert Part("half", "identity", 1.0, 2.0).excess == 0.5


def test_a_certificate_shows_its_worst_part():
    parts = [Part("small", "order", 1e-3, 1.0), Part("large", "identity", 9e-13, 1e-12), GOOD]
    certificate = Certificate.of("C4", "upper", parts)
    assert certificate.verdict is Verdict.HOLDS
    assert (certificate.kind, certificate.residual, certificate.tolerance) == ("identity", 9e-13, 1e-12)
    assert certificate.parts == tuple(parts)
    lost = Certificate.of("C4", "upper", [*parts, Part("lost", "rate", math.nan, 1.0)])
    assert lost.verdict is Verdict.FAILS
    assert lost.kind == "rate"
    assert Certificate.of("C4", "upper", []).kind == "upper"
