"""Tiny random models and the naive run that they are held against."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_architecture import ROOT
from tiny_llm_rl.smollm.config import LlamaConfig
from tiny_llm_rl.smollm.model import random_llama

SIZES = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 6, "hidden": 20}


def config(**changes):
    return LlamaConfig(**{**SIZES, **changes})


def model(seed=0, biases="qkv", **changes):
    """A model whose every parameter is random, norms too."""
    rng = np.random.default_rng(seed)
    shape = eqx.filter_eval_shape(lambda: random_llama(config(**changes), jax.random.key(0), biases=biases))
    found = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype)), shape)
    return eqx.tree_at(lambda m: (m.norm, m.layers.norms), found, (found.norm + 1, found.layers.norms + 1))


def reference(model, text):
    """Logits `[T, V]` after each token of one text, in float64 numpy: loops over layers, heads and positions."""
    config, wide = model.config, np.float64
    layers = jax.tree.map(lambda x: np.asarray(x, wide), model.layers)
    embedding = np.asarray(model.embedding, wide)
    half, group = config.head_width // 2, config.heads // config.kv_heads
    speed = config.theta ** (-np.arange(half) / half)

    def normed(row, scale):
        return row / np.sqrt((row * row).mean() + config.epsilon) * scale

    def turned(row, position):  # the pair (i, i + half) as one complex number
        pairs = (row[:half] + 1j * row[half:]) * np.exp(1j * position * speed)
        return np.concatenate([pairs.real, pairs.imag])

    def linear(name, layer, row):
        out = layers.weights[name][layer] @ row
        return out + layers.biases[name][layer] if name in layers.biases else out

    stream = [embedding[token] for token in text]
    for layer in range(config.layers):
        rows = [normed(row, layers.norms[layer, 0]) for row in stream]
        query, key, value = (
            [linear(name, layer, row).reshape(-1, config.head_width) for row in rows] for name in "qkv"
        )
        for t in range(len(text)):
            mixed = []
            for head in range(config.heads):
                q = turned(query[t][head], t)
                scores = np.array([q @ turned(key[s][head // group], s) for s in range(t + 1)])
                shares = np.exp((scores - scores.max()) / np.sqrt(config.head_width))
                shares /= shares.sum()
                mixed.append(sum(share * value[s][head // group] for s, share in enumerate(shares)))
            stream[t] = stream[t] + linear("o", layer, np.concatenate(mixed))
            row = normed(stream[t], layers.norms[layer, 1])
            gate = linear("gate", layer, row)
            stream[t] = stream[t] + linear("down", layer, gate / (1 + np.exp(-gate)) * linear("up", layer, row))
    head = embedding if model.head is None else np.asarray(model.head, wide)
    return np.array([head @ normed(row, np.asarray(model.norm, wide)) for row in stream])


@pytest.fixture(scope="module", autouse=True)
def little_optimisation():
    """For modules that import it: what is compiled runs for milliseconds."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@eqx.filter_jit
def _logits(model, tokens):
    return model.logits(tokens, jnp.arange(tokens.shape[1])[None], jnp.ones(tokens.shape, bool))[0]


def logits(model, text):
    """Of the model under test, for one text."""
    return _logits(model, jnp.asarray(text)[None])


def command(*arguments):
    """`tiny-llm-rl smollm ...` in a process of its own."""
    program = (
        "import sys; from pmdtheory import _console; from tiny_llm_rl._cli_smollm import Smollm; "
        "sys.exit(_console.main(Smollm, 'tiny-llm-rl', '', sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done
