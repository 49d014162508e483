"""Results as text: tables, JSON that any parser reads, and the page of claims."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

import pmdtheory as pmd
from pmdtheory import report
from pmdtheory.claims import CLAIMS, Certificate, Part
from pmdtheory.claims._verify import Report

HELD = Certificate.of("C4", "identity", [Part("small", "identity", 1e-14, 1e-12)])
BROKEN = Certificate.of("C4", "identity", [HELD.parts[0], Part("lost", "identity", math.nan, math.inf)])
GOOD = Report(CLAIMS["C4"], 20, 3, 0, HELD, "binary", (), 12, 12, 1.25)


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_row_per_claim():
    (row,) = report.verify_rows([GOOD])
    assert row == (
        "C4",
        "The weight is the step",
        "identity",
        "20",
        "1.0e-14 / 1.0e-12",
        "-",
        "12/12",
        "1.2 s",
        "holds",
    )


def test_rows_of_claims_that_fail():
    survived = replace(GOOD, caught=2)
    failed = replace(GOOD, failures=("binary #3: small",))
    empty = replace(GOOD, instances=0, worst=None, worst_case="")
    with_opinion = replace(GOOD, claim=CLAIMS["C2"], opinions=7)
    rows = report.verify_rows([survived, failed, empty, with_opinion])
    assert [row[-1] for row in rows] == ["FAILS", "FAILS", "FAILS", "holds"]
    assert rows[0][6] == "2/12 SURVIVES"
    assert rows[2][4] == "none applied"
    assert rows[3][5] == "7"


def test_reports_as_json():
    empty = replace(GOOD, instances=0, worst=None, worst_case="")
    broken = replace(GOOD, worst=BROKEN, failures=("binary #3: lost",))
    data = strict(report.verify_data([GOOD, empty, broken], 20, 5))
    assert (data["schema"], data["instances"], data["seed"], data["holds"]) == (report.SCHEMA, 20, 5, False)
    first, second, third = data["claims"]
    assert first["worst"] == {"case": "binary", "residual": 1e-14, "tolerance": 1e-12, "part": "small"}
    assert first["mutant"] == {"mistake": "KL(new||old) for KL(old||new)", "tried": 12, "caught": 12}
    assert (first["holds"], first["instances"], first["not_applicable"], first["seconds"]) == (True, 20, 3, 1.25)
    assert second["worst"] is None
    assert not second["holds"]
    assert third["worst"] == {"case": "binary", "residual": None, "tolerance": "inf", "part": "lost"}
    assert third["failures"] == ["binary #3: lost"]
    assert strict(report.verify_data([GOOD], 20, 5))["holds"]


def test_figures_as_json():
    one = SimpleNamespace(name="a", files=(Path("x/a.pdf"),), ok=True, mismatch=math.nan, message="", seconds=0.12345)
    other = SimpleNamespace(name="b", files=(), ok=False, mismatch=math.inf, message="no data", seconds=0.0)
    data = strict(report.figures_data([one, other]))
    assert data["schema"] == report.SCHEMA
    assert not data["ok"]
    assert data["figures"][0] == {
        "name": "a",
        "files": [str(Path("x/a.pdf"))],
        "ok": True,
        "mismatch": None,
        "message": "",
        "seconds": 0.123,
    }
    assert data["figures"][1]["mismatch"] == "inf"
    assert strict(report.figures_data([one]))["ok"]


def test_a_step_as_rows():
    step = pmd.mean_update(pmd.Problem.binary(0.3, 0.5)).unwrap()
    rows = dict(report.update_rows(step))
    assert rows["tau"] == "0.5 reward units"
    assert float(rows["multiplier (chi2 weight)"]) == pytest.approx(step.multiplier, rel=1e-9)
    assert rows["KL(new||old)"].endswith(" nats")
    assert f"log Z = {step.problem.log_partition:.10g}" in rows["baseline b"]


def test_infinities_are_strings():
    """A heavy tail: log Z and the new mean reward are infinite, the step is not (C19)."""
    problem = pmd.Problem.from_distribution(stats.pareto(1.5), 0.5)
    data = strict(report.update_data(pmd.mean_update(problem), "mean"))
    assert data["log_partition"] == data["expected_reward"] == data["improvement"] == "inf"
    assert math.isfinite(data["multiplier"])
    assert len(data["policy"]) == problem.reward.size


def test_zero_mass_is_minus_infinity():
    data = strict(report.update_data(pmd.mean_update(pmd.Problem.from_policy([0.5, 0, 0.5], [0, 9, 1], 1)), "mean"))
    assert data["log_policy"][1] == "-inf"
    assert (data["policy"][1], data["log_ratio"][1]) == (0.0, 0.0)


def test_a_step_that_does_not_exist_has_no_data():
    with pytest.raises(pmd.SolveError, match="BASELINE_TOO_HIGH"):
        report.update_data(pmd.baseline_update(pmd.Problem.binary(0.3, 0.1), baseline=1e3), "baseline")


def test_the_table_of_claims():
    lines = report.claims_table().splitlines()
    assert len(lines) == 2 + len(CLAIMS)
    assert all(line.count("|") == lines[0].count("|") for line in lines), "a title or source breaks the table"
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(CLAIMS)


def test_the_page_states_every_claim():
    page = report.claims_page()
    assert page.endswith("\n")
    for claim in CLAIMS.values():
        assert page.count(f"\n## {claim.id} {claim.title}\n") == 1
        assert f"$$ {claim.statement} $$" in page
        assert f"- mutant: {claim.mistake} " in page
        if claim.opinion is not None:
            assert claim.opinion.__doc__.strip().splitlines()[0] in page
