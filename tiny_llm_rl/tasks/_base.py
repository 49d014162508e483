"""What a task is: prompts, demonstrations and a verifier. Prompts are held out by a hash of their text."""

import zlib
from abc import ABC, abstractmethod
from typing import Final

import numpy as np

__all__ = ["HELD_OUT", "Task", "held_out"]

HELD_OUT: Final = 8  # one prompt in so many is kept for evaluation
_TRIES: Final = 10_000


def held_out(prompt: str) -> bool:
    """Whether a prompt belongs to the evaluation: decided by its text, so that no run can train on it."""
    return zlib.crc32(prompt.encode()) % HELD_OUT == 0


class Task(ABC):
    """Problems with a programmatic verifier.

    Attributes:
        name: in the registry and on the command line.
        alphabet: characters of prompts and responses.
        prompt_slots: the longest prompt, tokens.
        response_slots: the longest response, tokens, its end symbol included.
        difficulty: the sizes that it draws from; empty where a task has none.
    """

    name: str
    alphabet: str
    prompt_slots: int
    response_slots: int
    difficulty: tuple[int, ...] = ()

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> str:
        """A prompt from the task's whole law."""

    @abstractmethod
    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """A response that solves the prompt, without its end symbol; each step is wrong with probability `wrong`.

        A wrong step is followed as if it were right, so that the answer is the one a careless solver would give.
        """

    @abstractmethod
    def reward(self, prompt: str, response: str) -> float:
        """In [0, 1]: what the verifier says about a response without its end symbol."""

    @abstractmethod
    def answer(self, response: str) -> str:
        """The part of a response that majority votes are taken over; empty where it has none."""

    def prompt(self, rng: np.random.Generator, *, evaluation: bool = False) -> str:
        """A prompt for training, or one for evaluation: the two sets share none.

        Raises:
            ValueError: for a task with so few prompts that one of the sets is empty.

        >>> import numpy as np
        >>> from tiny_llm_rl.tasks import make
        >>> task, rng = make("digit-sum"), np.random.default_rng(0)
        >>> train, kept = ({task.prompt(rng, evaluation=e) for _ in range(500)} for e in (False, True))
        >>> train & kept
        set()
        """
        for _ in range(_TRIES):
            found = self.draw(rng)
            if held_out(found) == evaluation:
                return found
        kept = "held-out" if evaluation else "training"
        raise ValueError(f"task {self.name!r} has no {kept} prompt among {_TRIES} draws; give it more prompts")
