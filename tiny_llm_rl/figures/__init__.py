"""Figures of what needs the trainer, in the form of `pmdtheory.figures`, which finds them through entry points."""
