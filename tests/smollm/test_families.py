"""Random models that transformers makes and saves, read here: the same logits."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers

from tests.smollm import tiny
from tests.wrong import refused
from tiny_llm_rl.smollm.model import random_llama
from tiny_llm_rl.smollm.weights import load_llama, save_llama

pytestmark = [pytest.mark.smollm, pytest.mark.filterwarnings("ignore")]

SIZES = {
    "vocab_size": 53, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128, "attn_implementation": "eager", "initializer_range": 0.2,
}  # fmt: skip
PLAIN = {"rope_type": "default"}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
KINDS: dict[str, tuple[type, dict[str, object]]] = {
    "llama": (transformers.LlamaConfig, {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "llama, tied, biases": (
        transformers.LlamaConfig,
        {"num_key_value_heads": 4, "tie_word_embeddings": True, "attention_bias": True, "rms_norm_eps": 1e-3},
    ),
    "llama, wide heads, one key": (
        transformers.LlamaConfig,
        {"num_key_value_heads": 1, "head_dim": 24, "rope_parameters": PLAIN | {"rope_theta": 123.0}},
    ),
    "llama 3": (transformers.LlamaConfig, {"num_key_value_heads": 2, "head_dim": 32, "rope_parameters": LLAMA3}),
    "qwen2": (
        transformers.Qwen2Config,
        {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_parameters": PLAIN | {"rope_theta": 1e6}},
    ),
    "qwen2, untied": (transformers.Qwen2Config, {"num_key_value_heads": 1, "tie_word_embeddings": False}),
}  # fmt: skip
TEXT = np.random.default_rng(0).integers(0, 53, 60)


def made(kind, seed=0):
    """A model of theirs whose every parameter is random, biases and norms too."""
    make, changes = KINDS[kind]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(make(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("shards", ["10GB", "20KB"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_theirs(kind, shards, tmp_path):
    theirs = made(kind)
    theirs.save_pretrained(tmp_path, max_shard_size=shards)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shards == "20KB")
    found = np.asarray(tiny.logits(load_llama(tmp_path), TEXT))
    with torch.no_grad():
        expected = theirs(torch.tensor(TEXT[None])).logits[0].numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("biases", ["", "qkv", "qkvo"])
def test_what_is_written_here_is_read_there(biases, tmp_path):
    ours = random_llama(tiny.config(tied=False), jax.random.key(1), biases=biases, scale=0.3)
    save_llama(tmp_path, ours, dtype="float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    text = TEXT[:20] % 11
    with torch.no_grad():
        expected = theirs(torch.tensor(text[None])).logits[0].numpy()
    np.testing.assert_allclose(np.asarray(tiny.logits(ours, text)), expected, atol=1e-4)


def test_another_model_is_refused(tmp_path):
    theirs = made("qwen2")
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"num_attention_heads": 8, "head_dim": 8}))
    refused(ValueError, lambda: load_llama(tmp_path), "shape")
    path.write_text(json.dumps(stored | {"model_type": "qwen3"}))
    refused(ValueError, lambda: load_llama(tmp_path), "model_type", "qwen3")
