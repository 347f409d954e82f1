"""Lines for a person: what happened and how far long work is, on stderr; the result, on stdout."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

PACE_S = 10.0
"""Between lines about the same piece of work, where each stays."""
REDRAW_S = 0.2
"""Between those on a terminal, where each replaces the one before."""
_CLEAR = "\r\x1b[K"


class Console:
    """Writes to one stream. Where its reader is dead the lines are lost, and the work goes on."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._redraws = self._stream.isatty()
        self._now, self._wrote_at, self._is_open = now, now(), False

    def say(self, line: str) -> None:
        """A line that stays."""
        self._write(f"{self._clear()}{line}\n")

    def pace(self, line: str) -> None:
        """How far the work is: shown only when nothing was written for a while, so that short work says nothing."""
        if self._now() - self._wrote_at < (REDRAW_S if self._redraws else PACE_S):
            return
        if self._redraws:
            self._write(_CLEAR + line)
            self._is_open = True
        else:
            self._write(f"{line}\n")

    def _clear(self) -> str:
        was_open, self._is_open = self._is_open, False
        return _CLEAR if was_open else ""

    def _write(self, text: str) -> None:
        self._wrote_at = self._now()
        with suppress(BrokenPipeError):
            self._stream.write(text)
            self._stream.flush()


def emit(text: str) -> None:
    """The result, on stdout. What a program did is not undone because nobody reads how it went."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more when it ends
