"""The usual mistakes in the training loop, computed by the unsharded twin."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import keras_hub
import numpy as np

from kit.course.shared import compiled_model, small_models
from kit.course.shared.compiled_model import RANK
from kit.course.shared.loss_mistakes import EXCLUSIVE, LOSS, LOSS_NAMES
from kit.course.shared.meshes import mesh_with_batch_axis
from kit.course.shared.optimizer_mistakes import DECAY, RATE
from kit.course.training.mistaken_twin import Batch, MistakenTwin
from kit.evidence import unsharded_twin as twin
from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

#: Steps of the check ``step``, and epochs of the check ``fit``.
STEPS, EPOCHS = 5, 2
#: The mistakes that change the first loss.
_IN_FIRST_LOSS = frozenset({*LOSS_NAMES, "mask_of_inputs", "not_in_training_mode"})
_OFF, _STEP = "TRAINING_OFF_THE_TWIN", "training#The step by hand"
_OPTIMIZER, _TWIN = "training#The optimizer", "training#The twin"

STEP = (
    *LOSS,
    Mistake(
        "mask_of_inputs",
        "TRAINING_COUNTS_PADDING",
        "The loss is weighted with the mask of the inputs. The targets are one token further on, so the padding after "
        "each text's last token counts.",
        "Pass `sample_weight`, which is 0 where the target is padding.",
    ),
    Mistake(
        "not_in_training_mode",
        _OFF,
        "The model is not called in training mode, so that nothing is dropped out.",
        "Pass `training=True` to `model.stateless_call`.",
        _STEP,
    ),
    Mistake(
        "random_state_kept",
        _OFF,
        "The first loss is right, and each later step drops out the same entries again: the step returns the old "
        "non_trainable, which has the state of the random numbers.",
        "Return the second output of `model.stateless_call` as the new non_trainable.",
        _STEP,
    ),
    Mistake(
        "two_forward_passes",
        _OFF,
        "The loss comes from one forward pass, and the gradients from a second one, which drops out other entries: the "
        "model is called twice in a step.",
        "Take both from `jax.value_and_grad`, which calls the model once.",
        _STEP,
    ),
    Mistake(
        "gradient_reversed",
        _OFF,
        "The losses are computed correctly, and each update goes uphill: the gradients have the wrong sign.",
        "Pass the gradients of the loss to the optimizer, without a minus sign.",
        _TWIN,
    ),
    Mistake(
        "rate_default",
        "TRAINING_RATE_IGNORED",
        "The updates are those of AdamW with its default rate, 0.001, and not with the rate that was given.",
        "Use `model.optimizer`, which has the rate and the decay.",
        _OPTIMIZER,
    ),
    Mistake(
        "decay_ignored",
        "TRAINING_DECAY_IGNORED",
        "The weights do not decay.",
        "Use `model.optimizer`, which has the rate and the decay.",
        _OPTIMIZER,
    ),
    Mistake(
        "decay_default",
        "TRAINING_DECAY_IGNORED",
        "The weights decay with AdamW's default, 0.004, and not with the decay that was given.",
        "Use `model.optimizer`, which has the rate and the decay.",
        _OPTIMIZER,
    ),
    Mistake(
        "decay_in_gradient",
        _OFF,
        "The decay is added to the gradient, so that the moments contain it, as in Adam with L2 regularization.",
        "Decay the weights themselves: w = w - rate x decay x w.",
        _TWIN,
    ),
    Mistake(
        "state_lost",
        "TRAINING_OPTIMIZER_STATE_LOST",
        "Each step is the first one for the optimizer: its moments are zero, and its step count is 0.",
        "Return the optimizer's new variables, and pass them to the next step.",
    ),
    Mistake(
        "moments_lost",
        "TRAINING_OPTIMIZER_STATE_LOST",
        "Each step starts with moments of zero, while the optimizer counts its steps.",
        "Return the optimizer's new moments, and pass them to the next step.",
    ),
    Mistake(
        "step_count_lost",
        "TRAINING_OPTIMIZER_STATE_LOST",
        "The moments carry over from step to step, and the step count does not: each step has t = 1.",
        "Return the optimizer's new step count, and pass it to the next step.",
    ),
    Mistake(
        "bias_not_corrected",
        _OFF,
        "The moments are used without the correction of their bias, √(1 − 0.999ᵗ) / (1 − 0.9ᵗ).",
        "Multiply the rate by the correction, with t = 1 in the first step.",
        _TWIN,
    ),
)
_OWN_BATCHES = "Pass each batch to `fit` unchanged, in the given order."
FIT = (
    Mistake(
        "batches_reversed",
        "TRAINING_BATCHES_CHANGED",
        "The batches are trained in reverse order.",
        _OWN_BATCHES,
    ),
    Mistake(
        "first_batch_alone",
        "TRAINING_BATCHES_CHANGED",
        "The first batch is trained in each step.",
        _OWN_BATCHES,
    ),
    Mistake(
        "texts_rebatched",
        "TRAINING_BATCHES_CHANGED",
        "The texts of all batches are joined, and cut into new batches of the length of the first.",
        "Make one element of each batch that `finetune` is given; do not flatten them.",
    ),
    # The model is compiled by the check, so only the data can make these mistakes.
    *(
        dataclasses.replace(mistake, remedy="Pass the texts to `fit`, or (x, y, sample_weight) of the preprocessor.")
        for mistake in LOSS
        if mistake.name in ("padding_counted", "not_shifted", "shifted_twice")
    ),
)
_EXCLUSIVE = (
    *EXCLUSIVE,
    {"mask_of_inputs", "padding_counted"},
    {"decay_ignored", "decay_default", "decay_in_gradient"},
    {"state_lost", "moments_lost", "step_count_lost"},
    {"bias_not_corrected", "state_lost", "step_count_lost"},
    {"not_in_training_mode", "random_state_kept", "two_forward_passes"},
    {"batches_reversed", "first_batch_alone", "texts_rebatched"},
    {"decay_ignored", "rate_default"},
)


def step_table(first_loss: float | None = None, with_adapters: bool = True) -> MistakeTable:
    """The mistakes that the check ``step`` recognises.

    With the first loss of a run, only mistakes that give this loss are considered, so that the
    others are not trained.
    """

    def after_steps(names: Names) -> Values | None:
        # The right values are shown beside those that were found.
        if names and first_loss is not None and not _has_first_loss(names, first_loss):
            return None
        run, start = _run_with(names), _run_of_the_step()[2]
        return as_values(run.losses, start, run.trainable if with_adapters else {})

    # The tolerance is larger than rounding, and ten times smaller than the least difference.
    return MistakeTable(STEP, after_steps, relative=1e-4, absolute=1e-6, exclusive=_EXCLUSIVE)


def fit_table() -> MistakeTable:
    """The mistakes that the check ``fit`` recognises."""
    return MistakeTable(FIT, _after_fit, relative=1e-4, absolute=1e-6, exclusive=_EXCLUSIVE)


def as_values(losses: Sequence[float], start: Mapping[str, np.ndarray], end: Mapping[str, np.ndarray]) -> Values:
    """The losses of a run, how far it moved each adapter, and how much A has shrunk."""
    found = {f"loss of step {number}": float(loss) for number, loss in enumerate(losses, 1)}
    for path, value in sorted(end.items()):
        name = "/".join(path.split("/")[-2:])
        change = value - start[path]
        found[f"change of {name}"] = float(np.linalg.norm(change))
        if path.endswith("_a"):
            found[f"share of {name} that is lost"] = -float(
                np.vdot(change, start[path]) / np.vdot(start[path], start[path])
            )
    return found


def model_of_the_step() -> keras_hub.models.CausalLM:
    """The model of the check ``step``: dropout shows the training mode and the random state."""
    return small_models.small_model(rank=RANK, num_layers=1, dropout=0.1)


def model_of_fit() -> keras_hub.models.CausalLM:
    """The model of the check ``fit``."""
    return small_models.small_model(rank=RANK, num_layers=1)


def batches_of_fit() -> list[list[str]]:
    """Batches of different lengths, which the batch axis divides."""
    axis = mesh_with_batch_axis()[0]
    return _cut(small_models.texts(10 * axis, small_models.seed()), [4 * axis, 2 * axis, 4 * axis])


def losses_of_steps(logged: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """The loss of each step from the means of the epoch so far, which ``fit`` logs."""
    found: list[float] = []
    for start in range(0, len(logged), len(sizes)):
        sums = [mean * seen for mean, seen in zip(logged[start:], itertools.accumulate(sizes), strict=False)]
        found += [(total - before) / size for total, before, size in zip(sums, [0.0, *sums], sizes, strict=False)]
    return found


def _has_first_loss(names: Names, first_loss: float) -> bool:
    return bool(np.isclose(_first_loss(names & _IN_FIRST_LOSS), first_loss, rtol=1e-3))


@functools.cache
def _first_loss(names: Names) -> float:
    mistaken, batches, _ = _run_of_the_step()
    return mistaken.train(batches[:1], names).losses[0]


@functools.cache
def _run_with(names: Names) -> twin.Trajectory:
    mistaken, batches, _ = _run_of_the_step()
    return mistaken.train(batches, names)


@functools.cache
def _run_of_the_step() -> tuple[MistakenTwin, list[Batch], Mapping[str, np.ndarray]]:
    model = model_of_the_step()
    batches = [twin.tokenized(model, batch) for batch in small_models.batches(STEPS)]
    return MistakenTwin(model, RATE, DECAY), batches, small_models.values(model.trainable_variables)


@functools.cache
def _run_of_fit() -> tuple[MistakenTwin, Mapping[str, np.ndarray]]:
    model = model_of_fit()
    return MistakenTwin(model, RATE, DECAY), small_models.values(model.trainable_variables)


def _after_fit(names: Names) -> Values:
    given = batches_of_fit()
    batches = given
    if "batches_reversed" in names:
        batches = given[::-1]
    elif "first_batch_alone" in names:
        batches = given[:1] * len(given)
    elif "texts_rebatched" in names:
        texts, size = [text for batch in given for text in batch], len(given[0])
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    mistaken, start = _run_of_fit()
    run = mistaken.train([twin.tokenized(mistaken.model, batch) for batch in batches * EPOCHS], names)
    # `fit` logs the mean over the texts of the epoch so far, in batches of the trained lengths.
    logged = _means(run.losses, [len(batch) for batch in batches * EPOCHS], len(given))
    return as_values(losses_of_steps(logged, [len(batch) for batch in given]), start, run.trainable)


def _means(losses: Sequence[float], sizes: Sequence[int], steps: int) -> list[float]:
    """The mean over the texts of the epoch so far, after each step; an epoch has ``steps``."""
    found: list[float] = []
    for start in range(0, len(losses), steps):
        seen = sizes[start : start + steps]
        sums = itertools.accumulate(loss * size for loss, size in zip(losses[start:], seen, strict=False))
        found += [total / texts for total, texts in zip(sums, itertools.accumulate(seen), strict=False)]
    return found


def _cut(texts: Sequence[str], sizes: Sequence[int]) -> list[list[str]]:
    ends = list(itertools.accumulate(sizes))
    return [list(texts[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


TABLES = {
    "optimizer": compiled_model.table_of_optimizer,
    "loss": compiled_model.table_of_loss,
    "fit": fit_table,
    "step": step_table,
}
