"""Addition and multiplication of long numbers with the steps of the school methods: responses of tens of tokens."""

from collections.abc import Sequence

import numpy as np

from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl.tasks._base import Task

__all__ = ["Addition", "Multiplication"]


def _sizes(digits: Sequence[int]) -> tuple[int, ...]:
    if not len(digits):
        raise ValueError(f"digits must not be empty, got {shown(digits)}; give lengths of numbers such as (4, 6)")
    return tuple(whole("digits", size, "numbers have one digit at least") for size in digits)


def _number(rng: np.random.Generator, size: int) -> int:
    """Uniform among the numbers of exactly so many digits."""
    return int(rng.integers(10 ** (size - 1) if size > 1 else 0, 10**size))


def _slipped(value: int, rng: np.random.Generator, wrong: float) -> int:
    """The value, or with probability `wrong` one that is off by one to three, never below zero."""
    if rng.random() < wrong:
        return abs(value + int(rng.integers(1, 4)) * (1 if rng.random() < 0.5 else -1))
    return value


class _Arithmetic(Task):
    """Two numbers and a sign; the answer follows the only `#`."""

    alphabet = "0123456789+*=;#"
    sign: str

    def __init__(self, digits: Sequence[int]) -> None:
        self.digits = self.difficulty = _sizes(digits)

    def draw(self, rng: np.random.Generator) -> str:
        """Both numbers have lengths drawn from `digits`."""
        sizes = [self.digits[rng.integers(len(self.digits))] for _ in range(2)]
        return self.sign.join(str(_number(rng, size)) for size in sizes) + "="

    def numbers(self, prompt: str) -> tuple[int, int]:
        """The two numbers."""
        first, second = prompt[:-1].split(self.sign)
        return int(first), int(second)

    def reward(self, prompt: str, response: str) -> float:
        """1 when the text after the only `#` is the result."""
        first, second = self.numbers(prompt)
        return float(self.answer(response) == str(first + second if self.sign == "+" else first * second))

    def answer(self, response: str) -> str:
        """What follows the only `#`."""
        parts = response.split("#")
        return parts[1] if len(parts) == 2 else ""


class Addition(_Arithmetic):
    """Column by column from the right: `47+85=` is answered by `7+5+0=12;4+8+1=13;#132`.

    Args:
        digits: lengths of the numbers, drawn with equal probability for each.

    Raises:
        ValueError: for no length, or one below 1.

    >>> Addition((2,)).demonstration("47+85=", np.random.default_rng(0))
    '7+5+0=12;4+8+1=13;#132'
    """

    name = "addition"
    sign = "+"

    def __init__(self, digits: Sequence[int] = (6, 8)) -> None:
        """Take the lengths."""
        super().__init__(digits)
        longest = max(self.digits)
        self.prompt_slots = 2 * longest + 2
        self.response_slots = 9 * longest + longest + 3

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """A wrong column sum carries and counts as written."""
        first, second = (str(number) for number in self.numbers(prompt))
        size = max(len(first), len(second))
        carry, steps, columns = 0, [], ""
        for a, b in zip(reversed(first.zfill(size)), reversed(second.zfill(size)), strict=True):
            total = min(_slipped(int(a) + int(b) + carry, rng, wrong), 19)
            steps.append(f"{a}+{b}+{carry}={total};")
            carry, columns = total // 10, str(total % 10) + columns
        return "".join(steps) + "#" + str(int((str(carry) if carry else "") + columns))


class Multiplication(_Arithmetic):
    """Partial products and a running sum: `47*36=` is answered by `47*6=282;47*30=1410;282+1410=1692;#1692`.

    Args:
        digits: lengths of the numbers, drawn with equal probability for each.

    Raises:
        ValueError: for no length, or one below 1.

    >>> Multiplication((2,)).demonstration("47*36=", np.random.default_rng(0))
    '47*6=282;47*30=1410;282+1410=1692;#1692'
    """

    name = "multiplication"
    sign = "*"

    def __init__(self, digits: Sequence[int] = (2, 3)) -> None:
        """Take the lengths."""
        super().__init__(digits)
        longest = max(self.digits)
        self.prompt_slots = 2 * longest + 2
        # longest products `a*b0=c;`, longest - 1 sums `a+b=c;`, and the answer; each part at its widest.
        self.response_slots = longest * (4 * longest + 3) + (longest - 1) * (6 * longest + 3) + 2 * longest + 2

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """A wrong product or sum is used as written."""
        first, second = self.numbers(prompt)
        total, steps = 0, []
        for place, digit in enumerate(reversed(str(second))):
            part = int(digit) * 10**place
            product = _slipped(first * part, rng, wrong)
            steps.append(f"{first}*{part}={product};")
            if place:
                both = _slipped(total + product, rng, wrong)
                steps.append(f"{total}+{product}={both};")
                total = both
            else:
                total = product
        return "".join(steps) + f"#{total}"
