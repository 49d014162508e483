"""A model, a task and a tokenizer as `tiny_llm_rl.train` takes them, and the trained model as transformers reads it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tiny_llm_rl._checks import choice, positive_scalar, whole
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.processes import together
from tiny_llm_rl.rollout import END_TOKEN
from tiny_llm_rl.smollm import tasks
from tiny_llm_rl.smollm.chat import ChatTokenizer
from tiny_llm_rl.smollm.fetch import installed
from tiny_llm_rl.smollm.lora import TARGETS, adapted, merged
from tiny_llm_rl.smollm.model import Llama
from tiny_llm_rl.smollm.weights import load_llama, read_json, save_llama
from tiny_llm_rl.tasks import Task

__all__ = ["ChatConfig", "ModelOptions", "base", "exchanged", "keeper", "prepared", "save_trained"]

COMPANIONS: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""What other programs want beside the weights: the tokenizer, its template, and what ends a text."""


@dataclass(frozen=True)
class ModelOptions:
    """How a pretrained model is trained.

    Args:
        task: "chat-arithmetic", or the name of any other task, for instance "gym:chain_sum".
        tokens: longest response; 0 is the task's own.
        prompt_tokens: longest question, without the template; longer ones are not drawn. 0 is the task's own, for
            reasoning-gym 96 characters.
        task_settings: NAME=VALUE of a dataset of reasoning-gym, for instance "min_terms=3".
        rank: r of the adapters; 0 trains every weight.
        alpha: adapters are added with the factor alpha / r.
        targets: projections that get adapters.
        compute: of the products: "bfloat16" or "float32"; log-probabilities are float32.
        remat: compute activations again for the gradient instead of keeping them.
        rows: responses whose gradient is taken at a time, and added up; 0 is a whole minibatch.
        system: instruction before each question; empty for none, None for that of the model's own template.
        save_dtype: number type of the model in the run's directory: "float32" is what was trained, "bfloat16" half the
            size and rounded, to which a step of Adam may be lost; "none" leaves it in the checkpoint alone.

    Raises:
        ValueError: for a number or a name out of range.
        TypeError: for a number that is no integer.
    """

    task: str = "chat-arithmetic"
    tokens: int = 0
    prompt_tokens: int = 0
    task_settings: tuple[str, ...] = ()
    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = TARGETS
    compute: str = "bfloat16"
    remat: bool = True
    rows: int = 0
    system: str | None = None
    save_dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name in ("tokens", "prompt_tokens"):
            whole(name, getattr(self, name), "take 0 for the task's own", least=0)
        whole("rank", self.rank, "take 0 to train every weight", least=0)
        whole("rows", self.rows, "take 0 for a whole minibatch", least=0)
        positive_scalar("alpha", self.alpha, "16 is usual")
        choice("compute", self.compute, ("float32", "bfloat16"))
        choice("save_dtype", self.save_dtype, ("float32", "bfloat16", "none"))


@dataclass(frozen=True)
class ChatConfig(TrainConfig):
    """A run of a pretrained model: `TrainConfig` with defaults for one, and how the model is trained.

    Args:
        base: "smollm2" for what `smollm fetch` wrote, or a Hugging Face directory.
        model: `ModelOptions`.

    Raises:
        ValueError: as `TrainConfig`, and unless the gradient of a minibatch can be taken of `model.rows` responses at
            a time.

    >>> ChatConfig(prompts=8, rollouts=8, minibatches=2, model=ModelOptions(rows=16)).base
    'smollm2'
    """

    base: str = "smollm2"
    prompts: int = 8
    batches: int = 20
    minibatches: int = 4
    learning_rate: float = 1e-5
    evaluation_prompts: int = 64
    model: ModelOptions = field(default_factory=ModelOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before a model is read."""
        super().__post_init__()
        rows, part = self.model.rows, self.batch // self.minibatches
        if 0 < rows < part and part % rows:
            raise ValueError(
                f"rows must divide the {part} responses of a minibatch (prompts x rollouts / minibatches), got {rows}; "
                "take a divisor of it, or 0 for all at once"
            )


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
    folder: Path, options: ModelOptions, *, difficulty: tuple[int, ...] = (), graded: bool = False, seed: int = 0
) -> tuple[Any, Task, Any]:
    """What `train.Run` starts from: the policy, the task and the tokenizer.

    Args:
        folder: a Hugging Face directory.
        options: of the training.
        difficulty: sizes that the task draws from; empty takes its own.
        graded: rewards between 0 and 1, of the datasets of reasoning-gym.
        seed: of the adapters.

    Returns:
        `Llama`, `Task`, `ChatTokenizer`; typed loosely, as the trainer's own model and tokenizer are other classes with
        the same methods.

    Raises:
        ValueError: for a directory that cannot be read, or an unknown task.
    """
    tokenizer = ChatTokenizer(folder, system=options.system)
    task = tasks.make(
        options.task, difficulty, graded=graded, tokens=options.tokens, template=tokenizer.template,
        prompt_tokens=options.prompt_tokens, settings=options.task_settings, fits=tokenizer.fits,
    )  # fmt: skip
    rng = np.random.default_rng(0)  # a task without questions is refused here, before anything is written or compiled
    tokenizer.rows([task.prompt(rng, evaluation=kept) for kept in (False, True)], task.prompt_slots)
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


def save_trained(out: Path, model: Llama, folder: Path, *, dtype: str = "float32") -> None:
    """Write a trained model as a Hugging Face directory, with all that belongs to the one it came from.

    `config.json` is that of the other but for the number type; the tokenizer, its template and what ends a text are
    copied.

    Args:
        out: made if it is not there.
        model: of a run that began with `base`.
        folder: that `base` was given.
        dtype: of the file: "float32" keeps the trained numbers, "bfloat16" rounds them, to which a step of Adam may be
            lost.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    save_llama(
        out, exchanged(merged(model), END_TOKEN, ChatTokenizer(folder).end), dtype=dtype,
        config=read_json(folder / "config.json"),
    )  # fmt: skip


def prepared(config: ChatConfig) -> tuple[ChatConfig, tuple[Any, Task, Any]]:
    """What a run begins with; all processes of a mesh call this alike.

    Args:
        config: of the run, as it was asked for.

    Returns:
        The config with the model's directory and the instruction themselves, whether they were given or are its own,
        and what `base` returns.

    Raises:
        ValueError: for a model that is not there or cannot be read, or an unknown task.
    """
    folder = together(lambda: installed(config.base))
    given = {name: getattr(config, name) for name in ("difficulty", "graded", "seed")}
    start = together(lambda: base(folder, config.model, **given))
    return replace(config, base=str(folder), model=replace(config.model, system=start[2].system)), start


def keeper(config: ChatConfig, out: Path) -> Callable[[Any], None]:
    """For `train`'s `keep`: writes the model of a run that `prepared` began to `out`/model, if it is asked for."""

    def keep(model: Any) -> None:
        if config.model.save_dtype != "none":
            save_trained(out / "model", model, Path(config.base), dtype=config.model.save_dtype)

    return keep
