"""A check of saving and resuming: a resumed run is the uninterrupted one."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.invariance import Shape, Tolerance, make_layout_map, require_examples, require_meshes
from kit.checks.tables import Row, limited
from kit.formatting import format_tuple

if TYPE_CHECKING:
    import keras

    from kit.checks.invariance import LayoutMapFor
    from kit.evidence.resumption import ResumedRun, SavedRun, State

    SaveOrResume = Callable[[keras.Model, Path], Any]


@raises_check_failed
def check_resumes(
    make_model: Callable[[], "keras.Model"],
    save: "SaveOrResume",
    resume: "SaveOrResume",
    batch: Any,
    layout_map_for: "LayoutMapFor | None" = None,
    meshes: Sequence[Shape] = ((2, 4), (1, 8)),
    *,
    name: str = "checkpoint",
    steps: int = 2,
    rtol: float | None = None,
    seed: int = 0,
    axis_names: tuple[str, str] = ("batch", "model"),
) -> tuple[float, ...]:
    """Check that a run that is saved and resumed is the same as without the interruption.

    The check trains a new model on the first mesh, saves it, and trains further. On each mesh, the
    first one included, it then resumes in a new model. What is restored must be bit-identical: the
    model's variables, the optimizer's, and the states of random generators, as far as training has
    changed them. Further steps must be bit-identical on the same mesh, and their losses within
    ``rtol`` on the others.

    It costs one model, its compilation and ``2 * steps`` steps, and for each mesh another model, a
    compilation and ``steps`` steps; and host memory for four times the state.

    Args:
        make_model: Builds and compiles a new model; the check sets Keras' seed before. Frozen
            weights that your checkpoint leaves out must have the same values at each call.
        save: ``save(model, path)`` writes a file or a folder to the path.
        resume: ``resume(model, path)`` restores it into a new model, whose optimizer may not be
            built.
        batch: What ``model.train_on_batch`` takes.
        layout_map_for: Makes the layout map for a device mesh. Without it, one device is used.
        meshes: Sizes of the two axes. The run is saved on the first.
        name: Of what is saved, in an empty folder; such as ``model.weights.h5``.
        steps: Before the run is saved, and after.
        rtol: Of losses on another mesh. By default that of the compute dtype, 1e-5 for float32.
        seed: For ``keras.utils.set_random_seed``.
        axis_names: Of the meshes; the batch is sharded over the first.

    Returns:
        The losses of the steps after the run was saved.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, LAYOUT_AXIS_DOES_NOT_DIVIDE, SAVING_CHANGES_THE_MODEL,
            SAVING_WRITES_NOTHING, MODEL_NOT_REPRODUCIBLE, RESUMING_LOSES_STATE,
            RESUMING_DEPENDS_ON_MESH, RESUMING_LEAVES_THE_TRAJECTORY, LOSS_DEPENDS_ON_MESH.
    """
    from kit.evidence.resumption import resume_and_run, run_and_save

    shapes: list[Shape | None] = [None]
    if layout_map_for is not None:
        shapes = [(int(first), int(second)) for first, second in meshes]
        require_meshes([shape for shape in shapes if shape])
        require_examples([shape for shape in shapes if shape], batch)

    def layout_map(shape: Shape | None) -> "keras.distribution.LayoutMap | None":
        return make_layout_map(layout_map_for, shape, axis_names) if layout_map_for and shape else None

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        run = run_and_save(make_model, save, path, batch, layout_map(shapes[0]), steps, seed)
        _judge_saving(run, path)
        runs = []
        for shape in shapes:
            try:
                runs.append(resume_and_run(make_model, resume, path, batch, layout_map(shape), steps, seed))
            except Exception as error:
                error.add_note(f"check_resumes: this was raised while it resumed on {_named(shape)}.")
                raise
            _judge_restored(run, runs[0], runs[-1], shapes[0], shape)
        if runs[0].losses != run.losses or not _same(run.final, runs[0].final):
            again = resume_and_run(make_model, resume, path, batch, layout_map(shapes[0]), steps, seed)
            _judge_trajectory(run, runs[0], again, shapes[0])
    _judge_losses(run, dict(zip(shapes, runs, strict=True)), Tolerance.of(run, rtol))
    return run.losses


def _named(shape: Shape | None) -> str:
    return "one device" if shape is None else f"the mesh {format_tuple(shape)}"


def _same(expected: "State", found: "State") -> bool:
    from kit.evidence.resumption import differing

    return not differing(expected, found)


def _judge_saving(run: "SavedRun", path: Path) -> None:
    from kit.evidence.resumption import differing

    if not any(one.startswith("trainable") for one in differing(run.initial, run.saved)):
        raise Failed(
            "NOTHING_TO_CHECK",
            "No trainable variable changes before the run is saved: the steps show nothing.",
            ("losses after it is saved",),
            [(", ".join(f"{loss:.8g}" for loss in run.losses),)],
            "Compile with a larger learning rate, and check that some variables are trainable (check_trains).",
        )
    if changed := differing(run.saved, run.after_saving):
        raise Failed(
            "SAVING_CHANGES_THE_MODEL",
            f"{len(changed)} variable{_s(changed)} changed while the run was saved.",
            ("variable", "largest value before", "after"),
            limited([(one, _largest(run.saved, one), _largest(run.after_saving, one)) for one in changed]),
        )
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    if not any(file.stat().st_size for file in files):
        beside = sorted(file.name for file in path.parent.iterdir())
        raise Failed(
            "SAVING_WRITES_NOTHING",
            f"The function that saves the run wrote no file to the path that it was given, …/{path.name}.",
            ("beside it",),
            [(", ".join(beside) or "nothing",)],
        )


def _largest(state: "State", name: str) -> str:
    import numpy as np

    if name not in state:
        return "missing"
    return f"{float(np.max(np.abs(state[name].astype('float64')))):.6g}" if state[name].size else "empty"


#: What differs in brief -> headline, remedy; the first in this order is the cause of a failure.
_REASONS = {
    "missing": (
        "the resumed model has other variables than the saved one",
        "Build the same model at each call of make_model, with LoRA enabled if it was.",
    ),
    "A and B are 0": (
        "both matrices of their adapters are 0, which no training changes",
        "Save A and B themselves: Keras' save_weights merges them into the kernels, and load_weights sets both to 0.",
    ),
    "not restored": (
        "they have the values of a new model",
        "Save them with the others, and assign their values when you resume.",
    ),
    "rounded": ("they were rounded to a dtype with fewer digits", "Save each value in the dtype of its variable."),
    "other values": (
        "they have neither the saved values, nor those of a new model, nor rounded ones",
        "Check which saved value is assigned to which variable.",
    ),
}


def _judge_restored(
    run: "SavedRun", on_first: "ResumedRun", resumed: "ResumedRun", saved_on: Shape | None, shape: Shape | None
) -> None:
    """What the checkpoint restores is bit-identical to what was saved."""
    from kit.evidence.resumption import differing

    wrong = differing(run.saved, resumed.restored)
    if not wrong:
        return
    lost = {one: _reason(one, run, resumed) for one in wrong}
    reasons = list(lost.values())
    most = min(set(reasons), key=list(_REASONS).index)
    headline, remedy = _REASONS[most]
    its = [one for one, reason in lost.items() if reason == most]
    frozen = [one for one in its if one.startswith("frozen")]
    if most == "not restored" and len(frozen) == len(wrong):
        raise Failed(
            "MODEL_NOT_REPRODUCIBLE",
            f"{len(frozen)} frozen variables have other values in a new model than in the saved one, and the "
            "checkpoint does not restore them.",
            ("variable", "saved", "restored"),
            limited([(one, _largest(run.saved, one), _largest(resumed.restored, one)) for one in frozen]),
        )
    if most == "not restored":
        remedy = _remedy_for(its)
    # Right on the mesh that it was saved on, wrong on another.
    elsewhere = resumed is not on_first
    raise Failed(
        "RESUMING_DEPENDS_ON_MESH" if elsewhere else "RESUMING_LOSES_STATE",
        f"{len(its)} variable{_s(its)} ({_kinds(its)}), saved on {_named(saved_on)}, {'are' if its[1:] else 'is'} not "
        f"bit-identical on {_named(shape)}: {headline}."
        + (f" {len(wrong) - len(its)} more differ in another way." if len(wrong) > len(its) else ""),
        ("variable", "why", "largest value saved", "restored"),
        limited([(one, why, _largest(run.saved, one), _largest(resumed.restored, one)) for one, why in lost.items()]),
        "" if elsewhere and most in ("not restored", "other values") else remedy,
    )


def _s(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else "s"


def _kinds(names: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(one.partition(":")[0] for one in names))
    return " and ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)


def _remedy_for(names: Sequence[str]) -> str:
    """What to save, for variables that are not restored."""
    what = {
        "optimizer": "model.optimizer.variables (build the optimizer before you assign them)",
        "random state": "the states of the model's random generators (model.variables that are not in model.weights)",
        "state": "model.non_trainable_variables, such as the statistics of BatchNormalization",
        "trainable": "model.trainable_variables",
        "frozen": "the frozen weights, which training or saving changed",
    }
    kinds = dict.fromkeys(one.partition(":")[0] for one in names)
    return f"Save and restore {' and '.join(what[kind] for kind in kinds)}."


def _reason(name: str, run: "SavedRun", resumed: "ResumedRun") -> str:
    import jax.numpy as jnp
    import numpy as np

    if name not in resumed.restored or name not in run.saved:
        return "missing"
    saved, restored = run.saved[name], resumed.restored[name]
    if saved.shape != restored.shape:
        return "missing"
    if "/lora_" in name and name.endswith(("_a", "_b")) and name.startswith("trainable"):
        pair = [name[:-1] + letter for letter in "ab"]
        if not any(np.any(resumed.restored[one]) for one in pair if one in resumed.restored):
            return "A and B are 0"
    # The optimizer of the resumed model began as that of the saved one did.
    new = resumed.initial.get(name, run.initial.get(name))
    if new is not None and restored.tobytes() == new.tobytes():
        return "not restored"
    for coarse in (jnp.bfloat16, jnp.float16):
        if saved.dtype.kind == "f" and np.array_equal(saved.astype(coarse).astype(saved.dtype), restored):
            return "rounded"
    return "other values"


def _judge_trajectory(run: "SavedRun", resumed: "ResumedRun", again: "ResumedRun", shape: Shape | None) -> None:
    """On the same mesh, further steps are bit-identical."""
    from kit.evidence.resumption import differing

    rows: list[Row] = [
        ("uninterrupted", *(f"{loss:.8g}" for loss in run.losses)),
        ("resumed", *(f"{loss:.8g}" for loss in resumed.losses)),
        ("resumed again", *(f"{loss:.8g}" for loss in again.losses)),
    ]
    evidence = (("run", *(f"loss {number}" for number in range(1, len(run.losses) + 1))), rows)
    if again.losses != resumed.losses or differing(resumed.final, again.final):
        raise Failed(
            "MODEL_NOT_REPRODUCIBLE",
            f"Resumed twice from the same files on {_named(shape)}, the model takes different steps: training itself "
            "is not reproducible.",
            *evidence,
            remedy="Seed other random numbers that a step draws, also those of NumPy and Python.",
        )
    wrong = differing(run.final, resumed.final)
    raise Failed(
        "RESUMING_LEAVES_THE_TRAJECTORY",
        f"All variables are restored on {_named(shape)}, but further steps are not bit-identical: after "
        f"{len(run.losses)} steps {len(wrong)} variables differ.",
        *evidence,
        remedy="Look for what a step reads besides the variables: attributes in Python, a counter of steps, the time.",
    )


def _judge_losses(run: "SavedRun", runs: "dict[Shape | None, ResumedRun]", tolerance: Tolerance) -> None:
    rows: list[Row] = [("uninterrupted", *(f"{loss:.8g}" for loss in run.losses), "")]
    wrong = []
    for shape, resumed in runs.items():
        pairs = zip(resumed.losses, run.losses, strict=True)
        worst = max(abs(loss - expected) / max(abs(expected), sys.float_info.min) for loss, expected in pairs)
        # Written so that NaN is too large.
        if not worst <= tolerance.rtol:
            wrong.append(_named(shape))
        rows.append((f"resumed on {_named(shape)}", *(f"{loss:.8g}" for loss in resumed.losses), f"{worst:.1e}"))
    if wrong:
        raise Failed(
            "LOSS_DEPENDS_ON_MESH",
            f"All variables are restored on {' and '.join(wrong)}, but the losses of further steps differ from those "
            f"of the uninterrupted run by more than {tolerance}.",
            ("run", *(f"loss {number}" for number in range(1, len(run.losses) + 1)), "relative difference"),
            rows,
        )
