"""The command verify. Part of `cli.py`."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from tyro.conf import Positional

from pmdtheory import report
from pmdtheory._console import WIDE, progress, rendered, width
from pmdtheory.claims import select
from pmdtheory.claims._base import Claim
from pmdtheory.claims._verify import SUBSAMPLE, Report, verify

__all__ = ["Verify"]

_TITLES = (
    "claim",
    "title",
    "kind",
    "cases",
    "residual / tolerance",
    "2nd opinions",
    "mutant caught",
    "time",
    "verdict",
)
_NARROW = (0, 1, 4, 6, 8)  # what is shown in fewer


@dataclass(frozen=True)
class Verify:
    """Check the claims on named and random instances, each next to a mutant that must fail.

    Example: `pmdtheory verify C1 C4 --instances 1000`. Exit status 1 when a claim fails or a mutant survives.
    """

    claims: Positional[tuple[str, ...]] = ()
    """Ids such as C4; all of them when none is given."""
    instances: int = 200
    """Cases per claim."""
    seed: int = 0
    """Of the random cases."""
    rigorous: bool = False
    """Also compare the updates in floating point with proven enclosures of them, on 50 cases or fewer."""
    workers: int | None = None
    """Processes or jobs that share the cases in blocks; 0 checks them here, in one piece. When none is given: 0, and
    for more than 10,000 cases on this machine as many as it has cores."""
    blocks: Path | None = None
    """Folder that keeps the blocks, so that the same call goes on where it was interrupted; slurm needs one."""
    executor: str = "local"
    """local: processes of this machine; slurm: jobs of Slurm, and submitit: jobs of this machine, need submitit."""
    job: tuple[str, ...] = ()
    """Parameters of submitit's jobs: timeout_min=60 slurm_partition=cpu."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0 when everything holds, 1 otherwise."""
        reports = self._reports(select(self.claims))
        accuracy = []
        if self.rigorous:
            from pmdtheory import _cli_certify

            accuracy = _cli_certify.compared(min(self.instances, SUBSAMPLE), self.seed)
        if self.json:
            text = report.verify_data(reports, self.instances, self.seed)
            print(_cli_certify.with_comparison(text, accuracy) if self.rigorous else text)
        else:
            shown = range(len(_TITLES)) if width() >= WIDE else _NARROW
            table = Table(title=f"{self.instances} instances per claim, seed {self.seed}", title_justify="left")
            for column in shown:
                table.add_column(_TITLES[column], justify="right" if column in (3, 4, 5, 6, 7) else "left")
            for row in report.verify_rows(reports):
                table.add_row(*(row[column] for column in shown), style=None if row[-1] == "holds" else "bold red")
            print(rendered(table), end="")
            for found in reports:
                for failure in found.failures[:5]:
                    print(f"{found.claim.id} fails on {failure}")
                if found.claim.id and not found.mutant_caught:
                    print(f"{found.claim.id}: the mutant survives ({found.claim.mistake})")
            if self.rigorous:
                _cli_certify.print_comparison(accuracy)
        return 0 if all(found.ok for found in reports) and all(row.holds for row in accuracy) else 1

    def _reports(self, chosen: list[Claim]) -> list[Report]:
        from pmdtheory._executors import make_executor, usable_cores
        from pmdtheory.claims._spread import BLOCK, ONE_THREAD, spread

        many = self.instances > BLOCK and self.executor == "local"
        workers = self.workers if self.workers is not None else usable_cores() if many else 0
        if not workers:
            for name, value in (("blocks", self.blocks), ("job", self.job)):
                if value:
                    raise ValueError(f"{name} is for cases in blocks, and workers is 0; take --workers 2 or more")
            if self.executor != "local":
                raise ValueError(
                    f"executor {self.executor!r} starts workers, and workers is 0; take --workers 2 or more"
                )
            with progress("verify", len(chosen) * max(self.instances, 0)) as advance:
                return verify(
                    chosen, instances=self.instances, seed=self.seed, progress=lambda claim, done: advance(claim)
                )
        if self.executor == "slurm" and self.blocks is None:
            raise ValueError("executor 'slurm' needs blocks, a folder that all machines see; take --blocks DIR")
        executor = make_executor(self.executor, self.job, ONE_THREAD)
        with progress("verify", None) as advance:
            return spread(
                chosen, instances=self.instances, seed=self.seed, workers=workers, out=self.blocks,
                executor=executor, progress=advance,
            )  # fmt: skip
