"""The chat model behind a name: what was fetched, a Hugging Face directory, or a run, ended or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_llm_rl._checks import shown
from tiny_llm_rl._grid import config_of
from tiny_llm_rl._run import Run
from tiny_llm_rl.checkpoint import load
from tiny_llm_rl.rollout import END_TOKEN
from tiny_llm_rl.runlog import read_config
from tiny_llm_rl.smollm.chat import ChatTokenizer
from tiny_llm_rl.smollm.fetch import installed
from tiny_llm_rl.smollm.training import exchanged, prepared
from tiny_llm_rl.smollm.weights import load_llama

__all__ = ["load_chat"]


def load_chat(name: str, *, system: str | None = None, compute: str = "float32") -> tuple[Any, ChatTokenizer]:
    """A model with its tokenizer, both in the trainer's numbers of tokens.

    Args:
        name: "smollm2", a Hugging Face directory, or the directory of a run. The model of a run that has not ended, or
            kept none, is that of its checkpoint.
        system: instruction before each question; empty for none. None is the instruction that a run was trained with,
            and otherwise that of the model's own template.
        compute: number type of the products.

    Raises:
        ValueError: for a name that is none of these, a run of another kind, or one without a model and a checkpoint.
    """
    run = Path(name)
    if not ((run / "model").is_dir() or (run / "checkpoint.npz").is_file()):
        folder = installed(name)
        tokenizer = ChatTokenizer(folder, system=system)
        return exchanged(load_llama(folder, compute=compute), END_TOKEN, tokenizer.end), tokenizer
    kind, stored = read_config(run)
    if kind != "smollm":
        raise ValueError(f"{name} holds a run of kind {shown(kind)}, no chat model; ask it with tiny-llm-rl sample")
    config: Any = config_of(kind, stored)
    said = config.model.system if system is None else system
    if (run / "model").is_dir():
        return load_chat(str(run / "model"), system=said, compute=compute)
    described, base = prepared(replace(config, model=replace(config.model, system=said)))
    (model, *_), _ = load(run / "checkpoint.npz", Run(described, base).state)
    return replace(model, config=replace(model.config, compute=compute)), base[2]
