"""Tiny reinforcement learning of language models in JAX, for the theory of `pmdtheory`.

Under construction: the trainer is not written yet, and this package has no public names. It is here so that
the distribution already ships the two packages it will hold.
"""
