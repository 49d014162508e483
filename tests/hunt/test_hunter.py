"""The hunter: it finds what is false, from the statement alone, and nothing where a theorem stands."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pmdtheory._cli_hunt import Hunt
from pmdtheory.hunt import STATEMENTS, Statement, Witness, hunt, select, statement
from pmdtheory.hunt._evolve import evolved
from pmdtheory.hunt._report import markdown
from pmdtheory.hunt._search import slacks
from tests.wrong import refused

DOCS = Path(__file__).parents[2] / "docs"
KNOWN = json.loads((DOCS / "hunt.json").read_text(encoding="utf-8"))
FEW = 3_000


@pytest.mark.parametrize("name", ["C13-top", "C14-worse", "tau-chi2"])
def test_known_counterexamples_are_found_again(name):
    """C13, C14 and C22 from their statements alone; nothing of the registered witness enters."""
    blind = replace(STATEMENTS[name], witness=None)
    found = hunt(blind, instances=FEW)
    assert found.verdict == "refuted"
    assert blind.refutes(found.witness)
    assert found.slack[1] < 0.0


@pytest.mark.parametrize("name", ["C8-KL-strong", "floor-pairs-strong", "contraction-regret-strong"])
def test_constants_a_tenth_too_strong_are_refuted(name):
    found = hunt(replace(STATEMENTS[name], witness=None), instances=FEW)
    assert found.verdict == "refuted"
    assert len(found.witness.weights) == 2
    true = STATEMENTS[{"C8-KL-strong": "C8-KL"}.get(name, name.removesuffix("-strong"))]
    assert true.verdict == "proved"
    assert not true.refutes(found.witness)


@pytest.mark.parametrize("name", [name for name, one in STATEMENTS.items() if one.verdict == "proved"])
def test_theorems_survive(name):
    found = hunt(replace(STATEMENTS[name], boxes=()), instances=FEW)
    assert found.verdict == "survived"
    assert found.witness is None
    assert found.instances >= FEW
    assert found.least > -1e-6


def test_what_survives_is_proved_over_boxes():
    found = hunt(replace(STATEMENTS["floor-pairs"]), instances=1_000)
    assert found.verdict == "proved over boxes"
    assert found.boxes == {"C8-floor": True}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in STATEMENTS.items() if one.verdict == "refuted"])
def test_every_counterexample_is_found_again(name):
    assert hunt(replace(STATEMENTS[name], witness=None), instances=200_000).verdict == "refuted"


def test_the_same_seed_finds_the_same():
    one, two = (hunt(STATEMENTS["C13-top"], instances=1_000, seed=5) for _ in range(2))
    assert one == two


def test_rounding_noise_is_no_counterexample():
    """A slack that small changes of the law change counts as undecided; what slips through is decided exactly."""
    noise = replace(STATEMENTS["C4"], measure=lambda case: np.sin(1e20 * case.reward[:, 0]))
    found = hunt(noise, instances=1_000)
    assert found.verdict == "survived"
    assert found.undecided > 0.3 * found.instances


def test_what_is_no_number_is_counted():
    found = hunt(
        replace(STATEMENTS["C4"], measure=lambda case: np.where(case.reward[:, 0] > 0, np.nan, 1.0)), instances=1_000
    )
    assert 0.1 < found.undecided / found.instances < 0.9
    assert found.least == 1.0


def test_a_violation_in_float64_that_is_none_exactly_is_not_reported():
    """Where the measure is a heuristic, the exact decision has the last word."""
    from flint import arb

    wrong = replace(
        STATEMENTS["C4"],
        measure=lambda case: np.full(len(case.mass), -1.0),
        exact=lambda case: np.array([arb(1)], dtype=object),
    )
    found = hunt(wrong, instances=1_000)
    assert found.verdict == "survived"
    assert found.least == -1.0


@pytest.mark.parametrize("when", [1, 2_000])
def test_an_interrupt_keeps_what_was_found(when):
    def stop(laws, least):
        if laws >= when:
            raise KeyboardInterrupt

    found = hunt(STATEMENTS["C8-KL"], instances=100_000, progress=stop)
    assert found.interrupted
    assert when <= found.instances < 100_000
    assert found.least < 1.0
    assert found.point["log_mass"]
    assert found.boxes == {}


def test_evolution_finds_a_minimum_and_respects_walls():
    rng = np.random.default_rng(0)
    start = rng.standard_normal((60, 4)) + 2.0
    at, value = evolved(rng, lambda z: np.where(z[:, 0] >= 1.0, (z**2).sum(1), np.inf), start, 300)
    assert value == pytest.approx(1.0, abs=1e-6)
    assert at[0] >= 1.0


def test_slacks_outside_of_the_region_are_infinite():
    one = STATEMENTS["tau-KL"]
    inside = np.array([[0.0, 0.0, 0.0, 1.0, np.log(2.0)]])
    for k, value in ((0, -100.0), (3, 0.0), (3, 20.0), (4, np.log(1e3)), (4, 0.0)):
        outside = inside.copy()
        outside[0, k] = value
        assert np.isinf(slacks(one, outside, 2)[0]).all()
    assert np.isfinite(slacks(one, inside, 2)[0]).all()


# -- what is committed ---------------------------------------------------------------------------------------------


def test_the_committed_findings_cover_the_registry():
    assert [one["statement"] for one in KNOWN["findings"]] == list(STATEMENTS)
    for one in KNOWN["findings"]:
        known = STATEMENTS[one["statement"]]
        assert (one["words"], one["slack"], one["known"]) == (known.words, known.formula, known.verdict)
        assert (one["found"] == "refuted") == (known.verdict == "refuted")
        assert not one["interrupted"]
        if known.verdict == "proved":
            assert one["instances"] >= KNOWN["instances"]
            assert one["least"] > -1e-6


@pytest.mark.parametrize("one", [one for one in KNOWN["findings"] if one["witness"]], ids=lambda one: one["statement"])
def test_committed_witnesses_are_decided_again(one):
    law = dict(one["witness"])
    weights, reward = tuple(map(int, law.pop("weights"))), tuple(map(Fraction, law.pop("reward")))
    found = Witness(weights, reward, {name: Fraction(value) for name, value in law.items()})
    low, high = STATEMENTS[one["statement"]].slack(found)
    assert high < 0.0
    assert [low, high] == pytest.approx(one["slack_at_witness"], rel=1e-12)


def test_the_page_quotes_the_committed_findings():
    assert markdown(KNOWN) in (DOCS / "hunt.md").read_text(encoding="utf-8")


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_json_and_agrees(capsys):
    assert Hunt(("c13-TOP",), instances=1_000, json=True).run() == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["statement"] for one in data["findings"]] == ["C13-top"]
    assert data["findings"][0]["found"] == "refuted"


def test_the_command_writes_a_file(tmp_path, capsys):
    assert Hunt(("C4",), instances=1_000, out=tmp_path / "x.json").run() == 0
    assert json.loads((tmp_path / "x.json").read_text())["findings"][0]["found"] == "survived"
    assert Hunt(("C4",), instances=1_000).run() == 0
    assert "survived" in capsys.readouterr().out


def test_the_command_fails_where_a_finding_contradicts_what_is_known(monkeypatch, capsys):
    wrong = replace(STATEMENTS["C8-KL-strong"], id="C4", verdict="proved")
    monkeypatch.setitem(STATEMENTS, "C4", wrong)
    monkeypatch.setattr("pmdtheory.hunt.select", lambda names: [wrong])
    assert Hunt(("C4",), instances=1_000).run() == 1
    assert "refuted" in capsys.readouterr().out


# -- wrong inputs --------------------------------------------------------------------------------------------------


def test_wrong_inputs_are_refused():
    one = STATEMENTS["C4"]
    refused(TypeError, lambda: hunt("C4"), "statement", "C4")
    refused(TypeError, lambda: hunt(one, instances=1e4), "instances", "10000.0")
    refused(ValueError, lambda: hunt(one, instances=10), "instances", "10")
    refused(ValueError, lambda: hunt(one, seed=-1), "seed", "-1")
    refused(TypeError, lambda: hunt(one, seed=True), "seed", "True")
    refused(ValueError, lambda: statement("C99"), "C99")
    refused(TypeError, lambda: statement(4), "4")
    refused(ValueError, lambda: select(["C4", "nothing"]), "nothing")
    refused(ValueError, lambda: Witness((1,), (Fraction(1),)), "1 and 1")
    refused(ValueError, lambda: Witness((1, 0), (Fraction(1), Fraction(2))), "weights", "0")
    refused(ValueError, lambda: Witness((1, 1), (Fraction(1, 3), Fraction(2))), "1/3")
    refused(ValueError, lambda: one.slack(Witness.of("1:1", "0, 1", scale=2)), "scale")
    refused(ValueError, lambda: STATEMENTS["tau-KL"].slack(Witness.of("3:1", "0, 1", scale="4/3")), "4/3")
    refused(ValueError, lambda: Hunt(json=True, out=Path("x")).run(), "--json")


def test_select_takes_claims_and_ids():
    assert [one.id for one in select(["C8", "c4"])][:2] == ["C4", "C8-KL"]
    assert all(isinstance(one, Statement) for one in select([]))
    assert len(select([])) == len(STATEMENTS)
