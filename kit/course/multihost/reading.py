"""What a learner's functions return and save, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks.diagnosis import Failed
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


@dataclass(frozen=True)
class SavedFile:
    """The content of a ``.npz`` file."""

    arrays: dict[str, np.ndarray]
    #: Why there are no arrays; empty if there are.
    problem: str = ""


def read_saved(file: Path) -> SavedFile:
    """The arrays of a file, or the reason why they cannot be read."""
    if not file.is_file():
        return SavedFile({}, "does not exist")
    try:
        with np.load(file) as content:
            return SavedFile({name: np.asarray(content[name]) for name in content.files})
    except (OSError, ValueError) as error:
        return SavedFile({}, f"cannot be read ({error})")


def judge_saved(saved: SavedFile, expected: Mapping[str, np.ndarray], tolerance: float = 0.0) -> None:
    """The file has these arrays under these names."""
    rows = [("names", ", ".join(sorted(expected)), ", ".join(sorted(saved.arrays)) or saved.problem)]
    wrong = saved.arrays.keys() != expected.keys()
    for name in expected.keys() & saved.arrays.keys():
        difference = relative_difference(saved.arrays[name], expected[name])
        if not difference <= tolerance:
            wrong = True
            rows.append((f"largest difference in {name}", f"at most {tolerance:g}", f"{difference:.2g}"))
    if wrong:
        cause = "The file of process 0 does not contain the arrays that `save_once` was given, under their names."
        raise Failed("MULTIHOST_WRONG_FILE", cause, ("", "expected", "yours"), rows[:5])


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of an entry, divided by the largest entry."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())
