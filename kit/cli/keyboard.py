"""Single keys of a terminal, without Enter."""

import contextlib
import os
import select
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator


class Keyboard:
    """The keys that were pressed on standard input, of those that have a meaning."""

    def __init__(self, keys: str) -> None:
        """Heed these keys, in lower and upper case."""
        self._keys = keys
        self._pressed: deque[str] = deque()

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Read single keys in this context. Ctrl-C still raises KeyboardInterrupt."""
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Leave the keyboard to another program, such as a pager, in this context."""
        before = termios.tcgetattr(sys.stdin)
        shown = termios.tcgetattr(sys.stdin)
        shown[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, shown)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def has(self, keys: str, timeout: float = 0.0) -> bool:
        """Whether one of these keys was pressed; waits for any key for ``timeout`` seconds."""
        while select.select([sys.stdin], [], [], timeout)[0]:
            read = os.read(sys.stdin.fileno(), 64).decode(errors="ignore").lower()
            if not read:  # the terminal is closed
                raise EOFError
            self._pressed += [key for key in read if key in self._keys]
            timeout = 0.0
        return any(key in keys for key in self._pressed)

    def take(self, timeout: float) -> str:
        """The next key, or an empty text after ``timeout`` seconds."""
        return self._pressed.popleft() if self.has(self._keys, 0.0 if self._pressed else timeout) else ""
