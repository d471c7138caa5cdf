"""The cache of compiled programs on disk, which all processes of the kit share.

JAX can limit the size of its cache itself. Then each new program reads the age of every program
before it, under a lock that all processes wait for: with 8,000 programs 0.6 s of CPU time for each.
So the kit deletes old programs itself, once a day.
"""

import contextlib
import os
import time
from pathlib import Path

#: Bytes that are left after old programs were deleted. The tests and `kit dev check` need 36 MB.
KEPT_NBYTES = 1_000_000_000
_DAY = 24 * 60 * 60
#: Its modification time says when old programs were last deleted.
_MARK = "cleaned"


def cache_folder() -> Path:
    """The folder of the cache of compiled programs. You may delete it at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemma-sharding-kit" / "programs"


def keep_compiled_programs() -> None:
    """Let JAX cache compiled programs: each process of a check compiles the same small ones.

    Sets variables that JAX reads when it is imported.
    """
    try:
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        delete_old_programs(folder)
    except (OSError, RuntimeError):  # no home, or no writable disk: it takes longer
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # JAX reads the folder through a library that would import TensorFlow.
    os.environ["EPATH_USE_TF"] = "false"


def delete_old_programs(folder: Path, kept_nbytes: int = KEPT_NBYTES) -> None:
    """Delete the oldest programs until the others have at most ``kept_nbytes``, once a day.

    Empty files, which a process left that was killed while it wrote, are deleted too: JAX would
    never replace them.
    """
    mark, now = folder / _MARK, time.time()
    with contextlib.suppress(FileNotFoundError):
        if 0 <= now - mark.stat().st_mtime < _DAY:
            return
    mark.touch()
    with os.scandir(folder) as entries:
        found = [(entry.stat(), entry) for entry in entries if entry.name != _MARK]
    nbytes = 0
    for status, entry in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
        nbytes += status.st_size
        # A file that was written this minute may be incomplete.
        if (nbytes > kept_nbytes or not status.st_size) and now - status.st_mtime > 60:
            with contextlib.suppress(OSError):  # another process has deleted it
                os.unlink(entry.path)
