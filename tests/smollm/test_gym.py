"""A tiny random Llama learns on a task of reasoning-gym behind the chat template; run by `make test-extras`."""

import json
import string

import jax
import numpy as np
import pytest

from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tiny_llm_rl.cli import main
from tiny_llm_rl.smollm.chat import SYSTEM, ChatTokenizer, chat_text
from tiny_llm_rl.smollm.training import ModelOptions, base
from tiny_llm_rl.smollm.weights import load_llama, save_llama

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # theirs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Hugging Face directory: one token a character, and ChatML's."""
    from tokenizers import Tokenizer, decoders, models

    out = tmp_path_factory.mktemp("llama")
    vocabulary = {sign: i for i, sign in enumerate("\n" + string.printable[:95])}
    own = Tokenizer(models.BPE(vocabulary, []))
    own.decoder = decoders.Fuse()
    own.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    own.save(str(out / "tokenizer.json"))
    save_llama(out, tiny.model(vocabulary=own.get_vocab_size(), biases=""), dtype="float32")
    return out


def test_questions_of_the_gym_are_asked_in_the_template(folder):
    """One token a character is more than the template of SmolLM2 takes; there is room all the same."""
    model, task, tokenizer = base(folder, ModelOptions("gym:spell_backward", graded=True))
    rng = np.random.default_rng(0)
    texts = [task.prompt(rng) for _ in range(4)]
    rows, lengths = tokenizer.rows(texts, task.prompt_slots)
    assert lengths.max() > 96 + 48
    said = [
        tokenizer.own.decode(tokenizer.exchanged(row[:n]).tolist(), False) for row, n in zip(rows, lengths, strict=True)
    ]
    assert said == [chat_text(text, SYSTEM) for text in texts]
    answer = task.demonstration(texts[0], rng)
    assert task.reward(texts[0], f" {answer}\n") == 1.0
    assert 0 < task.reward(texts[0], answer[:-1] + "#") < 1
    tokens = tokenizer.exchanged(np.array([*tokenizer.own.encode(answer).ids, tokenizer.end]))
    assert tokenizer.text(tokens) == answer
    assert model.config.vocabulary == tokenizer.size == ChatTokenizer(folder).size


def test_an_update_is_taken_on_the_gym(folder, tmp_path, capsys):
    arguments = (
        "--task", "gym:spell_backward", "--graded", "--tokens", 12, "--prompts", 8, "--rollouts", 16,
        "--minibatches", 1, "--batches", 1, "--evaluation-prompts", 8, "--evaluation-samples", 16,
        "--compute", "float32", "--rows", 32, "--learning-rate", 1e-2, "--json",
    )  # fmt: skip
    status = main(["smollm", "train", "--out", str(tmp_path / "run"), "--base", str(folder), *map(str, arguments)])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert json.loads(said.out)["status"] == "FINISHED"
    (record,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 0 < record["train_reward"] < 1  # letters that are right by chance
    assert record["loss"] > 0
    assert record["largest_log_ratio"] > 0
    before, after = load_llama(folder), load_llama(tmp_path / "run" / "model")
    assert (np.asarray(before.embedding) != np.asarray(after.embedding)).any()
    assert jax.tree.structure(before) == jax.tree.structure(after)
