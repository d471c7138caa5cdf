"""The check ``merge`` of ``checkpoint``: a model before and after ``merge_adapters``."""

from dataclasses import dataclass
from typing import Any

import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.checkpoint.training_run import RANK, State, differing, fresh_model, logits
from kit.course.shared import small_models
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission

#: The sum of kernel and adapter is rounded when it is stored: a logit changes by less than this.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Merged:
    """A model after ``merge_adapters``."""

    logits: np.ndarray
    values: State
    #: Paths of the variables that are still trainable.
    trainable: tuple[str, ...]


def observe_merge(submission: Submission) -> Outcome[Merged]:
    """Logits, values and trainable variables of a model after ``merge_adapters``."""
    small_models.set_distribution(*mesh_shapes()[0])
    model, x = _model_to_merge()

    def read(_: Any) -> Merged:
        trainable = tuple(str(variable.path) for variable in model.trainable_variables)
        return Merged(logits(model, x), small_models.values(model.variables), trainable)

    return submission.observe("merge_adapters", model, reads=read)


def judge_merge(outcome: Outcome[Merged]) -> dict[str, float]:
    """The logits stay the same, also without the adapters, and nothing is trainable."""
    merged = returned(outcome)
    small_models.set_distribution(*mesh_shapes()[0])
    model, x = _model_to_merge()
    values, expected = small_models.values(model.variables), logits(model, x)
    adapters_matter = _difference(_logits_of_kernels(model, x, values), expected)
    assert adapters_matter > 0.01, "the adapters of the small model change nothing"
    moved = len(differing(values, merged.values))

    def expect_same(found: np.ndarray, cause: str) -> float:
        difference = _difference(found, expected)
        if not difference < TOLERANCE:
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
    return {"logits after merging": difference}


def _model_to_merge() -> tuple[keras_hub.models.CausalLM, dict[str, np.ndarray]]:
    """A model with LoRA whose adapters have a scale other than 1, and tokenized texts."""
    model = fresh_model(RANK, "adamw")
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.lora_alpha = 2 * layer.lora_rank
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
