"""Lets the first Ctrl-C, or a scheduler's SIGTERM, end a run between two steps."""

import os
import signal
import threading
from types import FrameType


class Stopping:
    """`asked` turns true at the first signal; the second one stops at once, as it would have."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, told: str = "Stopping after this step; once more stops at once."):
        self.told = told
        self.asked = False
        self.before = {}

    def __enter__(self) -> "Stopping":
        # Python lets the main thread alone set handlers
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()
        # print may not be entered again where the signal struck inside it
        os.write(2, f"\n{self.told}\n".encode())
