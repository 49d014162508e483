"""Tasks of the package reasoning-gym, through the extra `tasks`: procedural problems with graded verifiers."""

from typing import Any

import numpy as np

from tiny_llm_rl._checks import whole
from tiny_llm_rl.tasks._base import Task

__all__ = ["ReasoningGym"]


_SIZE = 2**31  # entries are made when they are asked for, each from its number


class ReasoningGym(Task):
    """A dataset of reasoning-gym, with its prompts shortened to their question and answers as plain text.

    Args:
        dataset: its name there, for instance "chain_sum".
        graded: rewards as scored there, in [0, 1]; otherwise 1 for a full score and 0 for less.
        prompt_slots: longer prompts are not drawn.
        response_slots: longest response, its end symbol included.
        settings: of the dataset.

    Raises:
        ValueError: when reasoning-gym is not installed, or knows no such dataset.
    """

    def __init__(
        self,
        dataset: str = "chain_sum",
        *,
        graded: bool = False,
        prompt_slots: int = 96,
        response_slots: int = 16,
        **settings: Any,
    ) -> None:
        """Build the dataset."""
        try:
            import reasoning_gym  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ValueError(
                f"task 'gym:{dataset}' needs reasoning-gym, which is not installed; pip install 'pmdtheory[tasks]'"
            ) from None
        self.name = f"gym:{dataset}"
        self.prompt_slots = whole("prompt_slots", prompt_slots, "count the characters of a question")
        self.response_slots = whole("response_slots", response_slots, "count the characters of an answer", least=2)
        self.alphabet = "".join(map(chr, range(32, 127))).replace("$", "").replace("~", "") + "\n"
        self.graded = graded
        self._entries: dict[str, Any] = {}
        try:
            self._data = reasoning_gym.create_dataset(dataset, size=_SIZE, seed=0, **settings)
        except (ValueError, TypeError, AssertionError) as problem:
            raise ValueError(
                f"dataset must be one of reasoning-gym, got {dataset!r} ({problem}); look up its names"
            ) from None

    def draw(self, rng: np.random.Generator) -> str:
        """Questions longer than the slots, or with other characters, are drawn again."""
        known = set(self.alphabet)
        for _ in range(1000):
            entry = self._data[int(rng.integers(_SIZE))]
            question = str(entry["question"])
            if len(question) <= self.prompt_slots and set(question) <= known:
                self._entries[question] = entry
                return question
        raise ValueError(
            f"prompt_slots={self.prompt_slots} is too short for {self.name}: 1000 questions were longer; give it more"
        )

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """The stored answer; a wrong one is the answer of another question."""
        if rng.random() < wrong:
            prompt = self.draw(rng)
        return str(self._entries[prompt]["answer"])

    def reward(self, prompt: str, response: str) -> float:
        """The dataset's score, thresholded unless graded."""
        score = float(self._data.score_answer(response, self._entries[prompt]))
        return score if self.graded else float(score >= 1.0)

    def answer(self, response: str) -> str:
        """The whole response."""
        return response
