"""Text for a chat model: its tokenizer, the ChatML template, and rows of tokens as the trainer wants them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl.rollout import END_TOKEN

__all__ = ["ChatTokenizer", "chat_text", "own_system"]

_START, _END = "<|im_start|>", "<|im_end|>"
# What a template writes where no instruction is given stands in it as a whole turn.
_TURN: Final = re.compile(r"<\|im_start\|>system(?:\\n|\n)([^'\"{}<>]+)<\|im_end\|>")


def own_system(folder: Path) -> str:
    """The instruction that a model's own template begins with where no other is given; empty where it has none.

    SmolLM2's is "You are a helpful AI assistant named SmolLM, trained by Hugging Face".

    Args:
        folder: with `chat_template.jinja` or `tokenizer_config.json`, or neither.

    Raises:
        ValueError: for a file that cannot be read.

    >>> own_system(Path("nowhere"))
    ''
    """
    separate, settings = Path(folder) / "chat_template.jinja", Path(folder) / "tokenizer_config.json"
    template: Any = None
    try:
        if separate.is_file():
            template = separate.read_text(encoding="utf-8")
        elif settings.is_file():
            template = dict(json.loads(settings.read_text(encoding="utf-8"))).get("chat_template")
        if isinstance(template, list):  # several, by name
            template = {each["name"]: each["template"] for each in template}.get("default")
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"{settings} cannot be read; fetch the model again") from None
    found = _TURN.search(template or "")
    return found[1] if found else ""


def chat_text(question: str, system: str = "") -> str:
    r"""A question in the ChatML template, up to where the answer begins.

    Args:
        question: of the user.
        system: instruction before it; empty leaves that turn out.

    >>> chat_text("Hi", "Be brief").split("\n")[1]
    'Be brief<|im_end|>'
    """
    turns = [("system", system)] if system else []
    text = "".join(f"{_START}{role}\n{said}{_END}\n" for role, said in [*turns, ("user", question)])
    return f"{text}{_START}assistant\n"


class ChatTokenizer:
    """Questions to rows of tokens, and responses back to text.

    The trainer's numbers are used: 1 ends a response. So the token that ends a turn and the token 1 are exchanged, here
    and in the rows of the model's embedding (`training.exchanged`); nothing else of the model can tell.

    Args:
        folder: with `tokenizer.json`.
        system: instruction before each question; empty for none, None for that of the model's own template.
        bucket: rows are padded to a multiple of so many tokens, so that few shapes are compiled.

    Raises:
        ValueError: for a file that is missing or damaged, or a tokenizer without ChatML's tokens.
    """

    def __init__(self, folder: Path, *, system: str | None = None, bucket: int = 16) -> None:
        """Read the tokenizer."""
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ValueError("chat needs the package tokenizers; pip install 'pmdtheory[smollm]'") from None
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"{path} does not exist; give a Hugging Face directory with its tokenizer")
        try:
            self.own: Any = Tokenizer.from_file(str(path))
        except Exception as problem:  # the package raises nothing narrower
            raise ValueError(f"{path} cannot be read ({shown(str(problem))}); fetch the model again") from None
        self.system = own_system(folder) if system is None else system
        self.bucket = whole("bucket", bucket, "16 is usual")
        end = self.own.token_to_id(_END)
        if end is None or self.own.token_to_id(_START) is None:
            raise ValueError(f"{path} has no token {_END}; only models that were tuned on ChatML are read: give one")
        self.end: int = end
        self._special = [token.content for token in self.own.get_added_tokens_decoder().values() if token.special]

    def exchanged(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """The trainer's numbers of the tokenizer's tokens, and the other way round."""
        return np.where(tokens == END_TOKEN, self.end, np.where(tokens == self.end, END_TOKEN, tokens))

    def fits(self, text: str, slots: int) -> bool:
        """Whether a question takes no more than so many tokens in the template, and holds none of its tokens."""
        held = any(token in text for token in self._special)
        return not held and len(self.own.encode(chat_text(text, self.system)).ids) <= slots

    @property
    def template(self) -> int:
        """Tokens of the template around a question."""
        return len(self.own.encode(chat_text("", self.system)).ids)

    @property
    def size(self) -> int:
        """Tokens V."""
        return int(self.own.get_vocab_size())

    def rows(self, texts: Sequence[str], slots: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens of the questions in the template, `[B, P]`, padded on the right, and lengths `[B]`.

        Args:
            texts: questions.
            slots: tokens that a row may have; P is the longest row, rounded up to the bucket, and no more than this.

        Raises:
            ValueError: for a question that is too long, or that holds a token of the template.
        """
        for text in texts:
            if any(token in text for token in self._special):
                raise ValueError(f"text {shown(text)} holds a token of the template; leave it out")
        found = [self.exchanged(np.array(self.own.encode(chat_text(text, self.system)).ids)) for text in texts]
        lengths = np.array([row.size for row in found], np.int32)
        if lengths.max() > slots:
            longest = texts[int(lengths.argmax())]
            raise ValueError(
                f"text {shown(longest)} takes {lengths.max()} tokens in the template, for {slots} slots; give it more"
            )
        width = min(slots, -(-int(lengths.max()) // self.bucket) * self.bucket)
        tokens = np.zeros((len(texts), width), np.int32)
        for row, own in zip(tokens, found, strict=True):
            row[: own.size] = own
        return tokens, lengths

    def text(self, tokens: Sequence[int] | NDArray[np.int32]) -> str:
        """The text up to the token that ends a response, or of all tokens where there is none."""
        row = np.asarray(tokens)
        ends = np.flatnonzero(row == END_TOKEN)
        kept = row[: ends[0]] if ends.size else row
        return str(self.own.decode(self.exchanged(kept).tolist()))

    def texts(self, tokens: NDArray[np.int32]) -> list[str]:
        """The texts of the rows of `[B, R]`."""
        return [self.text(row) for row in tokens]
