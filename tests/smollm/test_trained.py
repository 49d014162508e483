"""What is saved is what was trained, to the bit; what a run's directory belongs to. Models of a token a character."""

import json
import string

import equinox as eqx
import numpy as np
import pytest
import tokenizers

from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tests.wrong import refused
from tiny_llm_rl.cli import main
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.rollout import END_TOKEN
from tiny_llm_rl.smollm import training
from tiny_llm_rl.smollm.chat import chat_text
from tiny_llm_rl.smollm.lora import merged
from tiny_llm_rl.smollm.policy import load_chat
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
    for later in ("task_settings", "save_dtype"):
        del stored["config"]["model"][later]
    (out / "config.json").write_text(json.dumps(stored))
    assert run(folder, out, "--resume") in (0, 1)
    assert json.loads((out / "model" / "config.json").read_text())["torch_dtype"] == "float32"
    capsys.readouterr()
    assert run(folder, out, "--resume", "--rank", "2") == 2
    assert "model.rank is 0 there, 2 here" in capsys.readouterr().err
    assert run(folder, out, "--resume", "--system", "Be kind") == 2
    assert "model.system is 'Be brief' there, 'Be kind' here" in capsys.readouterr().err


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_is_asked_as_it_was_trained(folder, tmp_path, rank, capsys, monkeypatch):
    """With its own instruction; by its checkpoint where it kept no model, which is the same model."""
    monkeypatch.setattr(ChatArithmetic, "reward", lambda task, prompt, text: float(len(text.strip()) % 2))
    out, bare = tmp_path / "run", tmp_path / "bare"
    given = ("--rank", str(rank), "--system", "Be kind", "--learning-rate", "0.1")
    assert run(folder, out, *given) == 0
    assert run(folder, bare, *given, "--save-dtype", "none") == 0
    assert (out / "model").is_dir()
    assert not (bare / "model").exists()
    ended, tokenizer = load_chat(str(out))
    stopped, other = load_chat(str(bare))
    assert tokenizer.system == other.system == "Be kind"
    assert load_chat(str(bare), system="")[1].system == ""
    text = tokenizer.rows(["1 + 1"], 200)[0][0]
    start = load_chat(str(folder))[0]
    assert np.abs(tiny.logits(ended, text) - tiny.logits(start, text)).max() > 0.1
    assert stopped.config.compute == "float32"
    np.testing.assert_array_equal(tiny.logits(ended, text), tiny.logits(merged(stopped), text))
    assert load_chat(str(bare), compute="bfloat16")[0].config.compute == "bfloat16"
    capsys.readouterr()
    assert main(["smollm", "chat", "1 + 1", "--model", str(bare), "--tokens", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"][0]["question"] == "1 + 1"
    (bare / "config.json").write_text((bare / "config.json").read_text().replace('"smollm"', '"train"'))
    refused(ValueError, lambda: load_chat(str(bare)), "bare", "'train'", "tiny-llm-rl sample")


def test_cells_of_a_sweep_are_such_runs(folder, tmp_path, capsys):
    """What a worker leaves is what `smollm train` leaves, and goes on with."""
    out, own = tmp_path / "sweep", tmp_path / "own"
    settings = {**TRAINED, "base": folder, "prompts": 16, "rollouts": 16, "difficulty": 1}
    inside = {"tokens": 4, "compute": "float32", "prompt_tokens": 80, "system": "Be kind"}
    given = [f"{name}={value}" for name, value in settings.items()]
    given += [f"model.{name}={value}" for name, value in inside.items()]
    arguments = ("sweep", "--kind", "smollm", "--out", str(out), "--workers", "1", "--set", *given)
    assert main([*arguments, "--grid", "model.rank=0,2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cell["status"] for cell in found["cells"]] == ["FINISHED"] * 2
    assert [cell["config.model.rank"] for cell in found["cells"]] == [0, 2]
    cell = out / "model.rank=2"
    assert '"loss"' in (cell / "metrics.jsonl").read_text()  # some response was right
    more = ("--rank", "2", "--system", "Be kind", "--prompts", "16", "--rollouts", "16")
    assert run(folder, own, *more) == 0
    here, there, start = (load_llama(path).layers.weights["down"] for path in (cell / "model", own / "model", folder))
    np.testing.assert_allclose(here, there, atol=1e-7)  # threads and optimisations differ
    assert np.abs(np.asarray(here - start)).max() > 1e-6
    weights = cell / "model" / "model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    assert run(folder, cell, *more, "--resume") == 0
    assert weights.read_bytes() == before


def test_the_template_of_a_model_is_its_own(folder):
    _, task, tokenizer = training.base(folder, training.ModelOptions(prompt_tokens=80))
    rows, lengths = tokenizer.rows(["1 + 1"], task.prompt_slots)
    text = tokenizer.own.decode(tokenizer.exchanged(rows[0][: lengths[0]]).tolist(), skip_special_tokens=False)
    assert text == chat_text("1 + 1", "Be brief")
