"""A model, a task and a tokenizer as `tiny_llm_rl.train` takes them, and the trained model as transformers reads it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl._checks import choice, positive_scalar, whole
from tiny_llm_rl.rollout import END_TOKEN
from tiny_llm_rl.smollm import tasks
from tiny_llm_rl.smollm.chat import SYSTEM, ChatTokenizer
from tiny_llm_rl.smollm.lora import TARGETS, adapted, merged
from tiny_llm_rl.smollm.model import Llama
from tiny_llm_rl.smollm.weights import load_llama, save_llama
from tiny_llm_rl.tasks import Task

__all__ = ["ModelOptions", "base", "exchanged", "save_trained"]


@dataclass(frozen=True)
class ModelOptions:
    """How a pretrained model is trained.

    Args:
        task: "chat-arithmetic", or the name of any other task, for instance "gym:chain_sum".
        graded: rewards between 0 and 1 where reasoning-gym gives them; otherwise 1 for a full score and 0 for less.
        tokens: longest response; 0 is the task's own.
        rank: r of the adapters; 0 trains every weight.
        alpha: adapters are added with the factor alpha / r.
        targets: projections that get adapters.
        compute: of the products: "bfloat16" or "float32"; log-probabilities are float32.
        remat: compute activations again for the gradient instead of keeping them.
        rows: responses whose gradient is taken at a time, and added up; 0 is a whole minibatch.
        system: instruction before each question; empty for none.

    Raises:
        ValueError: for a number or a name out of range.
        TypeError: for a number that is no integer.
    """

    task: str = "chat-arithmetic"
    graded: bool = False
    tokens: int = 0
    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = TARGETS
    compute: str = "bfloat16"
    remat: bool = True
    rows: int = 0
    system: str = SYSTEM

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        whole("tokens", self.tokens, "take 0 for the task's own", least=0)
        whole("rank", self.rank, "take 0 to train every weight", least=0)
        whole("rows", self.rows, "take 0 for a whole minibatch", least=0)
        positive_scalar("alpha", self.alpha, "16 is usual")
        choice("compute", self.compute, ("float32", "bfloat16"))


def exchanged(model: Llama, one: int, other: int) -> Llama:
    """The same model with the numbers of two tokens exchanged: their rows of the embedding, and of the head.

    >>> from tiny_llm_rl.smollm.config import LlamaConfig
    >>> from tiny_llm_rl.smollm.model import random_llama
    >>> model = random_llama(LlamaConfig(9, 8, 2, 2, 2, 4, 8), jax.random.key(0))
    >>> bool((exchanged(model, 1, 2).embedding[1] == model.embedding[2]).all())
    True
    """
    pair, swapped = jnp.array([one, other]), jnp.array([other, one])

    def rows(whole_table: Array) -> Array:
        return whole_table.at[pair].set(whole_table[swapped])

    found: Llama = eqx.tree_at(lambda m: m.embedding, model, rows(model.embedding))
    if model.head is not None:
        found = eqx.tree_at(lambda m: m.head, found, rows(model.head))
    return found


def base(
    folder: Path, options: ModelOptions, *, difficulty: tuple[int, ...] = (), seed: int = 0
) -> tuple[Any, Task, Any]:
    """What `train.Run` starts from: the policy, the task and the tokenizer.

    Args:
        folder: a Hugging Face directory.
        options: of the training.
        difficulty: sizes that the task draws from; empty takes its own.
        seed: of the adapters.

    Returns:
        `Llama`, `Task`, `ChatTokenizer`; typed loosely, as the trainer's own model and tokenizer are other classes with
        the same methods.

    Raises:
        ValueError: for a directory that cannot be read, or an unknown task.
    """
    tokenizer = ChatTokenizer(folder, system=options.system)
    task = tasks.make(
        options.task, difficulty, graded=options.graded, tokens=options.tokens, template=tokenizer.template
    )
    model = load_llama(
        folder,
        dtype="bfloat16" if options.rank and options.compute == "bfloat16" else "float32",
        compute=options.compute,
        remat=options.remat,
        rows=options.rows,
        alpha=options.alpha,
    )
    model = exchanged(model, END_TOKEN, tokenizer.end)
    if options.rank:
        model = adapted(model, jax.random.key(seed), rank=options.rank, targets=options.targets)
    return model, task, tokenizer


def save_trained(out: Path, model: Llama, folder: Path) -> None:
    """Write a trained model as a Hugging Face directory, with the tokenizer of the one it came from.

    Args:
        out: made if it is not there.
        model: of a run that began with `base`.
        folder: that `base` was given.
    """
    save_llama(out, exchanged(merged(model), END_TOKEN, ChatTokenizer(folder).end))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
