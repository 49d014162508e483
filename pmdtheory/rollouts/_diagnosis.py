"""What a diagnosis holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._grouping import Groups, Scale
from pmdtheory.rollouts._measures import Measures
from pmdtheory.rollouts._per_group import Interval
from pmdtheory.rollouts._pooled import Pooled
from pmdtheory.rollouts._realised import Realised
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._regimes import COLLAPSE_PRONE, REGIMES

__all__ = ["Diagnosis", "StepRow"]


@dataclass(frozen=True)
class StepRow:
    """The prompts of one training step: estimates with their standard errors over prompts.

    Attributes:
        step: its number.
        groups: prompts.
        pass_rate: mean pass rate, or mean reward of graded rewards.
        new_pass_rate: predicted after the step.
        multiplier: mean lambda.
        kl: mean KL(new||old), nats.
        length: mean response length; None where unknown.
    """

    step: int
    groups: int
    pass_rate: Pooled
    new_pass_rate: Pooled
    multiplier: Pooled
    kl: Pooled
    length: float | None


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found. Arrays have one entry per group, in order of step and prompt.

    Attributes:
        tau: as given, reward units.
        level: of all intervals.
        scale: the levels of the rewards; of binary rewards all rates below count failure as 0 and success as 1.
        rollouts: the data.
        groups: how they were grouped.
        measures: of the step on each group's empirical law.
        intervals: per functional, lower and upper ends `[G]`; they cover whatever the law and the size of the group.
        errors: per functional of graded rewards, first-order standard errors `[G]`, NaN where all rewards agree; no
            interval follows from them for small groups. Empty for binary rewards.
        regime: `[G]`, index into `REGIMES`, of the empirical law.
        regimes: `[G]`, the regimes that the interval of the pass rate meets; empty for graded rewards.
        collapse: `[G]`, chance that a partition baseline exceeds C14's threshold, on the empirical law.
        no_signal: `[G]`, chance that another group of the same size has equal rewards, on the empirical law.
        overall: per functional, the mean over groups.
        steps: one row per training step, where there are steps.
        realised: the step that was made; None without log-probabilities.
        notes: what the reader of the numbers has to know.
    """

    tau: float
    level: float
    scale: Scale
    rollouts: Rollouts
    groups: Groups
    measures: Measures
    intervals: dict[str, Interval]
    errors: dict[str, FloatArray]
    regime: NDArray[np.int64]
    regimes: tuple[tuple[int, ...], ...]
    collapse: FloatArray
    no_signal: FloatArray
    overall: dict[str, Pooled]
    steps: tuple[StepRow, ...]
    realised: Realised | None
    notes: tuple[str, ...]

    @property
    def regime_share(self) -> dict[str, float]:
        """Share of the groups whose empirical law is in each regime, and of those collapse-prone."""
        shares = {name: float(np.mean(self.regime == code)) for code, name in enumerate(REGIMES)}
        return {**shares, "collapse-prone": float(np.mean(self.collapse >= COLLAPSE_PRONE))}
