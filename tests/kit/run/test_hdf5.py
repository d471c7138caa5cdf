"""Writing of HDF5 files on disks that fill up."""

from pathlib import Path

import pytest
from command_line import run_python
from full_disk import small_disk

WRITE = """
import h5py, numpy as np, sys
from kit.run.hdf5 import write_errors_are_os_errors

def write(path):
    with h5py.File(path, "w") as file:
        for number in range(100):
            file[f"group{number % 7}/value{number}"] = np.full(2_000, number)

try:
    with write_errors_are_os_errors():
        write(sys.argv[1])
except OSError as error:
    print(type(error).__name__, error.errno)
else:
    with h5py.File(sys.argv[1]) as file:
        print("written", int(file["group1/value99"][-1]))
"""


def test_a_file_is_written_as_h5py_writes_it(tmp_path: Path) -> None:
    assert run_python(WRITE, str(tmp_path / "state.h5")).stdout == "written 99\n"


@pytest.mark.parametrize("size", [8_192, 500_000, 1_500_000])
def test_a_full_disk_is_an_os_error(tmp_path: Path, size: int) -> None:
    """And the process does not crash at its end, as it does after h5py's own RuntimeError."""
    with small_disk(tmp_path / "disk", size) as disk:
        assert run_python(WRITE, str(disk / "state.h5")).stdout == "OSError 28\n"


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    code = """
import h5py, sys
from kit.run.hdf5 import write_errors_are_os_errors
original = h5py.File.__init__
for action in (lambda: h5py.File(sys.argv[1] + "/no/folder.h5", "w"), lambda: {}["missing"]):
    try:
        with write_errors_are_os_errors():
            action()
    except Exception as error:
        print(type(error).__name__, h5py.File.__init__ is original)
"""
    assert run_python(code, str(tmp_path)).stdout.splitlines() == ["FileNotFoundError True", "KeyError True"]
