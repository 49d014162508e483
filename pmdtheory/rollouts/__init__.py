"""Rollouts of real runs: what PMD's next step does to their prompts, which tau and n to take, what was realised.

`read_rollouts` takes the dumps of public trainers; `diagnose` predicts the step with intervals that cover, also for
few rollouts; `calibrate` finds tau for a target.
"""

from pmdtheory.rollouts._calibrate import Calibration as Calibration
from pmdtheory.rollouts._calibrate import calibrate as calibrate
from pmdtheory.rollouts._diagnose import diagnose as diagnose
from pmdtheory.rollouts._diagnosis import Diagnosis as Diagnosis
from pmdtheory.rollouts._read import read_rollouts as read_rollouts
from pmdtheory.rollouts._record import BrokenRow as BrokenRow
from pmdtheory.rollouts._record import Rollouts as Rollouts

__all__ = ["BrokenRow", "Calibration", "Diagnosis", "Rollouts", "calibrate", "diagnose", "read_rollouts"]
