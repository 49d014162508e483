"""The model behind a name: a base of the package, a `.safetensors` file, or a run, ended or not."""

from pathlib import Path
from typing import Any

from tiny_llm_rl._checks import shown
from tiny_llm_rl._grid import config_of
from tiny_llm_rl._run import Run, base_of, load_base
from tiny_llm_rl.checkpoint import load
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.runlog import read_config
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer

__all__ = ["load_policy"]


def load_policy(name: str) -> tuple[Transformer, Task, Tokenizer]:
    """A model with its task.

    Args:
        name: of a base that comes with the package, or the path of a `.safetensors` file, of a run's directory or of
            the `checkpoint.npz` in it. The model of a run that has not ended, or that another command than `train`
            made, is that of its checkpoint.

    Raises:
        ValueError: for a name that is none of these, a run of another kind, one without a checkpoint, or one whose
            base has gone.

    >>> load_policy("digit-sum")[1].difficulty
    (4, 6, 8)
    """
    path = Path(name)
    if path.is_dir():
        ended = path / "model.safetensors"
        return load_base(str(ended)) if ended.is_file() else _of_run(path, path / "checkpoint.npz")
    if path.suffix == ".npz":
        return _of_run(path.parent, path)
    if path.suffix != ".safetensors" and (path.name != name or path.exists()):
        why = "is no model" if path.exists() else "does not exist"
        raise ValueError(f"{name} {why}; give a run's directory, a .safetensors file, or a base such as digit-sum")
    return load_base(name)


def _of_run(folder: Path, checkpoint: Path) -> tuple[Transformer, Task, Tokenizer]:
    """The model of a checkpoint, by the config of its run."""
    kind, stored = read_config(folder)
    if kind != "train":
        other = "ask it with tiny-llm-rl smollm chat" if kind == "smollm" else "give a run of tiny-llm-rl train"
        raise ValueError(f"{folder} holds a run of kind {shown(kind)}, and no model of this command; {other}")
    config: Any = config_of(kind, stored)
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint} does not exist; let the run finish a batch, or give another one")
    if config.base.endswith(".safetensors") and not Path(config.base).is_file():
        raise ValueError(
            f"{folder} needs the base it was trained from, {config.base}, which is not there; put it back, or go to "
            "the directory that its path is relative to"
        )
    base = base_of(config)
    (model, *_), _ = load(checkpoint, Run(config, base).state)
    return model, base[1], base[2]
