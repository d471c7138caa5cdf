"""The check ``step`` of the exercise ``training``: five calls of the learner's training step."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared import small_models
from kit.course.shared.meshes import sharding_meshes
from kit.course.shared.optimizer_mistakes import DECAY, RATE
from kit.course.training.mistakes import STEPS, as_values, model_of_the_step, step_table
from kit.course.training.twin_comparison import Values, expect_trained, expect_twin, is_like_twin
from kit.evidence import unsharded_twin as twin
from kit.judge.observation import Outcome, Stopped, returned
from kit.judge.submission import Submission

FUNCTION = "make_train_step"
STEP = "the step of make_train_step"


@dataclass(frozen=True)
class EndState:
    """The state that the last step returned, in the order of the model's variables."""

    trainable: list[np.ndarray]
    non_trainable: list[np.ndarray]
    optimizer: list[np.ndarray]
    #: Trainable arrays that were passed to the last step, and how many of them it deleted.
    old_arrays: int
    deleted_arrays: int


@dataclass(frozen=True)
class StepsSeen:
    """Calls of the step on one mesh."""

    mesh: tuple[int, int]
    #: One per step, up to the last one that returned.
    losses: tuple[float, ...]
    end: Outcome[EndState]


def observe_step(submission: Submission) -> list[StepsSeen]:
    """Five steps on each mesh that shards the weights, until the steps of one mesh are stopped."""
    seen = []
    for mesh in sharding_meshes():
        small_models.set_distribution(*mesh)
        model = _compiled_model()
        losses: list[float] = []
        end = submission.observe(FUNCTION, model, reads=partial(_run_steps, submission, model, losses))
        seen.append(StepsSeen(mesh, tuple(losses), end))
        if isinstance(end, Stopped):
            break
    return seen


def judge_step(seen: list[StepsSeen]) -> dict[str, float]:
    """Losses, adapters, base and optimizer state are right on each mesh; the state is donated."""
    assert seen, "no mesh shards the weights"
    # The values of the small model do not depend on the mesh, so one twin does for all meshes.
    model = _compiled_model()
    right = twin.train(model, small_models.batches(STEPS), RATE, DECAY)
    before = small_models.values(model.variables)
    figures: dict[str, float] = {}
    for steps in seen:
        state = returned(steps.end)
        _judge_shapes(model, state)
        trainable = _by_path(model.trainable_variables, state.trainable)
        expect_trained(before, trainable | _by_path(model.non_trainable_variables, state.non_trainable), STEPS)
        if not is_like_twin(steps.losses, trainable, right):
            _recognise(steps.losses, before, trainable, right)
        _judge_optimizer_state(model, steps.losses, state, right)
        for what, value in expect_twin(steps.losses, trainable, right, f"mesh {steps.mesh}").items():
            figures[what] = max(value, figures.get(what, value))
        if state.deleted_arrays < state.old_arrays:
            cause = "After a step the old state still exists: model and moments are in memory twice."
            rows = [(state.old_arrays, state.deleted_arrays)]
            raise Failed("TRAINING_STATE_NOT_DONATED", cause, ("arrays of the old state", "deleted"), rows)
    return figures


def _recognise(losses: tuple[float, ...], before: Values, after: Values, right: twin.Trajectory) -> None:
    """Name the usual mistakes that give these losses and adapters, if there are any."""
    # Where a wrong loss has huge gradients, rounding moves the adapters, and not the losses.
    loss_is_off = not np.isclose(losses[0], right.losses[0], rtol=1e-4)
    for end in (after, {}) if loss_is_off else (after,):
        table = step_table(losses[0], with_adapters=bool(end))
        if recognised := table.recognised_failure(as_values(losses, before, end)):
            raise recognised


def _compiled_model() -> keras_hub.models.CausalLM:
    model = model_of_the_step()
    small_models.compile_model(model, RATE, DECAY)
    return model


def _run_steps(submission: Submission, model: keras_hub.models.CausalLM, losses: list[float], made: Any) -> EndState:
    """Run the steps, add their losses to ``losses``, and return the last state."""
    if not callable(made):
        submission.expect_type(FUNCTION, made, type(twin.train))
    step = submission.wrap(STEP, made)
    state: Any = tuple(
        [keras.ops.copy(variable.value) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    )
    old = state
    for texts in small_models.batches(STEPS):
        old = state
        result = step(state, twin.tokenized(model, texts))
        submission.expect_type(STEP, result, tuple)
        if len(result) != 2 or not isinstance(result[0], tuple | list) or len(result[0]) != 3:
            cause = "A step returns (state, loss), where state is (trainable, non_trainable, optimizer_variables)."
            raise Failed(
                "WRONG_RETURN_TYPE", cause, ("expected", "returned"), [("((…, …, …), loss)", repr(result)[:200])]
            )
        state, loss = result
        losses.append(float(np.asarray(loss)))
    trainable, non_trainable, optimizer = ([np.asarray(value) for value in group] for group in state)
    deleted = sum(bool(array.is_deleted()) for array in old[0])
    return EndState(trainable, non_trainable, optimizer, len(old[0]), deleted)


def _judge_shapes(model: keras_hub.models.CausalLM, state: EndState) -> None:
    for name, variables, found in (
        ("trainable", model.trainable_variables, state.trainable),
        ("non-trainable", model.non_trainable_variables, state.non_trainable),
    ):
        expected_shapes = [tuple(variable.shape) for variable in variables]
        shapes = [value.shape for value in found]
        if shapes != expected_shapes:
            cause = f"The {name} arrays of the new state have other shapes than those of the old state."
            raise Failed("NOT_AS_EXPECTED", cause, ("expected shapes", "yours"), [(expected_shapes[:4], shapes[:4])])


def _judge_optimizer_state(
    model: keras_hub.models.CausalLM, losses: tuple[float, ...], state: EndState, right: twin.Trajectory
) -> None:
    """The optimizer's variables change from step to step, and the step count with them."""
    shapes = [tuple(variable.shape) for variable in model.optimizer.variables]
    found_shapes = [value.shape for value in state.optimizer]
    counts = [int(value) for value in state.optimizer if value.ndim == 0 and value.dtype.kind in "iu"]
    if shapes == found_shapes and counts == [STEPS]:
        return
    code, remedy = "TRAINING_OPTIMIZER_STATE_LOST", ""
    cause = "The optimizer's state does not carry over from step to step."
    if shapes != found_shapes:
        cause = "The optimizer's variables in the new state have other shapes than those in the old one."
    elif counts[0] > STEPS:
        code, remedy = "TRAINING_OFF_THE_TWIN", "Apply the gradients once in a step."
        cause = f"The optimizer counts {counts[0]} updates in {STEPS} steps."
    rows = [
        ("optimizer variables", len(shapes), len(state.optimizer)),
        ("step count", STEPS, ", ".join(map(str, counts)) or "none"),
        ("optimizer variables that are not zero", len(shapes), sum(map(bool, map(np.any, state.optimizer)))),
        ("loss of the last step", f"{right.losses[-1]:.6f}", f"{losses[-1]:.6f}"),
    ]
    raise Failed(code, cause, ("", "expected", "yours"), rows, remedy)


def _by_path(variables: list[keras.Variable], arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by the paths of the variables, as float32."""
    return {variable.path: array.astype("float32") for variable, array in zip(variables, arrays, strict=True)}
