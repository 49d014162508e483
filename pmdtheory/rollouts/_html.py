"""A report as one HTML page: no script, no network, figures inline, readable in light and dark and on a phone."""

import html
from collections.abc import Sequence
from typing import Final

from pmdtheory.figures._style import Style
from pmdtheory.rollouts import _report as report
from pmdtheory.rollouts._calibrate import Calibration
from pmdtheory.rollouts._diagnosis import Diagnosis
from pmdtheory.rollouts._figures import STYLE, Drawn, calibration_figures, diagnosis_figures
from pmdtheory.rollouts._record import Rollouts

__all__ = ["calibration_page", "diagnosis_page"]

_CSS: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d5d9de; --paper: #fff; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #a3abb4; --line: #3b424a; --paper: #16191d; --card: #1f2328; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.1rem 4rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p, figcaption { max-width: 46rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.words { white-space: normal; text-align: left; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.2rem; }
figure { margin: 0; padding: .9rem; background: var(--card); border-radius: .5rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; background: #fff; border-radius: .3rem; }
figure h3 { font-size: .95rem; margin: 0 0 .5rem; }
figcaption { margin-top: .6rem; }
@media (max-width: 34rem) { table { font-size: .78rem; } th, td { padding-right: .5rem; } }
.note { border-left: 3px solid #d55e00; padding: .1rem 0 .1rem .8rem; margin: .5rem 0; }
"""


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    head = "".join(f'<th scope="col">{_text(one)}</th>' for one in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=words' if i in words else ''}>{_text(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figures(drawn: Sequence[Drawn]) -> str:
    style = Style.of(STYLE)
    parts = []
    for index, (title, caption, canvas) in enumerate(drawn):
        svg = style.save(canvas, "svg").decode()
        svg = svg[svg.index("<svg") :]
        # ids are the same in every figure of Matplotlib, and a page needs them once
        for mark in ('id="', 'href="#', "url(#"):
            svg = svg.replace(mark, f"{mark}f{index}-")
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_text(title)}" ', 1)
        parts.append(f"<figure><h3>{_text(title)}</h3>{svg}<figcaption>{_text(caption)}</figcaption></figure>")
    return f'<div class="figures">{"".join(parts)}</div>'


def _page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<section><h2>{_text(name)}</h2>{content}</section>" for name, content in sections if content)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_CSS}</style></head><body>"
        f"<h1>{_text(title)}</h1><p class=soft>{_text(lead)}</p>{body}</body></html>\n"
    )


def _data(rollouts: Rollouts, groups: int, sizes: tuple[int, int]) -> str:
    rows = _table(("", ""), report.data_rows(rollouts, groups, sizes), words=(1,))
    broken = [(str(row.row), row.column or "-", row.fault, row.file) for row in rollouts.broken[:50]]
    if broken:
        rows += f"<p class=soft>The first {len(broken)} of {rollouts.broken_count} rows that were left out:</p>"
        rows += _table(("row", "column", "fault", "file"), broken, words=(2, 3))
    return rows


def diagnosis_page(found: Diagnosis, name: str) -> str:
    """The page of a diagnosis of the file(s) called `name`."""
    rate = "pass rate" if found.scale.binary else "mean reward"
    level = f"{100 * found.level:g} % interval"
    levels = f"rewards {found.scale.low:g} and {found.scale.high:g}" if found.scale.binary else "graded rewards"
    sizes = (int(found.groups.size.min()), int(found.groups.size.max()))
    notes = "".join(f"<p class=note>{_text(note)}</p>" for note in found.notes)
    shown = 40
    sections = [
        ("Overall, means over prompts", notes + _table(("", "estimate", level, "plug-in"), report.overall_rows(found))),
        ("Figures", _figures(diagnosis_figures(found))),
        ("Regimes", _table(("regime", "groups", "share"), report.regime_rows(found))),
    ]
    if found.realised is not None:
        titles: tuple[str, ...] = ("", "predicted", "realised", level)
        sections.append(("Realised step", _table(titles, report.realised_rows(found))))
    if found.steps:
        titles = ("step", "groups", rate, f"new {rate}", "lambda", "KL, nats")
        sections.append(("Training steps, ± standard error", _table(titles, report.step_rows(found, shown))))
    titles = ("prompt", "step", "n", rate, f"new {rate}", level, "lambda", "KL", "chi2 share", "no signal", "regime")
    sections.append(("Groups with the largest predicted gain", _table(titles, report.group_rows(found, shown))))
    sections.append(("Data", _data(found.rollouts, found.regime.size, sizes)))
    lead = f"PMD-mean's next step at tau = {found.tau:g} (reward units), {levels}."
    return _page(f"Rollouts of {name}", lead, sections)


def calibration_page(found: Calibration, rollouts: Rollouts, name: str) -> str:
    """The page of a calibration on the file(s) called `name`."""
    sections = [
        ("Result", _table(("", ""), report.calibration_rows(found), words=(1,))),
        ("Figures", _figures(calibration_figures(found))),
        ("Groups without signal, by size", _table(("n", "probability", "bounds"), report.size_rows(found))),
    ]
    rows = [("rollouts", f"{rollouts.size:,}"), ("prompts", f"{len(rollouts.labels):,}")]
    if rollouts.broken_count:
        rows.append(("broken rows", f"{rollouts.broken_count:,}"))
    sections.append(("Data", _table(("", ""), rows)))
    return _page(f"Calibration on {name}", f"tau = {found.tau:.4g} (reward units).", sections)
