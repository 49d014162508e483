r"""What one batch does to the pass rate of each prompt, measured on fresh responses, for the theory to be held against.

The exact step of PMD-mean on a law with pass rate p multiplies the odds of success by \(e^u\), with
\(u + \lambda(\rho_1 - \rho_0) = 1/\tau\) (C1, C4); PMD-part's by \(e^{1/\tau}\) whatever p is. A network shares its
parameters between prompts and sees n responses of each, so its step is another one; how much of it is left, and
whether it keeps the shape, is measured here.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiny_llm_rl._checks import whole
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.evaluate import in_parts
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run, base_of, training_prompts

__all__ = ["PassRates", "binned", "log_odds_change", "measured_step", "pass_rates"]

FloatArray = NDArray[np.float64]
_ROWS = 8192  # responses sampled at once


class PassRates(NamedTuple):
    """Pass rates `[prompts]`: `sorting` and `before` from separate responses of the old policy, `after` of the new.

    Prompts are put into bins by `sorting`. With one measurement for both, a prompt that was lucky would land in a
    higher bin and seem to fall back.
    """

    sorting: FloatArray
    before: FloatArray
    after: FloatArray


def pass_rates(
    model: Transformer, task: Task, tokenizer: Tokenizer, prompts: list[str], samples: int, seed: int
) -> FloatArray:
    """Mean reward `[prompts]` of so many fresh responses each.

    >>> from tiny_llm_rl.train import load_base
    >>> model, task, tokenizer = load_base("digit-sum")
    >>> found = pass_rates(model, task, tokenizer, ["3+4+5+6=", "1+1+1+1="], 8, 0)
    >>> bool(((0 <= found) & (found <= 1)).all())
    True
    """
    whole("samples", samples, "64 give a standard error of .06 at most")
    parts = in_parts(model, task, tokenizer, prompts, jax.random.key(seed), samples=samples, rows=_ROWS)
    return np.array(
        [
            np.mean([task.reward(prompts[i], response) for response in own])
            for start, said, _ in parts
            for i, own in enumerate(said, start)
        ]
    )


def measured_step(
    config: TrainConfig, base: tuple[Transformer, Task, Tokenizer] | None = None, *, samples: int = 64
) -> PassRates:
    """Train one batch, and measure every prompt of it before and after.

    Args:
        config: of the run; its first batch is trained.
        base: where the run starts; None loads what the config names.
        samples: fresh responses of each prompt for each of the three measurements.

    Returns:
        `PassRates`.

    Raises:
        ValueError: for a base that is not there, fewer than one sample, or a batch that failed.
    """
    base = base_of(config) if base is None else base
    run = Run(replace(config, batches=2), base)  # two, so that the first is not followed by an evaluation
    prompts = training_prompts(base[1], config, 0)
    sorting, before = (pass_rates(*base, prompts, samples, 2 * config.seed + half) for half in (0, 1))
    status, _ = run.batch()
    if status is not None:
        raise ValueError(f"config ended with {status.name} in its first batch: {status.value}")
    after = pass_rates(run.model, base[1], base[2], prompts, samples, 10**6 + config.seed)
    return PassRates(sorting, before, after)


def binned(rates: PassRates, edges: ArrayLike) -> FloatArray:
    """`[bins, 3]`: pass rate before and after, means over the prompts of a bin, and how many those are; NaN for none.

    >>> rates = PassRates(np.array([0.1, 0.2, 0.9]), np.array([0.1, 0.3, 0.9]), np.array([0.2, 0.4, 1.0]))
    >>> binned(rates, [0.0, 0.5, 1.0]).round(3).tolist()
    [[0.2, 0.3, 2.0], [0.9, 1.0, 1.0]]
    """
    place = np.clip(np.searchsorted(np.asarray(edges, np.float64), rates.sorting, side="right") - 1, 0, None)
    bins = np.asarray(edges).size - 1
    place = np.minimum(place, bins - 1)
    found = np.full((bins, 3), np.nan)
    for index in range(bins):
        here = place == index
        found[index, 2] = here.sum()
        if here.any():
            found[index, :2] = rates.before[here].mean(), rates.after[here].mean()
    return found


def log_odds_change(before: ArrayLike, after: ArrayLike) -> FloatArray:
    r"""Logarithm u of the factor by which the odds grow, nats.

    >>> float(log_odds_change(0.5, 0.75).round(3))  # from 1:1 to 3:1
    1.099
    """
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    with np.errstate(divide="ignore"):
        found: FloatArray = np.log(q) - np.log1p(-q) - np.log(p) + np.log1p(-p)
    return found
