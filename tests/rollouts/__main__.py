"""The tables of coverage in docs/rollouts.md: `python -m tests.rollouts`, some minutes."""

import numpy as np
from scipy import stats

from pmdtheory.rollouts._bands import Cells
from pmdtheory.rollouts._extremes import ranges
from tests.rollouts import test_coverage
from tests.rollouts.test_graded_intervals import LAWS, LEVEL, SLACK, first_order, groups_of, least_coverage, truths
from tests.rollouts.test_graded_means import study

LEVELS = np.linspace(0.0, 1.0, 5)
TITLES = {"rare": "rarely solved", "common": "mostly solved", "rarer": "solved in 3 of 100"}
ROWS = (
    (4, 0.1, "rare"), (4, 0.5, "rare"), (4, 0.5, "common"), (8, 0.1, "rare"), (8, 0.5, "rare"), (8, 0.5, "common"),
    (8, 0.5, "rarer"),
)  # fmt: skip
MEANS = (
    ("levels", "rare", 4, 0.1), ("levels", "rare", 16, 0.1), ("levels", "rare", 16, 0.3), ("levels", "mixed", 4, 0.1),
    ("levels", "solved", 4, 0.1), ("continuous", "rare", 4, 0.1), ("continuous", "rare", 16, 0.3),
    ("continuous", "mixed", 4, 0.1), ("continuous", "solved", 4, 0.1),
)  # fmt: skip
BINARY = (
    ("beta", 4, 100, 0.3), ("beta", 8, 200, 0.1), ("two", 8, 30, 1.0), ("uniform", 8, 30, 1.0), ("hard", 8, 200, 0.1)
)  # fmt: skip
SHOWN = ("new_pass_rate", "kl", "multiplier")


def one_prompt(n: int, tau: float, law: str) -> list[str]:
    """Exact coverage of the first-order interval and of the band's, for the new mean reward and the KL; widths."""
    groups, cells = groups_of(5, n), Cells(LEVELS, LEVELS, known=True)
    weight, true = stats.multinomial.pmf(groups, n, LAWS[law]), truths(np.array(LAWS[law]), LEVELS, tau)
    found = ranges(*cells.band(np.cumsum(groups, axis=1)[:, :-1], n, LEVEL), cells, tau)
    row = []
    for name in ("new_pass_rate", "kl"):
        kinds = (first_order(groups, LEVELS, n, tau, name), found[name])
        for low, high in kinds:
            held = (low - SLACK <= true[name]) & (true[name] <= high + SLACK)
            row.append(f"{100 * weight[held].sum():.1f} % (width {np.nansum(weight * (high - low)):.2f})")
    return row


def main() -> None:
    """Print all."""
    for law, n, groups, tau in BINARY:
        found = test_coverage.study(law, n, groups, tau, 150, ("new_pass_rate", "kl", "multiplier"))
        row = " | ".join(f"{100 * ours:.0f} % ({100 * plain:.0f} %)" for ours, plain in found.values())
        print(f"| {law}, {n}, {groups}, {tau} | {row} |", flush=True)
    for n, tau, law in ROWS:
        print("|", f"{n}, {tau} | {TITLES[law]} |", " | ".join(one_prompt(n, tau, law)), "|", flush=True)
    masses = [*np.random.default_rng(0).dirichlet(np.full(5, 0.5), 20), *map(np.array, LAWS.values())]
    least = min(min(least_coverage(LEVELS, n, tau, masses).values()) for n in (4, 8) for tau in (0.1, 1.0))
    print(f"least of all functionals, 27 laws, n = 4 and 8, tau = 0.1 and 1: {100 * least:.1f} %", flush=True)
    for kind, law, n, tau in MEANS:
        found = study(kind, law, n, 500, tau, 30, SHOWN)
        row = " | ".join(f"{100 * bounded:.0f} % ({100 * plain:.0f} %)" for bounded, plain, *_ in found.values())
        *_, width, off = found["new_pass_rate"]
        print(f"| {kind}, {law}, {n}, {tau} | {row} | new mean {width:.2f} wide, off by {off:+.3f}", flush=True)


if __name__ == "__main__":
    main()
