"""Checks of ``planning``: predictions are compared with Keras' variables and the TPU compiler."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.course.planning.all_reduce_bytes import COMPILED, activation_nbytes, compiled_activations
from kit.course.planning.argument_bytes import Configuration, common_mistakes, expected_nbytes
from kit.course.planning.step_settings import Setting, chosen_settings, read_settings
from kit.course.shared import tensor_parallel
from kit.formatting import format_bytes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_7B, gemma_config

if TYPE_CHECKING:
    from kit.tpu.plan import Plan

SEQUENCE_LENGTH = 128
#: Tokens of a step that must fit. With 2,048 the activations fit a v3-8 in any dtype, with remat
#: or without.
TOKENS = 8192
TOPOLOGY = "v3-8"
#: Bytes that libtpu 0.0.42.1 gives a program on a core of a v3-8.
USABLE = 16_621_523_436
#: The closed forms leave out step counts, metrics and the normalizer of the loss. These and the
#: compiler's padding are less than this share.
TOLERANCE = 0.01

_SMALL = gemma_config(**{**tensor_parallel.SMALL_SIZES, "num_layers": 5})
_SMALL_NAME = "a small Gemma with 16 query and 8 value heads"
CONFIGURATIONS = (
    Configuration("Gemma 7B", GEMMA_7B, (1, 8), 4, "float32"),
    Configuration("Gemma 7B", GEMMA_7B, (2, 4), 4, "bfloat16"),
    Configuration("Gemma 7B", GEMMA_7B, (1, 8), 0, "float32"),
    Configuration("Gemma 7B", GEMMA_7B, (4, 2), 0, "bfloat16"),
    Configuration("Gemma 7B", GEMMA_7B, (1, 8), 9, "mixed_bfloat16"),
    Configuration(_SMALL_NAME, _SMALL, (2, 4), 3, "float32"),
    Configuration(_SMALL_NAME, _SMALL, (1, 8), 0, "bfloat16"),
)


@dataclass(frozen=True)
class StepSize:
    """A step of Gemma 7B whose all-reduces are predicted."""

    layers: int
    rank: int
    batch_size: int
    sequence_length: int

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.batch_size * self.sequence_length


STEP_SIZES = (
    *(StepSize(layers, rank, 2, 128) for layers, rank in COMPILED),
    StepSize(28, 4, 2, 128),
    StepSize(28, 0, 2, 128),
    StepSize(2, 4, 6, 128),
    StepSize(2, 0, 2, 320),
)


def _blocks(layers: int) -> dict[str, Any]:
    """The configuration of Gemma 7B with this number of decoder blocks."""
    return gemma_config(**{**GEMMA_7B["config"], "num_layers": layers})


#: What the compiler is asked about.
COMPILED_CONFIGURATION = Configuration("one block of Gemma 7B", _blocks(1), (2, 4), 4, "bfloat16")
COMPILED_STEP = StepSize(1, 4, 4, 192)


def observe_arguments(submission: Submission) -> list[Outcome[int]]:
    """The bytes predicted for each configuration."""
    return [_predict_arguments(submission, configuration) for configuration in CONFIGURATIONS]


def judge_arguments(predictions: list[Outcome[int]]) -> None:
    """They are those of Keras' variables, exactly."""
    for prediction, configuration in zip(predictions, CONFIGURATIONS, strict=True):
        found, expected = returned(prediction), expected_nbytes(configuration)
        if found != expected:
            _fail_for_bytes(found, expected, configuration)


def observe_compiled_arguments(submission: Submission) -> Outcome[int]:
    """The bytes predicted for the configuration that is compiled."""
    return _predict_arguments(submission, COMPILED_CONFIGURATION)


def judge_compiled_arguments(prediction: Outcome[int]) -> None:
    """They are those of the compiled program."""
    found, configuration = returned(prediction), COMPILED_CONFIGURATION
    plan = _plan(configuration.config, configuration.mesh, (1,), rank=configuration.rank, dtype=configuration.dtype)
    if abs(found - plan.arguments) > TOLERANCE * plan.arguments:
        cause = f"`argument_nbytes` and the compiler disagree about {configuration}."
        rows = [("the compiler", f"{plan.arguments:,}"), ("yours", f"{found:,}")]
        raise Failed("PLANNING_WRONG_BYTES", cause, ("", "bytes"), rows)


def _predict_arguments(submission: Submission, configuration: Configuration) -> Outcome[int]:
    sizes = dict(configuration.config["config"])
    mesh, rank, dtype = configuration.mesh, configuration.rank, configuration.dtype
    return _observe_number(submission, "argument_nbytes", sizes, mesh, rank, dtype)


def _observe_number(submission: Submission, function: str, *args: Any) -> Outcome[int]:
    def read(value: Any) -> int:
        if not hasattr(value, "__index__") or isinstance(value, bool):
            submission.expect_type(function, value, int)
        return int(value)

    return submission.observe(function, *args, reads=read)


def _fail_for_bytes(found: int, expected: int, configuration: Configuration) -> None:
    rows = [("expected", f"{expected:,}"), ("yours", f"{found:,}")]
    for code, mistake, nbytes in common_mistakes(configuration):
        # A device's share is a floor division, here of each variable and there of a sum: they
        # differ by a few bytes.
        if nbytes != expected and abs(found - nbytes) <= 64:
            cause = f"For {configuration}, `argument_nbytes` returns the result of a common mistake: {mistake}."
            raise Failed(code, cause, ("", "bytes"), [*rows, (mistake, f"{nbytes:,}")])
    cause = f"`argument_nbytes` returns the wrong number for {configuration}."
    raise Failed("PLANNING_WRONG_BYTES", cause, ("", "bytes"), [*rows, ("yours / expected", f"{found / expected:.4f}")])


def observe_all_reduces(submission: Submission) -> list[Outcome[int]]:
    """The bytes predicted for each step."""
    return [_predict_all_reduces(submission, size) for size in STEP_SIZES]


def judge_all_reduces(predictions: list[Outcome[int]]) -> None:
    """They are what the TPU compiler made of such steps."""
    for prediction, size in zip(predictions, STEP_SIZES, strict=True):
        _expect_all_reduces(returned(prediction), compiled_activations(size.layers, size.rank), size)


def observe_compiled_all_reduces(submission: Submission) -> Outcome[int]:
    """The bytes predicted for the step that is compiled."""
    return _predict_all_reduces(submission, COMPILED_STEP)


def judge_compiled_all_reduces(prediction: Outcome[int]) -> None:
    """They are those of the compiled program."""
    found = returned(prediction)
    settings = dataclasses.asdict(COMPILED_STEP)
    layers = settings.pop("layers")
    _, nbytes = _plan(_blocks(layers), (1, 8), (layers,), **settings).by_kind()["all-reduce"]
    _expect_all_reduces(found, nbytes / activation_nbytes(COMPILED_STEP.tokens), COMPILED_STEP)


def _predict_all_reduces(submission: Submission, size: StepSize) -> Outcome[int]:
    sizes = dict(_blocks(size.layers)["config"])
    return _observe_number(submission, "all_reduce_nbytes", sizes, size.rank, size.batch_size, size.sequence_length)


def _expect_all_reduces(found: int, activations: float, size: StepSize) -> None:
    one = activation_nbytes(size.tokens)
    expected = activations * one
    if abs(found - expected) > TOLERANCE * expected:
        tuned = f"LoRA of rank {size.rank}" if size.rank else "all parameters trained"
        blocks = f"{size.layers} {'block' if size.layers == 1 else 'blocks'}"
        raise Failed(
            "PLANNING_WRONG_COLLECTIVES",
            "`all_reduce_nbytes` returns the wrong number for Gemma 7B "
            f"with {blocks}, {size.tokens:,} tokens, {tuned}.",
            ("", "bytes", "in activations"),
            [
                ("the compiler", f"{round(expected):,}", f"{activations:.1f}"),
                ("yours", f"{found:,}", f"{found / one:.1f}"),
                ("one activation", f"{one:,}", "1"),
            ],
        )


def observe_settings(submission: Submission) -> Outcome[dict[str, Setting]]:
    """The settings that were chosen."""
    return submission.observe("make_it_fit", reads=read_settings, returns=dict)


def judge_settings(outcome: Outcome[dict[str, Setting]]) -> None:
    """A step of them has enough tokens, its state fits on a core, and it changes all weights."""
    chosen = chosen_settings(returned(outcome))
    tokens = chosen.batch_size * SEQUENCE_LENGTH
    if tokens < TOKENS:
        cause = f"A step of {chosen.batch_size} examples has {tokens:,} tokens."
        raise Failed("PLANNING_TOO_FEW_TOKENS", cause, ("expected at least", "yours"), [(f"{TOKENS:,}", f"{tokens:,}")])
    state = expected_nbytes(Configuration("Gemma 7B", GEMMA_7B, chosen.mesh, 0, chosen.dtype))
    if state > USABLE:
        raise Failed(
            "PLANNING_DOES_NOT_FIT",
            f"With these settings, weights and moments take {format_bytes(state)} per core, and "
            "activations come on top.",
            (f"on a core of a {TOPOLOGY}", "bytes"),
            [("weights and moments", format_bytes(state)), ("available to a program", format_bytes(USABLE))],
        )
    changed = {dtype: _share_changed(dtype) for dtype in ("float32", chosen.dtype)}
    assert changed["float32"] == 1.0, "AdamW changes all weights in float32"
    if changed[chosen.dtype] < changed["float32"]:
        raise Failed(
            "PLANNING_DOES_NOT_LEARN",
            f"With these settings, weights and moments fit, but AdamW does not change weights in {chosen.dtype}.",
            ("dtype", "of 1,000 weights with gradients, changed by 10 steps at 0.01"),
            [(dtype, f"{share:.0%}") for dtype, share in changed.items()],
        )


def _share_changed(dtype: str) -> float:
    """The share of weights that ten steps of Keras' AdamW change, in a model of this dtype."""
    import keras
    import numpy as np

    policy = keras.DTypePolicy(dtype)
    initial = np.random.default_rng(0).normal(0, 0.02, 1000)
    weights = keras.Variable(initial, dtype=policy.variable_dtype)
    before = np.asarray(weights.value, "float32")
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.build([weights])
    for _ in range(10):
        optimizer.apply([keras.ops.ones(initial.shape, policy.variable_dtype)], [weights])
    return float(np.mean(np.asarray(weights.value, "float32") != before))


def observe_v3_8(submission: Submission) -> Outcome[dict[str, Setting]]:
    """The settings that were chosen."""
    return observe_settings(submission)


def judge_v3_8(outcome: Outcome[dict[str, Setting]]) -> None:
    """The whole step, compiled with them, fits on a v3-8."""
    chosen = dataclasses.asdict(chosen_settings(returned(outcome)))
    # All blocks: a straight line through few of them predicts temporaries badly. With 16 examples
    # in bfloat16, without remat, on a v2-8, two and three blocks predict 6.98 GB, and the whole
    # program needs 8.30.
    plan = _plan(GEMMA_7B, chosen.pop("mesh"), (), rank=0, **chosen)
    if not plan.fits:
        cause = (
            f"With these settings, a core needs {format_bytes(plan.peak)} at its peak, and "
            f"has {format_bytes(plan.usable)}."
        )
        rows = [
            ("weights and moments", format_bytes(plan.counted_arguments)),
            ("everything else", format_bytes(plan.peak - plan.arguments)),
            ("available to a program", format_bytes(plan.usable)),
        ]
        raise Failed("PLANNING_DOES_NOT_FIT", cause, (f"on a core of a {TOPOLOGY}", "bytes"), rows)


def _plan(config: Mapping[str, Any], mesh: tuple[int, int], layers: tuple[int, ...], **settings: Any) -> "Plan":
    """The plan of a right step for a v3-8; ``layers`` as in ``make_plan``."""
    from kit.course.shared import tpu_step
    from kit.tpu.plan import make_plan
    from kit.tpu.step import StepSettings
    from kit.tpu.topologies import find_topology

    return make_plan(config, find_topology(TOPOLOGY), StepSettings(mesh, **settings), tpu_step.right_parts(), layers)
