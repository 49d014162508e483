"""`pmdtheory diagnose | calibrate`: what a run's rollouts say about its next step, and which tau and n to take."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from pmdtheory._console import progress, tabulated, width, write

if TYPE_CHECKING:
    from pmdtheory.rollouts import Diagnosis, Rollouts

__all__ = ["Calibrate", "Diagnose"]

_NAMED = 5  # broken rows that are named in the terminal
_WIDE = 140


@dataclass(frozen=True)
class Diagnose:
    """Predict PMD-mean's next step on the rollouts of a run, with intervals, and say in which regime it is.

    Regimes of a step, in this order: no-signal (all rewards agree), tiny-step (chi2 of KL-PMD's step at most 1/10, so
    that lambda is within 10 % of Jensen's gap), saturated (total variation at least 9/10 of its supremum over tau),
    conservative (the chi2 is at least half of the implicit penalty), moderate. Collapse-prone: a leave-one-out
    partition baseline exceeds log Z by more than the symmetric minimum survives in at least 1 group of 10.

    Example: `pmdtheory diagnose rollouts/ --tau 0.1 --html report.html`.
    """

    files: Positional[tuple[Path, ...]]
    """JSON lines, CSV or Parquet, or a folder of them; dumps of verl, OpenKimi and TRL are recognised."""
    tau: float = 0.1
    """Regularisation strength, in reward units."""
    columns: str = ""
    """Which column is what: prompt=..,reward=..(+..),step=..,old_log_prob=..,new_log_prob=..,length=.."""
    level: float = 0.95
    """Coverage of the intervals."""
    strict: bool = False
    """Refuse a file with a broken row instead of leaving the row out."""
    prompts: int = 10
    """Groups shown in the terminal, those with the largest predicted gain."""
    html: Path | None = None
    """Write a report with figures to this file."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""
    out: Path | None = None
    """Write the JSON to this file."""

    def run(self) -> int:
        """Exit status 0."""
        from pmdtheory.rollouts import diagnose
        from pmdtheory.rollouts._json import diagnosis_data

        rollouts = _read(self.files, self.columns, self.strict)
        found = diagnose(rollouts, self.tau, level=self.level)
        if self.html is not None:
            from pmdtheory.rollouts._html import diagnosis_page

            write(self.html, diagnosis_page(found, _name(self.files)))
        if self.out is not None:
            write(self.out, diagnosis_data(found) + "\n")
        if self.json:
            print(diagnosis_data(found))
        else:
            self._print(found)
        return 0

    def _print(self, found: "Diagnosis") -> None:
        from pmdtheory.rollouts import _report as report

        rate = report.renamed("pass rate", found.scale.binary)
        sizes = (int(found.groups.size.min()), int(found.groups.size.max()))
        for label, text in report.data_rows(found.rollouts, found.regime.size, sizes):
            print(f"{label:<12}{text}")
        print(f"{'tau':<12}{found.tau:g} reward units; rewards {found.scale.low:g} to {found.scale.high:g}")
        _name_broken(found.rollouts)
        level = f"{100 * found.level:g} % interval"
        print(tabulated("overall, means over prompts", ("", "estimate", level, "plug-in"), report.overall_rows(found)))
        print(tabulated("regimes", ("regime", "groups", "share"), report.regime_rows(found)))
        if found.realised is not None:
            titles: tuple[str, ...] = ("", "predicted", "realised", level)
            print(tabulated("realised step", titles, report.realised_rows(found)))
        if found.steps:
            titles = ("step", "groups", rate, f"new {rate}", "lambda", "KL")
            print(tabulated("training steps, ± standard error", titles, report.step_rows(found, 12)))
        if self.prompts > 0:
            names = ("prompt", "step", "n", rate, f"new {rate}", level, "lambda", "KL", "chi2", "no signal", "regime")
            shown = range(len(names)) if width() >= _WIDE else (0, 2, 3, 4, 5, 10)
            rows = [[row[i] for i in shown] for row in report.group_rows(found, self.prompts)]
            print(tabulated("groups with the largest predicted gain", [names[i] for i in shown], rows))
        for note in found.notes:
            print(f"note: {note}")


@dataclass(frozen=True)
class Calibrate:
    """Find the tau at which the step has a wanted size on a run's prompts, and the group size to take.

    One target is given. The KL and the gain need not be monotone in tau, so the whole range is scanned and every
    crossing is reported; the largest tau is recommended, which is the smallest step that reaches the target.

    Example: `pmdtheory calibrate rollouts/ --target-kl 0.05`.
    """

    files: Positional[tuple[Path, ...]]
    """JSON lines, CSV or Parquet, or a folder of them; dumps of verl, OpenKimi and TRL are recognised."""
    target_kl: float | None = None
    """Wanted mean of KL(new||old) over prompts, nats."""
    target_gain: float | None = None
    """Wanted mean gain in pass rate; in reward units for graded rewards."""
    max_ratio: float | None = None
    """Largest ratio of new to old probability, greater than 1."""
    no_signal: float = 0.25
    """Share of groups that may have no signal, for the advice on n."""
    columns: str = ""
    """Which column is what: prompt=..,reward=..(+..),step=..,old_log_prob=..,new_log_prob=..,length=.."""
    level: float = 0.95
    """Coverage of the intervals."""
    strict: bool = False
    """Refuse a file with a broken row instead of leaving the row out."""
    html: Path | None = None
    """Write a report with figures to this file."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""
    out: Path | None = None
    """Write the JSON to this file."""

    def run(self) -> int:
        """Exit status 0."""
        from pmdtheory.rollouts import _report as report
        from pmdtheory.rollouts import calibrate
        from pmdtheory.rollouts._json import calibration_data

        rollouts = _read(self.files, self.columns, self.strict)
        found = calibrate(
            rollouts,
            target_kl=self.target_kl,
            target_gain=self.target_gain,
            max_ratio=self.max_ratio,
            no_signal=self.no_signal,
            level=self.level,
        )
        if self.html is not None:
            from pmdtheory.rollouts._html import calibration_page

            write(self.html, calibration_page(found, rollouts, _name(self.files)))
        if self.out is not None:
            write(self.out, calibration_data(found, rollouts) + "\n")
        if self.json:
            print(calibration_data(found, rollouts))
            return 0
        _name_broken(rollouts)
        for label, text in report.calibration_rows(found):
            print(f"{label:<40}{text}")
        print(tabulated("groups without signal", ("n", "probability", "bounds"), report.size_rows(found)))
        return 0


def _read(files: tuple[Path, ...], columns: str, strict: bool) -> "Rollouts":
    from pmdtheory.rollouts import read_rollouts
    from pmdtheory.rollouts._layouts import parse_columns

    with progress("reading", None) as advance:
        return read_rollouts(
            files,
            columns=parse_columns(columns),
            strict=strict,
            progress=lambda file, done, size: advance(Path(file).name, done, size),
        )


def _name(files: tuple[Path, ...]) -> str:
    return files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")


def _name_broken(rollouts: "Rollouts") -> None:
    for row in rollouts.broken[:_NAMED]:
        print(f"left out: {row}")
    if rollouts.broken_count > _NAMED:
        print(f"left out: {rollouts.broken_count - _NAMED:,} more rows; --json names them")
