"""Sums of single digits with a scratchpad of running sums: `3+5+8=` is answered by `8,16#16`."""

from collections.abc import Sequence

import numpy as np

from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl.tasks._base import Task

__all__ = ["DigitSum"]


class DigitSum(Task):
    """Sums of k digits; the response lists the running sums after the first digit, then `#` and the answer.

    Only the answer is verified: a response may take any way to it.

    Args:
        terms: the numbers of digits k, drawn with equal probability.

    Raises:
        ValueError: for no k, or one below 2.

    >>> task = DigitSum()
    >>> task.reward("3+5+8+2=", task.demonstration("3+5+8+2=", np.random.default_rng(0)))
    1.0
    """

    name = "digit-sum"
    alphabet = "0123456789+=,#"

    def __init__(self, terms: Sequence[int] = (4, 6, 8)) -> None:
        """Take the numbers of digits."""
        if not len(terms):
            raise ValueError(f"terms must not be empty, got {shown(terms)}; give numbers of digits such as (4, 6, 8)")
        self.terms = tuple(whole("terms", k, "a sum has two digits at least", least=2) for k in terms)
        self.difficulty, longest = self.terms, max(self.terms)
        self.prompt_slots = 2 * longest
        widest = len(str(9 * longest + 3 * (longest - 1)))  # of a running sum, all steps wrong and upwards
        # k - 1 numbers, a separator before each but the first, the end symbol; `#` and the answer alone for k = 2.
        self.response_slots = max((longest - 1) * (widest + 1), widest + 2)

    def draw(self, rng: np.random.Generator) -> str:
        """Digits are uniform."""
        k = self.terms[rng.integers(len(self.terms))]
        return "+".join(map(str, rng.integers(0, 10, k))) + "="

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """A wrong step is off by one to three, up or down, never below zero."""
        digits = [int(digit) for digit in prompt[:-1].split("+")]
        total, steps = digits[0], []
        slips = rng.random(len(digits) - 1) < wrong
        for digit, slip in zip(digits[1:], slips, strict=True):
            total += digit
            if slip:
                total = abs(total + int(rng.integers(1, 4)) * (1 if rng.random() < 0.5 else -1))
            steps.append(str(total))
        return ",".join(steps[:-1]) + "#" + steps[-1] if len(steps) > 1 else "#" + steps[-1]

    def reward(self, prompt: str, response: str) -> float:
        """1 when the text after the only `#` is the sum."""
        return float(self.answer(response) == str(sum(map(int, prompt[:-1].split("+")))))

    def answer(self, response: str) -> str:
        """What follows the only `#`."""
        parts = response.split("#")
        return parts[1] if len(parts) == 2 else ""
