"""The file that ``save_once`` writes: what it contains, and how it is judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.checks.diagnosis import Failed


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
