"""What is shown while something takes long, on terminals, in pipes and in notebooks."""

import io
import threading
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from kit.cli import console
from kit.cli.console import ConsoleNarrator, fitting_rows, print_line, wrap
from kit.cli.terminal import NOTEBOOKS, can_redraw

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        """As a terminal answers."""
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal with 80 columns."""
    for name in ("NO_COLOR", "PAGER", "CLICOLOR_FORCE", "FORCE_COLOR", *NOTEBOOKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def wait_for(printed: Callable[[], bool]) -> None:
    """Wait until a thread has printed something."""
    deadline = time.monotonic() + 20
    while not printed():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_bar_as_wide_as_the_terminal(terminal: Terminal) -> None:
    narrator = ConsoleNarrator(terminal)
    with narrator.working("scoring held-out texts") as work:
        work.count(8, 48, "reviews")
        wait_for(lambda: "scoring held-out texts: reviews" in terminal.getvalue())
        (line,) = Console(file=(drawn := io.StringIO()), width=80).render_lines(narrator._current_line(), pad=False)
    assert not drawn.getvalue()
    text = "".join(segment.text for segment in line)
    assert len(text.rstrip()) == 79
    assert text.startswith("    ")
    assert text.rstrip().endswith("8 of 48 0 s")


def test_a_line_never_wraps(terminal: Terminal) -> None:
    """A narrow terminal has no bar, and what is done is shortened."""
    narrator = ConsoleNarrator(terminal)
    with narrator.working("a very long name of something") as work:
        work.count(8, 48, "and a detail that is longer than the terminal is wide")
        for width in (80, 40, 20):
            lines = Console(file=io.StringIO(), width=width).render_lines(narrator._current_line(), pad=False)
            assert len(lines) == 1
            assert sum(segment.cell_length for segment in lines[0]) <= width


def test_the_innermost_work_is_shown(terminal: Terminal) -> None:
    narrator = ConsoleNarrator(terminal)
    with narrator.working("reading options"):
        with narrator.working("importing", lambda: "7 modules"):
            wait_for(lambda: "importing: 7 modules" in terminal.getvalue())
        narrator.step("Mesh")
        terminal.truncate(0)
        wait_for(lambda: "Mesh" in terminal.getvalue())


@pytest.mark.parametrize(
    ("name", "value"),
    [("TERM", "dumb"), ("NO_COLOR", "1")],
)
def test_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """No escape sequence and no backspace where lines cannot, or must not, be redrawn."""
    assert can_redraw(terminal)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(console, "SECONDS_UNTIL_LINE", 0.05)
    assert not can_redraw(terminal)
    narrator = ConsoleNarrator(terminal)
    with narrator.working("compiling"):
        wait_for(lambda: "    compiling … 0 s\n" in terminal.getvalue())
    narrator.step("Mesh")
    narrator.text("a text")
    assert not {"\x1b", "\b", "\r"} & set(terminal.getvalue())


@pytest.mark.parametrize(("name", "value"), [("JPY_PARENT_PID", "7"), ("COLAB_RELEASE_TAG", "release-colab")])
def test_a_line_that_is_replaced_in_a_notebook(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """By a carriage return: neither backspaces nor escape sequences, and nothing of it remains."""
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "SECONDS_UNTIL_REPLACED", 0.02)
    assert not can_redraw(terminal)
    narrator = ConsoleNarrator(terminal)
    with narrator.working("compiling the training step") as work:
        wait_for(lambda: "\r    compiling the training step … 0 s" in terminal.getvalue())
        narrator.say("a sentence")
        work.begin("training")
        wait_for(lambda: "\r    training … 0 s" in terminal.getvalue())
        narrator.progress(4, 40, 3.5)
        wait_for(lambda: "\r    training: mean loss 3.5000 4 of 40 … 0 s" in terminal.getvalue())
    narrator.say("the end")
    assert not {"\x1b", "\b"} & set(terminal.getvalue())
    assert as_shown(terminal.getvalue()) == ["    a sentence", "    the end", ""]


def as_shown(text: str) -> list[str]:
    """The lines as a notebook shows them: what follows a carriage return overwrites the line."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_lines_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line soon, and then one from time to time, unless something else is printed."""
    monkeypatch.setattr(console, "SECONDS_UNTIL_LINE", 0.2)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.8)
    narrator = ConsoleNarrator()
    with narrator.working("scoring") as work:
        work.count(8, 24, "reviews")
        for _ in range(8):
            time.sleep(0.05)
            narrator.say("a sentence")
        assert "scoring" not in capsys.readouterr().out
        time.sleep(1.4)
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 2
    assert all(line.startswith("    scoring: reviews 8 of 24 … ") for line in lines)


def test_the_cursor_is_back_if_the_process_ends_at_once(terminal: Terminal) -> None:
    """Ctrl-C ends it from another thread while the line is redrawn."""
    narrator = ConsoleNarrator(terminal)
    with narrator.working("scoring 48 texts"):
        wait_for(lambda: HIDE_CURSOR in terminal.getvalue())
        stopping = threading.Thread(target=narrator.stop_working)
        stopping.start()
        stopping.join()
        narrator.say("interrupted")
        printed = terminal.getvalue()
    assert "scoring 48 texts" in printed
    assert printed.rindex(SHOW_CURSOR) > printed.rindex(HIDE_CURSOR)
    assert "scoring" not in printed[printed.rindex(SHOW_CURSOR) :]
    assert printed.endswith("    interrupted\n")


def test_training_counts_steps(terminal: Terminal) -> None:
    """The first step compiles; then there is a bar, and on a terminal no line per step."""
    narrator = ConsoleNarrator(terminal)
    with narrator.working("compiling the training step") as work:
        wait_for(lambda: "compiling the training step" in terminal.getvalue())
        narrator.progress(1, 40, 3.5)
        assert (work.what, work.done, work.total, work.detail) == ("training", 1, 40, "mean loss 3.5000")
    assert "step 1 of 40" not in terminal.getvalue()


def test_what_is_copied_stays_whole() -> None:
    command = "`kit export runs/20261128-021528-bundled FOLDER`"
    lines = wrap(f"export the trained model as a preset: {command}", 50)
    assert lines == ["export the trained model as a preset:", command]
    # Longer than a line, but still in one piece.
    assert wrap(f"a path: {'x' * 60}", 40) == ["a path:", "x" * 60]


def test_paths_of_a_table_are_shortened_in_their_middle() -> None:
    """As far as the width needs it; what is no path is wrapped, and not shortened."""
    path, pattern = "decoder_block_N/attention/attention_output", "decoder_block.*attention.*(query|key|value)/kernel"
    rows = [("rule 3", path, "all-reduce"), ("rule 1", "token_embedding", "all-gather")]
    headings = ("rule", "layer", "collective")
    assert fitting_rows(headings, rows, 80) == [list(row) for row in rows]
    (_, shown, kind), others = fitting_rows(headings, rows, 50)
    assert len("rule 3") + len(shown) + len(kind) + 4 == 50
    assert shown.startswith("decoder_")
    assert shown.endswith("/attention_output")
    assert others == ["rule 1", "token_embedding", "all-gather"]
    assert fitting_rows(("rule", "pattern"), [("1", pattern)], 40) == [["1", pattern]]


def test_a_printed_line_is_above_the_line_of_the_work(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", terminal)
    with ConsoleNarrator().working("judging"):
        wait_for(lambda: "judging" in terminal.getvalue())
        print_line("ada, mesh: 4 of 4")
    # The line of the work was cleared before.
    assert "\x1b[2Kada, mesh: 4 of 4\n" in terminal.getvalue()


ROW = (
    "ok  generation a_solution_with_a_name_of_35_letters 12 checks   43.2 s  LIKELIHOOD_WRONG, NOT_AS_EXPECTED, "
    "EXERCISE_CRASHED\n    GOT : a cause"
)


def test_a_row_fits_the_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    print_line(ROW, terminal)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("ok  generation a_solution")
    assert lines[1].startswith("      ")
    assert lines[-1] == "    GOT : a cause"
    # Names and codes stay whole.
    assert terminal.getvalue().split() == ROW.split()
    monkeypatch.setenv("COLUMNS", "200")
    print_line(ROW, wide := Terminal())
    assert wide.getvalue() == ROW + "\n"


def test_a_row_in_a_pipe_is_whole(terminal: Terminal) -> None:
    print_line(ROW, pipe := io.StringIO())
    assert pipe.getvalue() == ROW + "\n"
