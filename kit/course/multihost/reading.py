"""What a learner's functions return, as plain data."""

from typing import Any

import numpy as np

from kit.judge.submission import Submission


def read_settings(settings: tuple | list) -> tuple[Any, ...]:
    """The three settings; what is neither text nor a number becomes its ``repr``."""
    return tuple(str(value) if isinstance(value, str) else read_number(value, as_bool=True) for value in settings)


def read_number(value: Any, as_bool: bool = False) -> int | float | str:
    """A number as int or float. Anything else as its ``repr``, bool too unless ``as_bool``."""
    if isinstance(value, bool):
        return value if as_bool else repr(value)
    if isinstance(value, np.integer | np.floating):
        return value.item()
    return value if type(value) in (int, float) else repr(value)


def read_rows(submission: Submission, rows: Any) -> list[int]:
    """The numbers of rows, from any sequence that can be used as one."""
    if not isinstance(rows, (list, tuple, range, np.ndarray)):
        submission.expect_type("own_rows", rows, list)
    return [int(row) for row in rows]


def read_array(array: np.ndarray) -> np.ndarray:
    """The array without a subclass; objects become numbers, or text if they are none."""
    found = np.array(array)
    if found.dtype != object:
        return found
    try:
        return found.astype("float64")
    except (TypeError, ValueError):
        return found.astype(str)
