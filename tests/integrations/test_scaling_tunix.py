"""What `docs/scaling-out.md` says about Tunix: its configuration loads, and its script trains on a mesh of two."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pmdtheory.integrations import MEMBERS
from tests.integrations.tiny_jax import PROMPTS, Characters, model, reward

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

SCRIPT = Path(__file__).parents[2] / "docs" / "scaling" / "train_tunix.py"


def test_the_script_trains_with_the_committed_file():
    """Sizes and mesh of a test in place of those of the file; the algorithm is the file's."""
    spec = importlib.util.spec_from_file_location("train_tunix", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    config = script.load()
    assert config["member"] in MEMBERS
    assert config["grpo"]["num_iterations"] > 1
    assert config["training"]["mini_batch_size"] % config["training"]["train_micro_batch_size"] == 0
    rollout = config["rollout"]
    assert rollout["kv_cache_size"] >= rollout["max_tokens_to_generate"] + rollout["max_prompt_length"]
    config["mesh"] = {"fsdp": 2, "tp": 1}
    config["training"] |= {
        "max_steps": 2, "mini_batch_size": 4, "train_micro_batch_size": 4, "rollout_micro_batch_size": 4,
        "compute_logps_micro_batch_size": 4,
    }  # fmt: skip
    rollout |= {"max_tokens_to_generate": 6, "max_prompt_length": 8, "kv_cache_size": 32}
    config["tau"] = 0.2  # the tau that the other tests of this process have registered
    script.start()  # without a coordinator it does nothing
    learner = script.learner(model(), Characters(), reward, config)
    learner.train([{"prompts": np.array(PROMPTS[:4])}])
    assert learner.rl_cluster.actor_trainer.train_steps == 2
    # The sampler starts from the same key in every call, as the document warns.
    cluster = learner.rl_cluster
    settings = cluster.cluster_config.rollout_config
    first, second = (cluster.rollout.generate(PROMPTS[:4], settings) for _ in range(2))
    assert all(np.array_equal(one, two) for one, two in zip(first.tokens, second.tokens, strict=True))
