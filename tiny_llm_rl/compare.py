r"""A batch of a bandit's run against the exact step of `pmdtheory`: how far it got, and what that is worth.

Letters: `C` contexts, `K` actions. The policies before and after a batch come from the trainer, in float32; everything
about them is computed by the NumPy reference, in float64.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from pmdtheory import Problem, Update, baseline_update, gap_certificate, kl_update, mean_update, mixed_update
from pmdtheory._checks import FloatArray
from pmdtheory.divergence import kl, total_variation
from tiny_llm_rl._bandit_population import member
from tiny_llm_rl._bandit_run import KIND, restored
from tiny_llm_rl._checks import choice, whole
from tiny_llm_rl.algorithm import LossConfig
from tiny_llm_rl.bandit import BanditConfig, make_step, make_world
from tiny_llm_rl.runlog import RunDirectory, read_config

AGAINST: Final = ("own", "mean", "kl")

__all__ = ["AGAINST", "Comparison", "compare", "compare_run", "read_bandit"]


@dataclass(frozen=True, eq=False)
class Comparison:
    r"""What a batch did in some contexts `[C]`, and what the exact step \(\pi^+\) from the same policy would have done.

    Attributes:
        member: of the family that is the measure: "mean", "mean-group", "kl", "level" or "mixed".
        distance: `[C]`, total variation between the policy after the batch and \(\pi^+\).
        moved: `[C]`, total variation between the policies after and before the batch.
        exact_moved: `[C]`, between \(\pi^+\) and the policy before.
        gap: `[C]`, by how much the policy after the batch falls short of \(\pi^+\) in the mirror step's objective over
            tau (C3), nats; zero at \(\pi^+\) only.
        residual: `[C]`, of the gap certificate: rounding, relative.
        realised: `[C]`, improvement of the mean reward, reward units.
        predicted: `[C]`, that of \(\pi^+\), reward units.
        kl: `[C]`, KL(after, before), nats.
        exact_kl: `[C]`, KL of \(\pi^+\) to the policy before, nats.
        multiplier: `[C]`, \(\lambda\) of the exact step.
    """

    member: str
    distance: FloatArray
    moved: FloatArray
    exact_moved: FloatArray
    gap: FloatArray
    residual: FloatArray
    realised: FloatArray
    predicted: FloatArray
    kl: FloatArray
    exact_kl: FloatArray
    multiplier: FloatArray


def _exact(name: str, problem: Problem, config: BanditConfig) -> Update:
    if name == "mean":
        return mean_update(problem).unwrap()
    if name == "mean-group":
        shrunk = problem.tau * config.rollouts / (config.rollouts - 1)
        return mean_update(Problem.from_log_policy(problem.log_policy, problem.reward, shrunk)).unwrap()
    if name == "kl":
        return kl_update(problem).unwrap()
    if name == "level":
        return baseline_update(problem, baseline=config.loss.level).unwrap()
    return mixed_update(problem, weight=config.loss.chi2_weight).unwrap()


def compare(
    config: BanditConfig, before: Any, after: Any, *, against: str = "own", contexts: int | None = None
) -> Comparison:
    """Hold a batch against the exact step.

    Args:
        config: of the run.
        before: `[C, K]`, log-policy or logits before the batch.
        after: `[C, K]`, after it.
        against: "own" is the population step that the algorithm aims at, on-policy, and PMD-mean's where it aims at
            none; "mean" is PMD-mean's, "kl" KL-PMD's.
        contexts: how many contexts to look at, evenly spaced; None is all.

    Returns:
        `Comparison`.

    Raises:
        ValueError: for another shape, an unknown name, numbers that are not finite.
        SolveError: where the exact step does not exist (a level above log Z).

    Source: C3, this project.

    >>> import numpy as np
    >>> config = BanditConfig(algorithm="exact-mean", actions=20, tau=0.5)
    >>> start, step = make_step(config)
    >>> state, _ = step(start(), jax.random.key(0), 0, config.tau, config.learning_rate)
    >>> found = compare(config, state.before, state.logits)
    >>> bool(found.distance[0] < 1e-5 and abs(found.realised[0] - found.predicted[0]) < 1e-5)
    True
    """
    choice("against", against, AGAINST)
    name = against if against != "own" else member(config) or "mean"
    built = make_world(config)
    tables = [np.asarray(table, np.float64) for table in (before, after)]
    for label, table in zip(("before", "after"), tables, strict=True):
        if table.shape != built.log_policy.shape or not np.isfinite(table).all():
            raise ValueError(
                f"{label} must hold finite numbers of shape {built.log_policy.shape}, got shape {table.shape}; "
                "compare an earlier batch, or the config of the run"
            )
    count = config.contexts if contexts is None else min(config.contexts, whole("contexts", contexts, "take 1 or more"))
    rows = []
    for index in np.linspace(0, config.contexts - 1, count).round().astype(int):
        old, new = (table[index] - np.logaddexp.reduce(table[index]) for table in tables)
        problem = Problem.from_log_policy(old, built.reward, config.tau)
        exact = _exact(name, problem, config)
        certificate = gap_certificate(exact.problem, exact, np.exp(new)[None])
        rows.append(
            (
                total_variation(new, exact.log_policy),
                total_variation(new, old),
                exact.step_size,
                float(certificate.gap[0]),
                certificate.residual,
                float((np.exp(new) - np.exp(old)) @ built.reward),
                exact.improvement,
                kl(new, old),
                exact.kl,
                exact.multiplier,
            )
        )
    return Comparison(name, *np.array(rows, np.float64).T)


def read_bandit(path: Path) -> BanditConfig:
    """The config of a bandit's run directory; ValueError for anything else."""
    kind, found = read_config(path)
    if kind != KIND:
        raise ValueError(f"{path} holds a run of kind {kind}, not {KIND}; give the directory of a bandit")
    try:
        return BanditConfig(**{**found, "loss": LossConfig(**found["loss"])})
    except (KeyError, TypeError) as problem:
        raise ValueError(f"{path} holds a config that is not read here ({problem}); use its own version") from None


def compare_run(
    path: Path, *, batch: int | None = None, against: str = "own", contexts: int | None = None
) -> tuple[int, Comparison]:
    """Hold a batch of a run against the exact step.

    Args:
        path: of the run directory.
        batch: its number, from 0; it is trained again from the start, which gives the bits of the run. None is the
            last one before the checkpoint, which holds both policies.
        against: as for `compare`.
        contexts: as for `compare`.

    Returns:
        The number of the batch and the `Comparison`.

    Raises:
        ValueError: for a directory without a run of a bandit, or without this batch; for a batch whose metrics are not
            those recorded, which means another machine or version.
    """
    config = read_bandit(path)
    directory = RunDirectory(path, config, kind=KIND, resume=True)
    start, step = make_step(config)
    if batch is None:
        state, done = restored(directory, start())
        if not done:
            raise ValueError(f"{path} has no checkpoint yet; wait for one, or name a batch")
        return done - 1, compare(config, state.before, state.logits, against=against, contexts=contexts)
    records = directory.records()
    whole("batch", batch, f"the run has batches 0 to {len(records) - 1}", least=0, most=len(records) - 1)
    state, key = start(), jax.random.key(config.seed)
    for index in range(batch + 1):
        state, metrics = step(state, key, jnp.int32(index), jnp.float32(config.tau), jnp.float32(config.learning_rate))
    odd = [name for name, value in metrics.items() if not _same(records[batch].get(name), float(value))]
    if odd:
        raise ValueError(
            f"batch {batch} trained again has {odd[0]}={float(metrics[odd[0]])}, the run recorded "
            f"{records[batch].get(odd[0])}; compare where it was run, or leave out the batch"
        )
    return batch, compare(config, state.before, state.logits, against=against, contexts=contexts)


def _same(recorded: Any, value: float) -> bool:
    """Bit for bit, as JSON holds it."""
    if recorded is None or isinstance(recorded, str):
        return not np.isfinite(value)
    return bool(recorded == value)
