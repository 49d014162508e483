r"""PMD-mean and PMD-part in Tunix: policy losses and advantage estimators by name, for `GRPOLearner`.

Sampling, rewards, log-probabilities and meshes are Tunix's; target and loss are this project's. The estimator gives
\(A_i = \tau\,\text{target}_i\) in reward units, so that Tunix's reports of advantages keep their meaning, and the loss
divides by the same tau. Both are registered together and each loss insists on its own estimator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray
from tunix.rl import common, function_registry

from pmdtheory._checks import positive_scalar, shown
from pmdtheory.integrations._members import MEMBERS, targets
from pmdtheory.losses import pmd_loss

__all__ = ["register"]


def register(tau: float, *, prefix: str = "") -> tuple[str, ...]:
    r"""Register every member of `pmdtheory.integrations.MEMBERS` as policy loss and as advantage estimator.

    Formula: the mean of \(\tfrac{\tau}{2}(A_i/\tau - \sum_t(\log\pi_\theta - \log\pi_{old}))^2\) over the sequences
    of a micro-batch; Tunix takes the mean of micro-batches, which have one size. `loss_agg_mode` and `epsilon` have no
    influence: a sequence has one square, and nothing is clipped.

    The loss refuses, before the first update, what would make it another one without a word: `num_iterations=1`,
    where Tunix records no log-probabilities and its own losses take the current ones; an estimator of another name,
    such as "grpo", which divides by a deviation; `beta` other than 0, `loss_algo` other than "grpo", packed sequences
    and weights for each token; and a sampling temperature other than 1, with which Tunix 0.1.7 divides the current
    logits but not those of the recorded log-probabilities.

    Args:
        tau: regularisation strength, reward units.
        prefix: goes before the names, for a second tau in the same process.

    Returns:
        The registered names, to be given as both `policy_loss_fn` and `advantage_estimator` of a `GRPOConfig`.

    Raises:
        ValueError: for a tau that is not positive; for names that another tau, or somebody else, has registered.
        TypeError: for what is no number or no string.

    Source: arXiv:2602.05933; C12, this project.

    >>> from tunix.rl.grpo.grpo_learner import GRPOConfig
    >>> names = register(0.1)
    >>> names
    ('pmd-mean', 'pmd-part', 'pmd-mean-group', 'pmd-part-group')
    >>> config = GRPOConfig(
    ...     policy_loss_fn="pmd-part", advantage_estimator="pmd-part", num_generations=8, num_iterations=2, beta=0.0
    ... )
    >>> estimate = function_registry.get_advantage_estimator("pmd-part")
    >>> found = estimate(rewards=np.array([1.0, 0.0, 0.0, 0.0]), num_generations=4)
    >>> [round(float(a), 2) for a in found]  # reward less tau times the log-mean-exp of the others
    [1.0, -0.89, -0.89, -0.89]
    """
    strength = positive_scalar("tau", tau, "tau is the regularisation strength in reward units, for instance 0.1")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {shown(prefix)}; it goes before the names, for instance 'cold-'")
    losses = {prefix + member: _Loss(prefix + member, strength) for member in MEMBERS}
    for name, loss in losses.items():
        taken = _registered(name)
        if taken not in (None, loss):
            raise ValueError(
                f"prefix must make new names, got {prefix!r}, but {name!r} is {shown(taken)}; a learner may be using "
                "it: give another prefix"
            )
    for member, (name, loss) in zip(MEMBERS, losses.items(), strict=True):
        if _registered(name) is None:
            function_registry.register_policy_loss_fn(name)(loss)
            function_registry.register_advantage_estimator(name)(_Estimator(member, strength))
    return tuple(losses)


def _registered(name: str) -> Callable[..., Any] | None:
    """The policy loss of that name, where there is one."""
    try:
        found: Callable[..., Any] = function_registry.get_policy_loss_fn(name)
    except LookupError:
        return None
    return found


@dataclass(frozen=True)
class _Estimator:
    """From rewards `[B]`, the rollouts of a prompt next to each other, to advantages `[B]` in reward units."""

    member: str
    tau: float

    def __call__(self, rewards: Any, num_generations: int) -> NDArray[np.float32]:
        table = np.asarray(rewards, dtype=np.float64).reshape(-1, num_generations)
        return np.asarray(self.tau * targets(table, self.tau, self.member), dtype=np.float32).reshape(-1)


@dataclass(frozen=True)
class _Loss:
    """Tunix's policy loss: from a model and a `TrainExample` to the loss and what is logged."""

    name: str
    tau: float

    def __call__(
        self, model: Any, train_example: Any, algo_config: Any, pad_id: int, eos_id: int, **_: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        _refuse(self.name, train_example, algo_config)
        graph, state = nnx.split(model)
        logp = common.compute_per_token_logps(
            graph,
            state,
            prompt_tokens=train_example.prompt_ids,
            completion_tokens=train_example.completion_ids,
            pad_id=pad_id,
            eos_id=eos_id,
            stop_gradient=False,
        ).astype(jnp.float32)
        mask, old = train_example.completion_mask.astype(bool), train_example.old_per_token_logps
        target = train_example.advantages.astype(jnp.float32) / self.tau
        loss: jax.Array = pmd_loss(logp, old, target, tau=self.tau, mask=mask)
        log_ratio = jnp.where(mask, logp - old, 0.0).sum(1)
        nothing = jnp.zeros(())
        # Tunix logs kl and pg_clipfrac of whatever loss: there is no reference policy, and no clip.
        return loss, {"kl": nothing, "pg_clipfrac": nothing, "log_ratio/rms": jnp.sqrt(jnp.mean(log_ratio**2))}


def _refuse(name: str, example: Any, config: Any) -> None:
    """Stop where Tunix would go on with another loss than the one that was named; all of it is known when tracing."""
    if example.old_per_token_logps is None:
        raise ValueError(
            "old_per_token_logps must not be None, because the current log-probabilities in its place would leave a "
            "plain policy gradient; take num_iterations=2 or more in the GRPOConfig, with one it is not recorded"
        )
    if config.advantage_estimator != name:
        raise ValueError(
            f"advantage_estimator must be {name!r} with this policy_loss_fn, got {shown(config.advantage_estimator)}; "
            "the loss divides by its own tau: give both the same name"
        )
    if config.beta:
        raise ValueError(
            f"beta must be 0 with policy_loss_fn {name!r}, got {shown(config.beta)}; the divergence from the sampling "
            "policy is in the regression, with weight tau"
        )
    if config.loss_algo != "grpo":
        raise ValueError(f"loss_algo must be 'grpo', got {shown(config.loss_algo)}; it has no influence here")
    temperature = getattr(config, "temperature", 1.0)  # GRPOLearner copies it from the RolloutConfig
    if temperature != 1.0:
        raise ValueError(
            f"temperature must be 1.0, got {shown(temperature)}; Tunix records log-probabilities at 1 and would "
            "compare them with others: set it in the RolloutConfig"
        )
    if example.segment_ids is not None or example.advantages.ndim != 1:
        raise ValueError(
            "segment_ids must be None, got packed sequences; a sequence has one square: leave out max_seq_token_per_tpu"
        )
    if example.sampler_is_weights is not None:
        raise ValueError(
            "sampler_is_weights must be None, got weights for each token; the square of a sequence takes one weight: "
            "switch the correction off"
        )
