"""Certificates: the committed ones pass a second program, and whatever is changed in one is found."""

import ast
import hashlib
import json
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pmdtheory.proof import STATEMENTS, Proved, certificate, prove_over_box, recheck, statement
from pmdtheory.proof.recheck import _definitions, _two_levels
from tests.wrong import refused

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "certificates"
LONG = (
    *("C8-KL-ternary", "C8-price-ternary", "C8-price", "C7-1-ternary", "C7-2", "C7-3-ternary", "C8-reverse-KL-ternary"),
    *("C8-chi2-ternary", "C8-reward-ternary"),
)  # seconds each in decimals


def stored(name):
    return (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def renewed(text):
    """The text with the digest that fits it, so that only its contents can give it away."""
    body = text.rpartition(',\n "digest"')[0]
    return f'{body},\n "digest": "{hashlib.sha256("".join(body.split()).encode()).hexdigest()}"\n}}\n'


def edited(name, change):
    """A stored certificate with a change to its data."""
    data = json.loads(stored(name))
    data.pop("digest")
    change(data)
    rows = ",\n".join(json.dumps(row) for row in data.pop("boxes"))
    text = json.dumps(data, indent=1)[:-2] + f',\n "boxes": [\n{rows}\n ],\n "digest": ""\n}}\n'
    return renewed(text)


# -- the committed certificates ----------------------------------------------------------------------------------------


def test_every_statement_has_a_certificate():
    assert {path.stem for path in FOLDER.glob("*")} == set(STATEMENTS)
    assert all(path.stat().st_size < 200_000 for path in FOLDER.glob("*"))


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in STATEMENTS]
)
def test_certificates_pass(name):
    found = recheck(stored(name))
    assert (found.passed, found.reason) == (True, "")
    assert found.statement == name
    assert found.boxes == len(json.loads(stored(name))["boxes"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=pytest.mark.slow) if one in ("C8-KL-ternary", "C8-price-ternary") else one
        for one in STATEMENTS
    ],
)
def test_certificates_are_current(name):
    one = statement(name)
    text = certificate(one, prove_over_box(one))
    assert text == stored(name), "renew them: pmdtheory prove --boxes --certificate docs/certificates"


def test_a_certificate_says_what_it_proves():
    data = json.loads(stored("C8-KL"))
    one = statement("C8-KL")
    assert data["inequality"] == one.formula
    assert data["covers"] == one.covers
    assert (data["volume"], data["unproved_volume"]) == ("100", "0")
    assert Fraction(data["at_least"]) == one.at_least
    assert all(len(row) in (4, 6) for row in data["boxes"])


def test_progress_counts_boxes():
    told = []
    recheck(stored("C8-chi2"), progress=lambda done, total: told.append((done, total)))
    assert told == [(k + 1, 24) for k in range(24)]


# -- independence ------------------------------------------------------------------------------------------------------


def test_the_second_program_shares_no_code():
    """The rechecker imports the standard library and itself: no Arb, no NumPy, nothing of the prover."""
    files = sorted((ROOT / "pmdtheory" / "proof" / "recheck").glob("*.py"))
    assert len(files) >= 5
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.startswith("pmdtheory.proof.recheck")
                assert ours or name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_both_programs_speak_of_the_same_statements():
    tables = {**_two_levels.BINARY, **sys.modules["pmdtheory.proof.recheck"].TERNARY}
    assert set(tables) == set(STATEMENTS)
    for name, (_, at_least, limit) in tables.items():
        assert (Fraction(at_least), Fraction(limit)) == (statement(name).at_least, statement(name).limit)


@pytest.mark.parametrize("name", STATEMENTS)
def test_both_programs_define_the_same_slack(name):
    from flint import ctx

    from pmdtheory.proof._span import exact

    one = statement(name)
    point = {2: (Fraction(3, 16), Fraction(7, 8)), 4: (Fraction(5, 8), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))}
    with ctx.workprec(200):
        ours = one.slack([exact(x) for x in point[len(one.root)]])
    theirs = _definitions.defined(name, point[len(one.root)], int(one.limit))
    assert theirs.hi - theirs.lo < Decimal("1e-25")
    assert float(theirs.lo) == pytest.approx(float(ours), rel=1e-14)


# -- corruption --------------------------------------------------------------------------------------------------------


def remove(data):
    del data["boxes"][5]


def repeat(data):
    data["boxes"].append(data["boxes"][5])


def move(data):
    data["boxes"][5][2] += 1


def shrink(data):
    data["boxes"][5][3] += 1


def turn(data):
    data["boxes"][5][4] *= -1


def below(data):
    data["boxes"][5][4] = 0.0001


def above(data):
    data["boxes"][5][4] = data["boxes"][5][5]


def too_low(data):
    data["boxes"][5][5] = data["boxes"][5][4]


def outside(data):
    data["boxes"][5] = data["boxes"][5][:4]


def rename(data):
    data["statement"] = "C7-2"


def retell(data):
    data["statement"] = "C7-1"
    data["at_least"] = "3/10000"


def raise_constant(data):
    data["at_least"] = "1/10"


def narrow(data):
    data["box"][0] = ["1/4", "3/4"]


def widen(data):
    data["largest_inverse_tau"] = "1000"


def confess(data):
    data["unproved_volume"] = "1/2"


def shorten(data):
    data["boxes"][5] = data["boxes"][5][:3]


def fraction(data):
    data["boxes"][5][0] = 0.5


def astronomical(data):
    data["boxes"][5][5] = 10**400


def truth(data):
    data["boxes"][5][4] = True


def true_index(data):
    data["boxes"][5][0] = True


def beyond(data):
    data["boxes"][5][0] = 2 ** data["boxes"][5][1]


def no_boxes(data):
    data["boxes"] = []


CHANGES = {
    remove: "no box covers",
    repeat: "overlap",
    move: "",
    shrink: "",
    turn: "below the constant",
    below: "below the constant",
    above: "outside the stated enclosure",
    too_low: "outside the stated enclosure",
    outside: "1/tau is not beyond the limit",
    rename: "is not that of C7-2",
    retell: "",
    raise_constant: "is not that of C8-chi2",
    narrow: "is not that of C8-chi2",
    widen: "is not that of C8-chi2",
    confess: "unproved",
    shorten: "malformed",
    fraction: "malformed",
    astronomical: "malformed",
    truth: "malformed",
    true_index: "malformed",
    beyond: "outside the box",
    no_boxes: "no box covers",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
def test_changed_certificates_are_rejected(change):
    """With a digest that fits, so that each is found by what it says."""
    found = recheck(edited("C8-chi2", change))
    assert not found.passed
    assert CHANGES[change] in found.reason


def test_the_editing_itself_changes_nothing():
    assert recheck(edited("C8-chi2", lambda data: None)).passed


@pytest.mark.parametrize(
    ("old", "new"),
    [('"C8-chi2"', '"C7-1"'), ('"1/1000"', '"1/999"'), ("slack/N", "slack/M"), ("0.001013690", "0.001013691")],
    ids=["statement", "constant", "words", "slack"],
)
def test_a_changed_file_does_not_fit_its_digest(old, new):
    text = stored("C8-chi2")
    assert old in text
    found = recheck(text.replace(old, new, 1))
    assert (found.passed, found.reason) == (False, "the digest does not fit: the file was changed")


def test_a_prover_that_errs_is_found():
    """One box for everything, with an enclosure that is right in the middle, is no proof of a quantitative bound."""
    one = statement("C7-2")
    honest = prove_over_box(one)
    whole = Proved(one.root, (float(one.at_least) * (1 + 1e-12), 1e300))
    wrong = type(honest)(one.id, one.root, (whole,), (), None, 0.0)
    found = recheck(certificate(one, wrong))
    assert not found.passed
    assert "as far as can be shown" in found.reason


@pytest.mark.parametrize("slack", ["1e999999999", "1e-999999999", "NaN", "Infinity"])
def test_a_slack_beyond_floats_is_refused_at_once(slack):
    text = edited("C8-chi2", lambda data: data["boxes"][5].__setitem__(5, 123456789.5))
    found = recheck(renewed(text.replace("123456789.5", slack)))
    assert not found.passed
    assert "malformed" in found.reason


@pytest.mark.parametrize(("name", "constant"), [("C8-price", "3/50"), ("C8-TV", "1/80"), ("C9-minimum", "1/90")])
def test_a_false_constant_cannot_be_rechecked(name, constant, monkeypatch):
    """The second program decides by itself: with a constant above the least slack it rejects the same boxes."""
    bound, _, limit = _two_levels.BINARY[name]
    monkeypatch.setitem(_two_levels.BINARY, name, (bound, constant, limit))

    def change(data):
        data["at_least"] = constant
        for row in data["boxes"]:
            if len(row) > 4:
                row[4] = max(row[4], float(Fraction(constant)) * (1 + 1e-12))

    assert not recheck(edited(name, change)).passed


# -- writing, and wrong inputs -----------------------------------------------------------------------------------------


def test_an_unfinished_proof_says_so_and_does_not_pass():
    one = statement("C8-chi2")
    text = certificate(one, prove_over_box(one, max_boxes=5))
    assert Fraction(json.loads(text)["unproved_volume"]) > 0
    found = recheck(text)
    assert not found.passed
    assert "unproved" in found.reason


def test_a_part_does_not_pass_for_the_whole():
    one = statement("C8-TV")
    part = ((Fraction(1, 4), Fraction(1, 2)), (Fraction(0), Fraction(1)))
    assert not recheck(certificate(one, prove_over_box(one, box=part))).passed


def test_wrong_inputs():
    one, other = statement("C8-TV"), statement("C8-KL")
    found = prove_over_box(one)
    refused(ValueError, lambda: certificate(other, found), "proof is about C8-TV, not C8-KL")
    false = prove_over_box(one.mutant(sign=-1))
    refused(ValueError, lambda: certificate(one.mutant(sign=-1), false), "is false at")
    third = Proved(((Fraction(0), Fraction(1, 3)), one.root[1]), (1.0, 2.0))
    crooked = type(found)(one.id, one.root, (third,), (), None, 0.0)
    refused(ValueError, lambda: certificate(one, crooked), "is no dyadic part of")
    refused(ValueError, lambda: recheck("{"), "certificate is no JSON (line 1)")
    refused(ValueError, lambda: recheck("[" * 100_000), "certificate cannot be read as JSON")
    refused(ValueError, lambda: recheck('{"schema": ' + "1" * 5000 + "}"), "certificate cannot be read as JSON")
    refused(ValueError, lambda: recheck("[]"), "certificate is not of schema 1")
    refused(ValueError, lambda: recheck('{"schema": 2}'), "certificate is not of schema 1")
    refused(ValueError, lambda: recheck('{"schema": 1, "statement": "C99"}'), "certificate of 'C99'", "choose from")
    refused(ValueError, lambda: recheck('{"schema": 1, "statement": ["C7-1"]}'), "no statement")
    assert not recheck('{"schema": 1, "statement": "C7-1"}').passed


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_page_states_what_is_proved(name):
    one, page = statement(name), (ROOT / "docs" / "boxes.md").read_text(encoding="utf-8")
    boxes = len(json.loads(stored(name))["boxes"])
    cells = (
        f"[{name}](certificates/{name}.json)",
        one.formula,
        one.normaliser,
        str(one.at_least),
        one.kind,
        str(boxes),
    )
    assert f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n" in page
