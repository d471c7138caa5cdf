"""The cache of compiled programs on disk: what is read, and what is deleted."""

import os
import time
from pathlib import Path

import pytest
from command_line import run_python

from kit.runtime.compiled_programs import delete_old_programs

HOUR = 60 * 60
PROGRAM = """
from kit.runtime.platform import prepare_environment
prepare_environment("cpu", 1)
import jax
from jax._src import compilation_cache
print(jax.jit(lambda x: x + 1)(1), compilation_cache._get_cache(jax.devices()[0].client).eviction_enabled)
"""


def environment(cache: Path) -> dict[str, str]:
    """That of a user with this folder for caches; the tests' own process has set the cache."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    return {**own, "XDG_CACHE_HOME": str(cache)}


def test_a_new_program_reads_no_other(tmp_path: Path) -> None:
    """With a limit of JAX's own, each new program would read the age of all others."""
    printed = run_python(PROGRAM, env=environment(tmp_path)).stdout
    assert printed.split() == ["2", "False"]
    programs = [*(tmp_path / "gemma-sharding-kit" / "programs").glob("*-cache")]
    assert programs
    assert all(program.stat().st_size for program in programs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three programs of 100 bytes, and an empty one; `new` is of this moment."""
    for name, age in (("old", 3), ("older", 5), ("empty", 1), ("new", 0)):
        file = tmp_path / name
        file.write_bytes(b"" if name == "empty" else b"x" * 100)
        written = time.time() - age * HOUR
        os.utime(file, (written, written))
    return tmp_path


def programs(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} - {"cleaned"}


@pytest.mark.parametrize(
    ("kept", "expected"), [(1000, {"new", "old", "older"}), (200, {"new", "old"}), (150, {"new"}), (0, {"new"})]
)
def test_the_oldest_programs_are_deleted(folder: Path, kept: int, expected: set[str]) -> None:
    delete_old_programs(folder, kept)
    assert programs(folder) == expected


def test_once_a_day(folder: Path) -> None:
    delete_old_programs(folder, 1000)
    delete_old_programs(folder, 0)
    assert len(programs(folder)) == 3
    yesterday = time.time() - 25 * HOUR
    os.utime(folder / "cleaned", (yesterday, yesterday))
    delete_old_programs(folder, 0)
    assert programs(folder) == {"new"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert run_python(PROGRAM, env=environment(tmp_path)).stdout.split()[0] == "2"
