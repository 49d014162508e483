"""`pmdtheory hunt`: search for counterexamples to statements about every law, and decide them exactly."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from pmdtheory._console import progress, tabulated, writable, write

__all__ = ["Hunt"]


@dataclass(frozen=True)
class Hunt:
    """Search for laws on which statements are false, shrink them to readable ones, and decide those exactly.

    A statement holds for every number of actions, every law and every tau, or it does not: docs/hunt.md lists them with
    what is known. Where no counterexample is found, boxes prove what they can. Example: `pmdtheory hunt tau-KL`,
    `pmdtheory hunt C22 --instances 1000000`, `pmdtheory hunt --out hunt.json`. Ctrl-C keeps what was found. Exit
    status 1 when a finding contradicts what is known: a proved statement refuted, or a false one that survived.
    """

    statements: Positional[tuple[str, ...]] = ()
    """Ids of statements such as tau-KL, or of claims such as C22; all when none is given."""
    instances: int = 200_000
    """Laws to measure for each statement; fewer where a violation is found."""
    seed: int = 0
    """Seed of the search; the same seed finds the same."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""
    out: Path | None = None
    """Write the findings to this file, as JSON."""

    def run(self) -> int:
        """Exit status 0 when the findings agree with what is known, 1 otherwise."""
        from json import loads

        from pmdtheory.hunt import hunt, select
        from pmdtheory.hunt._report import TITLES, findings_data, row

        if self.json and self.out is not None:
            raise ValueError("--json and --out were given together; pass one of them")
        writable("out", self.out)
        found = []
        with progress("hunt", self.instances) as advance:
            for one in select(self.statements):

                def show(laws: int, least: float, name: str = one.id) -> None:
                    advance(f"{name}: least slack {least:.2g}", min(laws, self.instances), self.instances)

                found.append(hunt(one, instances=self.instances, seed=self.seed, progress=show))
                if found[-1].interrupted:
                    print("pmdtheory: interrupted; what was found is kept", file=sys.stderr)
                    break
        data = findings_data(found, self.instances, self.seed)
        rows = loads(data)["findings"]
        if self.out is not None:
            write(self.out, data)
        elif self.json:
            print(data, end="")
        else:
            print(tabulated("statements about every law", TITLES, [row(one) for one in rows]), end="")
        return 0 if all((one["known"] == "refuted") == (one["found"] == "refuted") for one in rows) else 1
