"""`pmdtheory prove` over boxes: proofs, certificates, rechecks, exit statuses."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pmdtheory._cli_prove import Prove
from pmdtheory.proof import STATEMENTS, certificate, prove_over_box, select, statement

FOLDER = Path(__file__).parents[2] / "docs" / "certificates"


@pytest.fixture
def command(capsys):
    def run(*claims, **flags):
        return Prove(claims=claims, **flags).run(), *capsys.readouterr()

    return run


def test_a_claim_is_derived(command):
    status, out, err = command("C6")
    assert (status, err) == (0, "")
    assert out.startswith("C6 Loss value\n")
    assert "\n2 of 2 steps decided; " in out


def test_a_statement_is_proved(command):
    status, out, err = command("c8-kl")
    assert (status, err) == (0, "")
    row = next(line for line in out.splitlines() if "C8-KL" in line)
    assert "1/100" in row
    assert "certified" in row
    assert "proved" in row


def test_statements_of_a_claim(command):
    status, out, err = command("C9", boxes=True, json=True)
    assert (status, err) == (0, "")
    data = json.loads(out)
    assert data["proved"] is True
    assert [one["statement"] for one in data["statements"]] == [one.id for one in select(["C9"])]
    assert {one["unproved_volume"] for one in data["statements"]} == {"0"}


def test_a_certificate_is_written_and_passes(command, tmp_path):
    path = tmp_path / "c8.json"
    assert command("C8-TV", certificate=path)[0] == 0
    assert path.read_text(encoding="utf-8") == (FOLDER / "C8-TV.json").read_text(encoding="utf-8")
    status, out, err = command(recheck=(path,))
    assert (status, err) == (0, "")
    assert out == f"{path}: proves C8-TV ({len(prove_over_box(statement('C8-TV')).boxes)} boxes)\n"


def test_certificates_go_to_a_folder(command, tmp_path):
    assert command("C9", boxes=True, certificate=tmp_path)[0] == 0
    assert {path.stem for path in tmp_path.iterdir()} == {one.id for one in select(["C9"])}
    status, out, _ = command(recheck=tuple(sorted(tmp_path.iterdir())), json=True)
    assert status == 0
    assert json.loads(out)["passed"] is True


def test_a_rejected_certificate_is_exit_status_1(command, tmp_path):
    path = tmp_path / "c8.json"
    path.write_text((FOLDER / "C8-KL.json").read_text(encoding="utf-8").replace("1/100", "1/50", 1), encoding="utf-8")
    status, out, err = command(recheck=(path, FOLDER / "C8-TV.json"))
    assert (status, err) == (1, "")
    assert out.splitlines()[0] == f"{path}: REJECTED: the digest does not fit: the file was changed"
    assert "proves C8-TV" in out.splitlines()[1]
    status, out, _ = command(recheck=(path,), json=True)
    assert status == 1
    assert [one["passed"] for one in json.loads(out)["certificates"]] == [False]


@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_false_statement_is_exit_status_1(command, monkeypatch, tmp_path, json_wanted):
    false = replace(statement("C8-TV"), at_least=Fraction(1, 2))
    monkeypatch.setitem(STATEMENTS, "C8-TV", false)
    status, out, err = command("C8-TV", certificate=tmp_path / "x.json", json=json_wanted)
    assert (status, err) == (1, "")
    assert "C8-TV is false at p = " in out
    assert list(tmp_path.iterdir()) == []


def test_an_open_proof_is_exit_status_1(command, monkeypatch, tmp_path):
    one = statement("C8-TV")
    monkeypatch.setattr("pmdtheory.proof.prove_over_box", lambda *_, **__: prove_over_box(one, max_boxes=2))
    status, out, _ = command("C8-TV", certificate=tmp_path / "x.json")
    assert status == 1
    assert "open" in out
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == certificate(one, prove_over_box(one, max_boxes=2))


WRONG = {
    "a claim among statements": (("C8", "C8-KL"), {}, "C8 is a claim, not a statement over a box; add --boxes"),
    "unknown statement": (("C8-KLM",), {}, "statement 'C8-KLM' does not exist; choose from C7-1"),
    "latex": (("C8-KL",), {"latex": True}, "--latex and --out are for derivations"),
    "page": (("C8-KL",), {"out": Path("x.md")}, "--latex and --out are for derivations"),
    "recheck and claims": (("C8-KL",), {"recheck": (Path("x.json"),)}, "--recheck takes certificates alone"),
    "recheck and latex": ((), {"recheck": (Path("x.json"),), "latex": True}, "--latex and --out are for derivations"),
    "two forms": (("C6",), {"latex": True, "json": True}, "more than one of --latex, --json and --out"),
    "no folder": (("C9",), {"boxes": True, "certificate": Path("no.json")}, "is no folder; name one for 3 statements"),
    "no such place": (("C8-TV",), {"certificate": Path("no/x.json")}, "cannot be written"),
    "no certificate": ((), {"recheck": (Path("missing.json"),)}, "recheck='missing.json' cannot be read"),
    "no workers": (("C8-TV",), {"workers": 0}, "workers must be a whole number of at least one, got 0"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_prove_refuses(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claims, flags, message = WRONG[wrong]
    with pytest.raises(ValueError, match="; ") as caught:
        Prove(claims=claims, **flags).run()
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_certificate_names_its_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="x.json: certificate is not of schema 1"):
        Prove(recheck=(path,)).run()
