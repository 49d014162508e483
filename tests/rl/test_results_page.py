"""The results page says what is stored: every number of its prose, and what the words around it claim."""

from dataclasses import replace

import pytest

pytest.importorskip("jax")

from tests.rl import quoted  # noqa: E402

pytestmark = pytest.mark.jax


@pytest.mark.parametrize("page", [quoted.RESULTS, quoted.TRAINING])
def test_every_quoted_number_is_that_of_the_data(page):
    said = quoted.wrong(page, quoted.text_of(page))
    assert said == [], "see python -m tests.rl.quoted; --write puts numbers right, words are yours"


def test_every_number_of_the_prose_is_quoted_or_a_setting():
    assert quoted.uncovered(quoted.text_of(quoted.RESULTS)) == []


def test_settings_stand_on_the_page():
    text = " ".join(quoted.text_of(quoted.RESULTS).split())
    assert [piece for piece in quoted.SETTINGS if piece not in text] == []


def test_a_wrong_number_a_wrong_word_and_a_stray_number_are_found(monkeypatch):
    page, text = quoted.RESULTS, quoted.text_of(quoted.RESULTS)
    quote = next(quote for quote in quoted.QUOTES if quote.text.startswith("GRPO above PMD-mean"))
    monkeypatch.setattr(quoted, "QUOTES", (quote,))
    low, high = quote.pattern.search(text).groups()
    broken = text.replace(f"GRPO above PMD-mean ({low} to {high})", f"GRPO above\nPMD-mean (.999 to {high})")
    assert quoted.wrong(page, broken) == [(quote.text, [".999", high], [low, high])]
    assert quoted.wrong(page, quoted.written(page, broken)) == []
    assert quoted.wrong(page, "nothing")[0][1] == "stands 0 times"
    monkeypatch.setattr(quoted, "QUOTES", (replace(quote, holds=lambda low, high: high < 0),))
    assert quoted.wrong(page, text)[0][1] == "the words no longer hold"
    stray = text.replace("## Claim by claim", "It gained .123 and −1.5 at 3e-4.\n\n## Claim by claim")
    more = [found for found in quoted.uncovered(stray) if found not in quoted.uncovered(text)]
    assert len(more) == 3
    assert all(number in " ".join(more) for number in (".123", "−1.5", "3e-4"))
