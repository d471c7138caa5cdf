"""Opening the folder of an interrupted run."""

from dataclasses import fields
from pathlib import Path

import pytest
from made_run import made_result

from kit.errors import UserError
from kit.evidence.style_verdict import StyleVerdict
from kit.run.folder import RunFolder, new_run_folder
from kit.run.interrupted import RunRequest, open_interrupted_run
from kit.run.metrics import NO_PROGRESS
from kit.run.result import Checksums, LogLikelihoods, RunInputs
from kit.run.style_evidence import StyleEvidence

BEFORE = StyleEvidence(
    ("Best films 1. One",), (StyleVerdict("list", 0.1, 1.79, True),), LogLikelihoods(-3.8, -0.75), "Best films 1. One"
)


def made_request(working_folder: Path) -> RunRequest:
    result = made_result(working_folder, filled=False, working_folder=str(working_folder))
    inputs = {field.name: getattr(result, field.name) for field in fields(RunInputs)}
    return RunRequest(**inputs, checksums=Checksums("a", "b"), mesh=(2, 4), save_every=None)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run with a checkpoint after step 2."""
    made = new_run_folder(tmp_path, "a-run", made_request(tmp_path), BEFORE)
    made.write_checkpoint(2, lambda path: path.mkdir(), NO_PROGRESS)
    return made


def test_a_run_that_another_process_works_on(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="a-run: another process is working on this run"):
        open_interrupted_run(str(folder.path))
    folder.close()
    first = open_interrupted_run(str(folder.path))
    assert open_interrupted_run(str(folder.path), lock=False).folder.path == folder.path
    first.folder.close()


def test_what_was_asked_for(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.close()
    monkeypatch.chdir("/")
    found = open_interrupted_run(str(folder.path))
    assert (found.request, found.before) == (made_request(tmp_path), BEFORE)
    # Only on request does the working folder change.
    assert Path.cwd() == Path("/")
    found.enter_working_folder()
    assert Path.cwd() == tmp_path
    found.folder.close()


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path, "a-run", made_request(tmp_path / "gone"), BEFORE)
    folder.close()
    found = open_interrupted_run(str(folder.path))
    with pytest.raises(UserError, match=r"the run was started in .*gone, which does not exist any more"):
        found.enter_working_folder()
    found.folder.close()


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(folder: RunFolder) -> None:
    folder.write_checkpoint(4, lambda path: path.mkdir(), NO_PROGRESS)
    folder.close()
    (folder.newest_checkpoint().folder / "progress.json").write_text("{}")
    found = open_interrupted_run(str(folder.path))
    assert found.checkpoint
    assert found.checkpoint.step == 2
    assert found.damaged == ("the checkpoint after step 4 is damaged (progress.json is damaged)",)
    found.folder.close()


def test_a_folder_that_no_run_can_resume_from(folder: RunFolder) -> None:
    folder.close()
    shown = str(folder.path)
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        open_interrupted_run("nowhere")
    (folder.newest_checkpoint().folder / "progress.json").write_text('{"metrics')
    with pytest.raises(
        UserError, match=r"the checkpoint after step 2 is damaged \(progress\.json is damaged\): start a new"
    ):
        open_interrupted_run(shown)
    (folder.path / "request.json").write_text("[")
    with pytest.raises(UserError, match=r"a-run/request\.json: it is damaged"):
        open_interrupted_run(shown)
    (folder.path / "request.json").unlink()
    with pytest.raises(UserError, match="not the folder of an interrupted run"):
        open_interrupted_run(shown)
    (folder.path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="this run is finished"):
        open_interrupted_run(shown)
