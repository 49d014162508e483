r"""What PMD-mean's next step does to the prompts of a run, from their rollouts, each number with its interval."""

from typing import Final

import numpy as np

from pmdtheory._checks import positive_scalar, unit_interval
from pmdtheory.rollouts._diagnosis import Diagnosis, StepRow
from pmdtheory.rollouts._grouping import Groups, Scale, group
from pmdtheory.rollouts._per_group import Found, binary_groups, graded_rewards
from pmdtheory.rollouts._pooled import over_prompts
from pmdtheory.rollouts._realised import realised_step
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._regimes import classify

__all__ = ["diagnose"]

_TAU: Final = "tau is the regularisation strength in reward units, for instance 0.1"


def diagnose(rollouts: Rollouts, tau: float, *, level: float = 0.95) -> Diagnosis:
    r"""What PMD-mean's population step would do to each prompt, and what its rollouts can tell about that.

    Per prompt with binary rewards every interval is the image of Clopper and Pearson's interval for the pass rate
    under the exact function of the pass rate, so it covers with at least the stated probability for every n and p.
    With graded rewards it is the range of a functional over all laws in an exact band of the distribution function,
    and covers likewise. Overall means are corrected for the bias of plugging an empirical law into a nonlinear
    function, and what bias is left is bounded and added to the interval (see `docs/rollouts.md`).

    Args:
        rollouts: from `read_rollouts` or `Rollouts.from_arrays`.
        tau: greater than zero, reward units.
        level: of the intervals, in (0, 1).

    Returns:
        A `Diagnosis`.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C1, C4, C7, C8, C14, C16, C21, C22); Clopper and Pearson (1934).

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> rewards = rng.random((50, 8)) < rng.random((50, 1))
    >>> prompts = np.repeat(np.arange(50), 8)
    >>> found = diagnose(Rollouts.from_arrays(prompts, rewards.ravel()), tau=0.5)
    >>> low, high = found.intervals["new_pass_rate"]
    >>> bool(np.all((low <= found.measures.expected_reward) & (found.measures.expected_reward <= high)))
    True
    """
    tau = positive_scalar("tau", tau, _TAU)
    level = unit_interval("level", level, "pass the coverage of the intervals, for instance 0.95")
    if level in (0.0, 1.0):
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; pass 0.95, for instance")
    groups, scale = group(rollouts), Scale.of(rollouts.reward)
    found = (binary_groups if scale.binary else graded_rewards)(rollouts, groups, scale, tau, level)
    return Diagnosis(
        tau=tau,
        level=level,
        scale=scale,
        rollouts=rollouts,
        groups=groups,
        measures=found.measures,
        intervals=found.intervals,
        errors=found.errors,
        regime=classify(found.measures),
        regimes=found.regimes,
        collapse=found.collapse,
        no_signal=found.no_signal,
        overall=found.overall,
        steps=_by_step(rollouts, groups, scale, found, level),
        realised=realised_step(rollouts, groups, scale, tau, level),
        notes=_notes(rollouts, groups, scale) + found.notes,
    )


def _by_step(rollouts: Rollouts, groups: Groups, scale: Scale, found: Found, level: float) -> tuple[StepRow, ...]:
    """One row per training step, in order."""
    if rollouts.step is None:
        return ()
    rewards, positive = (scale.low, scale.high), (0.0, np.inf)
    names = {"pass_rate": rewards, "new_pass_rate": rewards, "multiplier": positive, "kl": positive}
    edges = np.concatenate([[0], np.flatnonzero(np.diff(groups.step)) + 1, [groups.step.size]])
    lengths = None
    if rollouts.length is not None:
        sums = np.add.reduceat(rollouts.length[groups.order], groups.start)
        lengths = (np.add.reduceat(sums, edges[:-1]), np.add.reduceat(groups.size, edges[:-1]))
    rows = []
    for i, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        part = slice(start, stop)
        means = {
            name: over_prompts(found.estimates[name][part], groups.prompt[part], level, ends=ends)
            for name, ends in names.items()
        }
        length = None if lengths is None else float(lengths[0][i] / lengths[1][i])
        rows.append(StepRow(int(groups.step[start]), stop - start, **means, length=length))
    return tuple(rows)


def _notes(rollouts: Rollouts, groups: Groups, scale: Scale) -> tuple[str, ...]:
    notes = []
    if rollouts.broken_count:
        notes.append(f"{rollouts.broken_count} broken rows were left out")
    if scale.assumed:
        notes.append(f"all rewards are {rollouts.reward[0]:g}: levels {scale.low:g} and {scale.high:g} are assumed")
    alone = int((groups.size == 1).sum())
    if alone:
        notes.append(f"{alone} of {groups.size.size} groups hold one rollout, which tells nothing about a step")
    if np.unique(groups.prompt).size < groups.prompt.size:
        notes.append("prompts recur over steps: standard errors treat each prompt as one unit")
    return tuple(notes)
