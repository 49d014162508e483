"""Programs of the tests of meshes: run as `python -m tests.rl.mesh_programs NAME ...`, one line of JSON out."""

import json
import re
import sys
from dataclasses import replace

import jax
import numpy as np

from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.mesh import bytes_per_device, first_one_first, gathered, in_context, make_mesh, on_host
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run, train

CONFIG = TrainConfig(
    prompts=16,
    rollouts=4,
    batches=4,
    minibatches=2,
    learning_rate=3e-3,
    tau=0.3,
    evaluate_every=2,
    evaluation_prompts=8,
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


def run(devices, config=CONFIG, batches=CONFIG.batches):
    """Curves of a run, how much was compiled in each batch, and bytes of model and optimiser on each device."""
    compiled = [0]  # while it is set up, then a number a batch

    def listen(event, seconds, **more):
        compiled[-1] += event == EVENT

    jax.monitoring.register_event_duration_secs_listener(listen)
    own = Run(config, base(), devices)
    records = []
    for _ in range(batches):
        compiled.append(0)
        records.append(own.batch()[1])
    jax.monitoring.unregister_event_duration_listener(listen)
    weights = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(on_host(own.model))]
    return {
        **{name: [record[name] for record in records] for name in SEEN},
        "accuracy": [record["evaluation"]["average"] for record in records if "evaluation" in record],
        "compiled": compiled,
        "state_bytes": records[-1]["state_bytes"],
        "bytes": [size for _, size in sorted(bytes_per_device((own.model, own.optimiser_state)).items())],
        "weights": np.concatenate(weights).tolist(),
    }


def collectives(shards):
    """Bytes that each kind of collective makes in one minibatch of the compiled update."""
    from tiny_llm_rl._update import Batch, compiled, make_optimiser, update
    from tiny_llm_rl.mesh import shard_batch, shard_model

    mesh = make_mesh(shards)
    model = shard_model(mesh, base()[0])
    state = shard_model(mesh, make_optimiser(CONFIG).init(base()[0]))
    rows, slots = CONFIG.batch, 3
    arrays = Batch(
        np.ones((rows, 6), np.int32), np.full(rows, 6, np.int32), np.ones((rows, slots), np.int32),
        np.ones((rows, slots), bool), np.zeros((rows, slots), np.float32), np.ones(rows, np.float32),
        np.ones(rows, np.float32),
    )  # fmt: skip
    given = (compiled(CONFIG), shard_batch(mesh, arrays), jax.random.key(0))
    with in_context(mesh):
        text = update.lower(given, model, state).compile().compiled.as_text()
    found = {}
    for shape, kind in re.findall(
        r"= (\(?[a-z0-9\[\],{} /*=]*?\)?) (all-reduce|all-gather|reduce-scatter)(?:-start)?\(", text
    ):
        for size in re.findall(r"f32\[([\d,]*)\]", shape):
            found[kind] = found.get(kind, 0) + 4 * int(np.prod([int(k) for k in size.split(",") if k]))
    return {"bytes": found, "parameters": sum(x.size for x in jax.tree.leaves(model))}


def quick():
    """One device against eight, two of which share a copy, without an evaluation."""
    config = replace(CONFIG, batches=100, evaluate_every=100)
    found = {name: run(mesh, config, 3) for name, mesh in {"one": None, "both": make_mesh(2)}.items()}
    sys.stdout.write(json.dumps(found))


def all_meshes():
    """One device against every kind of mesh, with a policy that lags, and the collectives of the compiled updates."""
    meshes = {"one": None, "copies": make_mesh(), "shards": make_mesh(8), "both": make_mesh(2)}
    found = {name: run(mesh) for name, mesh in meshes.items()}
    lagging = replace(CONFIG, lag=1, anchor="current", correction="truncated", batches=3)
    found |= {f"lag-{name}": run(meshes[name], lagging, 3) for name in ("one", "both")}
    sys.stdout.write(json.dumps({**found, "collectives": {shards: collectives(shards) for shards in (1, 8)}}))


def of_two(number, address, folder):
    """One of two processes with a device each; they train together, keep a run and go on with it."""
    from pathlib import Path

    from tiny_llm_rl.runlog import RunDirectory

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, int(number))
    mesh = make_mesh(2 if folder.endswith("shards") else 1)
    directory = first_one_first(lambda: RunDirectory(Path(folder), CONFIG, kind="train", resume=True))
    first = train(CONFIG, directory, base=base(), devices=mesh, stop=lambda: number == "1")
    again = RunDirectory(Path(folder), CONFIG, kind="train", resume=True)
    outcome = train(CONFIG, again, base=base(), devices=mesh)
    weights = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gathered(outcome.model))]
    sys.stdout.write(
        json.dumps(
            {
                "statuses": [first.status.name, outcome.status.name],
                "batches": [first.batches, outcome.batches],
                **{name: [record[name] for record in outcome.records] for name in SEEN},
                "accuracy": [record["evaluation"]["average"] for record in outcome.records if "evaluation" in record],
                "bytes": bytes_per_device(outcome.model),
                "weights": np.concatenate(weights).tolist(),
            }
        )
    )


if __name__ == "__main__":
    {"quick": quick, "all_meshes": all_meshes, "of_two": of_two}[sys.argv[1]](*sys.argv[2:])
