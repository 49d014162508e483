"""A GGUF file as a Hugging Face directory: weights dequantised into bfloat16, the tokenizer rebuilt beside them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl._checks import choice, shown
from tiny_llm_rl.checkpoint import write_atomically
from tiny_llm_rl.smollm.config import LlamaConfig, to_json
from tiny_llm_rl.smollm.weights import PROJECTIONS, names, write_directory

__all__ = ["convert", "unpermuted"]

_BLOCKS: Final = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_NORMS: Final = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_SPLITS: Final = ("smollm", "gpt-2", "qwen2")
_CONTROL: Final = 3  # a token that text cannot be split into
_QWEN2_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def unpermuted(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a projection of `heads` heads, from interleaved rotary pairs (2i, 2i + 1) to pairs (i, i + d/2).

    Args:
        rows: `[heads d, ...]`.
        heads: that the rows belong to.

    >>> unpermuted(np.arange(8), 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    split = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and tensors of the file, mapped into memory."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a GGUF file")
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ValueError(f"{path} needs the package gguf to be read; pip install 'pmdtheory[smollm]'") from None
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        return fields, {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, KeyError, IndexError, OSError, MemoryError, OverflowError) as problem:
        said = " ".join(str(problem).split())[:80]
        raise ValueError(f"{path} is no whole GGUF file ({said}); fetch it again") from None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file's fields, in one line that names it."""
    try:
        yield
    except KeyError as missing:
        raise ValueError(f"{path} lacks {missing}; give a GGUF file of a whole model") from None
    except Exception as problem:  # of any kind: ours, and what the tokenizers package says of wrong tokens
        said = " ".join(str(problem).split())[:200]
        rest = "" if "; " in said else "; give another GGUF file, or the model's Hugging Face directory"
        raise ValueError(f"{path}: {said}{rest}") from None


def _config(fields: dict[str, Any], tensors: dict[str, Any]) -> tuple[str, LlamaConfig]:
    kind = choice("general.architecture", fields.get("general.architecture"), ("llama", "qwen2"))
    if "rope_freqs.weight" in tensors or fields.get(f"{kind}.rope.scaling.type", "none") != "none":
        raise ValueError("rotary frequencies are scaled, which is read from config.json only; give that directory")
    heads, width = int(fields[f"{kind}.attention.head_count"]), int(fields[f"{kind}.embedding_length"])
    kv_heads = fields.get(f"{kind}.attention.head_count_kv", heads)
    if isinstance(kv_heads, list):
        raise ValueError(
            f"{kind}.attention.head_count_kv must be one number for all layers, got {shown(kv_heads)}; such models "
            "are not read: give another"
        )
    return kind, LlamaConfig(
        vocabulary=int(tensors["token_embd.weight"].shape[1]),
        width=width,
        layers=int(fields[f"{kind}.block_count"]),
        heads=heads,
        kv_heads=int(kv_heads),
        head_width=int(fields.get(f"{kind}.attention.key_length", width // heads)),
        hidden=int(fields[f"{kind}.feed_forward_length"]),
        theta=float(fields.get(f"{kind}.rope.freq_base", 10000.0)),
        # Stored in float32: the decimal that was meant is the shortest one.
        epsilon=float(str(np.float32(fields[f"{kind}.attention.layer_norm_rms_epsilon"]))),
        tied="output.weight" not in tensors,
    )


def _source(config: LlamaConfig, kind: str, name: str) -> tuple[str, int]:
    """The tensor of the file behind one of transformers, and the heads whose rows are to be unpermuted, or 0."""
    top = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in top:
        return top[name], 0
    _, _, layer, rest = name.split(".", 3)
    stem, _, ending = rest.rpartition(".")
    if stem in _NORMS:
        return f"blk.{layer}.{_NORMS[stem]}.{ending}", 0
    (letter,) = (letter for letter, place in PROJECTIONS.items() if place == stem)
    turned = {"q": config.heads, "k": config.kv_heads}.get(letter, 0) if kind == "llama" else 0
    return f"blk.{layer}.{_BLOCKS[letter]}.{ending}", turned


def _ends(fields: dict[str, Any]) -> dict[str, int]:
    """Numbers of the tokens that begin and end a text, as far as the file has them."""
    keys = {role: f"tokenizer.ggml.{role}_token_id" for role in ("bos", "eos")}
    return {role: int(fields[key]) for role, key in keys.items() if key in fields}


def _tokenizer(fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The tokenizer, and `tokenizer_config.json`."""
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    except ImportError:
        raise ValueError("the package tokenizers is needed; pip install 'pmdtheory[smollm]'") from None
    choice("tokenizer.ggml.model", fields.get("tokenizer.ggml.model"), ("gpt2",))
    split = choice("tokenizer.ggml.pre", fields.get("tokenizer.ggml.pre"), _SPLITS)
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    found = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    found.pre_tokenizer = {
        "smollm": pre_tokenizers.Sequence([digits, with_words]),
        "gpt-2": with_words,
        "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated"), bytes_only]),
    }[split]
    if split == "qwen2":
        found.normalizer = normalizers.NFC()
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == _CONTROL]
    )
    named = {f"{role}_token": tokens[number] for role, number in _ends(fields).items()}
    template = {"chat_template": fields["tokenizer.chat_template"]} if "tokenizer.chat_template" in fields else {}
    return found, {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False, **named, **template}


def convert(
    path: Path, out: Path, *, dtype: str = "bfloat16", watch: Callable[[int, int], None] = lambda done, total: None
) -> LlamaConfig:
    """Write the model and the tokenizer of a GGUF file as a Hugging Face directory.

    Args:
        path: of a file of the Llama family, quantised or not.
        out: the directory; made if it is not there.
        dtype: of the weights that are written.
        watch: called with the number of tensors done and in all.

    Returns:
        `LlamaConfig`, what `config.json` says.

    Raises:
        ValueError: for a file that is missing, truncated, of another architecture or with another tokenizer, and where
            the packages gguf and tokenizers are not installed; then nothing is written.
    """
    fields, tensors = _opened(path)
    from gguf import dequantize

    with _naming(path):
        kind, config = _config(fields, tensors)
        biases = "".join(letter for letter, stem in _BLOCKS.items() if f"blk.0.{stem}.bias" in tensors)
        tokenizer, settings = _tokenizer(fields)
        wanted = names(config, biases)
        for name, shape in wanted.items():  # all of them before anything is written
            source, _ = _source(config, kind, name)
            found = tuple(int(size) for size in reversed(tensors[source].shape))
            if found != shape:
                raise ValueError(f"tensor {source} has shape {shown(found)}, expected {shape}; fetch it again")
        for quantised in {tensor.tensor_type: tensor for tensor in tensors.values()}.values():
            dequantize(quantised.data[:1], quantised.tensor_type)
    done = iter(range(1, len(wanted) + 1))

    def tensor(name: str) -> NDArray[Any]:
        source, heads = _source(config, kind, name)
        array = dequantize(tensors[source].data, tensors[source].tensor_type)
        watch(next(done), len(wanted))
        return unpermuted(array, heads) if heads else array

    out.mkdir(parents=True, exist_ok=True)
    ends = {f"{role}_token_id": number for role, number in _ends(fields).items()}
    key = f"{kind}.context_length"
    length = {"max_position_embeddings": int(fields[key])} if key in fields else {}
    write_atomically(out / "tokenizer.json", tokenizer.to_str().encode())
    for name, entries in (("tokenizer_config.json", settings), ("generation_config.json", ends)):
        write_atomically(out / name, (json.dumps(entries, indent=1) + "\n").encode())
    head = {**to_json(config, model_type=kind, biases=bool(biases)), **ends, **length}
    write_directory(out, wanted, tensor, head, dtype=dtype)
    return config
