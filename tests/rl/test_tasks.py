"""Tasks: what a verifier accepts and refuses, and that prompts of training and evaluation never meet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wrong import refused
from tiny_llm_rl import tasks
from tiny_llm_rl.tokenizer import Tokenizer

NAMES = tuple(tasks.TASKS)
seeds = st.integers(0, 10**6)


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
def test_right_demonstrations_are_accepted_and_fit(name, seed):
    task, rng = tasks.make(name), np.random.default_rng(seed)
    prompt = task.prompt(rng)
    response = task.demonstration(prompt, rng)
    assert task.reward(prompt, response) == 1.0
    tokenizer = Tokenizer(task.alphabet)
    rows, lengths = tokenizer.rows([prompt], task.prompt_slots)
    assert tokenizer.text(rows[0]) == prompt
    assert lengths[0] == len(prompt)
    assert len(response) < task.response_slots


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds)
def test_careless_demonstrations_fit_too(name, seed):
    task, rng = tasks.make(name), np.random.default_rng(seed)
    prompt = task.prompt(rng)
    response = task.demonstration(prompt, rng, 1.0)
    assert len(response) < task.response_slots
    Tokenizer(task.alphabet).rows([response], task.response_slots)


@pytest.mark.parametrize("name", NAMES)
def test_carelessness_costs_the_reward(name):
    task, rng = tasks.make(name), np.random.default_rng(0)
    prompts = [task.prompt(rng) for _ in range(300)]
    rates = [
        np.mean([task.reward(prompt, task.demonstration(prompt, rng, wrong)) for prompt in prompts])
        for wrong in (0.0, 0.3, 1.0)
    ]
    assert rates[0] == 1.0
    assert rates[0] > rates[1] > rates[2]


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds, junk=st.text(alphabet="0123456789+-*=,#;:", max_size=12))
def test_a_verifier_never_fails(name, seed, junk):
    task = tasks.make(name)
    prompt = task.prompt(np.random.default_rng(seed))
    assert task.reward(prompt, junk) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "prompt", "response", "reward"),
    [
        ("digit-sum", "3+5+8=", "8#16", 1.0),
        ("digit-sum", "3+5+8=", "#16", 1.0),  # any way to the answer
        ("digit-sum", "3+5+8=", "8#016", 0.0),
        ("digit-sum", "3+5+8=", "8#1#16", 0.0),
        ("digit-sum", "3+5+8=", "16", 0.0),
        ("addition", "47+85=", "#132", 1.0),
        ("addition", "47+85=", "#0132", 0.0),
        ("multiplication", "47*36=", "#1692", 1.0),
        ("multiplication", "47*36=", "#1691", 0.0),
        ("countdown", "3,5,7:22=", "3*5=15;15+7=22;", 1.0),
        ("countdown", "3,5,7:22=", "3*5=15;7+15=22;", 1.0),
        ("countdown", "3,5,7:22=", "3*5=15;15+7=22", 0.0),  # no end of the last step
        ("countdown", "3,5,7:22=", "3*5=15;", 0.0),  # a number is left
        ("countdown", "3,5,7:22=", "3*5=15;15+7=22;22+0=22;", 0.0),  # a number that is not there
        ("countdown", "3,5,7:22=", "3*5=14;15+7=22;", 0.0),  # a wrong step
        ("countdown", "3,5,7:1=", "3-5=-2;-2+7=5;", 0.0),  # a negative difference
    ],
)
def test_what_a_verifier_says(name, prompt, response, reward):
    assert tasks.make(name).reward(prompt, response) == reward


@pytest.mark.parametrize("name", NAMES)
def test_held_out_prompts_are_a_share_of_all(name):
    task, rng = tasks.make(name), np.random.default_rng(0)
    drawn = [task.draw(rng) for _ in range(2000)]
    share = np.mean([tasks.held_out(prompt) for prompt in drawn])
    assert abs(share - 1 / tasks.HELD_OUT) < 0.03
    assert all(not tasks.held_out(task.prompt(rng)) for _ in range(200))
    assert all(tasks.held_out(task.prompt(rng, evaluation=True)) for _ in range(200))


@given(texts=st.lists(st.text(alphabet="0123+=", max_size=6), min_size=1, max_size=4))
def test_tokens_come_back_as_text(texts):
    tokenizer = Tokenizer("0123+=")
    rows, lengths = tokenizer.rows(texts, 7)
    assert tokenizer.texts(rows) == texts == [tokenizer.text(row) for row in rows]
    assert lengths.tolist() == [len(text) for text in texts]
    rows[np.arange(len(texts)), lengths] = 1
    assert tokenizer.texts(rows) == texts  # the end symbol is not part of the text
    assert rows.max() < tokenizer.size


def test_a_task_with_too_few_prompts_is_refused():
    class Single(tasks.DigitSum):
        def draw(self, rng):
            return "1+1="

    task, rng, empty = Single(), np.random.default_rng(0), not tasks.held_out("1+1=")
    refused(ValueError, lambda: task.prompt(rng, evaluation=empty), "digit-sum", "10000")


def test_difficulty_decides_the_prompts():
    rng = np.random.default_rng(0)
    assert {tasks.make("digit-sum", (3,)).prompt(rng).count("+") for _ in range(20)} == {2}
    assert {len(tasks.make("addition", (2,)).prompt(rng)) for _ in range(20)} == {6}


def test_wrong_inputs():
    refused(ValueError, lambda: tasks.make("digitsum"), "task", "digitsum", "digit-sum")
    refused(ValueError, lambda: tasks.make("digit-sum", graded=True), "graded", "digit-sum")
    refused(ValueError, lambda: tasks.make("gym:lcm", (3,)), "difficulty=(3,)", "gym:lcm")
    refused(ValueError, lambda: tasks.make("addition", settings={"a": 1}), "settings", "addition")
    refused(ValueError, lambda: tasks.DigitSum(()), "terms", "()")
    refused(ValueError, lambda: tasks.DigitSum((1,)), "terms", "1")
    refused(TypeError, lambda: tasks.DigitSum((2.5,)), "terms", "2.5")
    refused(ValueError, lambda: tasks.Addition(()), "digits", "()")
    refused(ValueError, lambda: tasks.Multiplication((0,)), "digits", "0")
    refused(ValueError, lambda: tasks.Countdown(()), "count", "()")
    refused(ValueError, lambda: tasks.Countdown((1,)), "count", "1")
    refused(ValueError, lambda: tasks.Countdown((3,), 1), "largest", "1")
    refused(ValueError, lambda: Tokenizer("0120"), "alphabet", "0120")
    refused(ValueError, lambda: Tokenizer(""), "alphabet")
    refused(ValueError, lambda: Tokenizer("01$"), "alphabet", "$")
    refused(ValueError, lambda: Tokenizer("01").rows(["0110"], 3), "4 symbols", "3 slots")
    refused(ValueError, lambda: Tokenizer("01").rows(["0x"], 3), "'x'", "alphabet")


def test_reasoning_gym_is_an_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    refused(ValueError, lambda: tasks.make("gym:chain_sum"), "gym:chain_sum", "not installed", "tasks")
