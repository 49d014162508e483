"""A language model of a few thousand weights, its tokenizer, prompts and a reward, made from nothing."""

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ALPHABET = "0123456789+=,#"
PROMPTS = ["1+2=", "4+4=", "3+9+1=", "7+0=", "5+5+5=", "8+1=", "2+2=", "6+3="]


def tokenizer():
    """One symbol a character; `~` is padding and `$` the end."""
    table = {symbol: index for index, symbol in enumerate("~$" + ALPHABET)}
    core = Tokenizer(models.WordLevel(table, unk_token="~"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="~", eos_token="$", unk_token="~")


def model(seed=0, *, width=16, layers=2, heads=2, hidden=32, dtype=torch.float32):
    """A random Llama whose laws are far from uniform, so that log-probabilities differ."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=2 + len(ALPHABET), hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=64, initializer_range=0.3,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def reward(completions, **_):
    """How many of a response's first six symbols are digits, over six: no group is without a signal for long."""
    return [sum(symbol.isdigit() for symbol in text[:6]) / 6 for text in completions]
