"""Questions for a chat model: arithmetic in words, and any other task behind the chat template."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from tiny_llm_rl._checks import choice, shown, whole
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tasks import make as make_plain

__all__ = ["OPERATIONS", "ChatArithmetic", "Templated", "last_integer", "make", "read_settings"]

_TRIES: Final = 1000
_FIRST: Final = 100  # tries before the first question that fits is found
OPERATIONS: Final = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def last_integer(text: str) -> int | None:
    """The last integer of a text, where digits may be grouped by commas; None where there is none.

    >>> last_integer("2 + 3 = 5, so the answer is 1,005.")
    1005
    """
    found = re.findall(r"-?\d{1,3}(?:,\d{3})+(?!\d)|-?\d+", text)
    return int(found[-1].replace(",", "")) if found else None


class ChatArithmetic(Task):
    """Sums, differences or products of two numbers, asked in words; the last integer of the response counts.

    Args:
        difficulty: digits of the two numbers, drawn from these.
        operations: letters of `OPERATIONS`.
        prompt_slots: tokens of a question in the template.
        response_slots: tokens of a response, the one that ends it included.

    Raises:
        ValueError: for digits out of range or an unknown operation.

    >>> ChatArithmetic().reward("What is 2 + 3? Answer with the number only.", "2 + 3 = 5")
    1.0
    """

    def __init__(
        self,
        difficulty: tuple[int, ...] = (1, 2),
        *,
        operations: str = "+-",
        prompt_slots: int = 64,
        response_slots: int = 24,
    ) -> None:
        """Check the sizes."""
        for digits in difficulty:
            whole("difficulty", digits, "digits of the numbers, for instance 1 and 2", most=9)
        for operation in operations:
            choice("operations", operation, OPERATIONS)
        if not difficulty or not operations:
            raise ValueError("difficulty and operations must not be empty; take digits 1 and 2, operations +-")
        self.name = "chat-arithmetic"
        self.alphabet = ""
        self.difficulty, self.operations = difficulty, operations
        self.prompt_slots = whole("prompt_slots", prompt_slots, "64 hold the template and a question")
        self.response_slots = whole("response_slots", response_slots, "24 hold a sentence", least=2)

    def draw(self, rng: np.random.Generator) -> str:
        """A question; numbers of d digits are uniform on [0, 10^d)."""
        a, b = (int(rng.integers(10 ** int(rng.choice(self.difficulty)))) for _ in range(2))
        operation = self.operations[int(rng.integers(len(self.operations)))]
        return f"What is {a} {operation} {b}? Answer with the number only."

    def _right(self, prompt: str) -> int:
        parts = re.fullmatch(r"What is (\d+) ([-+*]) (\d+)\? Answer with the number only\.", prompt)
        if parts is None:
            raise ValueError(f"prompt {shown(prompt)} is no question of this task; take one that it drew")
        return int(OPERATIONS[parts[2]](int(parts[1]), int(parts[3])))

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """The number, or one beside it."""
        return str(self._right(prompt) + (int(rng.integers(1, 3)) if rng.random() < wrong else 0))

    def reward(self, prompt: str, response: str) -> float:
        """1 where the last integer of the response is the answer."""
        return float(last_integer(response) == self._right(prompt))

    def answer(self, response: str) -> str:
        """The last integer."""
        found = last_integer(response)
        return "" if found is None else str(found)


class Templated(Task):
    """Another task with room for the template; its verifier sees the response without spaces around it.

    Args:
        plain: the task.
        template: tokens that the template adds to a question.
        longest: tokens of a question; 0 is as many as the plain task has characters.
        fits: whether a question in the template takes no more than so many tokens; others are not drawn.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(
        self,
        plain: Task,
        template: int = 48,
        *,
        longest: int = 0,
        fits: Callable[[str, int], bool] = lambda question, slots: True,
    ) -> None:
        """Take over names and sizes."""
        self.plain, self.fits = plain, fits
        self.name, self.alphabet = f"chat-{plain.name}", plain.alphabet
        self.longest = whole("longest", longest, "take 0 for the task's own", least=0) or plain.prompt_slots
        self.prompt_slots = self.longest + whole("template", template, "48 hold SmolLM2's")
        self.response_slots = plain.response_slots
        self._tries = _FIRST

    def draw(self, rng: np.random.Generator) -> str:
        """A prompt of the plain task; one that does not fit is drawn again.

        Raises:
            ValueError: where a thousand in a row did not, or the first hundred.
        """
        for _ in range(self._tries):
            question = self.plain.draw(rng)
            if self.fits(question, self.prompt_slots):
                self._tries = _TRIES
                return question
        raise ValueError(
            f"task {self.plain.name!r} has no question of up to {self.longest} tokens among {self._tries}; "
            "raise prompt_tokens, or change the settings of the task"
        )

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """That of the plain task."""
        return self.plain.demonstration(prompt, rng, wrong)

    def reward(self, prompt: str, response: str) -> float:
        """What the plain task says of the stripped response."""
        return self.plain.reward(prompt, response.strip())

    def answer(self, response: str) -> str:
        """Of the plain task."""
        return self.plain.answer(response.strip())


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a dataset from `NAME=VALUE`, the value JSON, or text where it is none.

    Raises:
        ValueError: for a text of another form, or a name that comes twice.

    >>> read_settings(["min_terms=3", 'operators=["+"]', "mode=fast"])
    {'min_terms': 3, 'operators': ['+'], 'mode': 'fast'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"task_settings must be NAME=VALUE, got {shown(text)}; for instance min_terms=3")
        if name in found:
            raise ValueError(f"task_settings names {name} twice, {shown(text)} the second time; give it once")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def make(
    name: str,
    difficulty: tuple[int, ...] = (),
    *,
    graded: bool = False,
    tokens: int = 0,
    template: int = 48,
    prompt_tokens: int = 0,
    settings: Sequence[str] = (),
    fits: Callable[[str, int], bool] = lambda question, slots: True,
) -> Task:
    """The task of a name.

    Args:
        name: "chat-arithmetic", or the name of any other task, for instance "gym:chain_sum".
        difficulty: the sizes that the task draws from; empty takes its own.
        graded: rewards between 0 and 1 where reasoning-gym gives them.
        tokens: longest response; 0 is the task's own.
        template: tokens that the template adds to a question; without prompt_tokens, fewer than 48 count as 48.
        prompt_tokens: longest question, tokens without the template; 0 is the task's own, for reasoning-gym 96
            characters.
        settings: `NAME=VALUE` of a dataset of reasoning-gym.
        fits: whether a question in the template takes no more than so many tokens; others are not drawn.

    Raises:
        ValueError: for an unknown name, sizes out of range, or an option that the task has no use for.

    >>> make("digit-sum").name
    'chat-digit-sum'
    """
    task: Task
    whole("prompt_tokens", prompt_tokens, "take 0 for the task's own", least=0)
    room, chosen = template if prompt_tokens else max(48, template), read_settings(settings)
    if name == "chat-arithmetic":
        for option, given in (("graded", graded), ("settings", settings)):
            if given:
                raise ValueError(f"{option} is for tasks of reasoning-gym, and {name!r} is none; leave it out")
        task = ChatArithmetic(difficulty) if difficulty else ChatArithmetic()
        task.prompt_slots = prompt_tokens + room if prompt_tokens else task.prompt_slots + room - 48
    else:
        gym: dict[str, Any] = {"settings": chosen} if chosen else {}
        if name.startswith("gym:"):  # any character is some tokens
            gym |= {"ascii_only": False, **({"prompt_slots": sys.maxsize} if prompt_tokens else {})}
        task = Templated(make_plain(name, difficulty, graded=graded, **gym), room, longest=prompt_tokens, fits=fits)
    if whole("tokens", tokens, "take 0 for the task's own", least=0):
        task.response_slots = tokens
    return task
