"""`kit watch` on a real terminal of 24 lines and 80 columns: saves, keys and Ctrl-C."""

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import KIT
from exercise_folder import source_of, write_exercises
from terminals import COLUMNS, Terminal

if sys.platform == "win32":
    pytest.skip("the kit does not run on native Windows", allow_module_level=True)

CLEAR = b"\x1b[H\x1b[2J"
ENDLESS = "def make_device_mesh(batch, model, devices=None):\n    while True:\n        pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_exercises(tmp_path / "mine", mesh="right_numpy_grid", reviews="labels_kept")


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    started = Terminal([*KIT, "watch", "mesh", "reviews", "--impl", str(folder)], folder.parent)
    yield started
    started.close()


def screen(terminal: Terminal) -> str:
    """What has been printed since the screen was cleared, without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.printed.rpartition(CLEAR)[2].decode())


def expect(terminal: Terminal, text: str, seconds: float = 120) -> None:
    """Read until the screen has a text."""
    until = time.monotonic() + seconds
    while text not in screen(terminal):
        assert time.monotonic() < until, screen(terminal)
        assert terminal.read(0.02), screen(terminal)


def test_saves_keys_and_ctrl_c(folder: Path, terminal: Terminal) -> None:
    """The first exercise passes, so the next one is checked, up to its first diagnostic."""
    expect(terminal, "REVIEWS_LABELS_KEPT")
    expect(terminal, "q quit")
    assert "exercise 2 of 2   1 of 2 passed" in screen(terminal)
    assert max(map(len, screen(terminal).splitlines())) <= COLUMNS
    for key, text in (
        (b"x", "mesh        all 4 passed"),
        (b"h", "reviews, hint 1 of 3"),
        (b"p", "Press n for the next exercise, reviews."),
        (b"n", "REVIEWS_LABELS_KEPT"),
    ):
        terminal.press(key)
        expect(terminal, text)
        expect(terminal, "q quit")
    _save_often(folder / "mesh.py", terminal)
    terminal.press(b"\x03")
    pressed = time.monotonic()
    while terminal.read(0.02):
        assert time.monotonic() - pressed < 20
    assert terminal.returncode == 130
    assert terminal.printed.decode().strip().splitlines()[-1] == "kit: stopped."


def _save_often(file: Path, terminal: Terminal) -> None:
    right = source_of("mesh", "right_numpy_grid")
    for number in range(6):
        broken, endless = number == 2, number == 4
        file.write_text(ENDLESS if endless else right + f"# {number}\n" + ("def (:\n" if broken else ""))
        if endless:
            expect(terminal, "checking… mesh")
            continue
        expect(terminal, "0 of 4 passed" if broken else "all 4 passed")
        # A slow check that was stopped would show its limit.
        assert "EXERCISE_TIMED_OUT" not in terminal.printed.decode()
        terminal.read(0.2)
        file.touch()  # the same content, saved again
        expect(terminal, "0 of 4 passed" if broken else "all 4 passed")


def test_q_ends_it_while_it_imports(terminal: Terminal) -> None:
    assert terminal.read_until(b"checking", seconds=60)
    pressed = time.monotonic()
    terminal.press(b"q")
    while terminal.read(0.02):
        assert time.monotonic() - pressed < 20
    assert terminal.returncode == 0


def test_plain_lines(folder: Path) -> None:
    """No escape sequences and no keys, also on a terminal; what is saved is checked."""
    terminal = Terminal([*KIT, "watch", "--plain", "mesh", "--impl", str(folder)], folder.parent)
    try:
        assert terminal.read_until(b"Save a file to check it."), terminal.printed
        begin = len(terminal.printed)
        (folder / "mesh.py").write_text("def (:\n")
        assert terminal.read_until(b"mesh: 0 of 4 passed", begin)
        assert b"\x1b" not in terminal.printed
        assert b"q quit" not in terminal.printed
    finally:
        terminal.close()
