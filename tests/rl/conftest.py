"""Tests that import torch are collected only where it is installed: `make test-torch` has an environment with it."""

from importlib.util import find_spec

import pytest

collect_ignore = [] if find_spec("torch") else ["test_losses_torch.py"]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Path of a uniform model of sums of two digits: about one response in 4,000 is right.

    That is a few in each batch of 8,192, and next to never one of a few responses, which then carry no signal.
    """
    import jax  # torch's environment, which collects this folder, has none

    from tiny_llm_rl.model import ModelConfig, Transformer
    from tiny_llm_rl.tasks import make
    from tiny_llm_rl.tokenizer import Tokenizer
    from tiny_llm_rl.weights import save_model

    task = make("digit-sum", (2,))
    model = Transformer(ModelConfig(Tokenizer(task.alphabet).size, 8, 1, 1), jax.random.key(0))
    path = tmp_path_factory.mktemp("base") / "two.safetensors"
    save_model(path, model, {"task": task.name, "difficulty": [2], "alphabet": task.alphabet})
    return str(path)
