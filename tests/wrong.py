"""What a wrong input must meet."""

import pytest


def refused(kind: type[Exception], call, *fragments: str) -> None:
    """The call raises exactly this kind, in one line that names each fragment and ends in a remedy."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message, message
    assert len(message.partition("; ")[2]) >= 10, message
