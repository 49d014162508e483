"""Tasks of the package reasoning-gym, through the extra `tasks`: procedural problems with graded verifiers."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl.tasks._base import Task

__all__ = ["ReasoningGym"]

_SIZE: Final = 2**31  # entries are made when they are asked for, each from its number
_FEWER: Final = 20_000
_LISTED: Final = ("acre", "gsm_symbolic", "list_functions", "word_ladder")  # make all at once, or no more than that
_TRIES: Final = 1000
_FIRST: Final = 100  # tries before the first question is found: some make five a second
_KEPT: Final = 2**16  # questions whose answers can be asked for: more than a batch, or an evaluation, has


class ReasoningGym(Task):
    """A dataset of reasoning-gym: its questions, and what its verifier says of a response.

    Args:
        dataset: its name there, for instance "chain_sum".
        graded: rewards as scored there, in [0, 1]; otherwise 1 for a full score and 0 for less.
        prompt_slots: longer questions, in characters, are not drawn.
        response_slots: longest response, its end symbol included.
        ascii_only: questions with characters outside `alphabet` are not drawn, which is for models of characters.
        settings: of the dataset.

    Raises:
        ValueError: when reasoning-gym is not installed, knows no such dataset, or refuses a setting.
    """

    def __init__(
        self,
        dataset: str = "chain_sum",
        *,
        graded: bool = False,
        prompt_slots: int = 96,
        response_slots: int = 16,
        ascii_only: bool = True,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Build the dataset."""
        try:
            import reasoning_gym  # type: ignore[import-not-found, unused-ignore]
            from reasoning_gym.factory import DATASETS  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ValueError(
                f"task 'gym:{dataset}' needs reasoning-gym, which is not installed; pip install 'pmdtheory[tasks]'"
            ) from None
        self.name = f"gym:{dataset}"
        self.prompt_slots = whole("prompt_slots", prompt_slots, "count the characters of a question")
        self.response_slots = whole("response_slots", response_slots, "count the characters of an answer", least=2)
        self.alphabet = "".join(map(chr, range(32, 127))).replace("$", "").replace("~", "") + "\n"
        self.graded, self.ascii_only = graded, ascii_only
        self._entries: OrderedDict[str, Any] = OrderedDict()
        self._size = _FEWER if dataset in _LISTED else _SIZE
        if dataset not in DATASETS:
            raise ValueError(f"dataset must be one of reasoning-gym, got {dataset!r}; look up its names there")
        for name in ("size", "seed"):
            if name in settings:
                raise ValueError(f"setting {name} of {self.name} is not free, as questions are drawn; leave it out")
        try:
            self._data = reasoning_gym.create_dataset(dataset, size=self._size, seed=0, **settings)
        except Exception as problem:  # theirs, of any kind
            raise ValueError(
                f"{self.name} with the settings {shown(dict(settings))} is refused by reasoning-gym "
                f"({_said(problem)}); look up the settings of that dataset there"
            ) from None

    def draw(self, rng: np.random.Generator) -> str:
        """A question; those that are too long, have other characters, or cannot be made are drawn again.

        Raises:
            ValueError: where a thousand in a row were, or the first hundred.
        """
        known, shortest, problem = set(self.alphabet), 0, ""
        tries = _TRIES if self._entries else _FIRST
        for _ in range(tries):
            try:
                entry = self._data[int(rng.integers(self._size))]
            except Exception as own:  # theirs, of any kind: this number has no question
                problem = _said(own)
                self._data.size = self._size  # word_ladder takes a number without one for its end
                continue
            question = str(entry["question"])
            if len(question) <= self.prompt_slots and (not self.ascii_only or set(question) <= known):
                self._entries[question] = entry
                self._entries.move_to_end(question)
                if len(self._entries) > _KEPT:
                    self._entries.popitem(last=False)
                return question
            shortest = min(shortest or len(question), len(question))
        if not shortest:
            raise ValueError(f"{self.name} makes no question ({problem}); change its settings, or take another dataset")
        raise ValueError(
            f"{self.name} has no question of up to {self.prompt_slots} characters"
            f"{' of printable ASCII' if self.ascii_only else ''} among {tries}, the shortest had {shortest}; take "
            "another dataset, or a chat model, where prompt_tokens gives room"
        )

    def demonstration(self, prompt: str, rng: np.random.Generator, wrong: float = 0.0) -> str:
        """The stored answer; a wrong one is the answer of another question."""
        if rng.random() < wrong:
            prompt = self.draw(rng)
        return str(self._entry(prompt)["answer"])

    def reward(self, prompt: str, response: str) -> float:
        """The dataset's score, thresholded unless graded; 0 for a response on which its verifier breaks off.

        Raises:
            ValueError: for a prompt that was not drawn.
        """
        entry = self._entry(prompt)
        try:
            score = float(self._data.score_answer(response, entry))
        except Exception:  # some of theirs take a response apart as if it had the form of an answer
            return 0.0
        return score if self.graded else float(score >= 1.0)

    def answer(self, response: str) -> str:
        """The whole response."""
        return response

    def _entry(self, prompt: str) -> Any:
        try:
            return self._entries[prompt]
        except KeyError:
            raise ValueError(
                f"prompt {shown(prompt)} is none of the last {_KEPT} that {self.name} drew; give one that it drew"
            ) from None


def _said(problem: Exception) -> str:
    """The text of a problem in one line."""
    return (" ".join(str(problem).split()) or type(problem).__name__)[:120]
