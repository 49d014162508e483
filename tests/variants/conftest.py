"""Tests that import torch are collected only where it is installed: `make test-torch` has an environment with it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["test_classify_torch.py"]
