"""Checks of the exercise ``checkpoint``."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras_hub
import numpy as np

from kit.course.shared import small_models as small
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission, described

RATE, DECAY = 0.01, 0.25
RANK = 3


def resume(submission: Submission) -> None:
    """With LoRA: a fresh model goes on exactly where the saved one was."""
    small.set_distribution(*mesh_shapes()[0])
    # Not the name that Keras would choose: a second optimizer in a process has another.
    _save_and_resume(submission, RANK, lambda: None)


def resume_elsewhere(submission: Submission) -> None:
    """Without LoRA, and from one mesh to another."""
    shapes = [shape for shape in mesh_shapes() if shape[1] > 1]
    small.set_distribution(*shapes[0])
    _save_and_resume(submission, 0, lambda: small.set_distribution(*shapes[min(1, len(shapes) - 1)]))


def resume_bfloat16(submission: Submission) -> None:
    """A model in bfloat16 is saved and restored to the last bit."""
    small.set_distribution(*mesh_shapes()[0])
    # Without LoRA, whose adapters are float32 in any model of Keras 3.15.
    model, fresh = (_fresh_model(0, "adamw", other_values=other, dtype="bfloat16") for other in (False, True))
    # Moments are zero at first, and a step's are not needed to see whether they come back.
    for number, variable in enumerate(model.optimizer.variables):
        if tuple(variable.shape):
            variable.assign(np.random.default_rng(number).normal(size=tuple(variable.shape)).astype("float32"))
    saved = _state(model)
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "save"
        for name, argument in (("save_training", model), ("resume_training", fresh)):
            error = submission.attempt(name, argument, folder, expects=Exception)
            if isinstance(error, Exception):
                raise Failed(
                    "CHECKPOINT_BFLOAT16_LOST",
                    f"{name} fails for a model in bfloat16.",
                    ("variable", "dtype", "error"),
                    [(path, saved[path].dtype, described(error)) for path in list(saved)[:1]],
                )
    found = _state(fresh)
    assert sum(value.dtype == "bfloat16" for value in saved.values()) >= 5, "nothing is in bfloat16"
    wrong = [path for path in saved if not np.array_equal(saved[path], found[path])]
    if wrong:
        raise Failed(
            "CHECKPOINT_BFLOAT16_LOST",
            f"Of a model in bfloat16, {len(wrong)} of {len(saved)} variables do not come back as they were.",
            ("variable", "saved", "resumed"),
            [(path, _first(saved[path]), _first(found[path])) for path in wrong[:3]],
        )


def merge(submission: Submission) -> None:
    """The merged model gives the same logits, and has nothing left to train."""
    small.set_distribution(*mesh_shapes()[0])
    model = _fresh_model(RANK, "adamw")
    # Another factor than 1 before the product.
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.lora_alpha = 2 * layer.lora_rank
    x = twin.tokenized(model, small.texts(8, seed=small.seed()))[0]
    before, kernels = _logits(model, x), small.values(model.variables)
    _without_adapters(model, x, before)
    submission.call("merge_adapters", model)
    after = _logits(model, x)
    # The sum of kernel and adapter is rounded once more when it is stored.
    difference = float(np.abs(after - before).max() / np.abs(before).max())
    moved = sum(not np.array_equal(kernels[path], value) for path, value in small.values(model.variables).items())
    rows = [
        ("largest difference of a logit, relative", "below 1e-05", f"{difference:.2g}"),
        ("variables that changed", "", moved),
        ("trainable variables", 0, len(model.trainable_variables)),
    ]
    columns = ("", "expected", "yours")
    submission.measure("logits after merging", difference)
    if not difference < 1e-5:
        raise Failed("CHECKPOINT_MERGE_CHANGES_OUTPUTS", "The merged model gives other logits.", columns, rows)
    if model.trainable_variables:
        raise Failed("CHECKPOINT_STILL_TRAINABLE", "After merging there is still something to train.", columns, rows)
    # What is saved as a preset has no adapters: the kernels alone must do.
    alone = _without_adapters(model, x, None)
    difference = float(np.abs(alone - before).max() / np.abs(before).max())
    if not difference < 1e-5:
        raise Failed(
            "CHECKPOINT_MERGE_CHANGES_OUTPUTS",
            "The kernels alone, as a preset has them, give other logits.",
            columns,
            [("largest difference of a logit, relative", "below 1e-05", f"{difference:.2g}"), *rows[1:]],
        )


def _save_and_resume(submission: Submission, rank: int, before_resuming: Callable[[], Any]) -> None:
    texts = small.texts(32, seed=small.seed())
    batches = [texts[start : start + 8] for start in range(0, 32, 8)]
    model = _fresh_model(rank, "adamw_of_the_first_process")
    step = _make_step(model)
    _train(model, step, batches[:2])
    saved = _state(model)
    with tempfile.TemporaryDirectory(prefix="kit-check-") as parent:
        folder = Path(parent) / "a" / "save"
        submission.call("save_training", model, folder)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise Failed(
                "NOT_AS_EXPECTED",
                "save_training made no folder, or left it empty.",
                ("expected", "found"),
                [
                    (
                        "a folder with files",
                        "a file" if folder.is_file() else "an empty folder" if folder.is_dir() else "nothing",
                    )
                ],
                advice="Make the folder and write the state into it.",
            )
        changed = [path for path, value in _state(model).items() if not np.array_equal(saved[path], value)]
        if changed:
            raise Failed(
                "NOT_AS_EXPECTED", "save_training changed the model.", ("changed",), [(path,) for path in changed[:4]]
            )
        uninterrupted = _train(model, step, batches[2:])
        before_resuming()
        fresh = _fresh_model(rank, "adamw_of_the_second_process", built=False, other_values=True)
        error = submission.attempt("resume_training", fresh, folder, expects=Exception)
        if isinstance(error, Exception):
            _fail_for_names(submission, error, rank, folder)
    found = _state(fresh)
    assert len(saved) >= 5, "there is nothing to save"
    assert found.keys() == saved.keys()
    wrong = [path for path in saved if not np.array_equal(saved[path], found[path])]
    resumed = _train(fresh, _make_step(fresh), batches[2:])
    rows = [
        *(
            (f"loss of step {number}", f"{right:.6f}", f"{mine:.6f}")
            for number, (right, mine) in enumerate(zip(uninterrupted, resumed, strict=True), 3)
        ),
        *((path, _first(saved[path]), _first(found[path])) for path in wrong[:3]),
    ]
    columns = ("", "uninterrupted", "resumed")
    submission.measure(
        "loss after resuming", float(np.max(np.abs(np.subtract(resumed, uninterrupted)) / np.abs(uninterrupted)))
    )
    adapters_lost = [path for path in wrong if "lora_" in path and not path.startswith("optimizer")]
    if adapters_lost:
        raise Failed(
            "CHECKPOINT_ADAPTERS_LOST", "After resuming, the adapters are not those that were saved.", columns, rows
        )
    # The same program on the same mesh is the same to the last bit. On another mesh sums may be added in another order; over five
    # seeds the two losses were the same all the same. The state itself is compared exactly.
    tolerance = 1e-6 if rank else 1e-5
    if wrong or not np.allclose(uninterrupted, resumed, rtol=tolerance):
        raise Failed(
            "CHECKPOINT_RESUME_OFF_TRAJECTORY",
            f"After resuming, {len(wrong)} of {len(saved)} variables are not as they were saved, and training goes another way.",
            columns,
            rows,
        )


def _fail_for_names(submission: Submission, error: Exception, rank: int, folder: Path) -> None:
    """Say whether resuming failed because the optimizer has another name in another process, or is not built."""

    def error_with(name: str, built: bool) -> Any:
        fresh = _fresh_model(rank, name, built=built, other_values=True)
        return submission.attempt("resume_training", fresh, folder, expects=Exception)

    if not isinstance(error_with("adamw_of_the_first_process", built=False), Exception):
        raise Failed(
            "CHECKPOINT_NAMES_NOT_STABLE",
            "A save is found again only if the optimizer has the name that it had, and in another process it has another.",
            ("optimizer's name", "resume_training"),
            [("as when it was saved", "works"), ("another", described(error))],
        )
    if not isinstance(error_with("adamw_of_the_first_process", built=True), Exception):
        raise Failed(
            "CHECKPOINT_OPTIMIZER_NOT_BUILT",
            "resume_training fails on a model that has just been compiled: its optimizer has no moments to assign to yet.",
            ("optimizer", "resume_training"),
            [("built before", "works"), ("not built", described(error))],
        )
    raise submission.crashed(error, "resume_training", "a fresh model, the folder")


def _fresh_model(
    rank: int, optimizer_name: str, built: bool = True, other_values: bool = False, dtype: str = "float32"
) -> keras_hub.models.CausalLM:
    model = small.small_model(rank=rank, num_layers=1, dtype=dtype)
    if other_values:
        # A fresh model has not the values that were trained; where LoRA is, the base has, since it comes from the preset.
        for variable in model.trainable_variables:
            variable.assign(np.full(tuple(variable.shape), 0.01, "float32"))
    small.compile_model(model, RATE, DECAY, optimizer_name, built)
    return model


def _state(model: keras_hub.models.CausalLM) -> dict[str, np.ndarray]:
    """What training changes, under names that do not depend on the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    found = {variable.path: np.asarray(variable.value) for variable in model.trainable_variables}
    for variable in model.optimizer.variables:
        found["optimizer/" + variable.path.partition("/")[2]] = np.asarray(variable.value)
    return found


def _make_step(model: keras_hub.models.CausalLM) -> Callable[..., Any]:
    def loss(trainable: list, rest: list, x: Any, y: Any, weight: Any) -> Any:
        logits, _ = model.stateless_call(trainable, rest, x, training=True)
        return twin.cross_entropy(logits, x, y, weight)

    @jax.jit
    def step(trainable: list, rest: list, optimizer_variables: list, x: Any, y: Any, weight: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(trainable, rest, x, y, weight)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return trainable, optimizer_variables, value

    return step


def _train(model: keras_hub.models.CausalLM, step: Callable[..., Any], batches: list[list[str]]) -> list[float]:
    """Train in place, and give the losses."""
    losses = []
    model.optimizer.build(model.trainable_variables)
    for batch in batches:
        trainable, optimizer_variables, value = step(
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
            [variable.value for variable in model.optimizer.variables],
            *twin.tokenized(model, batch),
        )
        for variable, new in zip(model.trainable_variables, trainable, strict=True):
            variable.assign(new)
        for variable, new in zip(model.optimizer.variables, optimizer_variables, strict=True):
            variable.assign(new)
        losses.append(float(value))
    return losses


def _logits(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray]) -> np.ndarray:
    values = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    return np.asarray(jax.jit(lambda values, x: model.stateless_call(*values, x)[0])(values, x))


def _without_adapters(
    model: keras_hub.models.CausalLM, x: dict[str, np.ndarray], before: np.ndarray | None
) -> np.ndarray:
    """The logits of the kernels alone. ``before``: what they must differ from, so that there is something to see."""
    kept = {}
    for variable in model.variables:
        if "lora_kernel_b" in variable.path:
            kept[variable.path] = (variable, np.asarray(variable.value))
            variable.assign(np.zeros(tuple(variable.shape), "float32"))
    assert kept, "the model has no adapters"
    logits = _logits(model, x)
    for variable, value in kept.values():
        variable.assign(value)
    if before is not None:
        assert np.abs(logits - before).max() > 0.01 * np.abs(before).max(), "the adapters change nothing"
    return logits


def _first(value: np.ndarray) -> str:
    return f"{float(value.ravel()[0]):.6g}"
