"""Verification in blocks: the numbers of the blocks' own verifications, and no failure gets lost."""

import json
import math
from dataclasses import replace

import pytest

from pmdtheory.claims import _spread, select
from pmdtheory.claims._base import Certificate, Part
from pmdtheory.claims._verify import verify
from tests.inline import Inline
from tests.wrong import refused


def timeless(report):
    """Without the time; a certificate is compared by its parts, since NaN differs from itself."""
    worst = None if report.worst is None else [repr(part) for part in report.worst.parts]
    return replace(report, seconds=0.0, worst=worst)


def test_blocks_add_up(tmp_path):
    claims = select(["C1", "C4"])
    told = []
    found = _spread.spread(
        claims, instances=50, seed=0, block=30, out=tmp_path, executor=Inline(),
        progress=lambda block, done, total: told.append((block, total)),
    )  # fmt: skip
    first, second = (verify(claims, instances=size, seed=k) for k, size in enumerate((30, 20)))
    for report, one, other in zip(found, first, second, strict=True):
        assert timeless(report) == timeless(_spread.merged([one, other]))
        assert report.instances + report.skipped == 50
        assert report.mutants == one.mutants + other.mutants
        assert report.ok
        excess = [max(part.excess for part in each.worst.parts) for each in (one, other)]
        assert max(part.excess for part in report.worst.parts) == max(excess)
    assert sorted(told) == [(name, 4) for name in ("C1-0-30", "C1-1-20", "C4-0-30", "C4-1-20")]
    more = _spread.spread(claims[:1], instances=60, block=30, out=tmp_path, executor=Inline())
    assert more[0].instances + more[0].skipped == 60
    assert (tmp_path / "claims" / "C1-0-30").read_text().count("claimed") == 1  # what had ended was not run again


def test_seeds_share_no_block():
    """Block k of a seed has a seed of its own, which is in its name."""
    (claim,) = select(["C4"])
    first, second = (_spread._blocks(claim, 70, seed, 30) for seed in (0, 1))
    assert [own["seed"] for own in first.values()] == [0, 1, 2]
    assert [own["seed"] for own in second.values()] == [2**32, 2**32 + 1, 2**32 + 2]
    assert [own["instances"] for own in second.values()] == [30, 30, 10]
    assert not set(first) & set(second)


def test_processes_find_what_one_finds():
    claims = select(["C1"])
    found = _spread.spread(claims, instances=10, workers=1, block=5)
    alone = _spread.merged([verify(claims, instances=5, seed=k)[0] for k in (0, 1)])
    assert timeless(found[0]) == timeless(alone)


def test_nobody_waits_for_what_has_ended(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("pmdtheory._cells.time.sleep", slept.append)
    monkeypatch.setattr(Inline, "pause", 60.0)
    _spread.spread(select(["C4"]), instances=2, out=tmp_path, executor=Inline())
    assert slept == [60.0]  # for the worker; none behind it


def broken(given, path):
    if given["claim"] == "C1" and given["seed"] == 1:
        raise ArithmeticError("a block that raises")
    return _spread.block_cell(given, path)


def test_a_block_that_is_lost_fails_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(_spread, "FUNCTION", "tests.test_spread:broken")
    c1, c4 = _spread.spread(select(["C1", "C4"]), instances=20, block=10, out=tmp_path, executor=Inline())
    assert c4.ok
    assert not c1.ok
    assert c1.failures == ("block C1-1-10: FAILED ArithmeticError: a block that raises",)


def test_a_failure_names_the_seed_that_repeats_it(tmp_path, monkeypatch):
    (report,) = verify(select(["C4"]), instances=2)
    monkeypatch.setattr(_spread, "verify", lambda claims, **options: [replace(report, failures=("odd case",))])
    assert _spread.block_cell({"claim": "C4", "instances": 2, "seed": 7}, tmp_path / "b") == "FINISHED"
    stored = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert _spread.read_report(report.claim, stored).failures == ("seed 7: odd case",)


def test_reports_survive_their_json():
    (report,) = verify(select(["C4"]), instances=20)
    odd = Certificate.of("C4", "identity", [Part("x", "identity", math.nan, math.inf), Part("y", "upper", 0.1, 1e-300)])
    for each in (report, replace(report, worst=odd, failures=("a", "b")), replace(report, worst=None)):
        text = json.dumps(_spread.written_report(each), allow_nan=False)
        assert timeless(_spread.read_report(report.claim, json.loads(text))) == timeless(each)
    stored = _spread.written_report(report)
    refused(ValueError, lambda: _spread.read_report(select(["C1"])[0], stored), "C4", "C1")
    refused(ValueError, lambda: _spread.read_report(report.claim, {**stored, "schema": 0}), "schema")


def test_a_failure_of_one_block_is_one_of_all():
    """The mutant of merging: a report whose blocks are averaged, or only the first, would hold."""
    good, bad = (verify(select(["C4"]), instances=20, seed=k)[0] for k in (0, 1))
    bad = replace(bad, failures=("seed 1: x",), caught=0)
    assert good.ok
    for order in ([good, bad], [bad, good]):
        assert _spread.merged(order).failures == ("seed 1: x",)
        assert not _spread.merged(order).ok
        assert not _spread.merged(order).mutant_caught


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"instances": 0}, ("instances", "0")),
        ({"instances": 5, "seed": -1}, ("seed", "-1")),
        ({"instances": 5, "block": 0}, ("block", "0")),
        ({"instances": 5, "workers": 0}, ("workers", "0")),
    ],
)
def test_wrong_numbers_are_refused(options, fragments):
    refused(ValueError, lambda: _spread.spread(select(["C1"]), executor=Inline(), **options), *fragments)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")

    def call():
        return _spread.spread(select(["C4"]), instances=5, out=tmp_path, executor=Inline())

    refused(ValueError, call, "blocks", str(tmp_path), "holds no blocks")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_reports_of_two_claims_do_not_merge():
    reports = verify(select(["C1", "C4"]), instances=2)
    refused(ValueError, lambda: _spread.merged(reports), "C1", "C4")
