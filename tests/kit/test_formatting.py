"""Text that a program printed is shown without the terminal's control codes."""

import pytest

from kit.formatting import without_control_codes


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
