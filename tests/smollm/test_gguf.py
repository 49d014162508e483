"""GGUF files written here by the package gguf: what transformers reads of them is read, what is wrong is refused."""

import json

import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
import torch
import transformers

from tests.smollm import tiny
from tests.wrong import refused
from tiny_llm_rl.smollm.gguf_file import convert
from tiny_llm_rl.smollm.weights import load_llama

pytestmark = [pytest.mark.smollm, pytest.mark.filterwarnings("ignore")]

TEXTS = (
    "What is 17 + 25?",
    "  leading spaces, and\n\n  lines\t",
    "naïve café, e\u0301 — “quotes” … €5",
    "日本語の文 🙂",
    "It's 1234567890; I'll DON'T",
)
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True,
    "attn_implementation": "eager", "initializer_range": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary():
    """Tokens and merges of a little byte-level BPE, ChatML's tokens last."""
    own = tokenizers.ByteLevelBPETokenizer()
    own.train_from_iterator([*TEXTS, "What is the answer? The answer is 5." * 3], vocab_size=330, min_frequency=1)
    model = json.loads(own.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return [*tokens, "<|im_start|>", "<|im_end|>"], merges


@pytest.fixture(scope="module")
def theirs(vocabulary):
    """A random Qwen2 whose every parameter is random, biases and norms too."""
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=len(vocabulary[0]), **SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


PLACES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def written(path, theirs, vocabulary, *, kind="qwen2", without=(), changed=None, leave=(), odd=None):
    """The file, without some entries, with others changed, without some tensors, or one of an odd type."""
    tokens, merges = vocabulary
    head = f"{kind}."
    entries = {
        head + "context_length": ("uint32", 128),
        head + "embedding_length": ("uint32", 32),
        head + "block_count": ("uint32", 2),
        head + "feed_forward_length": ("uint32", 64),
        head + "attention.head_count": ("uint32", 4),
        head + "attention.head_count_kv": ("uint32", 2),
        head + "rope.freq_base": ("float32", 10000.0),
        head + "attention.layer_norm_rms_epsilon": ("float32", 1e-6),
        "tokenizer.ggml.model": ("string", "gpt2"),
        "tokenizer.ggml.pre": ("string", "qwen2"),
        "tokenizer.ggml.tokens": ("array", tokens),
        "tokenizer.ggml.token_type": ("array", [1] * (len(tokens) - 2) + [3, 3]),
        "tokenizer.ggml.merges": ("array", merges),
        "tokenizer.ggml.eos_token_id": ("uint32", len(tokens) - 1),
    }
    entries |= changed or {}
    writer = gguf.GGUFWriter(path, kind)
    for name, (type_, value) in entries.items():
        if name not in without:
            getattr(writer, f"add_{type_}")(name, value)
    for name, parameter in theirs.state_dict().items():
        if name == "lm_head.weight":
            continue
        own = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(name)
        if own is None:
            _, _, layer, rest = name.split(".", 3)
            stem, ending = rest.rsplit(".", 1)
            own = f"blk.{layer}.{PLACES[stem]}.{ending}"
        if own == odd:
            writer.add_tensor(own, parameter.numpy().astype(np.int8), raw_dtype=gguf.GGMLQuantizationType.I8)
        elif own not in leave:
            writer.add_tensor(own, parameter.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_qwen2_is_that_of_transformers(tmp_path, theirs, vocabulary):
    """Weights and logits of the model that was written; its tokens as their tokenizer of Qwen2 makes them."""
    path = written(tmp_path / "tiny.gguf", theirs, vocabulary)
    watched = []
    config = convert(path, tmp_path / "out", dtype="float32", watch=lambda *done: watched.append(done))
    assert watched[-1] == (len(watched), len(watched))
    model = load_llama(tmp_path / "out")
    assert model.config == config
    assert set(model.layers.biases) == set("qkv")
    for layer in range(2):
        module = theirs.model.layers[layer].self_attn
        for name, own in (("q", module.q_proj), ("k", module.k_proj), ("v", module.v_proj)):
            assert (np.asarray(model.layers.weights[name][layer]) == own.weight.detach().numpy()).all()
            assert (np.asarray(model.layers.biases[name][layer]) == own.bias.detach().numpy()).all()
    text = np.arange(1, 40) * 7 % len(vocabulary[0])
    with torch.no_grad():
        expected = theirs(torch.tensor(text[None])).logits[0].numpy()
    np.testing.assert_allclose(np.asarray(tiny.logits(model, jnp.asarray(text))), expected, atol=1e-4)

    ours = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    tokens, merges = vocabulary  # their reading of the file splits words as GPT-2 does, so their class for Qwen2
    other = transformers.Qwen2Tokenizer({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges])
    written_here = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for said in TEXTS:
        ids = ours.encode(said).ids
        assert ids == other(said)["input_ids"] == written_here(said)["input_ids"]
        assert len(ids) < len(said.encode())  # merges are used
    end = len(vocabulary[0]) - 1
    assert ours.encode("a<|im_end|>").ids[-1] == end == written_here.eos_token_id
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (again.generation_config.eos_token_id, again.config.max_position_embeddings) == (end, 128)


CUT = "tokenizer.ggml."
WRONG = {
    "no merges": ({"without": [CUT + "merges"]}, "lacks 'tokenizer.ggml.merges'"),
    "no tokens": ({"without": [CUT + "tokens"]}, "lacks 'tokenizer.ggml.tokens'"),
    "no kinds": ({"without": [CUT + "token_type"]}, "lacks 'tokenizer.ggml.token_type'"),
    "few kinds": ({"changed": {CUT + "token_type": ("array", [1, 3])}}, "shorter"),
    "no pair": ({"changed": {CUT + "merges": ("array", ["abc"])}}, "Merges"),
    "an end beyond": ({"changed": {CUT + "eos_token_id": ("uint32", 10**6)}}, "range"),
    "llama 3": ({"changed": {CUT + "pre": ("string", "llama-bpe")}}, "llama-bpe"),
    "sentencepiece": ({"changed": {CUT + "model": ("string", "llama")}}, "tokenizer.ggml.model"),
    "heads by layer": ({"changed": {"qwen2.attention.head_count_kv": ("array", [2, 1])}}, "head_count_kv"),
    "no heads": ({"without": ["qwen2.attention.head_count"]}, "lacks 'qwen2.attention.head_count'"),
    "another architecture": ({"kind": "gemma"}, "gemma"),
    "a tensor gone": ({"leave": ["blk.1.ffn_up.weight"]}, "lacks 'blk.1.ffn_up.weight'"),
    "an odd type": ({"odd": "blk.1.ffn_up.weight"}, "I8"),
    "another size": ({"changed": {"qwen2.feed_forward_length": ("uint32", 96)}}, "blk.0.ffn_gate.weight has shape"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, theirs, vocabulary, kind):
    given, word = WRONG[kind]
    path = written(tmp_path / "wrong.gguf", theirs, vocabulary, **given)
    refused(ValueError, lambda: convert(path, tmp_path / "out"), "wrong.gguf", word)
    assert not (tmp_path / "out").exists()
