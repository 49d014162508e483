"""Weights as a Hugging Face directory: `config.json` and safetensors, read through a memory map, tensor by tensor."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from tiny_llm_rl._checks import choice, shown
from tiny_llm_rl.checkpoint import replaced, write_atomically
from tiny_llm_rl.smollm.config import LlamaConfig, from_json, to_json
from tiny_llm_rl.smollm.model import Layers, Llama

__all__ = ["PROJECTIONS", "load_llama", "names", "read_json", "save_llama", "stated", "write_directory"]

PROJECTIONS: Final = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_NORMS: Final = ("input_layernorm", "post_attention_layernorm")
_EMBEDDING, _NORM, _HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def names(config: LlamaConfig, biases: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of such a directory, with its shape.

    Args:
        config: of the model.
        biases: letters of the projections that have one.
    """
    found: dict[str, tuple[int, ...]] = {_EMBEDDING: (config.vocabulary, config.width), _NORM: (config.width,)}
    if not config.tied:
        found[_HEAD] = (config.vocabulary, config.width)
    for i in range(config.layers):
        found |= {f"model.layers.{i}.{norm}.weight": (config.width,) for norm in _NORMS}
        for name, shape in config.shapes().items():
            found[f"model.layers.{i}.{PROJECTIONS[name]}.weight"] = shape
            if name in biases:
                found[f"model.layers.{i}.{PROJECTIONS[name]}.bias"] = shape[:1]
    return found


@contextmanager
def _tensors(folder: Path) -> Iterator[tuple[dict[str, Any], Callable[[str], NDArray[Any]]]]:
    """Slices of the tensors by name, and how to read one; files stay mapped while the context lasts."""
    from safetensors import SafetensorError, safe_open

    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    try:
        files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else [single.name]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{index} cannot be read; fetch the model again") from None
    with ExitStack() as stack:
        homes: dict[str, Any] = {}
        for name in files:
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} does not exist; give a Hugging Face directory with safetensors")
            try:
                file = stack.enter_context(safe_open(folder / name, framework="numpy"))
            except SafetensorError as problem:
                raise ValueError(
                    f"{folder / name} cannot be read ({shown(str(problem))}); fetch the model again"
                ) from None
            homes |= dict.fromkeys(file.keys(), file)
        yield {name: file.get_slice(name) for name, file in homes.items()}, lambda name: homes[name].get_tensor(name)


def read_json(path: Path) -> dict[str, Any]:
    """The entries of a file of a Hugging Face directory.

    Raises:
        ValueError: for one that is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist; give a Hugging Face directory, or run tiny-llm-rl smollm fetch"
        ) from None
    except (OSError, ValueError, TypeError):
        raise ValueError(f"{path} cannot be read; fetch the model again") from None


def _checked(folder: Path, config: LlamaConfig, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Letters of the projections with a bias; ValueError where the tensors are not those of the config."""
    present = set(shapes)
    biases = "".join(name for name, place in PROJECTIONS.items() if f"model.layers.0.{place}.bias" in present)
    wanted = names(config, biases)
    present -= {name for name in present if name.endswith("rotary_emb.inv_freq")}
    if config.tied:
        present -= {_HEAD}
    odd = sorted(present ^ set(wanted))
    if odd:
        verb = "lacks" if odd[0] in wanted else "holds"
        raise ValueError(f"{folder} {verb} the tensor {odd[0]}, unlike its config.json; fetch the model again")
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise ValueError(
                f"{folder}: tensor {name} has shape {shapes[name]}, its config.json says {shape}; fetch the model again"
            )
    return biases


def _config(folder: Path, **options: Any) -> LlamaConfig:
    found = read_json(folder / "config.json")
    try:
        return replace(from_json(found), **options)
    except ValueError as problem:
        raise ValueError(f"{folder / 'config.json'}: {problem}") from None


def stated(folder: Path) -> LlamaConfig:
    """The config of a Hugging Face directory whose tensors are all there, in their shapes; none of them is read.

    Raises:
        ValueError: for files that are missing, damaged or truncated, or another architecture, in one line.
    """
    config = _config(folder)
    with _tensors(folder) as (slices, _):
        _checked(folder, config, {name: tuple(part.get_shape()) for name, part in slices.items()})
    return config


def load_llama(folder: Path, **options: Any) -> Llama:
    """The model of a Hugging Face directory; of the files, no more than a tensor at a time is in memory.

    Args:
        folder: with `config.json` and `model.safetensors`, or several files and their index.
        options: fields of `LlamaConfig` that the files do not state: dtype, compute, remat, rows, alpha.

    Returns:
        `Llama` with parameters of the dtype that the options name, float32 if none.

    Raises:
        ValueError: for files that are missing, damaged or truncated, or another architecture, in one line.
        TypeError: for an option that is no field.
    """
    config = _config(Path(folder), **options)
    dtype: Any = jnp.dtype(config.dtype)
    with _tensors(Path(folder)) as (slices, read):
        biases = _checked(Path(folder), config, {name: tuple(part.get_shape()) for name, part in slices.items()})

        def tensor(name: str) -> Array:
            return jnp.asarray(read(name).astype(dtype))

        def stacked(places: list[str]) -> Array:
            """The tensor of every layer, and of every place in it if there are several."""
            first = slices[f"model.layers.0.{places[0]}"].get_shape()
            whole = np.empty((config.layers, len(places), *first), dtype)
            for i in range(config.layers):
                for j, place in enumerate(places):
                    whole[i, j] = read(f"model.layers.{i}.{place}")
            return jnp.asarray(whole if len(places) > 1 else whole[:, 0])

        layers = Layers(
            stacked([f"{norm}.weight" for norm in _NORMS]),
            {name: stacked([f"{place}.weight"]) for name, place in PROJECTIONS.items()},
            {name: stacked([f"{PROJECTIONS[name]}.bias"]) for name in biases},
            {},
        )
        return Llama(config, tensor(_EMBEDDING), layers, tensor(_NORM), None if config.tied else tensor(_HEAD))


_NAMES: Final = {"float32": "F32", "bfloat16": "BF16"}  # in the header of safetensors


def _write_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, tensor: Callable[[str], NDArray[Any]]
) -> None:
    """Write a safetensors file, whole or not at all, with one tensor at a time in memory."""
    kind: Any = jnp.dtype(dtype)
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + int(np.prod(shape)) * kind.itemsize
        head[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with replaced(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            array = np.ascontiguousarray(tensor(name).astype(kind))
            if array.shape != shape:
                raise ValueError(f"tensor {name} has shape {array.shape}, expected {shape}; build it anew")
            file.write(array.view(np.uint8).data)


def write_directory(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensor: Callable[[str], NDArray[Any]],
    config: Mapping[str, Any],
    *,
    dtype: str,
) -> None:
    """Write `config.json` and `model.safetensors`, the weights last, so that a directory that has them is whole.

    Args:
        folder: made if it is not there.
        shapes: of the tensors, by the names of transformers.
        tensor: makes the tensor of a name when it is its turn, so that they are never all in memory.
        config: what JSON can hold; the number type is added.
        dtype: of the weights: "float32" or "bfloat16".

    Raises:
        ValueError: for another number type.
    """
    choice("dtype", dtype, _NAMES)
    entries = {name: value for name, value in config.items() if name not in ("dtype", "torch_dtype")}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**entries, "torch_dtype": dtype}, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "config.json", text.encode())
    _write_tensors(folder / "model.safetensors", shapes, dtype, tensor)


def save_llama(folder: Path, model: Llama, *, dtype: str = "float32", config: Mapping[str, Any] | None = None) -> None:
    """Write a model as a Hugging Face directory, which transformers reads too.

    Args:
        folder: made if it is not there; a tokenizer is not written.
        model: without adapters and with nothing frozen; `lora.merged` makes one.
        dtype: of the file: "float32" keeps every number, "bfloat16" rounds to eight bits.
        config: entries of `config.json`, of the directory that the model came from; None states the model alone.

    Raises:
        ValueError: for a model with adapters or frozen weights, or another number type.

    >>> import tempfile
    >>> from tiny_llm_rl.smollm.model import random_llama
    >>> model = random_llama(LlamaConfig(9, 8, 2, 2, 2, 4, 8), jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     save_llama(Path(place), model)
    ...     again = load_llama(Path(place))
    >>> bool((again.layers.weights["gate"] == model.layers.weights["gate"]).all())
    True
    """
    if model.layers.adapters:
        raise ValueError("model has adapters, which the file has no place for; write lora.merged(model)")
    if not all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(model)):
        raise ValueError("model has frozen weights, stored as bits; write lora.merged(model)")
    layers = model.layers
    arrays: dict[str, Array | None] = {_EMBEDDING: model.embedding, _NORM: model.norm, _HEAD: model.head}
    homes = {f"{norm}.weight": layers.norms[:, j] for j, norm in enumerate(_NORMS)}
    homes |= {f"{PROJECTIONS[name]}.weight": stack for name, stack in layers.weights.items()}
    homes |= {f"{PROJECTIONS[name]}.bias": stack for name, stack in layers.biases.items()}

    def tensor(name: str) -> NDArray[Any]:
        whole = arrays.get(name)
        if whole is None:
            _, _, layer, place = name.split(".", 3)
            whole = homes[place][int(layer)]
        return np.asarray(whole)

    biases = "".join(layers.biases)
    kind = "qwen2" if set(biases) == set("qkv") else "llama"
    entries = to_json(model.config, model_type=kind, biases=bool(biases)) if config is None else config
    write_directory(folder, names(model.config, biases), tensor, entries, dtype=dtype)
