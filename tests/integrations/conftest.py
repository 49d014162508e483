"""Tests of a framework are collected only where it is installed: `make test-integrations` builds those environments."""

from importlib.util import find_spec

NEEDS = {
    "test_trl.py": "trl",
    "test_scaling_trl.py": "trl",
    "tiny_torch.py": "trl",
    "two_processes.py": "trl",
    "test_tunix.py": "tunix",
    "test_scaling_tunix.py": "tunix",
    "tiny_jax.py": "tunix",
    "test_recipes_torch.py": "torch",
}

collect_ignore = [name for name, package in NEEDS.items() if find_spec(package) is None]
