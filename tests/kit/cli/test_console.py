"""The clock that shows how long something takes."""

import io
import threading
import time

import pytest
from rich.console import Console

from kit.cli.console import ConsoleNarrator

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_a_line_about_what_takes_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line is printed from time to time, with the progress and the seconds."""
    monkeypatch.setattr("kit.cli.console.SECONDS_BETWEEN_LINES", 0.05)
    narrator = ConsoleNarrator()
    with narrator.working("scoring 48 texts") as report:
        report("scored 8 of 24 reviews")
        time.sleep(0.3)
    assert "scoring 48 texts: scored 8 of 24 reviews … 0 s\n" in capsys.readouterr().out


def test_the_cursor_is_back_if_the_process_ends_at_once() -> None:
    """Ctrl-C ends it from another thread while the clock is redrawn."""
    console = Console(file=(output := io.StringIO()), force_terminal=True, width=80)
    narrator = ConsoleNarrator()
    narrator._console = console
    with narrator.working("scoring 48 texts"):
        deadline = time.monotonic() + 20
        while HIDE_CURSOR not in output.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        stopping = threading.Thread(target=narrator.stop_working)
        stopping.start()
        stopping.join()
        narrator.say("interrupted")
        printed = output.getvalue()
    assert "scoring 48 texts" in printed
    assert printed.rindex(SHOW_CURSOR) > printed.rindex(HIDE_CURSOR)
    assert "scoring" not in printed[printed.rindex(SHOW_CURSOR) :]
    assert printed.endswith("    interrupted\n")
