"""Text that a program printed is shown without the terminal's control codes."""

import pytest

from kit.formatting import csv_cell, inert, inert_name, without_control_codes


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[1m\x1b[31mred\x1b[0m", "red"),
        # Keras writes a bar, as many backspaces as it has characters, and the next bar.
        ("1/3 loss 2\b\b\b\b\b\b\b\b\b\b3/3 loss 1\n", "3/3 loss 1\n"),
        ("10 %\r20 %\r100 %\r\nend", "100 %\nend"),
        ("\x1b]0;title\x07text\x1b]52;c;aGk=\x1b\\", "text"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("a\x00b\x9bc", "abc"),
        ("ä 漢 …", "ä 漢 …"),
        ("", ""),
    ],
)
def test_control_codes(printed: str, shown: str) -> None:
    assert without_control_codes(printed) == shown


#: What changes a terminal: its clipboard, its title, its cursor, and the direction of a line.
ATTACKS = (
    "\x1b]52;c;aGk=\x07",
    "\x1b]0;title\x1b\\",
    "\x1b[2J\x1b[1;1H",
    "\x9b2J",
    "\r\b\x00",
    "\u202e",
    "\x1bP+q\x1b",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_message_or_name_reaches_a_terminal_as_a_command(attack: str) -> None:
    for text in (inert(f"a{attack}z"), inert_name(f"a{attack}\nz")):
        assert text.startswith("a")
        assert text.endswith("z")
        assert text.isprintable()


def test_names_that_differ_stay_different() -> None:
    names = ["jos\udce9", "jos\udcea", "jos\x1b[0m", "jos", "jos\n"]
    assert [inert_name(name) for name in names] == ["jos\\xe9", "jos\\xea", "jos\\x1b[0m", "jos", "jos\\n"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", ""])
def test_no_cell_is_a_formula(text: str) -> None:
    assert csv_cell(text) == (text if text in ("plain", "") else f"'{text}")
