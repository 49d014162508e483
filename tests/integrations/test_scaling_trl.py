"""What `docs/scaling-out.md` says about TRL: its files load, its script trains, and two processes take one step."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from datasets import Dataset
from trl import TrlParser

from pmdtheory.integrations import targets
from pmdtheory.integrations.trl import PMDConfig
from tests.integrations.tiny_torch import PROMPTS, model, tokenizer

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "scaling"
FLOAT32 = 1e-5


def script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(*changes):
    (config,) = TrlParser((PMDConfig,)).parse_args_and_config(["--config", str(FOLDER / "pmd.yaml"), *changes])
    return config


def test_the_script_trains_with_the_committed_file(tmp_path):
    """Sizes and device of a test in place of those of the file; the algorithm is the file's."""
    torch.set_num_threads(1)
    config = parsed(
        "--output_dir", str(tmp_path), "--use_cpu", "True", "--bf16", "False", "--cast_lm_head_to_fp32", "False",
        "--max_completion_length", "6", "--max_steps", "4", "--save_strategy", "no", "--disable_tqdm", "True",
    )  # fmt: skip
    assert (config.tau, config.member, config.num_iterations) == (0.1, "pmd-part", 2)
    data = Dataset.from_dict({"prompt": PROMPTS, "answer": ["3", "8", "13", "7", "15", "9", "4", "9"]})

    def shaped(completions, answer, **_):
        return [float(text[:1].isdigit()) for text, _ in zip(completions, answer, strict=True)]

    trainer = script("train_trl").main(model(), tokenizer(), data, config, shaped)
    assert trainer.state.global_step == 4
    assert script("train_trl").exact(["so #12", "12"], ["12", "13"]) == [1.0, 0.0]


def test_the_cluster_of_the_document():
    cluster = load_config_from_file(str(FOLDER / "accelerate.yaml"))
    assert (cluster.num_machines, cluster.num_processes) == (2, 16)
    assert str(cluster.distributed_type) == "DistributedType.FSDP"
    config = parsed("--use_cpu", "True", "--bf16", "False")
    batch = config.per_device_train_batch_size * cluster.num_processes * config.steps_per_generation
    assert batch == 64 * config.num_generations  # as the comment in the file says


def test_two_processes_take_the_step_of_the_whole_batch(tmp_path):
    """Groups that lie across processes, parts with unequal counts: the step is that of one mean over all responses."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "tests.integrations.two_processes", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=200, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    records = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    assert [record["processes"] for record in records] == [2, 2]
    rewards = records[0]["rewards"]
    assert torch.equal(rewards, records[1]["rewards"])
    whole = targets(rewards.double().numpy().reshape(-1, 4), 0.2, "pmd-part").reshape(-1)
    seen = np.concatenate([part["targets"].numpy() for record in records for part in record["parts"]])
    np.testing.assert_allclose(np.sort(seen), np.sort(whole), rtol=1e-6)
    policy, terms, live = model(), 0.0, 0
    for record in records:
        for part in record["parts"]:
            for row in range(len(part["targets"])):
                prompt = part["prompt_ids"][row][part["prompt_mask"][row] > 0]
                said = part["completion_ids"][row][part["completion_mask"][row] > 0]
                if len(said) == 0:
                    continue
                laws = policy(input_ids=torch.cat([prompt, said])[None]).logits[0].log_softmax(-1)
                logp = laws[len(prompt) - 1 : -1].gather(1, said[:, None])[:, 0]
                old = part["old_per_token_logps"][row][: len(said)]
                terms = terms + 0.1 * (part["targets"][row] - (logp - old).sum()) ** 2
                live += 1
    assert 0 < live < 8
    assert {int(part["sequences"]) for record in records for part in record["parts"]} == {live}
    gradient = torch.autograd.grad(terms / live, list(policy.parameters()))
    scale = max(float(part.abs().max()) for part in gradient)
    assert scale > 1e-3
    for record in records:
        for got, wanted in zip(record["step"], gradient, strict=True):
            assert float((got - wanted).abs().max()) <= FLOAT32 * scale
