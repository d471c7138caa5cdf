"""Files and folders that are written completely or not at all. Imports no framework."""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import FileLock

#: Errors of a disk that is full, read-only, broken or not there any more.
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ENOENT, errno.ENODEV, errno.ESTALE, errno.ENOTDIR),
)


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

#: Bytes that a module of a solution may have; the largest of the course has 10 kB.
MODULE_NBYTES = 1_000_000


def is_disk_error(error: BaseException) -> bool:
    """Whether an exception means that the disk does not take a file."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def read_module(file: Path) -> bytes:
    """The content of a module that somebody wrote.

    Raises FileNotFoundError if there is nothing of that name, and another OSError, with a reason
    that completes "it cannot be read", for what is no file: a pipe or a device may never end.
    """
    try:
        status = file.stat()
    except FileNotFoundError:
        if file.is_symlink():
            raise OSError(errno.ENOLINK, "it is a link to a file that does not exist") from None
        raise
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no regular file')}")
    if status.st_size > MODULE_NBYTES:
        size, limit = status.st_size / 1e6, MODULE_NBYTES / 1e6
        raise OSError(errno.EINVAL, f"it has {size:.1f} MB, and a module at most {limit:.0f} MB")
    with file.open("rb") as content:
        # It may grow meanwhile.
        return content.read(MODULE_NBYTES)


def wait_for_lock(file: Path, waiting: Callable[[], None]) -> "FileLock":
    """Acquire the lock of a file; call ``waiting`` first if another process has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    return lock


@contextlib.contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``final`` when it is complete and on disk.

    If the process is killed or the disk is full, there is no folder of that name.
    """
    unfinished = final.parent / f".unfinished-{final.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            _to_disk(path)
        unfinished.rename(final)
        _to_disk(final.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file completely or not at all."""
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a text file completely, or leave an existing file unchanged."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file of bytes completely, or leave an existing file unchanged."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        _to_disk(unfinished)
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _to_disk(file.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
