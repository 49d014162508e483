"""A tiny random Llama learns on a task of reasoning-gym behind the chat template; run by `make test-extras`."""

import itertools
import json
import re
import string

import jax
import numpy as np
import pytest

from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tests.test_architecture import ROOT
from tests.wrong import refused
from tiny_llm_rl.cli import main
from tiny_llm_rl.smollm.chat import ChatTokenizer, chat_text
from tiny_llm_rl.smollm.tasks import make
from tiny_llm_rl.smollm.training import ModelOptions, base
from tiny_llm_rl.smollm.weights import load_llama, save_llama

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # theirs


SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


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
    model, task, tokenizer = base(folder, ModelOptions("gym:spell_backward", system=SYSTEM), graded=True)
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


def test_most_datasets_are_asked_when_there_is_room(folder, monkeypatch, tmp_path):
    """Two questions of every dataset, for training and for evaluation, as the page counts them."""
    from reasoning_gym.factory import DATASETS

    monkeypatch.chdir(tmp_path)  # codeio runs programs, some of which write files
    tokenizer, counts, said = ChatTokenizer(folder), {0: 0, 4096: 0}, {}
    for name, room in itertools.product(sorted(DATASETS), counts):
        try:
            task = make(f"gym:{name}", prompt_tokens=room, fits=tokenizer.fits)
            texts = [task.prompt(np.random.default_rng(0), evaluation=kept) for kept in (False, True)]
        except ValueError as problem:
            said[name, room] = str(problem)
            continue
        tokenizer.rows(texts, task.prompt_slots)
        assert 0 <= task.reward(texts[0], "?") <= 1
        counts[room] += 1
    for (name, _), text in said.items():
        assert f"gym:{name}" in text
        assert "; " in text
    page = (ROOT / "docs" / "smollm.md").read_text()
    written = re.search(r"(\d+) of the\s+(\d+)\s+datasets of version 0\.1\.25 have such questions", page)
    roomy = re.search(r"(\d+) with\s+`--prompt-tokens 4096`", page)
    assert (len(DATASETS), counts) == (int(written[2]), {0: int(written[1]), 4096: int(roomy[1])}), said


def test_questions_are_cut_by_the_count_of_tokens(folder):
    """Longer ones than by default, with signs that no model of characters knows; each fits, and some do not."""
    _, task, tokenizer = base(folder, ModelOptions("gym:complex_arithmetic", prompt_tokens=53))
    texts = {task.prompt(np.random.default_rng(seed)) for seed in range(20)}
    assert all(len(tokenizer.own.encode(text).ids) <= 53 for text in texts)
    assert len({task.plain.draw(np.random.default_rng(seed)) for seed in range(20)} - texts) > 5
    assert any(not text.isascii() for text in texts)
    longer = base(folder, ModelOptions("gym:gcd", prompt_tokens=200))[1]
    assert len(longer.prompt(np.random.default_rng(0))) > 96
    refused(ValueError, lambda: base(folder, ModelOptions("gym:gcd")), "gym:gcd", "96", "prompt_tokens")
    refused(ValueError, lambda: base(folder, ModelOptions("gym:gcd", prompt_tokens=50)), "gym:gcd", "prompt_tokens")


def test_settings_reach_the_dataset(folder):
    def terms(*settings):
        task = base(folder, ModelOptions("gym:chain_sum", task_settings=settings))[1]
        return {len(re.findall(r"\d+", task.prompt(np.random.default_rng(seed)))) for seed in range(10)}

    assert terms("min_terms=3", "max_terms=3") == {3}
    assert len(terms()) > 1
    for settings, words in (
        (("terms=3",), ("gym:chain_sum", "terms")),
        (("min_terms=9", "max_terms=3"), ("gym:chain_sum", "max_terms")),
        (("size=3",), ("size", "gym:chain_sum")),
    ):
        options = ModelOptions("gym:chain_sum", task_settings=settings)
        refused(ValueError, lambda options=options: base(folder, options), *words)


@pytest.mark.parametrize(("task", "word"), [("gym:countdown", "prompt_tokens"), ("gym:composite", "settings")])
def test_what_cannot_be_asked_leaves_no_directory(folder, tmp_path, capsys, task, word):
    assert main(["smollm", "train", "--out", str(tmp_path / "run"), "--base", str(folder), "--task", task]) == 2
    said = capsys.readouterr().err
    assert task in said
    assert word in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


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
