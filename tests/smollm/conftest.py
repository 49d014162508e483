"""Tests against transformers are collected only where it is installed, as by `make test-smollm`."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("transformers") else ["test_families.py", "test_smollm2.py"]
