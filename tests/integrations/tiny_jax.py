"""A language model of a few thousand weights for Tunix, its tokenizer, prompts and a reward, made from nothing."""

import jax
import numpy as np
from flax import nnx
from tunix.models.llama3.model import Llama3, ModelConfig

SYMBOLS = "~^$0123456789+=,#"  # padding, start, end
PROMPTS = ["1+2=", "4+4=", "3+9+1=", "7+0=", "5+5+5=", "8+1=", "2+2=", "6+3="]


class Characters:
    """One symbol a character."""

    def encode(self, text, **_):
        return [SYMBOLS.index(symbol) for symbol in text]

    def decode(self, ids, **_):
        return "".join(SYMBOLS[int(i)] for i in ids if int(i) > 2)

    def pad_id(self):
        return 0

    def bos_id(self):
        return 1

    def eos_id(self):
        return 2


def model(seed=0):
    """A random Llama whose laws are far from uniform, so that log-probabilities differ."""
    config = ModelConfig(
        num_layers=1, vocab_size=len(SYMBOLS), embed_dim=16, hidden_dim=32, num_heads=2, head_dim=8, num_kv_heads=2,
        rope_theta=10_000, norm_eps=1e-5,
    )  # fmt: skip
    policy = Llama3(config, rngs=nnx.Rngs(seed))
    graph, state = nnx.split(policy)
    wider = {"lm_head": 30.0}  # the initial head is nearly uniform
    return nnx.merge(
        graph,
        jax.tree.map_with_path(
            lambda path, weight: weight.astype(np.float32) * wider.get(str(path[0].key), 1.0), state
        ),
    )


def reward(prompts, completions, **_):
    """How many of a response's first six symbols are digits, over six."""
    return [sum(symbol.isdigit() for symbol in text[:6]) / 6 for text in completions]
