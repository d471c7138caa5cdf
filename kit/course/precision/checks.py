"""The checks of the exercise ``precision``."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np
from hypothesis import strategies

from kit.checks.diagnosis import Failed
from kit.course.precision import lora_model as lora
from kit.course.precision.adapted_layer import AdaptedLayer, OutputsSeen, compute_outputs, expect_outputs
from kit.course.precision.cases import RANK, SCALE, changes, layers, sums
from kit.course.precision.mistakes import effects_table, shares_table
from kit.course.precision.rounding import effect_kept, rounded, share_unchanged
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, Returned, Stopped, expect_not_stopped, returned
from kit.judge.properties import observe_property
from kit.judge.submission import Submission

ADD_ADAPTERS = "add_adapters_in_float32"
#: Over 5 seeds, cosines of gradients are above 0.99996, and lengths within 0.005.
COSINE, LENGTH = 0.999, 0.02


#: What Keras and KerasHub compile for a model, and use again.
COMPILED_FUNCTIONS = ("train_function", "test_function", "predict_function", "generate_function")


@dataclass(frozen=True)
class LayersSeen:
    """A model with LoRA before and after a call of ``add_adapters_in_float32``."""

    call: Outcome[None]
    #: Path -> variable.
    before: dict[str, lora.VariableSeen]
    #: Names of the compiled functions that the model had before and still has.
    kept_functions: list[str]
    after: dict[str, lora.VariableSeen]
    #: Path of a layer -> its outputs. Empty if the variables are not the same as before.
    outputs: dict[str, OutputsSeen]
    #: Path of a layer -> whether its method `call` is still that of Keras' class.
    keras_call: dict[str, bool]
    #: Of a model in mixed_bfloat16: path of a layer -> dtype that `call` returns for inputs in
    #: float32.
    from_float32: dict[str, Outcome[str]]


@dataclass(frozen=True)
class ShareSeen:
    """A call of ``share_unchanged`` with generated numbers."""

    kernel: list[float]
    update: list[float]
    outcome: Outcome[float]
    arguments_kept: bool


@dataclass(frozen=True)
class EffectSeen:
    """A call of ``effect_kept`` with generated numbers."""

    change: list[float]
    before: list[float]
    after: list[float]
    outcome: Outcome[float]
    arguments_kept: bool


def observe_shares(submission: Submission) -> tuple[dict[str, Outcome[float]], list[ShareSeen]]:
    """Name of the sum -> share of unchanged entries, and the shares of generated sums."""
    read = _number_of(submission, "share_unchanged")
    shares = {
        case.name: submission.observe("share_unchanged", case.kernel.copy(), case.update.copy(), reads=read)
        for case in sums()
    }

    def observe(entries: list[tuple[int, int, int, int]]) -> ShareSeen:
        # Significand, sign and exponent of an entry, and an update in eighths of the distance to
        # the next number, so that float32 represents the sum.
        kernel = [sign * significand * 2.0**exponent for significand, sign, exponent, _ in entries]
        update = [eighths / 8 * 2.0**exponent for _, _, exponent, eighths in entries]
        given = np.array(kernel, "float32"), np.array(update, "float32")
        outcome = submission.observe("share_unchanged", *given, reads=read)
        kept = given[0].tolist() == kernel and given[1].tolist() == update
        return ShareSeen(kernel, update, outcome, kept)

    integers = strategies.integers
    entry = strategies.tuples(
        integers(128, 255), strategies.sampled_from((1, -1)), integers(-12, 12), integers(-12, 12)
    )
    generated = observe_property(strategies.lists(entry, min_size=1, max_size=6), observe, _judge_share)
    return shares, generated


def judge_shares(seen: tuple[dict[str, Outcome[float]], list[ShareSeen]]) -> None:
    """Each share is that of sums in float64 which are rounded to bfloat16."""
    shares, generated = seen
    assert generated, "no generated sums were tried"
    table = shares_table()
    found = {name: returned(outcome) for name, outcome in shares.items()}
    if not table.is_right(found):
        cause = "share_unchanged returns other shares than sums in float64 that are rounded to eight significant bits."
        raise table.failure(found, "PRECISION_WRONG_SHARE", cause)
    for case in generated:
        _judge_share(case)


def _judge_share(case: ShareSeen) -> None:
    kernel, update = np.array(case.kernel), np.array(case.update)
    expected, found = share_unchanged(kernel, update), returned(case.outcome)
    totals = rounded(kernel + update)
    rows = [
        (f"{entry:g}", f"{change:g}", f"{total:g}") for entry, change, total in zip(kernel, update, totals, strict=True)
    ]
    if not abs(found - expected) < 1e-6:
        cause = f"share_unchanged returns {found:.4f} instead of {expected:.4f} for these entries."
        raise Failed("PRECISION_WRONG_SHARE", cause, ("kernel", "update", "rounded sum"), rows)
    if not case.arguments_kept:
        cause = "share_unchanged changes the arrays that it is given."
        remedy = "Add to a new array: `kernel + update`, and not `kernel += update`."
        raise Failed("NOT_AS_EXPECTED", cause, ("kernel", "update", "rounded sum"), rows, remedy)


def observe_effects(submission: Submission) -> tuple[dict[str, Outcome[float]], list[EffectSeen]]:
    """Name of the change -> its kept share, and the kept shares of generated changes."""
    read = _number_of(submission, "effect_kept")
    effects = {
        case.name: submission.observe("effect_kept", case.change.copy(), case.before, case.after, reads=read)
        for case in changes()
    }

    def observe(entries: list[tuple[int, int, int]]) -> EffectSeen:
        rows = [[float(entry[part]) for entry in entries] for part in range(3)]
        given = [np.array(row) for row in rows]
        outcome = submission.observe("effect_kept", *given, reads=read)
        return EffectSeen(rows[0], rows[1], rows[2], outcome, [array.tolist() for array in given] == rows)

    integers = strategies.integers
    entry = strategies.tuples(integers(1, 9), integers(-9, 9), integers(-9, 9))
    generated = observe_property(strategies.lists(entry, min_size=1, max_size=6), observe, _judge_effect)
    return effects, generated


def judge_effects(seen: tuple[dict[str, Outcome[float]], list[EffectSeen]]) -> None:
    """Each share is the least-squares factor in float64."""
    effects, generated = seen
    assert len(effects) > 3, "too few changes were tried"
    assert generated, "no generated changes were tried"
    table = effects_table()
    found = {name: returned(outcome) for name, outcome in effects.items()}
    if not table.is_right(found):
        cause = "effect_kept returns other numbers than the least-squares fit of the difference by the change."
        raise table.failure(found, "PRECISION_WRONG_EFFECT", cause)
    for case in generated:
        _judge_effect(case)


def _judge_effect(case: EffectSeen) -> None:
    change, before, after = (np.array(values) for values in (case.change, case.before, case.after))
    expected, found = effect_kept(change, before, after), returned(case.outcome)
    rows = [("change", case.change), ("before", case.before), ("after", case.after)]
    if not abs(found - expected) <= 1e-5 * max(1.0, abs(expected)):
        cause = f"effect_kept returns {found:.6f} instead of {expected:.6f} for these outputs."
        raise Failed("PRECISION_WRONG_EFFECT", cause, ("", "values"), rows)
    if not case.arguments_kept:
        cause = "effect_kept changes the arrays that it is given."
        raise Failed("NOT_AS_EXPECTED", cause, ("", "values"), rows, "Subtract into a new array.")


def observe_outputs(submission: Submission) -> list[OutputsSeen]:
    """The outputs of ``adapted_outputs`` for each layer of Gemma."""
    seen = []
    for layer, compute_dtype, storage_dtype in layers():

        def compute(layer: AdaptedLayer, inputs: Any, storage_dtype: str = storage_dtype) -> Any:
            return submission.call(
                "adapted_outputs",
                layer.equation,
                inputs,
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
    # As if all of them were compiled before.
    functions = {name: _compiled_before(model) for name in COMPILED_FUNCTIONS}
    vars(model).update(functions)
    call = submission.observe(ADD_ADAPTERS, model, reads=lambda _: None)
    kept_functions = [name for name, function in functions.items() if getattr(model, name) is function]
    after = lora.variables_of(model)
    outputs, keras_call = {}, {}
    from_float32: dict[str, Outcome[str]] = {}
    for layer in with_lora if not lora.changed_paths(before, after) else ():
        # Another factor than 1 in front of the product.
        layer.lora_alpha = SCALE * layer.lora_rank

        def compute(adapted: AdaptedLayer, inputs: Any, layer: keras.layers.EinsumDense = layer) -> Any:
            # A variable must not keep a value that is being traced.
            if not isinstance(inputs, jax.core.Tracer):
                layer.lora_kernel_b.assign(adapted.lora_b.astype("float32"))
            return submission.wrap(ADD_ADAPTERS, layer)(inputs)

        described = lora.described(layer)
        outputs[layer.path] = compute_outputs(submission, ADD_ADAPTERS, described, "bfloat16", compute)
        method = vars(layer).get("call", type(layer).call)
        keras_call[layer.path] = getattr(method, "__func__", method) is keras.layers.EinsumDense.call
    # Its variables are in float32, and it computes in bfloat16.
    mixed = lora.lora_model("mixed_bfloat16")
    mixed_call = submission.observe(ADD_ADAPTERS, mixed, reads=lambda _: "")
    for layer in lora.layers_with_lora(mixed):
        stopped = isinstance(mixed_call, Stopped)
        from_float32[layer.path] = mixed_call if stopped else _dtype_of_call(submission, layer, lora.described(layer))
    return LayersSeen(call, before, kept_functions, after, outputs, keras_call, from_float32)


def _compiled_before(model: keras_hub.models.CausalLM) -> Any:
    """A function in the place of one that was compiled with the layers of before."""
    return functools.partial(model.call)


def _dtype_of_call(submission: Submission, layer: keras.layers.EinsumDense, described: AdaptedLayer) -> Outcome[str]:
    """The dtype that a layer's ``call`` returns for inputs in float32.

    Keras casts the inputs of a layer before it calls ``call``, unless its ``autocast`` is off.
    """
    try:
        outputs = submission.wrap(ADD_ADAPTERS, layer.call)(jnp.asarray(described.inputs, "float32"))
        return Returned(str(getattr(outputs, "dtype", type(outputs).__name__)))
    except Failed as failed:
        return Stopped(failed.diagnosis)


def judge_layers(seen: LayersSeen) -> dict[str, float]:
    """The variables are the same as before, and the outputs of each layer with LoRA are right."""
    expect_not_stopped(seen.call)
    if changed := lora.changed_paths(seen.before, seen.after):
        cause = f"{ADD_ADAPTERS} changes {len(changed)} variables of the model."
        rows = [(path, seen.before.get(path, "none"), seen.after.get(path, "none")) for path in changed[:4]]
        raise Failed("PRECISION_VARIABLES_CHANGED", cause, ("variable", "before", "after"), rows)
    if seen.kept_functions:
        raise Failed(
            "NOT_AS_EXPECTED",
            f"{ADD_ADAPTERS} keeps functions that were compiled before: a model that has predicted or trained still "
            "computes with the old layers.",
            ("the model's", "expected", "yours"),
            [(name, "None, or a new one", "the old one") for name in seen.kept_functions],
            "Keep the last line of the stub, which sets them to None.",
        )
    lost = []
    for layer in lora.layers_with_lora(lora.lora_model()):
        _expect_own_call(seen, layer.path)
        outputs = seen.outputs[layer.path]
        lost.append(expect_outputs(outputs, lora.described(layer), "bfloat16", "PRECISION_WRONG_LAYER"))
        if (dtype := returned(seen.from_float32[layer.path])) != "bfloat16":
            raise Failed(
                "PRECISION_WRONG_DTYPE",
                f"Given inputs in float32, `call` of {layer.path} in a mixed_bfloat16 model returns {dtype}: it does "
                "not cast them to the layer's compute_dtype.",
                ("", "expected", "yours"),
                [("dtype of the outputs", "bfloat16", dtype)],
                remedy="Cast the inputs to `layer.compute_dtype` first.",
            )
    return {"small update lost": max(lost)}


def _expect_own_call(seen: LayersSeen, path: str) -> None:
    """Make sure that the layer does not compute with the method of Keras' class."""
    if seen.keras_call[path]:
        number = sum(seen.keras_call.values())
        raise Failed(
            "PRECISION_CALL_NOT_REPLACED",
            f"{path} still computes with Keras' own `call`: {number} of {len(seen.keras_call)} layers with LoRA do.",
            ("layer", "its `call`"),
            [(path, "Keras'" if keras_call else "yours") for path, keras_call in seen.keras_call.items()],
        )


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


def _number_of(submission: Submission, function: str) -> Any:
    """A reader of a number that a function returned."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or np.ndim(value) or not isinstance(value, int | float | np.number):
            submission.expect_type(function, value, float)
        return float(value)

    return read
