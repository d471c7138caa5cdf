"""What pytest's terminal shows while it waits for a verdict: the seconds, behind the last dot."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kit.judge.runner import Runner

if TYPE_CHECKING:
    import pytest

#: Seconds until it is shown, and between two changes.
SECONDS_UNTIL_SHOWN = 0.3
SECONDS_BETWEEN_CHANGES = 0.5
#: Escape sequences: the cursor's place is kept, and the rest of the line is cleared.
_SAVE, _RESTORE, _CLEAR = "\x1b7", "\x1b8", "\x1b[K"


@contextlib.contextmanager
def waiting_line(config: "pytest.Config", runner: Runner) -> Iterator[None]:
    """Show how long a check takes, if pytest prints to a terminal."""
    writer = config.get_terminal_writer()
    capture, reporter = map(config.pluginmanager.getplugin, ("capturemanager", "terminalreporter"))
    # The colours of pytest say whether escape sequences are welcome. A worker of xdist has no
    # reporter.
    if not (writer.hasmarkup and getattr(reporter, "isatty", False)) or capture is None:
        yield
        return
    started, shown = time.monotonic(), 0.0

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            writer._file.write(text)
            writer._file.flush()

    def show() -> bool:
        nonlocal shown
        now = time.monotonic()
        text = f" checking… {now - started:.0f} s"
        if now - started > SECONDS_UNTIL_SHOWN and now - shown > SECONDS_BETWEEN_CHANGES:
            shown = now
            if writer.width_of_current_line + len(text) < writer.fullwidth:
                write(_SAVE + text + _CLEAR + _RESTORE)
        return False

    runner.stop_now = show
    try:
        yield
    finally:
        runner.stop_now = None
        if shown:
            write(_CLEAR)
