"""One symbol a character: the vocabulary of a task, a padding symbol and an end symbol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiny_llm_rl._checks import shown

__all__ = ["END", "PAD", "Tokenizer"]

END: Final = "$"  # ends a response
PAD: Final = "~"  # stands where there is nothing


@dataclass(frozen=True)
class Tokenizer:
    """Characters to integers: 0 is padding, 1 ends a response, then the alphabet in its order.

    Args:
        alphabet: the characters of prompts and responses, each once, without `~` and `$`.

    Raises:
        ValueError: for an alphabet that is empty, repeats a character or holds a reserved one.

    >>> Tokenizer("0123456789+=").text(Tokenizer("0123456789+=").rows(["1+2="], 6)[0][0])
    '1+2='
    """

    alphabet: str

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart."""
        if not self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise ValueError(
                f"alphabet must hold each character once, got {shown(self.alphabet)}; drop the repeated ones"
            )
        if {END, PAD} & set(self.alphabet):
            raise ValueError(f"alphabet must not hold {END} or {PAD}, got {shown(self.alphabet)}; they are reserved")

    @property
    def size(self) -> int:
        """Symbols V, the two reserved ones included."""
        return len(self.alphabet) + 2

    def rows(self, texts: Sequence[str], slots: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens `[B, slots]`, padded on the right, and lengths `[B]`.

        Raises:
            ValueError: for a text that is too long or has a character outside the alphabet.
        """
        table = {symbol: index for index, symbol in enumerate(PAD + END + self.alphabet)}
        tokens = np.zeros((len(texts), slots), np.int32)
        lengths = np.array([len(text) for text in texts], np.int32)
        for row, text in zip(tokens, texts, strict=True):
            if len(text) > slots:
                raise ValueError(f"text has {len(text)} symbols, {shown(text)}, for {slots} slots; give it more slots")
            try:
                row[: len(text)] = [table[symbol] for symbol in text]
            except KeyError as missing:
                raise ValueError(
                    f"text {shown(text)} holds {missing}, which is not in the alphabet {shown(self.alphabet)}; "
                    "use its characters"
                ) from None
        return tokens, lengths

    def text(self, tokens: Sequence[int] | NDArray[np.int32]) -> str:
        """The characters up to the end symbol, which is left out, or up to the last one that is not padding."""
        symbols = PAD + END + self.alphabet
        return "".join(symbols[token] for token in tokens).split(END)[0].rstrip(PAD)

    def texts(self, tokens: NDArray[np.int32]) -> list[str]:
        """The texts of the rows of `[B, T]`."""
        symbols = np.array(list(PAD + END + self.alphabet))
        return [row.split(END)[0].rstrip(PAD) for row in map("".join, symbols[tokens].tolist())]
