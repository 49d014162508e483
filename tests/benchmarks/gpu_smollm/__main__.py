"""`python -m tests.benchmarks.gpu_smollm --out DIR [--part NAME] [--size tiny]`: run what is missing, then merge."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.gpu import _registry as registry
from tests.benchmarks.gpu.__main__ import summary
from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.rollout import sample
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.smollm.config import LlamaConfig
from tiny_llm_rl.smollm.fetch import installed
from tiny_llm_rl.smollm.model import random_llama
from tiny_llm_rl.smollm.training import ModelOptions, base
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run, RunStatus, train

MODEL = ["smollm2"]
SECONDS = [480.0]
SEEDS = {"full": 3, "tiny": 1}
OPTIONS = ModelOptions(compute="bfloat16", remat=True)
CURVES = ("train_reward", "kl_old_new", "largest_log_ratio", "entropy", "response_length", "seconds")


class Unfinished(Exception):
    """The time of a part is over; what is done is saved."""


class Halves(Task):
    """A task for a random model: a response that begins with one of the first letters is right."""

    name, alphabet, prompt_slots, response_slots = "halves", "abcdefgh", 5, 4

    def draw(self, rng: np.random.Generator) -> str:
        return "".join("abcdefgh"[letter] for letter in rng.integers(0, 8, 5))

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        return "a"

    def reward(self, prompt: str, response: str) -> float:
        return float(response[:1] in set("abcd"))

    def answer(self, response: str) -> str:
        return response[:1]


def start(size: str, options: ModelOptions = OPTIONS) -> tuple[Any, Task, Any]:
    if size == "full":
        return base(installed(MODEL[0]), options)
    config = LlamaConfig(10, 16, 2, 4, 2, 4, 16, remat=True, rows=4)
    return random_llama(config, jax.random.key(0), biases="qkv", scale=0.3), Halves(), Tokenizer("abcdefgh")


def config(size: str, **changes: Any) -> TrainConfig:
    full: dict[str, Any] = {
        "prompts": 16, "rollouts": 16, "minibatches": 8, "batches": 60, "learning_rate": 1e-5, "tau": 0.3,
        "warm_up": 8, "evaluate_every": 15, "evaluation_prompts": 256, "evaluation_samples": 4,
        "anchor": "current",  # in bfloat16 the sampler's log-probabilities are not the updates'
    }  # fmt: skip
    tiny = {"prompts": 4, "rollouts": 4, "minibatches": 2, "batches": 2, "evaluate_every": 2, "evaluation_prompts": 4}
    return TrainConfig(**{**full, **(tiny if size == "tiny" else {}), **changes})


def seconds_of(call: Any, repetitions: int) -> float:
    """Median time of a call whose result is waited for, compiled before."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def throughput(size: str) -> dict[str, Any]:
    """Tokens a second of sampling and of training, and what the untrained model gets right."""
    this = config(size)
    model, task, tokenizer = start(size)
    rng = np.random.default_rng(0)
    texts = [task.prompt(rng) for _ in range(this.prompts)]
    prompts, lengths = map(jnp.asarray, tokenizer.rows(texts, task.prompt_slots))
    n, slots = this.rollouts, task.response_slots

    def sampled() -> Any:
        return sample(model, prompts, lengths, jax.random.key(0), slots=slots, copies=n)

    took = seconds_of(sampled, 3)
    found = sampled()
    said = tokenizer.texts(np.asarray(found.tokens))
    rewards = [task.reward(texts[i // n], text) for i, text in enumerate(said)]
    responses = (x.reshape(-1, n, slots) for x in (found.tokens, found.mask, found.logp))
    ones = jnp.ones((this.prompts, n))
    batch, key = Batch(prompts, lengths, *responses, ones, ones), jax.random.key(1)
    optimiser = make_optimiser(this)

    def updated() -> Any:
        own = jax.tree.map(jnp.copy, model)
        return update((compiled(this), batch, key), own, optimiser.init(eqx.filter(own, eqx.is_inexact_array)))[2]

    update_took = seconds_of(updated, 3)
    tokens = int(np.asarray(found.mask).sum())
    return {
        "parameters": model.config.parameters,
        "compute": model.config.compute,
        "responses": this.batch,
        "tokens": tokens,
        "reward": float(np.mean(rewards)),
        "sampling, tokens a second": tokens / took,
        "training, tokens a second": tokens / update_took,
        "seconds": {"sample": took, "update": update_took},
    }


def largest(size: str) -> dict[str, Any]:
    """Two batches of 128 prompts with 8 responses of 128 slots, every weight trained: memory, and where time goes."""
    this = config(size, **({"prompts": 128, "rollouts": 8} if size == "full" else {}), batches=2)
    run = Run(this, start(size, replace(OPTIONS, tokens=128)))
    found = []
    for _ in range(this.batches):
        status, record = run.batch()
        if status is not None:
            raise RuntimeError(f"batch {record['batch']} ended with {status.name}: {status.value}")
        found.append(record)
    names = ("tokens_sampled", "response_length", "seconds", "peak_memory", "state_bytes", "kl_old_new", "train_reward")
    return {
        "responses": this.batch,
        "minibatches": this.minibatches,
        "slots": run.task.response_slots,
        "batches": [{name: record[name] for name in names} for record in found],  # the first one compiles
    }


def arm(name: str, size: str) -> dict[str, Any]:
    """All seeds of an algorithm; `Unfinished` when the time is over first."""
    began, found = time.perf_counter(), {}
    for seed in range(SEEDS[size]):
        this = config(size, algorithm=name, seed=seed)
        path = registry.RUNS[0] / f"smollm-{size}" / f"{name}-{seed}"
        directory = RunDirectory(path, this, kind="smollm", resume=True)
        if not directory.summary.exists():
            # No call of the trainer begins without time for it: loading and compiling take about a minute.
            if seed and time.perf_counter() - began > SECONDS[0] / 2:
                raise Unfinished
            outcome = train(this, directory, base=start(size), stop=lambda: time.perf_counter() - began > SECONDS[0])
            if outcome.status is RunStatus.STOPPED:
                raise Unfinished
        records = directory.records()
        found[str(seed)] = {
            "status": json.loads(directory.summary.read_text())["status"],
            "evaluations": [record["evaluation"] for record in records if "evaluation" in record],
            "curves": {curve: [record.get(curve) for record in records] for curve in CURVES},
        }
    return {"algorithm": name, "seeds": found}


PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "smollm-memory": largest,  # the first: a device's peak is that of the process
    "smollm-throughput": throughput,
    "smollm-mean": partial(arm, "pmd-mean"),
    "smollm-grpo": partial(arm, "grpo"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu_smollm", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory of runs that can be resumed")
    parser.add_argument("--part", choices=tuple(PARTS), help="one part only; all of them by default")
    parser.add_argument("--size", choices=registry.SIZES, default="full", help="tiny runs the same code in seconds")
    parser.add_argument("--model", default="smollm2", help="smollm2, or a Hugging Face directory")
    parser.add_argument("--seconds", type=float, default=480.0, help="after which a part stops, to be run again")
    arguments = parser.parse_args()
    registry.RUNS[:], MODEL[:], SECONDS[:] = [arguments.runs], [arguments.model], [arguments.seconds]
    device = jax.devices()[0].device_kind
    parts = arguments.out / f"{registry.slug(device)}-{arguments.size}-parts"
    for name in [arguments.part] if arguments.part else list(PARTS):
        path = parts / f"{name}.json"
        if registry.read(path, arguments.size, device) is not None:
            print(f"{name}: there already, {path}", flush=True)
            continue
        print(f"{name}: running", flush=True)
        began = time.perf_counter()
        try:
            result = PARTS[name](arguments.size)
        except Unfinished:
            print(f"{name}: time is over, what is done is saved; run it again to go on", flush=True)
            break
        took = time.perf_counter() - began
        head = {"schema": registry.SCHEMA, "size": arguments.size, "device": device, "part": name, "took": took}
        registry.write(path, head | {"result": result})
        print(f"{name}: {took:.1f} s, {path}", flush=True)
    done = {name: registry.read(parts / f"{name}.json", arguments.size, device) for name in PARTS}
    missing = sorted(name for name, record in done.items() if record is None)
    suffix = "-smollm" if arguments.size == "full" else f"-smollm-{arguments.size}"
    merged = arguments.out / f"{registry.slug(device)}{suffix}.json"
    registry.write(merged, summary(device, arguments.size, done, missing))
    print(f"{merged}: {len(done) - len(missing)} of {len(done)} parts" + "; missing: ".join(["", *missing][:2]))


if __name__ == "__main__":
    main()
