"""`pmdtheory diagnose` and `calibrate`: tables, JSON, pages and figures; one-line complaints."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tyro.conf import subcommand

from pmdtheory import _console
from pmdtheory._cli_rollouts import Calibrate, Diagnose
from pmdtheory.figures._style import Style
from pmdtheory.rollouts import Rollouts, calibrate, diagnose
from pmdtheory.rollouts._figures import STYLE, calibration_figures, diagnosis_figures
from tests.page import assert_apart

Commands = Annotated[Diagnose, subcommand("diagnose")] | Annotated[Calibrate, subcommand("calibrate")]


@pytest.fixture
def command(capsys):
    def run(*arguments):
        status = _console.main(Commands, "pmdtheory", "", [str(one) for one in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def rows(graded=False):
    rng = np.random.default_rng(0)
    found = []
    for step in (1, 2):
        for prompt in range(20):
            rate = rng.random()
            for _ in range(8):
                reward = float(np.round(rng.random(), 2)) if graded else float(rng.random() < rate)
                old = float(rng.normal(-20, 2))
                found.append(
                    {
                        "input": f"<b>{prompt}</b> & {step}",
                        "output": "x",
                        "score": reward,
                        "step": step,
                        "old_log_prob": old,
                        "new_log_prob": old + 0.3 * reward - 0.1,
                        "response_length": 12,
                    }
                )
    return found


@pytest.fixture(params=[False, True], ids=["binary", "graded"])
def dump(request, tmp_path) -> Path:
    path = tmp_path / "7.jsonl"
    path.write_text("\n".join(map(json.dumps, rows(request.param))) + '\n{"input": 1\n')
    return path


def strict(text):
    """JSON without NaN and infinities."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_diagnose_prints_tables(command, dump):
    status, out, err = command("diagnose", dump, "--tau", 0.3, "--prompts", 3)
    assert (status, err) == (0, "")
    for fragment in (
        "rollouts    320",
        "layout      verl",
        "left out",
        "row 321",
        "length      12 tokens; 12 at",
        "lambda (chi2 weight)",
        "tiny-step",
    ):
        assert fragment in out
    assert "share of the predicted step" in out
    assert "training steps" in out
    assert "…" not in out, "a column is cut off"


def test_diagnose_json(command, dump, tmp_path):
    status, out, _ = command("diagnose", dump, "--tau", 0.3, "--json", "--out", tmp_path / "a.json")
    data = strict(out)
    assert status == 0
    assert strict((tmp_path / "a.json").read_text()) == data
    assert data["data"]["broken"] == {
        "count": 1,
        "rows": [{"file": str(dump), "row": 321, "column": "", "fault": data["data"]["broken"]["rows"][0]["fault"]}],
    }
    assert len(data["groups"]) == 40
    assert [row["step"] for row in data["steps"]] == [1, 2]
    name = "new_pass_rate" if data["rewards"]["binary"] else "new_mean_reward"
    assert data["overall"][name]["low"] <= data["overall"][name]["value"] <= data["overall"][name]["high"]
    group = data["groups"][0]
    assert group[name]["low"] <= group[name]["value"] <= group[name]["high"]
    assert ("first_order_error" in group[name]) == (not data["rewards"]["binary"])
    assert all(row["kl"]["low"] <= row["kl"]["value"] <= row["kl"]["high"] for row in data["groups"])
    assert data["steps"][0]["length"] == 12
    assert sum(share for regime, share in data["regimes"].items() if regime != "collapse-prone") == pytest.approx(1.0)


@pytest.mark.parametrize("target", [("--target-gain", 0.05), ("--max-ratio", 2.0)])
def test_calibrate(command, dump, tmp_path, target):
    status, out, _ = command("calibrate", dump, *target, "--out", tmp_path / "a.json")
    assert status == 0
    data = strict((tmp_path / "a.json").read_text())
    assert data["tau"] == max(data["crossings"])
    assert f"tau {data['tau']:.4g}" in re.sub(r" +", " ", out)


class Page(HTMLParser):
    """Tags that are opened and closed, ids, and everything that would be fetched."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.fetched, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.fetched.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("arguments", [("diagnose", "--tau", 0.3), ("calibrate", "--target-kl", 0.05)])
def test_pages_are_whole_and_need_nothing_else(command, dump, tmp_path, arguments):
    path = tmp_path / "page.html"
    assert command(arguments[0], dump, *arguments[1:], "--html", path)[0] == 0
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert len(set(page.ids)) == len(page.ids)
    assert "script" not in page.tags
    assert page.tags.count("svg") == page.tags.count("figure") >= 1
    assert "url(http" not in text
    assert "<b>" not in text, "a prompt is text, not markup"


def test_figures_have_nothing_on_top_of_each_other(dump):
    from pmdtheory.rollouts import read_rollouts

    data = read_rollouts(dump)
    drawn = diagnosis_figures(diagnose(data, 0.3))
    drawn += calibration_figures(calibrate(data, target_kl=0.05))
    assert len(drawn) >= 6
    assert len({title for title, _, _ in drawn}) == len(drawn)
    for _, caption, canvas in drawn:
        assert len(caption) > 60
        with Style.of(STYLE).context():
            canvas.set_dpi(200)
            FigureCanvasAgg(canvas).draw()
            texts = []
            for axes in canvas.axes:
                legend = axes.get_legend()
                texts += [axes.xaxis.label, axes.yaxis.label, *axes.texts]
                texts += [one for axis in (axes.xaxis, axes.yaxis) for one in ticks(axis)]
                texts += legend.get_texts() if legend else []
            assert_apart(canvas, texts)


def ticks(axis):
    """Labels of ticks that lie within the limits: Matplotlib keeps others, and does not draw them."""
    low, high = sorted(axis.get_view_interval())
    reach = 1e-9 * (high - low)
    major = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [label for place, label in major if low - reach <= place <= high + reach]


WRONG = {
    "no file": (["diagnose"], "files"),
    "tau": (["diagnose", "{dump}", "--tau", "-1"], "tau must be greater than zero"),
    "level": (["diagnose", "{dump}", "--level", "1"], "level must lie strictly between 0 and 1"),
    "column": (["diagnose", "{dump}", "--columns", "reward=points"], "no column 'points' for reward"),
    "columns": (["diagnose", "{dump}", "--columns", "points"], "columns holds 'points'"),
    "strict": (["diagnose", "{dump}", "--strict"], "row 321"),
    "html": (["diagnose", "{dump}", "--html", "/nowhere/a.html"], "cannot be written"),
    "target": (["calibrate", "{dump}"], "0 targets were given"),
    "reach": (["calibrate", "{dump}", "--target-kl", "1e9"], "out of reach"),
    "missing": (["calibrate", "/nowhere/a.csv", "--target-kl", "0.1"], "cannot be read"),
}


@pytest.mark.parametrize("dump", [False], indirect=True, ids=["binary"])
@pytest.mark.parametrize("wrong", WRONG)
def test_complaints_are_one_line(command, dump, wrong):
    arguments, fragment = WRONG[wrong]
    status, out, err = command(*(one.format(dump=dump) for one in arguments))
    assert (status, out) == (2, "")
    assert fragment in err
    assert err.count("\n") == 1
    assert "; " in err


def test_the_help_defines_the_regimes(command, capsys):
    with pytest.raises(SystemExit):
        command("diagnose", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for name in ("no-signal", "tiny-step", "saturated", "conservative", "moderate", "Collapse-prone"):
        assert name in text


def test_notes_and_sizes():
    """Groups of different sizes, prompts that recur, a level that was never seen."""
    found = diagnose(Rollouts.from_arrays([1, 1, 1, 2, 3, 3], [-1] * 6, step=[1, 1, 2, 1, 1, 1]), 0.5)
    assert (found.scale.low, found.scale.high, found.scale.assumed) == (-1.0, 1.0, True)
    text = " ".join(found.notes)
    assert "levels -1 and 1 are assumed" in text
    assert "2 of 4 groups hold one rollout" in text
    assert "prompts recur" in text
    assert found.overall["new_pass_rate"].low == 0.0
    assert np.all(found.intervals["new_pass_rate"][1] > 0.9)  # no success among two rollouts tells little
