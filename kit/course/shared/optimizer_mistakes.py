"""The usual mistakes in AdamW's rate and decay, and AdamW's updates in NumPy."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from kit.evidence.unsharded_twin import BETA_1, BETA_2, EPSILON
from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

#: What the function is asked for: learning rate and weight decay.
RATE, DECAY = 0.01, 0.25
#: AdamW's own defaults in Keras, and the rate of the tutorial.
DEFAULT_RATE, DEFAULT_DECAY, TUTORIAL_RATE = 0.001, 0.004, 5e-5
#: Updates with :func:`gradients`, after one with gradients of zero.
UPDATES = 2
_OPTIMIZER = "training#The optimizer"

OPTIMIZER = (
    Mistake(
        "rate_default",
        "TRAINING_RATE_IGNORED",
        "AdamW has its default learning rate, 0.001, and not the one that was given.",
        "Pass `learning_rate` to AdamW.",
    ),
    Mistake(
        "rate_of_the_tutorial",
        "TRAINING_RATE_IGNORED",
        "AdamW has the tutorial's learning rate, 5e-5, and not the one that was given.",
        "Pass `learning_rate` to AdamW.",
    ),
    Mistake(
        "rate_and_decay_swapped",
        "TRAINING_RATE_IGNORED",
        "Learning rate and weight decay are swapped.",
        "Pass each to AdamW by its name.",
    ),
    Mistake(
        "decay_absent",
        "TRAINING_DECAY_IGNORED",
        "No weight decays.",
        "Use AdamW and pass it `weight_decay`; Adam has none.",
    ),
    Mistake(
        "decay_default",
        "TRAINING_DECAY_IGNORED",
        "The weights decay with AdamW's default, 0.004, and not with the decay that was given.",
        "Pass `weight_decay` to AdamW.",
    ),
    Mistake(
        "kernels_excluded",
        "TRAINING_DECAY_IGNORED",
        "The kernels are excluded from weight decay.",
        'Exclude only variables named "bias" and "scale".',
    ),
    Mistake(
        "embeddings_excluded",
        "TRAINING_DECAY_IGNORED",
        "The embeddings are excluded from weight decay.",
        'Exclude only variables named "bias" and "scale".',
    ),
    Mistake(
        "nothing_excluded",
        "TRAINING_DECAYS_NORMS",
        "No variable is excluded from weight decay: `exclude_from_weight_decay` is not called, or none of its "
        "`var_names` is in the last part of a path.",
        'Exclude variables named "bias" and "scale" in one call: pass the two words as `var_names`.',
    ),
    Mistake(
        "norms_decay",
        "TRAINING_DECAYS_NORMS",
        "The normalization scales decay too.",
        'Exclude variables named "bias" and "scale" from weight decay: pass the two words as `var_names`.',
    ),
    Mistake(
        "biases_decay",
        "TRAINING_DECAYS_NORMS",
        'Variables named "bias" decay. A Gemma has none, and this model has one. If `exclude_from_weight_decay` is '
        "called twice, the second call replaces the words of the first.",
        'Exclude "bias" and "scale" in one call: pass the two words as `var_names`.',
    ),
)
_EXCLUSIVE = (
    {"rate_default", "rate_of_the_tutorial", "rate_and_decay_swapped"},
    {"decay_absent", "decay_default", "rate_and_decay_swapped"},
    {"decay_absent", "kernels_excluded", "embeddings_excluded"},
    {"decay_absent", "norms_decay", "nothing_excluded"},
    {"decay_absent", "biases_decay", "nothing_excluded"},
    # Together they exclude nothing.
    {"norms_decay", "biases_decay"},
    {"nothing_excluded", "kernels_excluded", "embeddings_excluded"},
)


def optimizer_table(paths: Sequence[str]) -> MistakeTable:
    """The mistakes in learning rate and decay of an optimizer for these variables."""
    assert any(path.endswith("/scale") for path in paths), "the model has no scale"
    assert any(path.endswith("/kernel") for path in paths), "the model has no kernel"
    assert any(path.endswith("/bias") for path in paths), "the model has no bias"

    def values(names: Names) -> Values:
        rate, decay = RATE, DECAY
        if "rate_and_decay_swapped" in names:
            rate, decay = DECAY, RATE
        rate = DEFAULT_RATE if "rate_default" in names else TUTORIAL_RATE if "rate_of_the_tutorial" in names else rate
        decay = 0.0 if "decay_absent" in names else DEFAULT_DECAY if "decay_default" in names else decay
        nothing = "nothing_excluded" in names
        excluded = [] if "norms_decay" in names or nothing else ["scale"]
        excluded += [] if "biases_decay" in names or nothing else ["bias"]
        excluded += ["kernel"] if "kernels_excluded" in names else []
        excluded += ["embeddings"] if "embeddings_excluded" in names else []
        decays = {f"decay of {path}": 0.0 if path.endswith(tuple(excluded)) else decay for path in paths}
        return {"learning rate": rate} | decays

    # Weights change by rate x decay of their size and are rounded, so a decay has few digits.
    return MistakeTable(OPTIMIZER, values, relative=1e-6, absolute=9e-5, exclusive=_EXCLUSIVE)


def gradients(number: int, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Gradients for one update, by path; the norm of all together is 0.5.

    So an optimizer that clips the norm at 1 does not change them.
    """
    found = {}
    for path, shape in shapes.items():
        seed = int.from_bytes(hashlib.sha256(f"{number} {path}".encode()).digest()[:8], "little")
        found[path] = np.random.default_rng(seed).normal(size=tuple(shape))
    norm = np.sqrt(sum((value**2).sum() for value in found.values()))
    return {path: (0.5 * value / norm).astype("float32") for path, value in found.items()}


def updated(
    before: Mapping[str, np.ndarray], beta_1: float = BETA_1, beta_2: float = BETA_2, epsilon: float = EPSILON
) -> dict[str, np.ndarray]:
    """The weights after an update with gradients of zero and those of :func:`gradients`."""
    shapes = {path: value.shape for path, value in before.items()}
    given = [{path: np.zeros(shape) for path, shape in shapes.items()}]
    given += [gradients(number, shapes) for number in range(UPDATES)]
    found = {}
    for path, value in before.items():
        weight, first, second = value.astype("float64"), np.zeros(value.shape), np.zeros(value.shape)
        decay = 0.0 if path.endswith(("/scale", "/bias")) else DECAY
        for step, gradient in enumerate(given, 1):
            g = gradient[path].astype("float64")
            weight = weight * (1 - RATE * decay)
            first, second = first + (g - first) * (1 - beta_1), second + (g * g - second) * (1 - beta_2)
            size = RATE * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
            weight = weight - size * first / (np.sqrt(second) + epsilon)
        found[path] = weight
    return found
