"""Countdown: reach a target with given numbers, each used once: `3,5,7:22=` is answered by `3*5=15;15+7=22;`."""

from collections.abc import Sequence

import numpy as np

from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl.tasks._base import Task

__all__ = ["Countdown"]


class Countdown(Task):
    """Numbers and a target; the response combines two numbers at a time until one is left, which must be the target.

    Every step is verified: its numbers must be there and unused, its result right, a difference not negative.

    Args:
        count: how many numbers, drawn with equal probability.
        largest: numbers are uniform in 1 ... largest.

    Raises:
        ValueError: for no count, one below 2, or largest below 2.

    >>> task, rng = Countdown(), np.random.default_rng(0)
    >>> prompt = task.draw(rng)
    >>> task.reward(prompt, task.demonstration(prompt, rng))
    1.0
    """

    name = "countdown"
    alphabet = "0123456789+-*=,:;"

    def __init__(self, count: Sequence[int] = (3, 4), largest: int = 12) -> None:
        """Take sizes."""
        if not len(count):
            raise ValueError(f"count must not be empty, got {shown(count)}; give numbers of numbers such as (3, 4)")
        self.count = tuple(whole("count", k, "two numbers at least are combined", least=2) for k in count)
        self.largest = whole("largest", largest, "numbers are drawn from 1 to it", least=2)
        self.difficulty = self.count
        longest, wide = max(self.count), len(str(largest))
        widest = wide * longest
        self.prompt_slots = longest * (wide + 1) + widest + 1
        self.response_slots = (longest - 1) * (3 * widest + 3) + 1

    def _plan(self, numbers: list[int], rng: np.random.Generator) -> tuple[int, list[tuple[int, str, int, int]]]:
        """A random way to combine the numbers, and where it leads."""
        left, steps = list(numbers), []
        while len(left) > 1:
            first, second = (left.pop(int(rng.integers(len(left)))) for _ in range(2))
            sign = "+-*"[rng.integers(3)]
            if sign == "-" and first < second:
                first, second = second, first
            result = first + second if sign == "+" else first - second if sign == "-" else first * second
            steps.append((first, sign, second, result))
            left.append(result)
        return left[0], steps

    def draw(self, rng: np.random.Generator) -> str:
        """The target is where a random way of combining leads, so that every prompt has a solution."""
        numbers = [
            int(number) for number in rng.integers(1, self.largest + 1, self.count[rng.integers(len(self.count))])
        ]
        target, _ = self._plan(numbers, rng)
        return ",".join(map(str, numbers)) + f":{target}="

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """A way found by trying; with probability `wrong` the first way tried, wherever it leads."""
        numbers, target = self.numbers(prompt)
        reached, steps = self._plan(numbers, rng)
        tolerated = rng.random() < wrong
        while reached != target and not tolerated:
            reached, steps = self._plan(numbers, rng)
        return "".join(f"{first}{sign}{second}={result};" for first, sign, second, result in steps)

    def numbers(self, prompt: str) -> tuple[list[int], int]:
        """The numbers and the target."""
        given, target = prompt[:-1].split(":")
        return [int(number) for number in given.split(",")], int(target)

    def reward(self, prompt: str, response: str) -> float:
        """1 when every step is right and the last number left is the target."""
        left, target = self.numbers(prompt)
        parts = response.split(";")
        if parts.pop() != "":
            return 0.0
        for part in parts:
            side, _, result = part.partition("=")
            sign = next((sign for sign in "+-*" if sign in side), "")
            terms = side.split(sign) if sign else []
            if len(terms) != 2 or not all(term.isdigit() for term in (*terms, result)):
                return 0.0
            first, second = map(int, terms)
            for number in (first, second):
                if number not in left:
                    return 0.0
                left.remove(number)
            value = first + second if sign == "+" else first - second if sign == "-" else first * second
            if value != int(result):
                return 0.0
            left.append(value)
        return float(left == [target])

    def answer(self, response: str) -> str:
        """The result of the last step; majority votes are over the whole way, which is what is verified."""
        return response
