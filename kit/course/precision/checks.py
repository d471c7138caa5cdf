"""The checks of the exercise ``precision``."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.precision import lora_model as lora
from kit.course.precision.adapted_layer import AdaptedLayer, OutputsSeen, compute_outputs, expect_outputs
from kit.course.precision.cases import RANK, Change, changes, layers, sums
from kit.course.precision.rounding import effect_kept, share_unchanged
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, expect_not_stopped, returned
from kit.judge.submission import Submission

ADD_ADAPTERS = "add_adapters_in_float32"
#: Over 5 seeds, cosines of gradients are above 0.99996, and lengths within 0.005.
COSINE, LENGTH = 0.999, 0.02


@dataclass(frozen=True)
class LayersSeen:
    """A model with LoRA before and after a call of ``add_adapters_in_float32``."""

    call: Outcome[None]
    #: Path -> variable.
    before: dict[str, lora.VariableSeen]
    after: dict[str, lora.VariableSeen]
    #: Path of a layer -> its outputs. Empty if the variables are not the same as before.
    outputs: dict[str, OutputsSeen]


def observe_shares(submission: Submission) -> dict[str, Outcome[float]]:
    """Name of the sum -> share of unchanged entries."""
    return {
        case.name: submission.observe(
            "share_unchanged", case.kernel.copy(), case.update.copy(), reads=_number_of(submission, "share_unchanged")
        )
        for case in sums()
    }


def judge_shares(shares: dict[str, Outcome[float]]) -> None:
    """Each share is that of sums in float64 which are rounded to bfloat16."""
    rows, wrong = [], False
    for case in sums():
        expected, found = share_unchanged(case.kernel, case.update), returned(shares[case.name])
        wrong |= not abs(found - expected) < 1e-6
        rows.append((case.name, f"{expected:.4f}", f"{found:.4f}"))
    assert rows, "no sums were tried"
    if wrong:
        cause = "share_unchanged returns other shares than sums in float64 that are rounded to eight significant bits."
        raise Failed("PRECISION_WRONG_SHARE", cause, ("kernel and update", "expected", "yours"), rows)


def observe_effects(submission: Submission) -> dict[str, Outcome[float]]:
    """Name of the change -> its kept share."""
    return {
        case.name: submission.observe(
            "effect_kept", case.change.copy(), case.before, case.after, reads=_number_of(submission, "effect_kept")
        )
        for case in changes()
    }


def judge_effects(effects: dict[str, Outcome[float]]) -> None:
    """Each share is the least-squares factor in float64."""
    assert len(effects) > 3, "too few changes were tried"
    for case in changes():
        found = returned(effects[case.name])
        expected = effect_kept(case.change, case.before, case.after)
        if _is_close(found, expected):
            continue
        rows = [("least squares in float64", f"{expected:.6f}"), ("yours", f"{found:.6f}")]
        cause = f"effect_kept returns another number ({case.name})"
        for name, (value, code) in _other_measures(case, expected).items():
            if _is_close(found, value):
                raise Failed(code, f"{cause}: {name}.", ("", "k"), [*rows, (name, f"{value:.6f}")])
        raise Failed("PRECISION_WRONG_EFFECT", f"{cause}.", ("", "k"), rows)


def observe_outputs(submission: Submission) -> list[OutputsSeen]:
    """The outputs of ``adapted_outputs`` for each layer of Gemma."""
    seen = []
    for layer, compute_dtype, storage_dtype in layers():

        def compute(layer: AdaptedLayer, compute_dtype: str = compute_dtype, storage_dtype: str = storage_dtype) -> Any:
            return submission.call(
                "adapted_outputs",
                layer.equation,
                jnp.asarray(layer.inputs, compute_dtype),
                jnp.asarray(layer.kernel, storage_dtype),
                jnp.asarray(layer.lora_a, "float32"),
                jnp.asarray(layer.lora_b, "float32"),
                layer.scale,
            )

        seen.append(compute_outputs(submission, "adapted_outputs", layer, compute_dtype, compute))
    return seen


def judge_outputs(seen: list[OutputsSeen]) -> dict[str, float]:
    """The outputs of each layer are right, and keep a small update."""
    lost = [
        expect_outputs(outputs, layer, compute_dtype, "PRECISION_WRONG_OUTPUTS")
        for outputs, (layer, compute_dtype, _) in zip(seen, layers(), strict=True)
    ]
    return {"small update lost": max(lost)}


def observe_layers(submission: Submission) -> LayersSeen:
    """Variables and outputs of a small model on a mesh."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = lora.lora_model()
    with_lora = lora.layers_with_lora(model)
    before = lora.variables_of(model)
    call = submission.observe(ADD_ADAPTERS, model, reads=lambda _: None)
    after = lora.variables_of(model)
    outputs = {}
    for layer in with_lora if not lora.changed_paths(before, after) else ():
        # Another factor than 1 in front of the product.
        layer.lora_alpha = 2 * layer.lora_rank

        def compute(adapted: AdaptedLayer, layer: keras.layers.EinsumDense = layer) -> Any:
            layer.lora_kernel_b.assign(adapted.lora_b.astype("float32"))
            return submission.wrap(ADD_ADAPTERS, layer)(jnp.asarray(adapted.inputs, "bfloat16"))

        outputs[layer.path] = compute_outputs(submission, ADD_ADAPTERS, lora.described(layer), "bfloat16", compute)
    return LayersSeen(call, before, after, outputs)


def judge_layers(seen: LayersSeen) -> dict[str, float]:
    """The variables are the same as before, and the outputs of each layer with LoRA are right."""
    expect_not_stopped(seen.call)
    if changed := lora.changed_paths(seen.before, seen.after):
        cause = f"{ADD_ADAPTERS} changes {len(changed)} variables of the model."
        rows = [(path, seen.before.get(path, "none"), seen.after.get(path, "none")) for path in changed[:4]]
        raise Failed("PRECISION_VARIABLES_CHANGED", cause, ("variable", "before", "after"), rows)
    lost = [
        expect_outputs(seen.outputs[layer.path], lora.described(layer), "bfloat16", "PRECISION_WRONG_LAYER")
        for layer in lora.layers_with_lora(lora.lora_model())
    ]
    return {"small update lost": max(lost)}


def observe_gradients(submission: Submission) -> Outcome[dict[str, np.ndarray]]:
    """Path -> gradient of the loss of a batch on a mesh, for each trainable variable."""
    small_models.set_distribution(*mesh_shapes()[-2])
    model = lora.lora_model()

    def read(_: None) -> dict[str, np.ndarray]:
        return submission.wrap(ADD_ADAPTERS, lora.gradients)(model)

    return submission.observe(ADD_ADAPTERS, model, reads=read)


def judge_gradients(outcome: Outcome[dict[str, np.ndarray]]) -> dict[str, float]:
    """Gradients have direction and length of those of a twin in float32 on one device."""
    found = returned(outcome)
    exact = small_models.small_model(rank=RANK, num_layers=1)
    for variable, rounded_variable in zip(exact.variables, lora.lora_model().variables, strict=True):
        variable.assign(np.asarray(rounded_variable.value, "float32"))
    expected = lora.gradients(exact)
    assert len(expected) == 4, "the small model has LoRA on query and value"
    rows, cosines, errors = [], [], []
    for path, right in expected.items():
        mine = found.get(path, np.zeros_like(right))
        length = float(np.linalg.norm(mine) / np.linalg.norm(right))
        cosine = float(np.vdot(mine, right) / max(np.linalg.norm(mine) * np.linalg.norm(right), 1e-30))
        cosines.append(cosine)
        errors.append(abs(length - 1))
        rows.append((path, f"{cosine:.4f}", f"{length:.4f}"))
    # A comparison with NaN is false.
    if not (all(cosine > COSINE for cosine in cosines) and all(error < LENGTH for error in errors)):
        cause = "The gradients of the adapters differ from those of the same model in float32."
        raise Failed("PRECISION_GRADIENT_LOST", cause, ("variable", f"cosine, above {COSINE}", "length, about 1"), rows)
    return {"cosine of a gradient below 1": 1 - min(cosines), "length of a gradient off 1": max(errors)}


def _is_close(found: float, expected: float) -> bool:
    # float32 is precise enough; its error is 1e-6.
    return abs(found - expected) <= 1e-5 * max(1.0, abs(expected))


def _other_measures(case: Change, expected: float) -> dict[str, tuple[float, str]]:
    """What the usual mistakes measure instead, and their codes."""
    seen = (case.after.astype("float64") - case.before.astype("float64")).ravel()
    change = case.change.ravel()
    ratio = float(np.linalg.norm(seen) / np.linalg.norm(change))
    mean_ratio = float(np.abs(seen).mean() / np.abs(change).mean())
    return {
        "the norm of the difference / the norm of the change": (ratio, "PRECISION_NOISE_COUNTED"),
        "the mean size of the difference / that of the change": (mean_ratio, "PRECISION_NOISE_COUNTED"),
        "a correlation": (expected / ratio, "PRECISION_WRONG_EFFECT"),
        "a mean of quotients": (float(np.mean(seen / change)), "PRECISION_WRONG_EFFECT"),
    }


def _number_of(submission: Submission, function: str) -> Any:
    """A reader of a number that a function returned."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or np.ndim(value) or not isinstance(value, int | float | np.number):
            submission.expect_type(function, value, float)
        return float(value)

    return read
