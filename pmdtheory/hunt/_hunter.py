"""Search, shrink, decide, and otherwise prove over boxes."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import logsumexp

from pmdtheory._checks import shown
from pmdtheory.hunt._finding import Finding, Point
from pmdtheory.hunt._search import NEGATIVE, Searched, searched
from pmdtheory.hunt._shrink import shrunk
from pmdtheory.hunt._statement import Statement, Witness

__all__ = ["hunt"]


def hunt(
    statement: Statement,
    *,
    instances: int = 200_000,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Finding:
    r"""Look for a law on which a statement is false, decide it exactly, and otherwise prove what boxes can prove.

    Formula: find masses, rewards/tau and further numbers with slack < 0.

    Args:
        statement: one of `STATEMENTS`, or one of your own.
        instances: about how many laws to measure, at least 1,000; fewer where a violation is found.
        seed: of the search; the same seed finds the same.
        progress: called with the laws measured and the least slack so far.

    Returns:
        A `Finding`. Ctrl-C ends the search and returns what was found by then.

    Raises:
        TypeError, ValueError: for something else than a statement, or numbers that are no counts.

    Numerics: the search is in float64, over log-masses above -60 and spans of rewards/tau from .01 to 1e6. A negative
    slack that small changes of the law change is rounding noise and does not count. Witnesses are decided in Arb balls.

    Source: this project.

    >>> from pmdtheory.hunt import STATEMENTS, hunt
    >>> found = hunt(STATEMENTS["C8-KL-strong"], instances=3000)
    >>> STATEMENTS["C8-KL-strong"].refutes(found.witness)
    True
    """
    if not isinstance(statement, Statement):
        raise TypeError(f"statement must be a Statement, got {shown(statement)}; take one of STATEMENTS")
    for name, value, least in (("instances", instances, 1_000), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, got {shown(value)}; pass {max(least, 1)}, for instance")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}; pass {max(least, 1)}, for instance")
    rng = np.random.default_rng(seed)
    result = searched(statement, instances, rng, progress)
    witness: Witness | None = None
    interrupted = result.interrupted
    try:
        while result.slack < NEGATIVE and result.at is not None and not interrupted:
            witness = shrunk(statement, result.at, result.actions, rng)
            if witness is not None or result.instances >= instances:
                break
            again = searched(statement, instances - result.instances, rng, progress, negative=10.0 * result.slack)
            result, interrupted = result.joined(again), again.interrupted
        boxes = {} if witness is not None or interrupted else _proved(statement)
    except KeyboardInterrupt:
        interrupted, boxes = True, {}
    verdict: Literal["refuted", "proved over boxes", "survived"] = "survived"
    if witness is not None:
        verdict = "refuted"
    elif boxes and all(boxes.values()):
        verdict = "proved over boxes"
    return Finding(
        statement=statement.id,
        verdict=verdict,
        instances=result.instances,
        undecided=result.undecided,
        least=result.slack,
        point=_point(statement, result),
        witness=witness,
        slack=None if witness is None else statement.slack(witness),
        boxes=boxes,
        interrupted=interrupted,
    )


def _point(statement: Statement, result: Searched) -> Point:
    """The law of the least slack."""
    if result.at is None:
        return {}
    k = result.actions
    logs = result.at[:k] - logsumexp(result.at[:k])
    further = {name: (float(np.exp(value)),) for name, value in zip(statement.extra, result.at[2 * k :], strict=True)}
    reward = np.sinh(result.at[k : 2 * k])
    return {"log_mass": tuple(map(float, logs)), "reward": tuple(map(float, reward)), **further}


def _proved(statement: Statement) -> dict[str, bool]:
    """Which forms for two and three levels are proved over their boxes."""
    from pmdtheory.proof import prove_over_box
    from pmdtheory.proof import statement as over_box

    return {name: prove_over_box(over_box(name)).proved for name in statement.boxes}
