"""Training with PMD in Tunix on a mesh of devices; on many hosts the same program is started on each."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import optax
from tunix.rl import rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout.base_rollout import RolloutConfig

from pmdtheory.integrations.tunix import register

CONFIG = Path(__file__).parent / "tunix.json"


def start():
    """Join the other hosts where the launcher names a coordinator; nothing to do on one host."""
    if "COORDINATOR" in os.environ:  # host:port of the first
        jax.distributed.initialize(
            os.environ["COORDINATOR"], int(os.environ["HOSTS"]), int(os.environ["HOST_RANK"])
        )  # fmt: skip


def learner(model, tokenizer, reward, config):
    """A `GRPOLearner` with the loss and the estimator that the configuration names."""
    register(config["tau"])
    sizes, axes = tuple(config["mesh"].values()), tuple(config["mesh"])
    devices = np.array(jax.devices()[: int(np.prod(sizes))]).reshape(sizes)
    # Not jax.make_mesh, whose axes are of the explicit kind, which Tunix's models do not take.
    mesh = jax.sharding.Mesh(devices, axes)
    roles = (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT)
    cluster = rl_cluster.RLCluster(
        actor=model,
        tokenizer=tokenizer,
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys(roles, mesh),
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.chain(
                    optax.clip_by_global_norm(config["clip_norm"]), optax.adam(config["learning_rate"])
                ),
                **config["training"],
            ),
            rollout_config=RolloutConfig(**config["rollout"]),
        ),
    )
    algorithm = GRPOConfig(policy_loss_fn=config["member"], advantage_estimator=config["member"], **config["grpo"])
    return GRPOLearner(rl_cluster=cluster, algo_config=algorithm, reward_fns=reward)


def load():
    """The committed configuration."""
    return json.loads(CONFIG.read_text(encoding="utf-8"))
