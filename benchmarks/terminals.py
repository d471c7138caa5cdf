"""A command on a real terminal of 24 lines and 80 columns."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

LINES, COLUMNS = 24, 80
#: Makes standard input the terminal that sends Ctrl-C, and becomes the command. In a process of its
#: own: Python code between fork and exec can block where there are other threads.
TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    # A shell's background processes ignore it.
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)


@dataclass
class Terminal:
    """A command with a terminal of its own, which it controls."""

    command: list[str]
    cwd: Path | None = None
    #: Everything that the command has printed, escape sequences included.
    printed: bytes = b""
    #: When something was printed, in seconds since the start.
    times: list[float] = field(default_factory=list)
    returncode: int | None = None
    _reading: int = field(init=False)
    _process: subprocess.Popen = field(init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the command."""
        self._reading, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        plain = ("COLUMNS", "LINES", "NO_COLOR", "CLICOLOR_FORCE", "PAGER", "JPY_PARENT_PID", "JPY_SESSION_NAME")
        environment = {name: value for name, value in os.environ.items() if name not in plain}
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *self.command],
            cwd=self.cwd,
            env={**environment, "TERM": "xterm-256color"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def read(self, seconds: float) -> bool:
        """Read what is printed within this time; False if the command has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._reading], [], [], left)[0]:
                content = b""
                with contextlib.suppress(OSError):  # the other side is closed
                    content = os.read(self._reading, 1 << 16)
                if not content:
                    self.returncode = self._process.wait()
                    return False
                self.printed += content
                self.times.append(self.seconds)
        return True

    def read_until(self, text: bytes, begin: int = 0, seconds: float = 120) -> bool:
        """Read until a text is printed after ``begin`` bytes; False if it never is."""
        until = time.monotonic() + seconds
        while text not in self.printed[begin:]:
            if time.monotonic() > until or not self.read(0.01):
                return text in self.printed[begin:]
        return True

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._reading, keys)

    def close(self) -> None:
        """End the command, if it has not ended."""
        self._process.kill()
        self._process.wait()
        os.close(self._reading)
