"""The check ``merge`` of ``checkpoint``: a model before and after ``merge_adapters``."""

from dataclasses import dataclass
from typing import Any

import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.checkpoint.mistakes import ALPHA, merge_table, multiples, product_left
from kit.course.checkpoint.training_run import RANK, State, differing, fresh_model, layouts, logits, moved_layouts
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes
from kit.evidence import unsharded_twin as twin
from kit.judge.crashes import described
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission

#: The sum of kernel and adapter is rounded when it is stored: a logit changes by less than this.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Merged:
    """A model after ``merge_adapters``."""

    #: Empty if a layout changed.
    logits: np.ndarray
    values: State
    #: Paths of the variables that are still trainable.
    trainable: tuple[str, ...]
    #: Variables whose layout changed: path, layout before and after.
    moved: tuple[tuple[str, str, str], ...]
    #: The error of ``predict`` with the function that was made before merging; empty if there is
    #: none.
    predict_error: str


@dataclass(frozen=True)
class MergeSeen:
    """A float32 model after ``merge_adapters``, and the values of one that computes in bfloat16."""

    merged: Outcome[Merged]
    mixed: Outcome[State]


def observe_merge(submission: Submission) -> MergeSeen:
    """Logits, values and trainable variables of a model after ``merge_adapters``."""
    small_models.set_distribution(*mesh_shapes()[0])
    model, x = _model_to_merge()
    before = layouts(model.variables)
    assert not _predict_error(model, x), "the model does not predict"
    predict = model.predict_function

    def read(_: Any) -> Merged:
        trainable = tuple(str(variable.path) for variable in model.trainable_variables)
        moved = moved_layouts(before, layouts(model.variables))
        values = small_models.values(model.variables)
        if moved:
            # A program takes no arrays that are on different devices.
            return Merged(np.zeros(0), values, trainable, moved, "")
        computed = logits(model, x)
        # A call that fails may leave the model without its values, so it is the last.
        error = _predict_error(model, x) if model.predict_function is predict else ""
        return Merged(computed, values, trainable, moved, error)

    merged = submission.observe("merge_adapters", model, reads=read)
    mixed, _ = _model_to_merge("mixed_bfloat16")
    return MergeSeen(
        merged, submission.observe("merge_adapters", mixed, reads=lambda _: small_models.values(mixed.variables))
    )


def judge_merge(seen: MergeSeen) -> dict[str, float]:
    """The logits stay the same, also without the adapters, and nothing is trainable."""
    merged = returned(seen.merged)
    _judge_layout(merged)
    small_models.set_distribution(*mesh_shapes()[0])
    model, x = _model_to_merge()
    values, expected = small_models.values(model.variables), logits(model, x)
    adapters_matter = _difference(_logits_of_kernels(model, x, values), expected)
    assert adapters_matter > 0.01, "the adapters of the small model change nothing"
    moved = len(differing(values, merged.values))

    def expect_same(found: np.ndarray, cause: str) -> float:
        difference = _difference(found, expected)
        if not difference < TOLERANCE:
            _recognise(values, merged.values)
            raise Failed("CHECKPOINT_MERGE_CHANGES_OUTPUTS", cause, *evidence(difference))
        return difference

    def evidence(difference: float) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        return ("", "expected", "yours"), [
            ("largest relative difference of a logit", f"below {TOLERANCE:.0e}", f"{difference:.2g}"),
            ("variables that changed", "", moved),
            ("trainable variables", 0, len(merged.trainable)),
        ]

    difference = expect_same(merged.logits, "The merged model computes different logits.")
    if merged.trainable:
        raise Failed(
            "CHECKPOINT_STILL_TRAINABLE", "The merged model still has trainable variables.", *evidence(difference)
        )
    # A preset stores no adapters.
    expect_same(
        _logits_of_kernels(model, x, merged.values),
        "The kernels without the adapters, as a preset stores them, compute different logits.",
    )
    mixed = returned(seen.mixed)
    _judge_mixed(values, mixed)
    _judge_adapters(values, merged.values, mixed)
    _judge_use(merged)
    return {"logits after merging": difference}


def _recognise(before: State, after: State) -> None:
    """Name the usual mistakes that leave these kernels and adapters, if there are any."""
    if recognised := merge_table().recognised_failure(multiples(before, after)):
        raise recognised


def _judge_mixed(before: State, after: State) -> None:
    """A model whose float32 kernels are cast to bfloat16 at each call keeps float32 kernels."""
    for path, kernel in before.items():
        a, b = (before.get(f"{path[:-6]}lora_kernel_{part}") for part in "ab")
        if not path.endswith("/kernel") or a is None or b is None:
            continue
        expected = kernel + ALPHA / RANK * np.matmul(a, b)
        difference = float(np.abs(after[path] - expected).max() / np.abs(expected).max())
        if not difference < TOLERANCE:
            _recognise(before, after)
            cause = "In a model that computes in bfloat16, the merged kernel is not the sum in float32."
            rows = [(path, f"below {TOLERANCE:.0e}", f"{difference:.2g}")]
            columns = ("largest relative difference of an entry", "expected", "yours")
            remedy = "Add the scaled A B to the variable `_kernel`, in float32."
            raise Failed("CHECKPOINT_MERGE_CHANGES_OUTPUTS", cause, columns, rows, remedy)


def _judge_adapters(before: State, *merged: State) -> None:
    """A layer that still has an adapter has one that is zero, whether it uses it or not."""
    adapters = [path.removesuffix("a") for path in before if path.endswith("lora_kernel_a")]
    assert adapters, "the model has no adapters"
    for after in merged:
        largest = {path: float(np.abs(product_left(after, f"{path}a", f"{path}b")).max()) for path in adapters}
        kept = [path for path in adapters if largest[path]]
        if kept:
            raise Failed(
                "NOT_AS_EXPECTED",
                f"The adapters of {len(kept)} layers are switched off, and not set to zero: A B is added to the "
                "kernel, and A and B keep their values.",
                ("largest entry of A B", "expected", "yours"),
                [(path.removesuffix("/lora_kernel_"), 0, f"{largest[path]:.3g}") for path in kept[:4]],
                "Set `lora_kernel_a` or `lora_kernel_b` to zero: whoever saves the model, or switches LoRA on again, "
                "would add the adapter twice.",
                "checkpoint#Merging",
            )


def _judge_layout(merged: Merged) -> None:
    """The variables are on the devices that they were on."""
    if merged.moved:
        cause = f"merge_adapters changes the layout of {len(merged.moved)} variables."
        remedy = "Assign to the variables: `variable.assign` keeps the layout."
        raise Failed("CHECKPOINT_LAYOUT_LOST", cause, ("variable", "before", "after"), merged.moved[:5], remedy)


def _judge_use(merged: Merged) -> None:
    """The merged model can be used like any other."""
    if merged.predict_error:
        raise Failed(
            "NOT_AS_EXPECTED",
            "`predict` fails after merge_adapters, if it was used before: its compiled function takes trainable and "
            "other variables as two lists, and these have changed.",
            ("", "predict"),
            [("expected", "works"), ("yours", merged.predict_error)],
            "Set the compiled functions of the model to None, as the stub does.",
            "checkpoint#Merging",
        )


def _predict_error(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray]) -> str:
    """Class and first line of the error that ``predict`` raises; empty if it works."""
    preprocessor, model.preprocessor = model.preprocessor, None
    try:
        model.predict(x, verbose=0)
    except Exception as error:
        return described(error)
    finally:
        model.preprocessor = preprocessor
    return ""


def _model_to_merge(dtype: str = "float32") -> tuple[keras_hub.models.CausalLM, dict[str, np.ndarray]]:
    """A model with LoRA whose adapters have a scale other than 1, and tokenized texts."""
    model = fresh_model(RANK, "adamw", dtype=dtype)
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.lora_alpha = ALPHA
    return model, twin.tokenized(model, small_models.texts(8, seed=small_models.seed()))[0]


def _logits_of_kernels(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray], values: State) -> np.ndarray:
    """The logits of a model with these values and without its adapters."""
    adapters = [variable for variable in model.variables if "lora_kernel_b" in variable.path]
    assert adapters, "the model has no adapters"
    for variable in model.variables:
        if variable.path in values:
            variable.assign(values[variable.path])
    for variable in adapters:
        variable.assign(np.zeros(tuple(variable.shape), "float32"))
    return logits(model, x)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a logit, relative to the largest logit."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
