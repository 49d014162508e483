"""What became of an enclosure, in words."""

from enum import Enum

__all__ = ["EnclosureStatus"]


class EnclosureStatus(Enum):
    """Outcome of an enclosure. Each value is the message a user reads: the cause, then the remedy."""

    PROVED = "existence and uniqueness proved, every width within the target"
    WIDE = (
        "existence and uniqueness proved, but some width exceeds the target at the largest precision; "
        "raise max_precision, or ask for a larger width"
    )
    UNDECIDED = (
        "the largest precision decides neither existence nor its contrary (the baseline is at log Z or at the end "
        "of the region of C14, or masses span too many orders of magnitude); raise max_precision"
    )
    BASELINE_TOO_HIGH = (
        "proved: the baseline exceeds log Z by more than the symmetric local minimum survives (C14); "
        "lower the baseline to log Z"
    )
    BLIND_ACTIONS = (
        "proved: the sampler misses actions that the policy has, and no positive multiplier fits, so the loss leaves "
        "the missing mass undetermined (C15); lower the baseline, or sample from the policy itself"
    )
