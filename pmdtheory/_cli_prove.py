"""`pmdtheory prove`: derivations of claims step by step, proofs of inequalities over boxes, certificates."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from pmdtheory._console import progress, tabulated, writable, write

if TYPE_CHECKING:
    from pmdtheory.proof import Proof, Statement

__all__ = ["Prove"]


@dataclass(frozen=True)
class Prove:
    """Derive claims in sympy and decide every step, or prove inequalities over whole boxes of laws.

    A claim such as C5 is derived. A statement such as C8-KL is proved over its box (docs/boxes.md lists them); --boxes
    takes all those of a claim. Example: `pmdtheory prove C5 --latex`, `pmdtheory prove C8-KL --certificate c8.json`,
    `pmdtheory prove --recheck c8.json`. Exit status 1 when a step is not decided, a box stays unproved, or a
    certificate does not pass.
    """

    claims: Positional[tuple[str, ...]] = ()
    """Ids of claims such as C5, or of statements over boxes such as C8-KL; all when none is given."""
    latex: bool = False
    """Print derivations in LaTeX instead of Unicode."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""
    out: Path | None = None
    """Write the derivations to this file, as the Markdown page that stands in docs/proofs.md."""
    boxes: bool = False
    """Take claims for what is proved over boxes."""
    certificate: Path | None = None
    """Write the certificate of a proof over boxes to this file, or those of several to this folder."""
    recheck: tuple[Path, ...] | None = None
    """Check these certificates with a second program, in decimal arithmetic, and prove nothing."""
    workers: int = 1
    """Processes of a proof over boxes."""

    def run(self) -> int:
        """Exit status 0 when everything is proved, 1 otherwise."""
        over_boxes = self.boxes or self.certificate is not None or any("-" in name for name in self.claims)
        if self.latex + self.json + (self.out is not None) > 1:
            raise ValueError("more than one of --latex, --json and --out was given; pass one of them")
        checks = self.recheck is not None
        if (checks or over_boxes) and (self.latex or self.out is not None):
            raise ValueError("--latex and --out are for derivations; with boxes use --json or --certificate")
        if checks and (self.claims or over_boxes):
            raise ValueError("--recheck takes certificates alone; drop the claims, --boxes and --certificate")
        if self.recheck is not None:
            if not self.recheck:
                raise ValueError("recheck is empty; name one certificate or more")
            return self._recheck(self.recheck)
        writable("out", self.out)
        return self._over_boxes() if over_boxes else self._derive()

    def _derive(self) -> int:
        from pmdtheory import symbolic
        from pmdtheory.symbolic._report import proof_data, proof_page, proof_text

        chosen, proofs = symbolic.select(self.claims), []
        with progress("prove", len(chosen)) as advance:
            for derivation in chosen:
                advance(derivation.claim)
                proofs.append((derivation, derivation.check()))
        proved = all(all(verdicts) for _, verdicts in proofs)
        if self.json:
            print(proof_data(proofs))
        elif self.out is None:
            print(proof_text(proofs, self.latex), end="")
        elif proved:
            write(self.out, proof_page(chosen))
        else:
            missing = ", ".join(f"{one.claim} {k + 1}" for one, found in proofs for k, ok in enumerate(found) if not ok)
            print(f"pmdtheory: not decided: {missing}; nothing was written", file=sys.stderr)
        return 0 if proved else 1

    def _over_boxes(self) -> int:
        from pmdtheory.proof import prove_over_box, select
        from pmdtheory.proof._report import TITLES, box_data, box_row, false_at

        chosen = select(self.claims)
        if not self.boxes:
            derived = [name for name in self.claims if "-" not in name]
            if derived:
                raise ValueError(f"{derived[0]} is a claim, not a statement over a box; add --boxes for all of its own")
        if self.certificate is not None and len(chosen) > 1 and not self.certificate.is_dir():
            raise ValueError(
                f"certificate={str(self.certificate)!r} is no folder; name one for {len(chosen)} statements"
            )
        if len(chosen) == 1:
            writable("certificate", self.certificate)
        found: list[tuple[Statement, Proof]] = []
        with progress("prove", 100) as advance:
            for one in chosen:

                def show(share: float, boxes: int, name: str = one.id) -> None:
                    advance(f"{name}: proved volume in %, {boxes} boxes", int(100 * share), 100)

                proof = prove_over_box(one, workers=self.workers, progress=show)
                found.append((one, proof))
                self._certify(one, proof, len(chosen) > 1)
        if self.json:
            print(box_data(found))
        else:
            print(tabulated("slack >= c N over boxes", TITLES, [box_row(*pair) for pair in found]), end="")
            for pair in found:
                print(false_at(*pair), end="\n" if pair[1].witness is not None else "")
        return 0 if all(proof.proved for _, proof in found) else 1

    def _certify(self, statement: "Statement", proof: "Proof", folder: bool) -> None:
        from pmdtheory.proof import certificate

        if self.certificate is not None and proof.witness is None:
            path = self.certificate / f"{statement.id}.json" if folder else self.certificate
            write(path, certificate(statement, proof), "certificate")

    def _recheck(self, paths: tuple[Path, ...]) -> int:
        from json import dumps

        from pmdtheory.proof import recheck

        found = []
        with progress("recheck", None) as advance:
            for path in paths:
                try:
                    text = path.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError):
                    raise ValueError(f"recheck={str(path)!r} cannot be read; name a certificate") from None

                def show(done: int, total: int, name: str = path.name) -> None:
                    advance(name, done, total)

                try:
                    found.append((path, recheck(text, progress=show)))
                except ValueError as error:
                    raise ValueError(f"{path}: {error}") from None
        if self.json:
            rows = [
                {
                    "file": str(path),
                    "statement": one.statement,
                    "passed": one.passed,
                    "boxes": one.boxes,
                    "reason": one.reason,
                }
                for path, one in found
            ]
            print(dumps({"schema": 1, "passed": all(one.passed for _, one in found), "certificates": rows}, indent=1))
        else:
            for path, one in found:
                verdict = f"proves {one.statement} ({one.boxes} boxes)" if one.passed else f"REJECTED: {one.reason}"
                print(f"{path}: {verdict}")
        return 0 if all(one.passed for _, one in found) else 1
