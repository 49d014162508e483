"""SIGINT and SIGTERM end a run after a whole batch, which is saved; a second one acts as usual."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["STATUS", "held_signals"]

STATUS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}


@contextmanager
def held_signals() -> Iterator[list[signal.Signals]]:
    """Yields a list to which these signals are added instead of acting; outside the main thread they act as usual."""
    seen: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.getsignal(number) for number in STATUS}

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(signal.Signals(number))
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
