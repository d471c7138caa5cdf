"""Checks of the exercise ``training``."""

from collections.abc import Sequence
from typing import Any, get_args

import keras
import keras_hub
import numpy as np

from kit.course.shared import small_models as small
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis, sharding_meshes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.narrator import as_bytes

COMPILE = "compile_for_finetuning"
RATE, DECAY = 0.01, 0.25
RANK = 3
#: Sums over shards are added in another order than on one device, and Adam magnifies the last bits. Over five seeds and three
#: right solutions (benchmarks/training_seeds.py): at most 5.2e-7 for losses, and 4.6e-6 of an adapter's largest entry.
LOSS_TOLERANCE = 1e-5
ADAPTER_TOLERANCE = 1e-4


def optimizer(submission: Submission) -> None:
    """AdamW with this rate and decay; biases and scales do not decay; moments lie where their variable lies."""
    look_at_optimizer(submission)


def look_at_optimizer(submission: Submission, function: str = COMPILE) -> None:
    """Judge the optimizer that a function compiles a small model with.

    Args:
        submission: The solution.
        function: Of the solution: ``(model, learning_rate, weight_decay)``.

    Raises:
        Failed: if it is not AdamW as it was asked for, or if a moment does not lie where its variable lies.

    """
    small.set_distribution(*mesh_shapes()[0])
    model = small.small_model(rank=0, num_layers=1)
    _compile(submission, model, RATE, DECAY, function)
    found = model.optimizer
    rate = float(np.asarray(found.learning_rate))
    if not np.isclose(rate, RATE, rtol=1e-6):
        raise Failed(
            "TRAINING_RATE_IGNORED", "The optimizer has another rate.", ("expected", "yours"), [(RATE, f"{rate:g}")]
        )
    found.build(model.trainable_variables)
    _expect_slots_in_place(model)
    before = small.values(model.trainable_variables)
    # With no gradient, what still moves is what decays.
    found.apply(
        [keras.ops.zeros_like(variable.value) for variable in model.trainable_variables], model.trainable_variables
    )
    after = small.values(model.trainable_variables)
    decays = {path: _decay(before[path], after[path]) for path in before}
    scales = [path for path in decays if path.endswith(("/scale", "/bias"))]
    matrices = [path for path in decays if path not in scales]
    assert scales, "the small model has no scale"
    assert matrices, "the small model has no matrix"
    columns = ("variable", "expected decay", "yours")
    rows = [(matrices[0], DECAY, f"{decays[matrices[0]]:.4g}"), (scales[0], 0, f"{decays[scales[0]]:.4g}")]
    if any(abs(decays[path] - DECAY) > 1e-3 for path in matrices):
        raise Failed(
            "TRAINING_DECAY_IGNORED", f"Asked for a decay of {DECAY}, the matrices have another.", columns, rows
        )
    if any(abs(decays[path]) > 1e-3 for path in scales):
        raise Failed("TRAINING_DECAYS_NORMS", "The scales of the normalizations decay too.", columns, rows)
    if not isinstance(found, keras.optimizers.AdamW):
        raise Failed(
            "NOT_AS_EXPECTED",
            "The optimizer is no AdamW.",
            ("expected", "yours"),
            [("AdamW", type(found).__name__)],
            advice="Use keras.optimizers.AdamW.",
        )


def loss(submission: Submission) -> None:
    """Cross-entropy of the next token over logits, padding not counted; neither does the accuracy count it."""
    look_at_loss(submission)


def look_at_loss(submission: Submission, function: str = COMPILE) -> None:
    """Judge the loss and the accuracy that a function compiles a small model with.

    Args:
        submission: The solution.
        function: Of the solution: ``(model, learning_rate, weight_decay)``.

    Raises:
        Failed: if one of them is another.

    """
    small.set_distribution(*mesh_shapes()[0])
    model = small.small_model(rank=RANK, num_layers=1)
    _compile(submission, model, RATE, DECAY, function)
    random = np.random.default_rng(0)
    shape, vocabulary = (4, 6), 11
    logits = random.normal(0, 2, (*shape, vocabulary)).astype("float32")
    x = {"token_ids": random.integers(0, vocabulary, shape)}
    y = random.integers(0, vocabulary, shape)
    weight = np.ones(shape, "float32")
    weight[:, 3:] = 0
    # Half of what counts is right, and all of the padding is: then the two accuracies differ.
    y[:, :3:2] = logits.argmax(-1)[:, :3:2]
    y[:, 3:] = logits.argmax(-1)[:, 3:]
    found = float(model.compute_loss(x=x, y=y, y_pred=keras.ops.convert_to_tensor(logits), sample_weight=weight))
    _compare_loss(
        found, {variant: float(twin.cross_entropy(logits, x, y, weight, variant)) for variant in get_args(twin.Variant)}
    )
    metrics = model.compute_metrics(x, y, keras.ops.convert_to_tensor(logits), weight)
    right = (logits.argmax(-1) == y).astype("float64")
    expected, counting_padding = float((right * weight).sum() / weight.sum()), float(right.mean())
    accuracies = {name: float(value) for name, value in metrics.items() if "accuracy" in name}
    if not accuracies:
        raise Failed(
            "NOT_AS_EXPECTED",
            "The model was compiled without an accuracy.",
            ("expected", "yours"),
            [("sparse_categorical_accuracy", ", ".join(metrics) or "no metric")],
            advice="Give compile a SparseCategoricalAccuracy, weighted.",
        )
    for name, value in accuracies.items():
        if np.isclose(value, expected, rtol=1e-5):
            continue
        code = "TRAINING_COUNTS_PADDING" if np.isclose(value, counting_padding, rtol=1e-5) else "NOT_AS_EXPECTED"
        raise Failed(
            code,
            "The accuracy is not that of the tokens that count."
            if code == "NOT_AS_EXPECTED"
            else "The accuracy counts padding.",
            ("metric", "expected", "yours", "with padding"),
            [(name, f"{expected:.4f}", f"{value:.4f}", f"{counting_padding:.4f}")],
            advice="Give the accuracy to compile among weighted_metrics: only these get sample_weight, which is 0 at padding.",
        )


def fit(submission: Submission) -> None:
    """Batches as they are, in their order, for so many epochs, with the callbacks; step by step as the unsharded twin."""
    batch, model_axis = mesh_with_batch_axis()
    small.set_distribution(batch, model_axis)
    model = small.small_model(rank=RANK, num_layers=1)
    small.compile_model(model, RATE, DECAY)
    texts = small.texts(24, seed=small.seed())
    batches = [texts[:8], texts[8:16], texts[16:]]
    epochs = 2
    right = twin.train(model, batches * epochs, RATE, DECAY)
    before = small.values(model.variables)
    given_optimizer = model.optimizer
    recorder = _Recorder()
    history = submission.call(
        "finetune", model, [list(texts) for texts in batches], epochs=epochs, callbacks=[recorder]
    )
    submission.expect_type("finetune", history, keras.callbacks.History)
    steps = int(np.asarray(model.optimizer.iterations.value))
    _expect_trained(model, before, steps)
    rows = [
        ("epochs that the callback saw", epochs, recorder.epochs),
        ("steps that the callback saw", epochs * len(batches), recorder.batches),
        ("steps of the optimizer", epochs * len(batches), steps),
    ]
    columns = ("", "expected", "yours")
    if recorder.batches == 0:
        raise Failed("TRAINING_ARGUMENT_IGNORED", "The callback that was given was told of nothing.", columns, rows)
    if recorder.epochs != epochs and recorder.batches != epochs * len(batches):
        raise Failed(
            "TRAINING_ARGUMENT_IGNORED", f"Asked for {epochs} epochs, you trained {recorder.epochs}.", columns, rows
        )
    if model.optimizer is not given_optimizer or (steps < recorder.batches and steps != epochs * len(batches)):
        raise Failed(
            "TRAINING_OPTIMIZER_STATE_LOST",
            "The optimizer did not go through all of the steps: its state began anew.",
            columns,
            rows,
        )
    if recorder.batches != epochs * len(batches) or recorder.epochs != epochs:
        raise Failed("TRAINING_BATCHES_CHANGED", "You trained another number of batches than was given.", columns, rows)
    losses = recorder.losses(len(batches), right.losses)
    _measure(submission, losses, small.values(model.trainable_variables), right)
    _compare_trajectory(model, batches, losses, right)


def step(submission: Submission) -> None:
    """Five steps by hand are those of the unsharded twin, on two meshes; the state is donated."""
    right = None
    for batch_axis, model_axis in sharding_meshes():
        small.set_distribution(batch_axis, model_axis)
        model = small.small_model(rank=RANK, num_layers=1, dropout=0.1)
        small.compile_model(model, RATE, DECAY)
        texts = small.texts(40, seed=small.seed())
        batches = [texts[start : start + 8] for start in range(0, 40, 8)]
        # The same for each mesh: values depend on paths alone.
        right = right or twin.train(model, batches, RATE, DECAY)
        before = small.values(model.variables)
        made = submission.call("make_train_step", model)
        if not callable(made):
            submission.expect_type("make_train_step", made, type(twin.train))
        run = submission.wrap("the step of make_train_step", made)
        state: Any = tuple(
            [keras.ops.copy(variable.value) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        )
        losses, given = [], state
        for number, texts in enumerate(batches):
            given = state
            result = run(state, twin.tokenized(model, texts))
            submission.expect_type("the step of make_train_step", result, tuple)
            if len(result) != 2 or not isinstance(result[0], tuple | list) or len(result[0]) != 3:
                raise Failed(
                    "WRONG_RETURN_TYPE",
                    "A step returns (state, loss), and the state is (trainable, non_trainable, optimizer_variables).",
                    ("expected", "returned"),
                    [("((…, …, …), loss)", repr(result)[:200])],
                )
            state, value = result
            losses.append(float(np.asarray(value)))
            if number == 0 and not np.isclose(losses[0], right.losses[0], rtol=LOSS_TOLERANCE):
                _compare_loss(losses[0], _variants(model, batches[0], before))
        _expect_state_kept(model, before, state, losses, right)
        for variable, value in zip(model.trainable_variables, state[0], strict=True):
            variable.assign(value)
        for variable, value in zip(model.non_trainable_variables, state[1], strict=True):
            variable.assign(value)
        _expect_trained(model, before, len(batches))
        trained = small.values(model.trainable_variables)
        _measure(submission, losses, trained, right)
        _expect_twin(losses, trained, right, f"mesh ({batch_axis}, {model_axis})")
        if given[0] and not all(array.is_deleted() for array in given[0]):
            raise Failed(
                "TRAINING_STATE_NOT_DONATED",
                "After a step the old state is still there: the model and its moments are held twice.",
                ("arrays of the old state", "given up"),
                [(len(given[0]), sum(array.is_deleted() for array in given[0]))],
            )


def v3_8(submission: Submission) -> None:
    """Compiled for a TPU v3-8, a step that trains all of Gemma 7B holds and sends no more than it needs to."""
    from kit.course.shared import tpu_step as tpu

    made = tpu.plan(tpu.with_step(lambda model: submission.call("make_train_step", model)), rank=0)
    right = tpu.golden(0)
    mine, least = sum(tpu.sent_by_layer(made).values()), sum(right.sent.values())
    rows = [
        ("weights and moments", as_bytes(right.arguments), as_bytes(made.arguments)),
        ("temporaries", as_bytes(right.temporaries), as_bytes(made.temporaries)),
        ("the new state, beside the old one", as_bytes(0), as_bytes(made.kept)),
        ("collectives, their results", as_bytes(least), as_bytes(mine)),
    ]
    columns = (f"on one core, {made.layers} blocks, all parameters", "needed", "yours")
    if made.kept > 0.05 * made.arguments:
        raise Failed(
            "TRAINING_STATE_NOT_DONATED",
            "Compiled for a v3-8, the new state stands beside the old one, and in no place of it.",
            columns,
            rows,
        )
    # AdamW written out in the step takes a tenth more than Keras' own; gradients on every core take seven times as much.
    if made.temporaries > 1.5 * right.temporaries:
        raise Failed(
            "TRAINING_EXTRA_MEMORY",
            f"Compiled for a v3-8, this step needs {made.temporaries / right.temporaries:.1f} times the temporaries that it has to.",
            columns,
            rows,
        )
    if mine > 1.02 * least:
        raise Failed(
            "TRAINING_EXTRA_COLLECTIVES",
            f"Compiled for a v3-8, this step sends {mine / least:.2f} times the bytes that it has to.",
            ("layer", "because of", "yours", "needed"),
            tpu.sent_rows(made, right),
        )


def learns(submission: Submission) -> None:
    """With your compile_for_finetuning and finetune the loss of the bundled model goes down."""
    small.set_distribution(*mesh_shapes()[0])
    keras.utils.set_random_seed(small.seed())
    model = small.bundled_model()
    model.preprocessor.sequence_length = small.SEQUENCE_LENGTH
    model.backbone.enable_lora(4, target_layer_names=["query", "value"])
    texts = small.texts(8, seed=small.seed())
    before = small.values(model.variables)
    _compile(submission, model, 5e-3, 0.01)
    first = _loss_of(model, texts)
    submission.call("finetune", model, [list(texts)] * 12)
    last = _loss_of(model, texts)
    submission.measure("loss after / before", last / first)
    _expect_trained(model, before, 12)
    # Over five seeds the loss falls to 0.79 to 0.81 of what it was; where nothing is learned it stays.
    if not last < 0.9 * first:
        raise Failed(
            "TRAINING_LOSS_FLAT",
            "Twelve steps on the same eight sentences leave the loss about where it was.",
            ("loss before", "expected after", "yours"),
            [(f"{first:.4f}", f"below {0.9 * first:.4f}", f"{last:.4f}")],
        )


class _Recorder(keras.callbacks.Callback):
    """Sees what `fit` tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.batches = 0
        self._means: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        self._means.append(float((logs or {}).get("loss", float("nan"))))

    def losses(self, steps: int, expected: Sequence[float]) -> list[float]:
        """Each step's loss: what was told, if that is what is expected of each step, else from running means of epochs.

        Keras' `fit` tells of running means, and its `train_on_batch` of the batch alone.
        """
        if np.allclose(self._means, expected, rtol=LOSS_TOLERANCE):
            return self._means
        found = []
        for start in range(0, len(self._means), steps):
            sums = [mean * (number + 1) for number, mean in enumerate(self._means[start : start + steps])]
            found += [value - before for value, before in zip(sums, [0.0, *sums], strict=False)]
        return found


def _compile(
    submission: Submission, model: keras_hub.models.CausalLM, rate: float, decay: float, function: str = COMPILE
) -> None:
    given = model.optimizer
    submission.call(function, model, rate, decay)
    if model.optimizer is None or model.optimizer is given:
        raise Failed(
            "NOT_AS_EXPECTED",
            f"After {function} the model is compiled as it was before.",
            ("expected", "yours"),
            [("a new optimizer", f"the {type(given).__name__} that KerasHub gave it")],
            advice="Call model.compile.",
        )


def _decay(before: np.ndarray, after: np.ndarray) -> float:
    """The decay that took a variable from one value to the other, at no gradient."""
    place = np.unravel_index(np.abs(before).argmax(), before.shape)
    return float((1 - after[place] / before[place]) / RATE)


def _expect_slots_in_place(model: keras_hub.models.CausalLM) -> None:
    wanted = {
        tuple(variable.shape): variable.value.sharding
        for variable in model.trainable_variables
        if len(variable.shape) > 1
    }
    wrong, looked_at = [], 0
    for slot in model.optimizer.variables:
        sharding = wanted.get(tuple(slot.shape))
        if sharding is None:
            continue
        looked_at += 1
        if not slot.value.sharding.is_equivalent_to(sharding, len(slot.shape)):
            wrong.append(
                (
                    slot.path,
                    tuple(slot.shape),
                    getattr(sharding, "spec", ""),
                    getattr(slot.value.sharding, "spec", "one device"),
                )
            )
    if not looked_at:
        raise Failed(
            "NOT_AS_EXPECTED",
            "The optimizer keeps no moment of any matrix.",
            ("expected", "yours"),
            [("AdamW, with two for each", type(model.optimizer).__name__)],
            advice="Use keras.optimizers.AdamW.",
        )
    if wrong:
        raise Failed(
            "TRAINING_SLOTS_REPLICATED",
            f"{len(wrong)} of {looked_at} moments of the optimizer are not where their variable is.",
            ("moment", "shape", "its variable's spec", "its own"),
            wrong[:5],
        )


def _variants(
    model: keras_hub.models.CausalLM, batch: Sequence[str], values: dict[str, np.ndarray]
) -> dict[str, float]:
    """The loss of a batch before training, the right one and what the usual mistakes make of it."""
    x, y, weight = twin.tokenized(model, batch)
    logits, _ = model.stateless_call(
        [values[variable.path] for variable in model.trainable_variables],
        [np.asarray(variable.value) for variable in model.non_trainable_variables],
        x,
        training=True,
    )
    logits = np.asarray(logits)
    return {variant: float(twin.cross_entropy(logits, x, y, weight, variant)) for variant in get_args(twin.Variant)}


_CODES = {
    "counts padding": ("TRAINING_COUNTS_PADDING", "The loss counts padding."),
    "targets not shifted": (
        "TRAINING_TARGETS_NOT_SHIFTED",
        "The loss asks for the token that is given, and not for the next one.",
    ),
    "on probabilities": ("TRAINING_LOSS_ON_PROBABILITIES", "The loss takes the logits for probabilities."),
}


def _compare_loss(found: float, variants: dict[str, float]) -> None:
    """Hold a loss against the right one; if it is another, against what the usual mistakes compute."""
    if np.isclose(found, variants["right"], rtol=LOSS_TOLERANCE):
        return
    rows = [("yours", f"{found:.6f}"), *((name, f"{value:.6f}") for name, value in variants.items())]
    for variant, (code, cause) in _CODES.items():
        if np.isclose(found, variants[variant], rtol=1e-4):
            raise Failed(code, cause, ("loss", "value"), rows)
    raise Failed(
        "TRAINING_OFF_THE_TWIN", "The loss is another than that of the unsharded twin.", ("loss", "value"), rows
    )


def _expect_trained(model: keras_hub.models.CausalLM, before: dict[str, np.ndarray], steps: int) -> None:
    """The base is as it was, and the adapters are not."""
    after = small.values(model.variables)
    adapters = [path for path in before if "lora_" in path]
    base = [path for path in before if path not in adapters and "seed" not in path]
    assert adapters, "the model has no adapters"
    assert base, "the model has no base"
    moved = [path for path in base if not np.array_equal(before[path], after[path])]
    still = [path for path in adapters if np.array_equal(before[path], after[path])]
    rows = [
        ("base variables that moved", 0, len(moved)),
        ("adapters that moved", len(adapters), len(adapters) - len(still)),
        ("for example", "", (moved or still or ["-"])[0]),
    ]
    columns = (f"after {steps} steps", "expected", "yours")
    if moved:
        raise Failed("TRAINING_BASE_CHANGED", "Training has changed the base, which was frozen.", columns, rows)
    if still:
        raise Failed("TRAINING_ADAPTERS_DEAD", "Training has not changed the adapters.", columns, rows)


def _expect_state_kept(
    model: keras_hub.models.CausalLM,
    before: dict[str, np.ndarray],
    state: Any,
    losses: list[float],
    right: twin.Trajectory,
) -> None:
    """The optimizer's variables go on from step to step."""
    expected = [tuple(variable.shape) for variable in model.optimizer.variables]
    found = [tuple(np.shape(value)) for value in state[2]]
    trainable = [tuple(variable.shape) for variable in model.trainable_variables]
    if [tuple(np.shape(value)) for value in state[0]] != trainable:
        raise Failed(
            "NOT_AS_EXPECTED",
            "The new state has other trainable variables than the old one.",
            ("expected shapes", "yours"),
            [(trainable[:4], [tuple(np.shape(value)) for value in state[0]][:4])],
        )
    moments = sum(bool(np.any(np.asarray(value))) for value in state[2])
    iterations = [
        int(np.asarray(value)) for value in state[2] if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iu"
    ]
    if expected != found or iterations != [len(losses)]:
        adapters_moved = any(
            not np.array_equal(np.asarray(value), before[variable.path])
            for value, variable in zip(state[0], model.trainable_variables, strict=True)
        )
        if not adapters_moved:
            return
        raise Failed(
            "TRAINING_OPTIMIZER_STATE_LOST",
            "The optimizer's variables do not go on from step to step.",
            ("", "expected", "yours"),
            [
                ("optimizer variables", len(expected), len(found)),
                ("steps that they count", len(losses), iterations),
                ("of them not zero", len(expected), moments),
                ("loss of the last step", f"{right.losses[-1]:.6f}", f"{losses[-1]:.6f}"),
            ],
        )


def _compare_trajectory(
    model: keras_hub.models.CausalLM,
    batches: list[list[str]],
    losses: list[float],
    right: twin.Trajectory,
) -> None:
    """Losses and adapters after `fit`; if they differ, against what other orders and losses give."""
    trainable = small.values(model.trainable_variables)
    if _same(losses, trainable, right):
        return
    if not np.allclose(losses, right.losses, rtol=1e-4) and not np.isclose(losses[0], right.losses[0], rtol=1e-4):
        rows = [
            (number, f"{mine:.6f}", f"{his:.6f}")
            for number, (mine, his) in enumerate(zip(losses, right.losses, strict=True), 1)
        ]
        # The first losses of each batch, all from the same start, whatever their order.
        firsts = [losses[0], *right.losses[1 : len(batches)]]
        for position, batch in enumerate(batches[1:], 1):
            if np.isclose(firsts[0], _first_loss(model, batch), rtol=1e-4):
                raise Failed(
                    "TRAINING_BATCHES_CHANGED",
                    f"The first batch that was trained on is the one that was given at place {position + 1}.",
                    ("step", "your loss", "the twin's"),
                    rows,
                )
    _expect_twin(losses, trainable, right, "fit")


def _first_loss(model: keras_hub.models.CausalLM, batch: Sequence[str]) -> float:
    fresh = small.small_model(rank=RANK, num_layers=1)
    return _variants(fresh, batch, small.values(fresh.variables))["right"]


def _measure(
    submission: Submission, losses: Sequence[float], trainable: dict[str, np.ndarray], right: twin.Trajectory
) -> None:
    relative = np.abs(np.subtract(losses, right.losses)) / np.abs(right.losses)
    submission.measure("loss against the twin", float(relative.max()))
    submission.measure("adapters against the twin", _distance(trainable, right))


def _same(losses: Sequence[float], trainable: dict[str, np.ndarray], right: twin.Trajectory) -> bool:
    return (
        bool(np.allclose(losses, right.losses, rtol=LOSS_TOLERANCE)) and _distance(trainable, right) < ADAPTER_TOLERANCE
    )


def _distance(trainable: dict[str, np.ndarray], right: twin.Trajectory) -> float:
    """The largest difference of an adapter's entry, as a share of the adapter's largest entry."""
    assert trainable.keys() == right.trainable.keys()
    return max(
        float(np.abs(trainable[path] - value).max() / np.abs(value).max()) for path, value in right.trainable.items()
    )


def _expect_twin(losses: Sequence[float], trainable: dict[str, np.ndarray], right: twin.Trajectory, where: str) -> None:
    if _same(losses, trainable, right):
        return
    rows = [
        (f"loss of step {number}", f"{expected:.6f}", f"{mine:.6f}")
        for number, (mine, expected) in enumerate(zip(losses, right.losses, strict=True), 1)
    ]
    rows.append(
        ("largest difference of an adapter", f"below {ADAPTER_TOLERANCE:g}", f"{_distance(trainable, right):.2g}")
    )
    raise Failed(
        "TRAINING_OFF_THE_TWIN",
        f"Training goes another way than on one device ({where}).",
        ("", "the twin", "yours"),
        rows,
    )


def _loss_of(model: keras_hub.models.CausalLM, texts: Sequence[str]) -> float:
    """The loss of texts, computed here and not by what the model was compiled with."""
    return _variants(model, texts, small.values(model.variables))["right"]
