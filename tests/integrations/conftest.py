"""Tests of a framework are collected only where it is installed: `make test-integrations` builds those environments."""

from importlib.metadata import PackageNotFoundError, distribution

NEEDS = {
    "test_trl.py": "trl",
    "test_scaling_trl.py": "trl",
    "tiny_torch.py": "trl",
    "two_processes.py": "trl",
    "test_tunix.py": "google-tunix",
    "test_scaling_tunix.py": "google-tunix",
    "tiny_jax.py": "google-tunix",
    "test_recipes_torch.py": "torch",
}


def installed(package):
    """By the metadata: a folder of that name on the path is no package."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


collect_ignore = [name for name, package in NEEDS.items() if not installed(package)]
