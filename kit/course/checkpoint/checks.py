"""The checks of the exercise ``checkpoint``: saving, resuming and merging."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.checkpoint import merging, training_run
from kit.course.checkpoint.training_run import RANK, State, differing, fresh_model, state_of
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, Returned, Stopped, expect_not_stopped, returned
from kit.judge.submission import Submission

observe_merge, judge_merge = merging.observe_merge, merging.judge_merge

FOLDER_WITH_FILES = "a folder with files"


@dataclass(frozen=True)
class Saved:
    """What ``save_training`` left behind."""

    #: What is at the path.
    found: str
    #: The model's state after the call.
    state: State


@dataclass(frozen=True)
class Resumed:
    """A fresh model after ``resume_training``."""

    state: State
    #: Losses of the two steps that follow.
    losses: list[float]


@dataclass(frozen=True)
class SavedAndResumed:
    """Two training steps that are saved, resumed in a fresh model and continued for two more."""

    #: Before ``save_training``.
    state: State
    save: Outcome[Saved]
    #: None if nothing was saved.
    resume: Outcome[Resumed] | None = None
    #: If ``resume`` was stopped: ``resume_training`` again, on models whose optimizer has the name
    #: that it had when it was saved. In the first it is not built, in the second it is.
    same_name: tuple[Outcome[None], ...] = ()


def observe_resume(submission: Submission) -> SavedAndResumed:
    """A run with LoRA, resumed on the same mesh."""
    return _save_and_resume(submission, RANK, mesh_shapes()[0], mesh_shapes()[0])


def judge_resume(seen: SavedAndResumed) -> dict[str, float]:
    """The state is the saved one, and the losses are those of a run without interruption."""
    # The same program on the same mesh gives the same losses.
    return _judge_resumed(seen, RANK, mesh_shapes()[0], tolerance=1e-6)


def observe_resume_elsewhere(submission: Submission) -> SavedAndResumed:
    """A run without LoRA, resumed on another mesh where the devices allow one."""
    shapes = _meshes_to_move_between()
    return _save_and_resume(submission, 0, shapes[0], shapes[-1])


def judge_resume_elsewhere(seen: SavedAndResumed) -> dict[str, float]:
    """The state is the saved one, and the losses are those of a run without interruption."""
    # On another mesh, sums may be taken in another order. Over five seeds the losses were equal.
    return _judge_resumed(seen, 0, _meshes_to_move_between()[0], tolerance=1e-5)


def observe_resume_bfloat16(submission: Submission) -> tuple[Outcome[None], Outcome[State] | None]:
    """``save_training`` of a bfloat16 model, and the state of a resumed fresh model."""
    small_models.set_distribution(*mesh_shapes()[0])
    model, fresh = _bfloat16_model(), fresh_model(0, "adamw", other_values=True, dtype="bfloat16")
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "save"
        save: Outcome[None] = submission.observe("save_training", model, folder, reads=lambda _: None)
        if isinstance(save, Stopped):
            return save, None
        return save, submission.observe("resume_training", fresh, folder, reads=lambda _: state_of(fresh))


def judge_resume_bfloat16(seen: tuple[Outcome[None], Outcome[State] | None]) -> None:
    """Both functions take a bfloat16 model, and its state comes back exactly."""
    small_models.set_distribution(*mesh_shapes()[0])
    saved = state_of(_bfloat16_model())
    assert sum(value.dtype == "bfloat16" for value in saved.values()) >= 5, "no variable is in bfloat16"
    for name, outcome in zip(("save_training", "resume_training"), seen, strict=True):
        if _crashed(outcome):
            path, value = next(iter(saved.items()))
            raise Failed(
                "CHECKPOINT_BFLOAT16_LOST",
                f"`{name}` fails for a bfloat16 model.",
                ("variable", "dtype", "error"),
                [(path, value.dtype, _error_of(outcome, name))],
            )
        assert outcome is not None
        expect_not_stopped(outcome)
    assert seen[1] is not None
    found = returned(seen[1])
    wrong = differing(saved, found)
    if wrong:
        cause = f"{len(wrong)} of {len(saved)} variables of a bfloat16 model do not get back their saved values."
        rows = [(path, _first(saved[path]), _first(found.get(path))) for path in wrong[:3]]
        raise Failed("CHECKPOINT_BFLOAT16_LOST", cause, ("variable", "saved", "resumed"), rows)


def _save_and_resume(
    submission: Submission, rank: int, mesh: tuple[int, int], other_mesh: tuple[int, int]
) -> SavedAndResumed:
    small_models.set_distribution(*mesh)
    before, after = training_run.batches()[:2], training_run.batches()[2:]
    # Keras numbers the names of optimizers, so that another process may give another name.
    saved_name, name = "adamw_of_the_first_process", "adamw_of_the_second_process"
    model = fresh_model(rank, saved_name)
    training_run.train(model, before)
    state = state_of(model)
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "a" / "save"
        save = submission.observe(
            "save_training", model, folder, reads=lambda _: Saved(_what_is_at(folder), state_of(model))
        )
        if not isinstance(save, Returned) or save.data.found != FOLDER_WITH_FILES:
            return SavedAndResumed(state, save)
        small_models.set_distribution(*other_mesh)
        fresh = fresh_model(rank, name, built=False, other_values=True)
        resume = submission.observe(
            "resume_training", fresh, folder, reads=lambda _: Resumed(state_of(fresh), training_run.train(fresh, after))
        )
        same_name: list[Outcome[None]] = []
        for built in (False, True) if isinstance(resume, Stopped) else ():
            fresh = fresh_model(rank, saved_name, built=built, other_values=True)
            same_name.append(submission.observe("resume_training", fresh, folder, reads=lambda _: None))
    return SavedAndResumed(state, save, resume, tuple(same_name))


def _judge_resumed(seen: SavedAndResumed, rank: int, mesh: tuple[int, int], tolerance: float) -> dict[str, float]:
    _judge_save(seen)
    _judge_errors(seen)
    assert seen.resume is not None, "nothing was resumed"
    assert len(seen.state) >= 5, "there is nothing to save"
    resumed = returned(seen.resume)
    small_models.set_distribution(*mesh)
    uninterrupted = training_run.train(fresh_model(rank, "adamw"), training_run.batches())[2:]
    wrong = differing(seen.state, resumed.state)
    rows = [
        *(
            (f"loss of step {number}", f"{expected:.6f}", f"{found:.6f}")
            for number, (expected, found) in enumerate(zip(uninterrupted, resumed.losses, strict=True), 3)
        ),
        *((path, _first(seen.state[path]), _first(resumed.state.get(path))) for path in wrong[:3]),
    ]
    columns = ("", "uninterrupted", "resumed")
    if any("lora_" in path and not path.startswith("optimizer") for path in wrong):
        raise Failed(
            "CHECKPOINT_ADAPTERS_LOST", "After resuming, the adapters differ from the saved ones.", columns, rows
        )
    if wrong or not np.allclose(uninterrupted, resumed.losses, rtol=tolerance):
        raise Failed(
            "CHECKPOINT_RESUME_OFF_TRAJECTORY",
            f"After resuming, {len(wrong)} of {len(seen.state)} variables differ from the saved ones, and the losses "
            "are not those of the uninterrupted run.",
            columns,
            rows,
        )
    difference = np.abs(np.subtract(resumed.losses, uninterrupted)) / np.abs(uninterrupted)
    return {"loss after resuming": float(difference.max())}


def _judge_save(seen: SavedAndResumed) -> None:
    saved = returned(seen.save)
    if saved.found != FOLDER_WITH_FILES:
        raise Failed(
            "NOT_AS_EXPECTED",
            "`save_training` did not create a folder with files.",
            ("expected", "found"),
            [(FOLDER_WITH_FILES, saved.found)],
            remedy="Create the folder and write the state into it.",
        )
    if changed := differing(seen.state, saved.state):
        raise Failed(
            "NOT_AS_EXPECTED",
            f"`save_training` changed {len(changed)} variables of the model.",
            ("variable", "before", "after"),
            [(path, _first(seen.state[path]), _first(saved.state.get(path))) for path in changed[:4]],
            remedy="Read the variables and leave them unchanged.",
        )


def _judge_errors(seen: SavedAndResumed) -> None:
    """Find out whether resuming failed by the optimizer's name or its missing variables."""
    if not _crashed(seen.resume):
        return
    error = _error_of(seen.resume, "resume_training")
    not_built, built = seen.same_name
    if isinstance(not_built, Returned):
        raise Failed(
            "CHECKPOINT_NAMES_NOT_STABLE",
            "`resume_training` finds the saved variables only if the optimizer has the same name as before. "
            "In another process it has another name.",
            ("optimizer's name", "resume_training"),
            [("the same as before", "works"), ("another", error)],
        )
    if isinstance(built, Returned):
        cause = "`resume_training` fails on a model that has just been compiled: its optimizer has no moments yet."
        rows = [("built", "works"), ("not built", error)]
        raise Failed("CHECKPOINT_OPTIMIZER_NOT_BUILT", cause, ("optimizer", "resume_training"), rows)


def _crashed(outcome: Outcome[Any] | None) -> bool:
    return isinstance(outcome, Stopped) and outcome.diagnosis.code == "EXERCISE_CRASHED"


def _error_of(outcome: Outcome[Any] | None, name: str) -> str:
    """Class and text of the error that a function failed with."""
    assert isinstance(outcome, Stopped)
    return outcome.diagnosis.cause.removeprefix(f"{name} failed: ").removesuffix(".")


def _what_is_at(folder: Path) -> str:
    if folder.is_dir():
        return FOLDER_WITH_FILES if any(folder.iterdir()) else "an empty folder"
    return "a file" if folder.is_file() else "nothing"


def _meshes_to_move_between() -> list[tuple[int, int]]:
    """Two meshes that split the weights, or one where there is no second."""
    return [shape for shape in mesh_shapes() if shape[1] > 1][:2]


def _bfloat16_model() -> keras_hub.models.CausalLM:
    """A bfloat16 model without LoRA, since adapters are float32 in any model of Keras 3.15."""
    model = fresh_model(0, "adamw", dtype="bfloat16")
    # Moments are zero before the first step. No step is needed to see whether they are restored.
    for number, variable in enumerate(model.optimizer.variables):
        if tuple(variable.shape):
            variable.assign(np.random.default_rng(number).normal(size=tuple(variable.shape)).astype("float32"))
    return model


def _first(value: np.ndarray | None) -> str:
    """The first entry of an array, as text."""
    return "missing" if value is None else f"{float(value.ravel()[0]):.6g}"
