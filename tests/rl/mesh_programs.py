"""Programs of the tests of meshes: run as `python -m tests.rl.mesh_programs NAME ...`, one line of JSON out."""

import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.mesh import bytes_per_device, gathered, in_context, make_mesh, on_host
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run

CONFIG = TrainConfig(
    prompts=16,
    rollouts=4,
    batches=4,
    minibatches=2,
    learning_rate=3e-3,
    tau=0.3,
    evaluate_every=2,
    evaluation_prompts=16,  # with as many samples as rollouts: nothing more to compile
    evaluation_samples=4,
)
SEEN = ("loss", "gradient_norm", "kl_old_new", "largest_log_ratio", "train_reward")
EVENT = "/jax/core/compile/backend_compile_duration"


class Parity(Task):
    """The first symbol of the response must be 'b'; worth a tenth where the second is."""

    name, alphabet, prompt_slots, response_slots = "parity", "ab", 6, 3

    def draw(self, rng):
        return "".join("ab"[bit] for bit in rng.integers(0, 2, 6))

    def demonstration(self, prompt, rng, wrong=0.0):
        return "b"

    def reward(self, prompt, response):
        return 0.9 * response.startswith("b") + 0.1 * (response[1:2] == "b")

    def answer(self, response):
        return response[:1]


def base():
    return Transformer(ModelConfig(4, 16, 1, 1), jax.random.key(0)), Parity(), Tokenizer("ab")


def llama():
    """A random Llama whose gradient is taken of 16 responses at a time, and logits of one a device."""
    from tiny_llm_rl.smollm import _turns
    from tiny_llm_rl.smollm.config import LlamaConfig
    from tiny_llm_rl.smollm.model import random_llama

    _turns.LOGITS = 20
    config = LlamaConfig(4, 16, 2, 2, 1, 8, 16, rows=16, remat=True)
    return random_llama(config, jax.random.key(0), scale=0.3), Parity(), Tokenizer("ab")


class Counted(Run):
    """A run that notes how much is compiled: while it is set up, then in each batch."""

    def __init__(self, *given):
        self.compiled = [0]
        jax.monitoring.register_event_duration_secs_listener(self.listen)
        super().__init__(*given)

    def listen(self, event, seconds, **more):
        self.compiled[-1] += event == EVENT

    def batch(self):
        self.compiled.append(0)
        return super().batch()

    def seen(self, records):
        """Curves, compilations, weights, and bytes of model and optimiser on each device."""
        jax.monitoring.unregister_event_duration_listener(self.listen)
        weights = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(on_host(self.model))]
        return {
            **{name: [record[name] for record in records] for name in SEEN},
            "accuracy": [record["evaluation"] for record in records if "evaluation" in record],
            "compiled": self.compiled,
            "state_bytes": records[-1]["state_bytes"],
            "bytes": [size for _, size in sorted(bytes_per_device((self.model, self.optimiser_state)).items())],
            "weights": np.concatenate(weights).tolist(),
        }


def run(devices, config=CONFIG, batches=CONFIG.batches, start=None):
    """What a run shows that is not kept."""
    own = Counted(config, start or base(), devices)
    return own.seen([own.batch()[1] for _ in range(batches)])


def commanded(folder, kind=Counted):
    """`tiny-llm-rl train` as a function of arguments: its exit status, the run that it made, and its records."""
    from tiny_llm_rl import cli, tasks, train

    made = []

    class Kept(kind):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    tasks.TASKS["parity"], train.Run = Parity, Kept
    names = ("prompts", "rollouts", "minibatches", "learning_rate", "tau", "evaluate_every", "evaluation_prompts")
    given = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in (*names, "evaluation_samples")]

    def act(*arguments):
        status = cli.main(
            ["train", "--out", f"{folder}/run", "--base", f"{folder}/base.safetensors", *given, "--json", *arguments]
        )
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
        return status, made[-1], [json.loads(line) for line in lines]

    return act


def program(shards, model):
    """The compiled update of a model."""
    from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
    from tiny_llm_rl.mesh import shard_batch, shard_model

    mesh = make_mesh(shards)
    state = shard_model(mesh, make_optimiser(CONFIG).init(model))
    model = shard_model(mesh, model)
    group = (CONFIG.prompts, CONFIG.rollouts)
    response = (*group, 3)
    arrays = Batch(
        np.ones((group[0], 6), np.int32), np.full(group[0], 6, np.int32), np.ones(response, np.int32),
        np.ones(response, bool), np.zeros(response, np.float32), np.ones(group, np.float32),
        np.ones(group, np.float32),
    )  # fmt: skip
    given = (compiled(CONFIG), shard_batch(mesh, arrays), jax.random.key(0))
    with in_context(mesh):
        return update.lower(given, model, state).compile().compiled


def large():
    """A model beside which the rows of a batch, and what is dealt anew of them, are small."""
    return Transformer(ModelConfig(4, 128, 2, 2), jax.random.key(0))


def memory(shards):
    """Bytes of a device that the update of a large model takes, and its parameters."""
    model = large()
    found = program(shards, model).memory_analysis()
    return {
        "bytes": found.argument_size_in_bytes + found.temp_size_in_bytes,
        "parameters": sum(x.size for x in jax.tree.leaves(model)),
    }


def collectives(shards):
    """Bytes that each kind of collective makes in one minibatch of the compiled update."""
    model = large()
    text = program(shards, model).as_text()
    found = {}
    for shape, kind in re.findall(
        r"= (\(?[a-z0-9\[\],{} /*=]*?\)?) (all-reduce|all-gather|reduce-scatter)(?:-start)?\(", text
    ):
        for size in re.findall(r"f32\[([\d,]*)\]", shape):
            found[kind] = found.get(kind, 0) + 4 * int(np.prod([int(k) for k in size.split(",") if k]))
    return {"bytes": found, "parameters": sum(x.size for x in jax.tree.leaves(model))}


def quick(folder):
    """One device against eight, two of which share a copy, which the command takes; with whole groups dealt."""
    one = run(None, replace(CONFIG, batches=3, evaluate_every=3, shuffle="groups"), 3)
    given = ("--batches=3", "--evaluate-every=3", "--shuffle=groups", "--devices=all", "--shards=2")
    status, own, records = commanded(folder)(*given)
    sys.stdout.write(json.dumps({"one": one, "both": own.seen(records), "status": status}))


def all_meshes():
    """One device against every kind of mesh, with a policy that lags, and the collectives of the compiled updates."""
    meshes = {"one": None, "copies": make_mesh(), "shards": make_mesh(8), "both": make_mesh(2)}
    found = {name: run(mesh) for name, mesh in meshes.items()}
    pretrained = llama()
    found |= {f"llama-{name}": run(meshes[name], replace(CONFIG, batches=2), 2, pretrained) for name in ("one", "both")}
    lagging = replace(CONFIG, lag=1, anchor="current", correction="truncated", batches=3)
    found |= {f"lag-{name}": run(meshes[name], lagging, 3) for name in ("one", "both")}
    more = {"collectives": {shards: collectives(shards) for shards in (1, 8)}, "memory": memory(8)}
    sys.stdout.write(json.dumps({**found, **more}))


class Told(Run):
    """A process that is told to stop in its first batch."""

    def batch(self):
        found = super().batch()
        if self.done == 1 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return found


def of_two(folder, shards, *joining):
    """One of two processes with a device each; they train together, stop when one is told to, and go on."""
    act = commanded(folder, Told)
    shards = f"--shards={shards}"
    first = act("--batches=4", *joining, shards)
    last = act("--batches=4", "--resume", "--devices=all", shards)  # they are joined already
    state = last[1].model
    weights = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gathered(state))]
    sys.stdout.write(
        "\n"
        + json.dumps(
            {
                "statuses": [first[0], last[0]],
                "batches": [first[1].done, last[1].done],
                "bytes": bytes_per_device(state),
                "weights": np.concatenate(weights).tolist(),
            }
        )
    )


if __name__ == "__main__":
    {"quick": quick, "all_meshes": all_meshes, "of_two": of_two}[sys.argv[1]](*sys.argv[2:])
