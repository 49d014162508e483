"""Weights of a `Transformer` as safetensors: the config, the alphabet and what was measured travel in the header."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from tiny_llm_rl._checks import shown
from tiny_llm_rl.checkpoint import write_atomically
from tiny_llm_rl.model import ModelConfig, Transformer

__all__ = ["SCHEMA", "load_model", "save_model", "shipped"]

SCHEMA: Final = 1


def shipped(name: str) -> Path:
    """Path of a base model that comes with the package.

    Raises:
        ValueError: for a name without one.

    >>> shipped("digit-sum").suffix
    '.safetensors'
    """
    folder = Path(__file__).parent / "bases"
    path = folder / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors")))
        raise ValueError(f"base {shown(name)} does not come with the package; take one of {known}, or a path")
    return path


def _names(model: Transformer) -> list[str]:
    paths, _ = jax.tree_util.tree_flatten_with_path(model)
    return [jax.tree_util.keystr(path).lstrip(".") for path, _ in paths]


def save_model(path: Path, model: Transformer, record: dict[str, Any]) -> None:
    """Write the weights, with the model's config and a JSON record in the header.

    Args:
        path: a `.safetensors` file.
        model: its parameters are stored in their own dtype.
        record: what JSON can hold, for instance the task and its alphabet.

    Raises:
        ValueError: for a record that JSON cannot hold.

    >>> import tempfile
    >>> model = Transformer(ModelConfig(vocabulary=5, width=8, layers=1), jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Path(folder) / "m.safetensors", model, {"task": "digit-sum"})
    ...     again, record = load_model(Path(folder) / "m.safetensors")
    >>> bool((again.embedding == model.embedding).all()), record["task"]
    (True, 'digit-sum')
    """
    from safetensors.numpy import save

    tensors = dict(zip(_names(model), map(np.asarray, jax.tree.leaves(model)), strict=True))
    head = {"schema": SCHEMA, "model": asdict(model.config), "record": record}
    write_atomically(path, save(tensors, {"pmdtheory": json.dumps(head, allow_nan=False, sort_keys=True)}))


def load_model(path: Path) -> tuple[Transformer, dict[str, Any]]:
    """Read a model and the record that was stored with it.

    Raises:
        ValueError: for a file that is missing, damaged, or was not written by `save_model`.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a .safetensors file written by tiny-llm-rl pretrain")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get("pmdtheory")
    except SafetensorError as problem:
        raise ValueError(f"{path} cannot be read ({shown(str(problem))}); make it again") from None
    try:
        head = json.loads(text or "")
        config, record = ModelConfig(**head["model"]), head["record"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} holds no config of a model; give a file written by tiny-llm-rl pretrain") from None
    model = jax.eval_shape(lambda: Transformer(config, jax.random.key(0)))
    names, leaves = _names(model), jax.tree.leaves(model)
    for name, leaf in zip(names, leaves, strict=True):
        if name not in tensors or tensors[name].shape != leaf.shape or tensors[name].dtype != leaf.dtype:
            raise ValueError(f"{path}: tensor {name} is missing or of another shape; make the file again")
    found: Transformer = jax.tree.unflatten(jax.tree.structure(model), [jnp.asarray(tensors[name]) for name in names])
    return found, record
