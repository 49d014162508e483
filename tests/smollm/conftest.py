"""Tests against transformers are collected only where it is installed, as by `make test-smollm`."""

from importlib.util import find_spec

THEIRS = ("families", "gguf", "smollm2", "trained")
collect_ignore = [] if find_spec("transformers") else [f"test_{name}.py" for name in THEIRS]
