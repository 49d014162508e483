"""Exact policy mirror descent updates, and the evidence for what they do."""

from pmdtheory.problem import Problem as Problem
from pmdtheory.solution import Solution as Solution
from pmdtheory.solution import SolveError as SolveError
from pmdtheory.solution import Status as Status
from pmdtheory.solution import Update as Update
from pmdtheory.update import baseline_update as baseline_update
from pmdtheory.update import kl_update as kl_update
from pmdtheory.update import mean_update as mean_update
from pmdtheory.update import mismatched_update as mismatched_update
from pmdtheory.update import mixed_update as mixed_update
