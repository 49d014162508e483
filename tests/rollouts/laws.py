"""Laws of pass rates that coverage is studied on: smooth, two-point, uniform, and one with unsolvable prompts."""

import numpy as np

LAWS = {
    "beta": lambda rng, size: rng.beta(0.5, 1.0, size),
    "two": lambda rng, size: rng.choice([0.02, 0.6], size),
    "uniform": lambda rng, size: rng.random(size),
    "hard": lambda rng, size: rng.choice([0.0, 0.01, 0.1], size),
}


def expected(law, function, size=100_000):
    """Mean of a function of the pass rate over a law, by a sample large enough not to matter."""
    drawn, counts = np.unique(LAWS[law](np.random.default_rng(99), size), return_counts=True)
    return float(function(drawn) @ counts) / size
