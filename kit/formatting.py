"""Numbers and tuples as text for a reader."""

from collections.abc import Sequence
from typing import Any


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
