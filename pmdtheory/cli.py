"""`pmdtheory verify | figures | update | claims | variants | prove | hunt | diagnose | calibrate`.

With the `_cli_` files the only one that prints, writes or exits.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.table import Table
from tyro.conf import Positional, subcommand

from pmdtheory import _console, report
from pmdtheory._cli_hunt import Hunt
from pmdtheory._cli_prove import Prove
from pmdtheory._cli_rollouts import Calibrate, Diagnose
from pmdtheory._cli_verify import Verify
from pmdtheory._console import WIDE, progress, rendered, width, write
from pmdtheory._tables import read_problem
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status, Update
from pmdtheory.update import baseline_update, kl_update, mean_update, mixed_update

__all__ = ["main"]

_ABOUT = "Exact policy mirror descent updates, claims about them that are checked, and figures."


@dataclass(frozen=True)
class Figures:
    """Draw the figures of the registry, from fresh numbers or from stored ones.

    Example: `pmdtheory figures binary_step --venue neurips2024 --format pdf svg --out paper/figures`.
    """

    names: Positional[tuple[str, ...]] = ()
    """Names of figures; all of them when none is given."""
    venue: str = "icml2024"
    """Whose column width and font sizes to use."""
    format: tuple[str, ...] = ("pdf", "png")
    """Some of pdf, png, svg."""
    out: Path = Path("figures")
    """Directory for the pictures; their numbers go to data/ below it."""
    reuse_data: bool = False
    """Draw from the stored numbers and compute nothing."""
    recompute: bool = False
    """Compute also what is expensive (training), which otherwise comes from stored numbers."""
    check: bool = False
    """Write nothing: compute, compare with the stored numbers to 1e-9, and exit with 1 when they differ."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0, or 1 when a check fails."""
        from pmdtheory import figures

        with progress("figures", None) as advance:
            results = figures.make(
                self.names,
                out=self.out,
                venue=self.venue,
                formats=self.format,
                reuse_data=self.reuse_data,
                recompute=self.recompute,
                check=self.check,
                progress=lambda label, done, total: advance(label, done, total),
            )
        if self.json:
            print(report.figures_data(results))
        else:
            for result in results:
                files = " ".join(str(file) for file in result.files) or ("checked" if result.ok else "FAILS")
                print(f"{result.name}: {files} ({result.seconds:.1f} s) {result.message}".rstrip())
        return 0 if all(result.ok for result in results) else 1


@dataclass(frozen=True)
class Step:
    """Print one step for numbers of your own: on the command line, or in a CSV or JSON file.

    Example: `pmdtheory update --policy 0.7 0.2 0.1 --reward 0 0 1 --tau 0.1`.
    """

    file: Positional[Path | None] = None
    """CSV with columns policy (or log_policy) and reward, or JSON with these arrays and tau."""
    policy: tuple[float, ...] = ()
    """Probabilities of the actions."""
    reward: tuple[float, ...] = ()
    """Their rewards (-1 and 1 are twice as far apart as 0 and 1, and double the effective 1/tau)."""
    tau: float | None = None
    """Regularisation strength, in reward units."""
    method: Literal["mean", "kl", "baseline", "mixed"] = "mean"
    """PMD-mean, KL-PMD (population PMD-part), PMD(b), or the mirror step with a chi2 of given weight."""
    baseline: float | None = None
    """The baseline b of --method baseline, in nats."""
    weight: float | None = None
    """The chi2 weight of --method mixed."""
    certify: bool = False
    """Prove the step: enclosures of the multiplier, the policy and the divergences, and how far the floats are off."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""
    out: Path | None = None
    """Write the JSON to this file instead of printing it."""

    def run(self) -> int:
        """Exit status 0, or 1 when the step does not exist (the status says why)."""
        problem = self._problem()
        solution = self._solve(problem)
        if solution.status is not Status.SUCCESS:
            print(f"pmdtheory: {solution.status.name}: {solution.status.value}", file=sys.stderr)
            return 1
        proof = None
        if self.certify:
            from pmdtheory import _cli_certify

            proof = _cli_certify.certified(problem, self.method, self.baseline, self.weight)
        if self.out is None and not self.json:
            self._print(solution.unwrap())
            return 0 if proof is None else _cli_certify.print_certificate(proof, solution.unwrap())
        text = report.update_data(solution, self.method)
        if proof is not None:
            text = _cli_certify.with_certificate(text, proof)
        if self.out is not None:
            write(self.out, text + "\n")
        else:
            print(text)
        return 0 if proof is None or proof.proved else 1

    def _problem(self) -> Problem:
        if self.file is not None:
            if self.policy or self.reward:
                raise ValueError("file and --policy/--reward were both given; pass one of them")
            return read_problem(self.file, self.tau)
        if not self.policy or not self.reward or self.tau is None:
            raise ValueError(
                "policy, reward and tau are needed; pass --policy 0.7 0.3 --reward 0 1 --tau 0.1, or a file"
            )
        return Problem.from_policy(self.policy, self.reward, self.tau)

    def _solve(self, problem: Problem) -> Solution[Update]:
        for name, method in (("baseline", "baseline"), ("weight", "mixed")):
            given = getattr(self, name) is not None
            if given != (self.method == method):
                raise ValueError(f"{name} goes with --method {method}, and only with it; add or drop --{name}")
        if self.method == "baseline":
            return baseline_update(problem, baseline=self.baseline)  # type: ignore[arg-type]
        if self.method == "mixed":
            return mixed_update(problem, weight=self.weight)  # type: ignore[arg-type]
        return (mean_update if self.method == "mean" else kl_update)(problem)

    def _print(self, step: Update) -> None:
        for label, value in report.update_rows(step):
            print(f"{label:<26}{value}")
        shown = 20
        table = Table()
        for title in ("action", "reward", "policy", "new policy", "log ratio"):
            table.add_column(title, justify="right")
        problem = step.problem
        for i in range(min(shown, problem.reward.size)):
            values = (problem.reward[i], problem.policy[i], step.policy[i], step.log_ratio[i])
            table.add_row(str(i), *(f"{value:.6g}" for value in values))
        print(rendered(table), end="")
        if problem.reward.size > shown:
            print(f"... and {problem.reward.size - shown} more actions; --json has them all")


@dataclass(frozen=True)
class Claims:
    """Print the claims of the registry as the Markdown page that stands in docs/claims.md.

    Example: `pmdtheory claims --out docs/claims.md`.
    """

    out: Path | None = None
    """Write the page to this file instead of printing it."""

    def run(self) -> int:
        """Exit status 0."""
        if self.out is None:
            print(report.claims_page(), end="")
        else:
            write(self.out, report.claims_page())
        return 0


@dataclass(frozen=True)
class Variants:
    """Say which PMD a loss is: the public ones in a table, and your own from a file, with a verdict in words.

    Example: `pmdtheory variants --file my_loss.py:loss`. Exit status 0 whatever the verdict; `--json` holds it.
    """

    names: Positional[tuple[str, ...]] = ()
    """Rows such as kimi; all of them when none is given, or only your own loss with --file."""
    file: str | None = None
    """PATH.py:FUNCTION, a loss(logp[G,n,T], old_logp[G,n,T], rewards[G,n], mask[G,n,T]) -> scalar. The file is run."""
    group_size: int = 4
    """Rollouts of a group."""
    tau_hint: float | None = None
    """Rough size of tau, reward units, when it is far from 0.01 ... 1."""
    library: Literal["numpy", "jax", "torch"] | None = None
    """What the loss of --file is written for; found out by itself."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0."""
        from pmdtheory.variants import VARIANTS, classify, load_loss
        from pmdtheory.variants._report import TITLES, variants_data, variants_row

        known = {variant.name: variant for variant in VARIANTS}
        for name in self.names:
            if name not in known:
                raise ValueError(f"unknown variant {name!r}; choose from {', '.join(known)}")
        tasks: list[tuple[str, Callable[..., Any], str | None]] = []
        tasks += [(name, known[name].loss, known[name].library) for name in dict.fromkeys(self.names)]
        if self.file is not None:
            tasks.append((self.file.rpartition(":")[2], load_loss(self.file), self.library))
        elif not self.names:
            tasks = [(row.name, row.loss, row.library) for row in VARIANTS if find_spec(row.library)]
        found, start = {}, time.perf_counter()
        with progress("variants", len(tasks)) as advance:
            for name, loss, library in tasks:
                advance(name)
                found[name] = classify(loss, group_size=self.group_size, tau_hint=self.tau_hint, library=library)
        if self.json:
            print(variants_data(found, time.perf_counter() - start))
            return 0
        shown = range(len(TITLES)) if width() >= WIDE else (0, 1, 2, 4)
        table = Table(title=f"groups of {self.group_size}; tau in reward units", title_justify="left")
        for column in shown:
            table.add_column(TITLES[column])
        for name, one in found.items():
            table.add_row(*(variants_row(name, one)[column] for column in shown))
        print(rendered(table), end="")
        for name, one in found.items():
            print(f"\n{name}: {one.verdict}")
        for row in VARIANTS if not self.names and self.file is None else ():
            if row.name not in found:
                print(f"\n{row.name}: not probed, since it needs {row.library}")
        return 0


Command = (
    Annotated[Verify, subcommand("verify")]
    | Annotated[Figures, subcommand("figures")]
    | Annotated[Step, subcommand("update")]
    | Annotated[Claims, subcommand("claims")]
    | Annotated[Variants, subcommand("variants")]
    | Annotated[Prove, subcommand("prove")]
    | Annotated[Hunt, subcommand("hunt")]
    | Annotated[Diagnose, subcommand("diagnose")]
    | Annotated[Calibrate, subcommand("calibrate")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 fine, 1 a claim or check failed, 2 bad input."""
    return _console.main(Command, "pmdtheory", _ABOUT, arguments)
