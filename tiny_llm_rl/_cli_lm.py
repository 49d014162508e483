"""The commands of the language model: pretrain, train, sample, reproduce, results. Part of `cli.py`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes, Positional

from pmdtheory._console import progress, tabulated
from tiny_llm_rl._cli_run import complaint, opened, results_alone, trained, trained_all
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.devices import Devices
from tiny_llm_rl.pretrain import PretrainConfig
from tiny_llm_rl.runlog import SCHEMA, plain

__all__ = ["Pretrain", "Reproduce", "Results", "Sample", "Train"]


@contextmanager
def _pretraining(config: PretrainConfig) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar for the records of `pretrain`."""
    with progress("pretrain", config.clean_steps + config.careless_steps) as advance:

        def watch(record: dict[str, Any]) -> None:
            done = record["step"] + (config.clean_steps if record["phase"] == "careless" else 0)
            rate = f", pass rate {record['pass_rate']:.3f}" if "pass_rate" in record else ""
            advance(f"{record['phase']}, loss {record['loss']:.3f}{rate}", done)

        yield watch


@dataclass(frozen=True)
class Pretrain:
    """Make a base model from demonstrations: right ones first, then careless ones, until its pass rate has fallen.

    Example: `tiny-llm-rl pretrain --out bases/sum.safetensors --pass-rate 0.12`. A base that misses the rate is written
    all the same.
    """

    out: Path
    """A `.safetensors` file; it holds the weights and what was measured."""
    config: OmitArgPrefixes[PretrainConfig] = field(default_factory=PretrainConfig)
    """What is made."""
    json: bool = False
    """Print the record as JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0; 1 when the base has another pass rate than was asked for."""
        from tiny_llm_rl.pretrain import missed, pretrain
        from tiny_llm_rl.weights import save_model

        if self.out.suffix != ".safetensors":
            raise ValueError(f"out must end in .safetensors, got {str(self.out)!r}; name the file base.safetensors")
        if not self.out.parent.is_dir():
            raise ValueError(f"out={str(self.out)!r} has no folder; make {str(self.out.parent)!r} first")
        with _pretraining(self.config) as watch:
            model, record = pretrain(self.config, watch)
        save_model(self.out, model, {name: value for name, value in record.items() if name != "seconds"})
        if self.json:
            print(json.dumps({"schema": SCHEMA, **plain(record)}, allow_nan=False))
        else:
            print(
                tabulated(str(self.out), ("", ""), [(name.replace("_", " "), str(v)) for name, v in record.items()]),
                end="",
            )
        said = missed(self.config, record)
        if said:
            print(f"tiny-llm-rl: {said}", file=sys.stderr)
        return int(bool(said))


@dataclass(frozen=True)
class Train:
    """Train a language model by reinforcement learning and write a run directory.

    Example: `tiny-llm-rl train --out runs/grpo --algorithm grpo --batches 20`. A run that was interrupted or killed
    goes on with `--resume` and the same arguments, and ends with the same weights. `--devices all` takes all devices.
    """

    out: Path
    """The run's directory: config, metrics (a line of JSON a batch), checkpoint, summary, weights at the end."""
    config: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    """What is trained."""
    where: OmitArgPrefixes[Devices] = field(default_factory=Devices)
    """On which devices, in how many processes."""
    resume: bool = False
    """Go on with the run in that directory."""
    sink: str = "none"
    """tensorboard: also write its event files; trackio: also into its store; each needs its package."""
    json: bool = False
    """Print the summary as JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0; 1 when the run ended in a failure; 130 or 143 when a signal stopped it."""
        devices = self.where.mesh()  # before anything else asks for a device
        from tiny_llm_rl.mesh import gathered
        from tiny_llm_rl.processes import leads, together
        from tiny_llm_rl.sink import make_sink
        from tiny_llm_rl.train import RunStatus, base_of, check_split
        from tiny_llm_rl.weights import save_model

        with results_alone():
            # What is wrong or missing leaves no directory behind.
            base = together(lambda: base_of(self.config))
            check_split(self.config, devices)
            sink = together(lambda: make_sink(self.sink if leads() else "none", self.out))
            directory = opened(self.out, self.config, kind="train", resume=self.resume)
            outcome, status = trained(self.config, directory, base, devices, sink)
            model: Any = gathered(outcome.model)
        if leads() and outcome.status is not RunStatus.STOPPED:
            _, task, tokenizer = base
            record = {"task": task.name, "difficulty": list(task.difficulty), "alphabet": tokenizer.alphabet}
            save_model(self.out / "model.safetensors", model, {**record, "config": plain(self.config)})
            if self.json:
                print(directory.summary.read_text(), end="")
            else:
                table = _first_and_last(outcome.records)
                print(tabulated(str(self.out), ("", "first batch", "last batch"), table), end="")
        complaint(outcome)
        return status


def _first_and_last(records: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Rows of a table: every number of the records, and the evaluation at the end."""
    first, last = records[0], records[-1]
    rows = [
        (name.replace("_", " "), _shown(first.get(name)), _shown(last.get(name)))
        for name in last
        if isinstance(last[name], (int, float)) and name != "batch"
    ]
    found = last.get("evaluation", {})
    return rows + [(f"evaluation {name.replace('_', ' ')}", "", _shown(value)) for name, value in found.items()]


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ... ".join(map(_shown, value))
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Sample:
    """Ask a model: print sampled responses to prompts, with their log-probability and the verifier's word.

    Example: `tiny-llm-rl sample digit-sum "3+4+5+6="`.
    """

    model: Positional[str]
    """A base that comes with the package, a `.safetensors` file, or a run's directory, ended or not."""
    prompts: Positional[tuple[str, ...]]
    """Texts such as `3+4+5+6=`."""
    samples: int = 4
    """Responses to each."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    seed: int = 0
    """Of the sampling."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from tiny_llm_rl._checks import whole
        from tiny_llm_rl._policy import load_policy
        from tiny_llm_rl.rollout import sample

        if not self.prompts:
            raise ValueError('prompts is empty; give at least one text, such as "3+4+5+6="')
        whole("samples", self.samples, "take at least one")
        policy, task, tokenizer = load_policy(self.model)
        rows, lengths = tokenizer.rows(self.prompts, max(task.prompt_slots, *map(len, self.prompts)))
        found = sample(
            policy, jnp.asarray(rows), jnp.asarray(lengths), jax.random.key(self.seed),
            slots=task.response_slots, copies=self.samples, temperature=self.temperature,
        )  # fmt: skip
        said, logp = tokenizer.texts(np.asarray(found.tokens)), np.asarray(found.logp).sum(-1)
        table = []
        for index, response in enumerate(said):
            prompt = self.prompts[index // self.samples]
            table.append((prompt, response, float(logp[index]), _reward(task, prompt, response)))
        if self.json:
            names = ("prompt", "response", "log_probability", "reward")
            print(json.dumps({"schema": SCHEMA, "samples": [dict(zip(names, row, strict=True)) for row in table]}))
        else:
            text = [(p, r, f"{v:.3f}", "not a prompt" if w is None else f"{w:g}") for p, r, v, w in table]
            print(tabulated(self.model, ("prompt", "response", "log-probability, nats", "reward"), text), end="")
        return 0


def _reward(task: Any, prompt: str, response: str) -> float | None:
    """The verifier's word; None for a prompt that is none of the task."""
    try:
        return float(task.reward(prompt, response))
    except ValueError:
        return None


@dataclass(frozen=True)
class Reproduce:
    """Train a whole comparison, two runs at a time, print what it shows and draw it; what is finished is not run again.

    Example: `tiny-llm-rl reproduce --preset cpu-quick`.
    """

    preset: str = "cpu-quick"
    """smoke, cpu-quick, cpu-full, cpu-long, gpu, ...; a wrong name lists all."""
    out: Path | None = None
    """Directory of the runs; runs/PRESET when none is given. The figures are in its folder figures."""
    processes: int = 2
    """Runs at a time; 1 on a machine with a GPU."""
    json: bool = False
    """Print JSON, and nothing else, to standard output."""

    def run(self) -> int:
        """Exit status 0 when every run has ended; 130 or 143 when a signal stopped it.

        To break down is one of the outcomes that are compared: the table counts the runs that did not.
        """
        from tiny_llm_rl import experiments, presets, verdicts
        from tiny_llm_rl.figures._drawn import draw_figures
        from tiny_llm_rl.pretrain import missed
        from tiny_llm_rl.weights import load_model

        chosen = presets.preset(self.preset)
        out = self.out or Path("runs") / self.preset
        base = None
        if chosen.pretrain is not None:
            with _pretraining(chosen.pretrain) as watch:
                base = experiments.made_base(chosen, out, watch)
            said = missed(chosen.pretrain, load_model(out / "base.safetensors")[1])
            if said:
                print(f"tiny-llm-rl: base {base}: {said}", file=sys.stderr)
        statuses, stopped = trained_all(
            self.preset, len(chosen.arms) * chosen.seeds,
            lambda stop, advance: experiments.run(
                chosen, out, processes=self.processes, stop=stop,
                report=lambda run, status, done, total: advance(f"{self.preset} {run} {status.lower()}", done),
            ),
        )  # fmt: skip
        if stopped:
            return stopped
        table = verdicts.table(chosen, experiments.collected(chosen, out, ()), base)
        files = list(map(str, draw_figures(chosen, out, out / "figures")))
        if self.json:
            found = {"schema": SCHEMA, "preset": self.preset, "runs": statuses, "files": files, **plain(table)}
            print(json.dumps(found))
        else:
            print(tabulated(f"{self.preset}: {chosen.about}", verdicts.COLUMNS, verdicts.rows(table)), end="")
            for line in (*verdicts.sentences(table), *files):
                print(line)
        return 0


@dataclass(frozen=True)
class Results:
    """Write the tables of the results page anew from the stored data of the figures, or check that they are up to date.

    Example: `tiny-llm-rl results --check`.
    """

    page: Path = Path("docs/results.md")
    """What is between `<!-- table NAME -->` and `<!-- end -->` in it is replaced."""
    data: Path = Path("figures/data")
    """Folder of the figures' JSON."""
    check: bool = False
    """Change nothing; exit status 1 when the page differs."""

    def run(self) -> int:
        """Exit status 0; 1 when a checked page is out of date."""
        from pmdtheory._console import write
        from tiny_llm_rl.results import filled, tables

        if not self.page.is_file():
            raise ValueError(f"page={str(self.page)!r} does not exist; name a Markdown file with table marks")
        old = self.page.read_text(encoding="utf-8")
        new = filled(old, tables(self.data))
        if self.check and new != old:
            print(f"tiny-llm-rl: {self.page} is out of date; run tiny-llm-rl results", file=sys.stderr)
            return 1
        if not self.check:
            write(self.page, new)
        return 0
