"""HDF5 files on a disk that fills up: an OSError, where HDF5 would end the process.

If a write fails, HDF5 cannot close its file. It raises a RuntimeError, tries again when the process
ends, and then crashes with a segmentation fault.
"""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from typing import Any

import h5py


class _DiskFile(io.RawIOBase):
    """A new file for h5py that never fails: what cannot be written is dropped, and remembered."""

    def __init__(self, path: Any, mode: str) -> None:
        super().__init__()
        self._file: Any = open(os.fsdecode(path), mode, buffering=0)  # noqa: SIM115  # until h5py is done
        self.error: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        # HDF5 may read again what could not be written.
        buffer[count:] = bytes(len(buffer) - count)
        return len(buffer)

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        while left and self.error is None:
            with self._remembered():
                left = left[self._file.write(left) :]
        return len(content)

    def seek(self, *position: int) -> int:
        return self._file.seek(*position)

    def truncate(self, size: int | None = None) -> int:
        with self._remembered():
            self._file.truncate(size)
        return size or 0

    def close(self) -> None:
        with self._remembered():
            self._file.close()
        super().close()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


@contextlib.contextmanager
def write_errors_are_os_errors() -> Iterator[None]:
    """Within this context, new HDF5 files are written through Python's files, by any code.

    Raises the OSError of a write that failed when the context ends, instead of what h5py raised.
    """
    files: list[_DiskFile] = []
    original = h5py.File.__init__

    @functools.wraps(original)
    def open_file(self: Any, name: Any, mode: str = "r", driver: str | None = None, **options: Any) -> None:
        if driver is None and mode in ("w", "w-", "x") and isinstance(name, (str, bytes, os.PathLike)):
            name = _DiskFile(name, "w+b" if mode == "w" else "x+b")
            files.append(name)
            mode = "w"
        original(self, name, mode, driver, **options)

    h5py.File.__init__ = open_file
    try:
        yield
    except Exception:
        _raise_first_error(files)
        raise
    finally:
        h5py.File.__init__ = original
        for file in files:
            file.close()
    _raise_first_error(files)


def _raise_first_error(files: list[_DiskFile]) -> None:
    for file in files:
        if file.error:
            raise file.error
