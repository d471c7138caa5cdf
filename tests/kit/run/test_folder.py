"""A run folder: checkpoints are complete or not there, and ``run.json`` comes last."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run_python
from made_run import made_result

from kit.run.folder import RunFolder, new_run_folder
from kit.run.metrics import NO_PROGRESS

PROGRESS = replace(NO_PROGRESS, metrics=(1.5,))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with a checkpoint after step 2."""
    made = new_run_folder(tmp_path, "a-run", {}, {})
    made.write_checkpoint(2, lambda path: path.mkdir(), PROGRESS)
    return made


def checkpoints(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in (folder.path / "saves").iterdir())


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(folder: RunFolder) -> None:
    def half(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        folder.write_checkpoint(4, half, NO_PROGRESS)
    assert checkpoints(folder) == ["step-000002"]
    assert folder.newest_checkpoint().read_progress() == PROGRESS


def test_a_file_system_that_refuses_a_large_file(tmp_path: Path) -> None:
    """The process' limit on file sizes interrupts HDF5 while it writes."""
    code = """
import h5py, numpy as np, pathlib, resource, signal, sys
from kit.run.folder import new_run_folder
from kit.run.metrics import NO_PROGRESS
folder = new_run_folder(pathlib.Path(sys.argv[1]), "a-run", {}, {})
def write(path):
    path.mkdir()
    with h5py.File(path / "training_state.h5", "w") as file:
        file["value"] = np.zeros(size)
size = 100
folder.write_checkpoint(2, write, NO_PROGRESS)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
size = 10_000_000
try:
    folder.write_checkpoint(4, write, NO_PROGRESS)
except OSError:
    print("refused")
print(folder.newest_checkpoint().step, sorted(path.name for path in (folder.path / "saves").iterdir()))
"""
    assert run_python(code, str(tmp_path)).stdout.splitlines() == ["refused", "2 ['step-000002']"]


def test_an_unfinished_folder_is_no_checkpoint(folder: RunFolder) -> None:
    """A kill leaves one."""
    left = folder.path / "saves" / ".unfinished-step-000004"
    left.mkdir()
    (left / "progress.json").write_text("{")
    assert folder.newest_checkpoint().step == 2
    folder.write_checkpoint(4, lambda path: path.mkdir(), NO_PROGRESS)
    assert checkpoints(folder) == ["step-000002", "step-000004"]


def test_two_checkpoints_are_kept(folder: RunFolder) -> None:
    for step in (4, 6):
        folder.write_checkpoint(step, lambda path: path.mkdir(), PROGRESS)
    assert checkpoints(folder) == ["step-000004", "step-000006"]
    # A run that was resumed after step 4 writes over what it did not use.
    (folder.newest_checkpoint().folder / "adapters" / "damaged").touch()
    (folder.path / "saves" / "step-000008").mkdir()
    folder.write_checkpoint(6, lambda path: path.mkdir(), PROGRESS)
    assert checkpoints(folder) == ["step-000004", "step-000006"]
    assert folder.newest_checkpoint().fault() == ""


def test_a_full_disk_costs_the_older_checkpoint_first(folder: RunFolder) -> None:
    folder.write_checkpoint(4, lambda path: path.mkdir(), PROGRESS)

    def write_if_there_is_space(path: Path) -> None:
        if len(checkpoints(folder)) > 2:  # with the unfinished one
            raise OSError(28, "No space left on device")
        path.mkdir()

    folder.write_checkpoint(6, write_if_there_is_space, PROGRESS)
    assert checkpoints(folder) == ["step-000004", "step-000006"]


def test_faults_of_a_checkpoint(folder: RunFolder) -> None:
    def write(path: Path) -> None:
        path.mkdir()
        (path / "state").write_bytes(bytes(1000))

    folder.write_checkpoint(4, write, PROGRESS)
    checkpoint = folder.newest_checkpoint()
    state = checkpoint.training_state / "state"
    assert checkpoint.fault() == ""
    state.write_bytes(bytes(999) + b"1")
    assert checkpoint.fault() == "adapters/state is damaged"
    state.unlink()
    assert checkpoint.fault() == "adapters/state is missing"
    (checkpoint.folder / "checksums.json").write_text("{")
    assert checkpoint.fault() == "checksums.json is missing or damaged"


def test_run_json_comes_last(folder: RunFolder) -> None:
    result = made_result(folder.path)
    files: dict[str, Any] = {"settings.json": {}, "generations.json": object()}
    with pytest.raises(TypeError):
        folder.finish(files, result, lambda path: path.mkdir())
    assert not (folder.path / "run.json").exists()
    assert folder.newest_checkpoint() is not None
    folder.finish({**files, "generations.json": []}, result, lambda path: path.mkdir())
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"adapters", "generations.json", "run.json", "settings.json"}


def test_two_runs_of_one_name(tmp_path: Path) -> None:
    first, second = (new_run_folder(tmp_path, "a-run", {}, {}) for _ in range(2))
    assert (first.path.name, second.path.name) == ("a-run", "a-run-2")
