"""Comparison of a training with the unsharded twin: losses, adapters, and the frozen base."""

from collections.abc import Mapping, Sequence

import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared.compiled_model import LOSS_TOLERANCE
from kit.evidence import unsharded_twin as twin

#: Largest difference of an adapter's entry, relative to the adapter's largest entry. Over five
#: seeds of the reference it is at most 6.0e-6 (benchmarks/training_seeds.py).
ADAPTER_TOLERANCE = 1e-4

#: Variable path -> value.
Values = Mapping[str, np.ndarray]


def loss_of(model: keras_hub.models.CausalLM, batch: Sequence[str], values: Values) -> float:
    """The loss of a batch where these values replace those of the trainable variables."""
    x, y, sample_weight = twin.tokenized(model, batch)
    logits, _ = model.stateless_call(
        [values[variable.path] for variable in model.trainable_variables],
        [np.asarray(variable.value) for variable in model.non_trainable_variables],
        x,
        training=True,
    )
    return float(twin.cross_entropy(np.asarray(logits), y, sample_weight))


def is_like_twin(losses: Sequence[float], trainable: Values, right: twin.Trajectory) -> bool:
    """Whether losses and adapters are those of the twin, within rounding."""
    return (
        bool(np.allclose(losses, right.losses, rtol=LOSS_TOLERANCE)) and _distance(trainable, right) < ADAPTER_TOLERANCE
    )


def expect_twin(losses: Sequence[float], trainable: Values, right: twin.Trajectory, where: str) -> dict[str, float]:
    """Compare losses and adapters with the twin, and return the differences."""
    distance = _distance(trainable, right)
    if is_like_twin(losses, trainable, right):
        relative = np.abs(np.subtract(losses, right.losses)) / np.abs(right.losses)
        return {"loss against the twin": float(relative.max()), "adapters against the twin": distance}
    rows = [
        (f"loss of step {number}", f"{expected:.6f}", f"{found:.6f}")
        for number, (found, expected) in enumerate(zip(losses, right.losses, strict=True), 1)
    ]
    rows.append(("largest difference of an adapter", f"below {ADAPTER_TOLERANCE:g}", f"{distance:.2g}"))
    cause = f"Training differs from the training of the unsharded twin ({where})."
    raise Failed("TRAINING_OFF_THE_TWIN", cause, ("", "twin", "yours"), rows)


def expect_trained(before: Values, after: Values, steps: int) -> None:
    """Make sure that training changed all adapters, and nothing else."""
    adapters = [path for path in before if "lora_" in path]
    # The states of random numbers change too.
    base = [path for path in before if path not in adapters and "seed" not in path]
    assert adapters, "the model has no adapters"
    assert base, "the model has no base"
    changed = [path for path in base if not np.array_equal(before[path], after[path])]
    unchanged = [path for path in adapters if np.array_equal(before[path], after[path])]
    rows = [
        ("base variables that changed", 0, len(changed)),
        ("adapters that changed", len(adapters), len(adapters) - len(unchanged)),
        ("for example", "", (changed or unchanged or ["-"])[0]),
    ]
    columns = (f"after {steps} steps", "expected", "yours")
    if changed:
        raise Failed("TRAINING_BASE_CHANGED", "Training changed the frozen base.", columns, rows)
    if unchanged:
        raise Failed("TRAINING_ADAPTERS_DEAD", "Training did not change all adapters.", columns, rows)


def _distance(trainable: Values, right: twin.Trajectory) -> float:
    assert trainable.keys() == right.trainable.keys(), "the twin trained other variables"
    return max(
        float(np.abs(trainable[path] - value).max() / np.abs(value).max()) for path, value in right.trainable.items()
    )
