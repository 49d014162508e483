"""What is saved is what was trained, to the bit; what a run's directory belongs to. Models of a token a character."""

import json
import string

import equinox as eqx
import numpy as np
import pytest
import tokenizers

from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tiny_llm_rl.cli import main
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.rollout import END_TOKEN
from tiny_llm_rl.smollm import training
from tiny_llm_rl.smollm.chat import chat_text
from tiny_llm_rl.smollm.lora import merged
from tiny_llm_rl.smollm.tasks import ChatArithmetic
from tiny_llm_rl.smollm.weights import load_llama, save_llama
from tiny_llm_rl.train import train

pytestmark = [pytest.mark.smollm, pytest.mark.filterwarnings("ignore")]

TRAINED = {"prompts": 2, "rollouts": 4, "minibatches": 2, "batches": 1, "evaluation_prompts": 2, "learning_rate": 1e-5}
TEMPLATE = "{{ '<|im_start|>system\\nBe brief<|im_end|>\\n' }}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Numbers that bfloat16 has, as those of a model that was published; a template with an instruction."""
    out = tmp_path_factory.mktemp("llama")
    own = tokenizers.Tokenizer(tokenizers.models.BPE({s: i for i, s in enumerate("\n" + string.printable[:95])}, []))
    own.decoder = tokenizers.decoders.Fuse()
    own.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    own.save(str(out / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}
    (out / "tokenizer_config.json").write_text(json.dumps(settings))
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": own.token_to_id("<|im_end|>")}))
    save_llama(out, tiny.model(vocabulary=own.get_vocab_size(), biases=""), dtype="bfloat16")
    return out


class Half(ChatArithmetic):
    """Every second response is rewarded, so that each group has a signal."""

    asked = 0

    def reward(self, prompt, response):
        self.asked += 1
        return float(self.asked % 2)


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_saved_is_what_was_trained(folder, tmp_path, rank):
    """To the bit in float32, from numbers of bfloat16 and steps of 1e-5, which bfloat16 would lose."""
    options = training.ModelOptions(rank=rank, compute="float32", system="", tokens=4)
    model, task, tokenizer = training.base(folder, options)
    half = Half(prompt_slots=task.prompt_slots + 64, response_slots=4)
    outcome = train(TrainConfig(**TRAINED), base=(model, half, tokenizer))
    right = training.exchanged(merged(outcome.model), END_TOKEN, tokenizer.end)
    training.save_trained(tmp_path / "out", outcome.model, folder)
    found = load_llama(tmp_path / "out")
    assert eqx.tree_equal(found.layers, right.layers)
    assert eqx.tree_equal((found.embedding, found.norm), (right.embedding, right.norm))
    before = load_llama(folder).layers.weights["down"]
    moved = np.asarray(found.layers.weights["down"] != before).mean()
    training.save_trained(tmp_path / "half", outcome.model, folder, dtype="bfloat16")
    rounded = np.asarray(load_llama(tmp_path / "half").layers.weights["down"] != before).mean()
    assert moved > 0.9
    assert rounded < moved / 2
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def run(folder, out, *more):
    given = {**TRAINED, "tokens": 4, "difficulty": 1, "compute": "float32", "prompt-tokens": 80}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return main(["smollm", "train", "--out", str(out), "--base", str(folder), *arguments, *more])


def test_a_directory_belongs_to_its_options(folder, tmp_path, capsys):
    """Those that came later have their defaults; the instruction is written down, the model's own too."""
    out = tmp_path / "run"
    assert run(folder, out, "--save-dtype", "bfloat16") in (0, 1)  # 1: no group had a signal
    assert json.loads((out / "model" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    stored = json.loads((out / "config.json").read_text())
    assert stored["config"]["model"]["system"] == "Be brief"
    del stored["config"]["model"]["task_settings"]
    (out / "config.json").write_text(json.dumps(stored))
    assert run(folder, out, "--resume") in (0, 1)
    assert json.loads((out / "model" / "config.json").read_text())["torch_dtype"] == "float32"
    capsys.readouterr()
    assert run(folder, out, "--resume", "--rank", "2") == 2
    assert "model.rank is 0 there, 2 here" in capsys.readouterr().err
    assert run(folder, out, "--resume", "--system", "Be kind") == 2
    assert "model.system is 'Be brief' there, 'Be kind' here" in capsys.readouterr().err


def test_the_template_of_a_model_is_its_own(folder):
    _, task, tokenizer = training.base(folder, training.ModelOptions(prompt_tokens=80))
    rows, lengths = tokenizer.rows(["1 + 1"], task.prompt_slots)
    text = tokenizer.own.decode(tokenizer.exchanged(rows[0][: lengths[0]]).tolist(), skip_special_tokens=False)
    assert text == chat_text("1 + 1", "Be brief")
