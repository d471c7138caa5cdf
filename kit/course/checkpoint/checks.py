"""The checks of the exercise ``checkpoint``: saving, resuming and merging."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.checkpoint import merging, training_run
from kit.course.checkpoint.mistakes import restored, resume_table
from kit.course.checkpoint.training_run import RANK, State, differing, fresh_model, layouts, moved_layouts, state_of
from kit.course.shared import small_models
from kit.course.shared.compiled_model import moments_of
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, Raised, Returned, Stopped, expect_not_stopped, returned
from kit.judge.submission import Submission

observe_merge, judge_merge = merging.observe_merge, merging.judge_merge

FOLDER_WITH_FILES = "a folder with files"
#: Of the model that is not trained.
_BLOCKS = 2


@dataclass(frozen=True)
class Saved:
    """What ``save_training`` left behind."""

    #: What is at the path, and the bytes of its files.
    found: str
    size: int
    #: The model's state after the call.
    state: State


@dataclass(frozen=True)
class Resumed:
    """A fresh model after ``resume_training``."""

    state: State
    #: Variables whose layout changed: path, layout before and after. No step follows then.
    moved: tuple[tuple[str, str, str], ...]
    #: Losses of the two steps that follow.
    losses: list[float]


@dataclass(frozen=True)
class SavedAndResumed:
    """Two training steps that are saved, resumed in a fresh model and continued for two more."""

    #: Before ``save_training``, and of the fresh model before ``resume_training``.
    state: State
    fresh: State
    #: Bytes of the model's variables that are frozen.
    frozen: int
    save: Outcome[Saved]
    #: ``save_training`` with a folder that exists; None if nothing was saved.
    save_again: Outcome[None] | None = None
    #: None if nothing was saved.
    resume: Outcome[Resumed] | None = None
    #: If ``resume`` was stopped: ``resume_training`` again, on models whose optimizer has the name
    #: that it had when it was saved. In the first it is not built, in the second it is.
    same_name: tuple[Outcome[None], ...] = ()
    #: ``resume_training`` of a model whose LoRA has another rank; None without LoRA.
    other_rank: Outcome[None] | None = None


@dataclass(frozen=True)
class Bfloat16Seen:
    """A bfloat16 model that is saved and resumed; a float32 model, where that fails."""

    save: Outcome[None]
    resume: Outcome[State] | None
    fresh: State
    float32_save: Outcome[None] | None = None
    float32_resume: Outcome[State] | None = None


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


def observe_resume_bfloat16(submission: Submission) -> Bfloat16Seen:
    """``save_training`` of a bfloat16 model, and the state of a resumed fresh model.

    Where it fails, the same with a float32 model: only what fails with one of the two is due to the
    dtype.
    """
    small_models.set_distribution(*mesh_shapes()[0])
    fresh, save, resume = _save_and_resume_untrained(submission, "bfloat16")
    if isinstance(resume, Returned) and not differing(state_of(_untrained_model("bfloat16")), resume.data):
        return Bfloat16Seen(save, resume, fresh)
    return Bfloat16Seen(save, resume, fresh, *_save_and_resume_untrained(submission, "float32")[1:])


def judge_resume_bfloat16(seen: Bfloat16Seen) -> None:
    """Both functions take a bfloat16 model, and its state comes back exactly."""
    small_models.set_distribution(*mesh_shapes()[0])
    saved = state_of(_untrained_model("bfloat16"))
    assert sum(value.dtype == "bfloat16" for value in saved.values()) >= 5, "no variable is in bfloat16"
    for name, outcome, float32 in (
        ("save_training", seen.save, seen.float32_save),
        ("resume_training", seen.resume, seen.float32_resume),
    ):
        if _crashed(outcome) and isinstance(float32, Returned):
            path, value = next(iter(saved.items()))
            raise Failed(
                "CHECKPOINT_BFLOAT16_LOST",
                f"`{name}` fails for a bfloat16 model, and works for a float32 model.",
                ("variable", "dtype", "error"),
                [(path, value.dtype, _error_of(outcome, name))],
            )
        assert outcome is not None
        expect_not_stopped(outcome)
    assert seen.resume is not None
    found = returned(seen.resume)
    wrong = differing(saved, found)
    if not wrong:
        return
    _recognise(saved, seen.fresh, found)
    cause = f"{len(wrong)} of {len(saved)} variables of a bfloat16 model do not get back their saved values"
    rows = [(path, _first(saved[path]), _first(found.get(path))) for path in wrong[:3]]
    float32_model = state_of(_untrained_model("float32"))
    if isinstance(seen.float32_resume, Returned) and not differing(float32_model, seen.float32_resume.data):
        cause += ", and those of a float32 model do."
        raise Failed("CHECKPOINT_BFLOAT16_LOST", cause, ("variable", "saved", "resumed"), rows)
    cause += ", nor do those of a float32 model."
    raise Failed("CHECKPOINT_RESUME_OFF_TRAJECTORY", cause, ("variable", "saved", "resumed"), rows)


def _save_and_resume_untrained(
    submission: Submission, dtype: str
) -> tuple[State, Outcome[None], Outcome[State] | None]:
    """The state of a fresh model, and the outcomes of saving another one and of resuming in it."""
    model = _untrained_model(dtype)
    fresh = fresh_model(0, "adamw", other_values=True, dtype=dtype, num_layers=_BLOCKS)
    state = state_of(fresh)
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "save"
        save: Outcome[None] = submission.observe("save_training", model, folder, reads=lambda _: None)
        if isinstance(save, Stopped):
            return state, save, None
        return state, save, submission.observe("resume_training", fresh, folder, reads=lambda _: state_of(fresh))


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
    frozen = sum(int(np.prod(variable.shape)) * 4 for variable in model.non_trainable_variables)
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "a" / "save"
        save = submission.observe(
            "save_training",
            model,
            folder,
            reads=lambda _: Saved(_what_is_at(folder), _size_of(folder), state_of(model)),
        )
        if not isinstance(save, Returned) or save.data.found != FOLDER_WITH_FILES:
            return SavedAndResumed(state, {}, frozen, save)
        save_again: Outcome[None] = submission.observe(
            "save_training", model, _copy(folder), expects=FileExistsError, reads=lambda _: None
        )
        small_models.set_distribution(*other_mesh)
        fresh = fresh_model(rank, name, built=False, other_values=True)
        unchanged = training_run.fresh_state(model)
        where = layouts(fresh.variables)
        resume = submission.observe(
            "resume_training", fresh, folder, reads=lambda _: _read_resumed(fresh, where, after)
        )
        same_name: list[Outcome[None]] = []
        for built in (False, True) if isinstance(resume, Stopped) else ():
            fresh = fresh_model(rank, saved_name, built=built, other_values=True)
            same_name.append(submission.observe("resume_training", fresh, folder, reads=lambda _: None))
        other: Outcome[None] | None = None
        if rank:
            smaller = fresh_model(rank - 1, name, built=False)
            other = submission.observe("resume_training", smaller, folder, expects=Exception, reads=lambda _: None)
    return SavedAndResumed(state, unchanged, frozen, save, save_again, resume, tuple(same_name), other)


def _read_resumed(model: keras_hub.models.CausalLM, before: training_run.Layouts, batches: list[list[str]]) -> Resumed:
    state = state_of(model)
    moved = [
        *moved_layouts(before, layouts(model.variables)),
        *((moment.path, moment.expected_spec, moment.spec) for moment in moments_of(model) if not moment.in_place),
    ]
    # A program takes no arrays that are on different devices.
    return Resumed(state, tuple(moved), [] if moved else training_run.train(model, batches))


def _judge_resumed(seen: SavedAndResumed, rank: int, mesh: tuple[int, int], tolerance: float) -> dict[str, float]:
    _judge_save(seen)
    _judge_errors(seen)
    assert seen.resume is not None, "nothing was resumed"
    assert len(seen.state) >= 5, "there is nothing to save"
    resumed = returned(seen.resume)
    _recognise(seen.state, seen.fresh, resumed.state)
    wrong = differing(seen.state, resumed.state)
    rows = [(path, _first(seen.state[path]), _first(resumed.state.get(path))) for path in wrong[:5]]
    if wrong:
        lost = any("lora_" in path and not path.startswith("optimizer") for path in wrong)
        raise Failed(
            "CHECKPOINT_ADAPTERS_LOST" if lost else "CHECKPOINT_RESUME_OFF_TRAJECTORY",
            f"After resuming, {len(wrong)} of {len(seen.state)} variables differ from the saved ones.",
            ("first entry of", "saved", "resumed"),
            rows,
            "Compare the values in the table: save each variable as it is, and assign the same value.",
        )
    _judge_layout(resumed)
    small_models.set_distribution(*mesh)
    uninterrupted = training_run.train(fresh_model(rank, "adamw"), training_run.batches())[2:]
    if not np.allclose(uninterrupted, resumed.losses, rtol=tolerance):
        raise Failed(
            "CHECKPOINT_RESUME_OFF_TRAJECTORY",
            "After resuming, all saved variables have their values, and the losses are not those of the uninterrupted "
            "run.",
            ("", "uninterrupted", "resumed"),
            [
                (f"loss of step {number}", f"{expected:.6f}", f"{found:.6f}")
                for number, (expected, found) in enumerate(zip(uninterrupted, resumed.losses, strict=True), 3)
            ],
            "Assign to the saved variables, and leave all others unchanged.",
        )
    _judge_what_is_refused(seen)
    difference = np.abs(np.subtract(resumed.losses, uninterrupted)) / np.abs(uninterrupted)
    return {"loss after resuming": float(difference.max())}


def _recognise(saved: State, fresh: State, resumed: State) -> None:
    """Name the usual mistakes that leave this state, if there are any."""
    table, found = resume_table(saved, fresh), restored(saved, fresh, resumed)
    if not table.is_right(found) and (recognised := table.recognised_failure(found)):
        raise recognised


def _judge_layout(resumed: Resumed) -> None:
    """The variables of model and optimizer are on the devices that they were on."""
    if resumed.moved:
        cause = f"After resuming, {len(resumed.moved)} variables have another layout."
        raise Failed("CHECKPOINT_LAYOUT_LOST", cause, ("variable", "expected", "yours"), resumed.moved[:5])


def _judge_what_is_refused(seen: SavedAndResumed) -> None:
    """A folder that exists and a model of another rank are errors; frozen weights are not saved."""
    saved = returned(seen.save)
    columns = ("", "expected", "yours")
    assert seen.save_again is not None
    expect_not_stopped(seen.save_again)
    if not isinstance(seen.save_again, Raised):
        rows = [("save_training with a folder that exists", "FileExistsError", "no error")]
        cause = "`save_training` writes into a folder that exists already."
        remedy = "Create the folder with `mkdir`, without `exist_ok`."
        raise Failed("NOT_AS_EXPECTED", cause, columns, rows, remedy)
    if isinstance(seen.other_rank, Returned):
        rows = [("resume_training with another LoRA rank", "an error", "no error")]
        cause = "`resume_training` takes a model whose variables have other shapes than the saved ones."
        remedy = "Compare names and shapes before you assign, as the stub does."
        raise Failed("NOT_AS_EXPECTED", cause, columns, rows, remedy)
    if seen.other_rank is not None and saved.size > seen.frozen / 2:
        rows = [("bytes", f"less than {seen.frozen // 2:,}", f"{saved.size:,}")]
        cause = "The checkpoint is large enough to have the frozen weights, which come from the preset."
        raise Failed("NOT_AS_EXPECTED", cause, columns, rows, "Save the trainable variables and the optimizer's.")


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


def _copy(folder: Path) -> Path:
    """A copy of a folder, so that a call that overwrites it does no harm."""
    return Path(shutil.copytree(folder, folder.with_name("exists")))


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _what_is_at(folder: Path) -> str:
    if folder.is_dir():
        return FOLDER_WITH_FILES if any(folder.iterdir()) else "an empty folder"
    return "a file" if folder.is_file() else "nothing"


def _meshes_to_move_between() -> list[tuple[int, int]]:
    """Two meshes that split the weights, or one where there is no second."""
    return [shape for shape in mesh_shapes() if shape[1] > 1][:2]


def _untrained_model(dtype: str) -> keras_hub.models.CausalLM:
    """A model without LoRA, since adapters are float32 in any model of Keras 3.15.

    It has two blocks, so that paths end alike.
    """
    model = fresh_model(0, "adamw", dtype=dtype, num_layers=_BLOCKS)
    # Moments are zero before the first step. No step is needed to see whether they are restored.
    for number, variable in enumerate(model.optimizer.variables):
        if tuple(variable.shape):
            variable.assign(np.random.default_rng(number).normal(size=tuple(variable.shape)).astype("float32"))
    model.optimizer.iterations.assign(2)
    return model


def _first(value: np.ndarray | None) -> str:
    """The first entry of an array, as text."""
    return "missing" if value is None else f"{float(value.ravel()[0]):.6g}"
