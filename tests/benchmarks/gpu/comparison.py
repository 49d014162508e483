"""Parts: the preset `gpu` of tiny_llm_rl, its base and one arm at a time; runs are kept and resumed."""

import json
from dataclasses import replace
from typing import Any

import jax

from tests.benchmarks.gpu._registry import RUNS, part
from tiny_llm_rl.experiments import made_base
from tiny_llm_rl.presets import Arm, Preset, preset
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.train import load_base, train

CURVES = ("train_reward", "kl_old_new", "largest_log_ratio", "entropy", "response_length", "seconds")


def chosen(size: str) -> Preset:
    """The preset, or one of the same arms that takes seconds."""
    full = preset("gpu")
    if size == "full":
        return full
    assert full.pretrain is not None
    small = replace(
        full.pretrain, difficulty=(1,), width=16, layers=1, heads=1, batch=64, clean_steps=100, careless_steps=0,
        learning_rate=1e-2,
    )  # fmt: skip
    # Enough responses for some to be right, so that weights move.
    shrunk = {"prompts": 32, "rollouts": 16, "minibatches": 2, "batches": 1, "evaluate_every": 1}
    shrunk["evaluation_prompts"] = 4
    arms = tuple(Arm(arm.name, arm.title, replace(arm.config, **shrunk)) for arm in full.arms)
    return replace(full, name="gpu-tiny", seeds=1, arms=arms, pretrain=small)


def _arm(name: str, size: str) -> dict[str, Any]:
    with jax.enable_x64(False):  # as in `tiny-llm-rl train`
        this = chosen(size)
        out = RUNS[0] / this.name
        path = made_base(this, out)
        assert path is not None
        base = load_base(path)
        (arm,) = (each for each in this.arms if each.name == name)
        found = {}
        for seed in range(this.seeds):
            config = replace(arm.config, base=path, seed=seed)
            outcome = train(config, RunDirectory(out / f"{name}-{seed}", config, kind="train", resume=True), base=base)
            records = [json.loads(line) for line in (out / f"{name}-{seed}/metrics.jsonl").read_text().splitlines()]
            found[str(seed)] = {
                "status": outcome.status.name,
                "evaluations": [r["evaluation"] for r in records if "evaluation" in r],
                "curves": {curve: [r.get(curve) for r in records] for curve in CURVES},
            }
    return {"arm": name, "parameters": base[0].config.parameters, "seeds": found}


@part("comparison-mean")
def mean(size: str) -> dict[str, Any]:
    return _arm("mean", size)


@part("comparison-part")
def partition(size: str) -> dict[str, Any]:
    return _arm("part", size)


@part("comparison-grpo")
def grpo(size: str) -> dict[str, Any]:
    return _arm("grpo", size)


@part("comparison-gspo")
def gspo(size: str) -> dict[str, Any]:
    return _arm("gspo", size)
