"""Numbers and tuples as text for a reader."""

import re
from collections.abc import Sequence
from typing import Any

#: Escape sequences of a terminal, such as colours, titles and moves of the cursor.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
#: Control characters but for tabs and ends of lines; those that reverse or end a line (Unicode's
#: bidirectional controls and line separators); and halves of a surrogate pair, which UTF-8 cannot
#: encode.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: By these Python stands for a byte that is not UTF-8, as in the name of a file.
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF


def without_escapes(text: str) -> str:
    """The text without a terminal's escape sequences, such as the colours in errors of Keras."""
    return _ESCAPES.sub("", text)


def inert(text: str) -> str:
    """A message that changes nothing on a terminal and that UTF-8 can encode.

    Escape sequences are left out, and other control characters are written as Python writes them.
    Tabs and ends of lines stay.
    """
    return _CONTROL.sub(_written_out, without_escapes(text))


def inert_name(name: str) -> str:
    """A name in one line; two names that differ stay different, so nothing is left out."""
    return re.sub(r"[\t\n]", _written_out, _CONTROL.sub(_written_out, name))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return repr(match[0])[1:-1]


def without_control_codes(text: str) -> str:
    """What a terminal would show at the end: progress bars only in their last state.

    Escape sequences and other control characters are left out; tabs and ends of lines stay.
    """
    lines = []
    for line in without_escapes(text).split("\n"):
        # A carriage return begins the line again, and so do backspaces, since Keras' bar writes as
        # many as it has characters.
        states = [state for state in re.split(r"\r|\x08+", line) if state.strip()]
        lines.append(_CONTROL.sub("", states[-1]).rstrip() if states else "")
    return "\n".join(lines)


def without_log_prefix(line: str) -> str:
    """A message of XLA without level, date, process and line of its source."""
    return re.sub(r"^[A-Z]\d{4} [\d:.]+ +\d+ [\w./]+:\d+\] ", "", line)


def csv_cell(text: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: an apostrophe makes it text."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def format_tuple(values: Sequence[Any]) -> str:
    """``(8, -, 16)``: None is a dash."""
    return "(" + ", ".join("-" if value is None else str(value) for value in values) + ")"


def format_count(number: int) -> str:
    """``1,311,872``."""
    return f"{number:,}"


def format_share(share: float) -> str:
    """``85%``."""
    return f"{share:.0%}"


def format_bytes(number: float) -> str:
    """``5.2 MB``, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.2f} GB"


def shortened(cell: str, limit: int) -> str:
    """One line of at most ``limit`` characters. A path keeps its beginning and its end."""
    line = " ".join(cell.split())
    if len(line) <= limit:
        return line
    if "/" in line and " " not in line:
        end = (limit - 1) * 2 // 3
        return line[: limit - 1 - end] + "…" + line[len(line) - end :]
    return line[: limit - 1] + "…"
