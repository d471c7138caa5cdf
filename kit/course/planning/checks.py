"""Checks of the exercise ``planning``: predictions held against the variables of Keras, and against the TPU compiler."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kit.course.shared import tensor_parallel as oracle
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_7B, gemma_config
from kit.models.settings import DTYPES
from kit.models.weightless import VariableInfo, weightless_variables
from kit.narrator import as_bytes

SEQUENCE_LENGTH = 128
#: Tokens of a step that must fit. Of 2,048 the activations would have room on a v3-8 in any dtype, with remat or without.
TOKENS = 8192
TOPOLOGY = "v3-8"
#: Bytes that libtpu 0.0.42.1 gives a program on a core of a v3-8.
USABLE = 16_621_523_436
#: (Decoder blocks, rank) -> bytes of the results of all all-reduces of a step of Gemma 7B on a v3-8, mesh (1, 8), float32, 2
#: examples of 128 tokens, as libtpu 0.0.42.1 compiled it.
COMPILED: dict[tuple[int, int], int] = {
    (1, 4): 15_740_928,
    (2, 4): 28_332_032,
    (3, 4): 40_923_136,
    (1, 0): 18_878_464,
    (2, 0): 31_461_376,
    (3, 0): 44_044_288,
}
COMPILED_TOKENS = 2 * 128
#: What is left out of the closed forms (step counts, metrics, the normalizer of the loss) and the compiler's padding are less.
TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Asked:
    """One configuration whose bytes are predicted."""

    what: str
    config: Mapping[str, Any]
    mesh: tuple[int, int]
    rank: int
    dtype: str


_SMALL = gemma_config(**{**oracle.SMALL_SIZES, "num_layers": 5})
CONFIGURATIONS = (
    Asked("Gemma 7B", GEMMA_7B, (1, 8), 4, "float32"),
    Asked("Gemma 7B", GEMMA_7B, (2, 4), 4, "bfloat16"),
    Asked("Gemma 7B", GEMMA_7B, (1, 8), 0, "float32"),
    Asked("Gemma 7B", GEMMA_7B, (4, 2), 0, "bfloat16"),
    Asked("Gemma 7B", GEMMA_7B, (1, 8), 9, "mixed_bfloat16"),
    Asked("a small Gemma with 16 query and 8 value heads", _SMALL, (2, 4), 3, "float32"),
    Asked("a small Gemma with 16 query and 8 value heads", _SMALL, (1, 8), 0, "bfloat16"),
)


def arguments(submission: Submission) -> None:
    """What a device holds of Gemma 7B in four configurations, and of other models, to the byte."""
    for asked in CONFIGURATIONS:
        found = _predicted(submission, asked)
        expected = expected_nbytes(asked)
        if found != expected:
            _fail_for_bytes(found, expected, asked)


def compiled_arguments(submission: Submission) -> None:
    """What a core of a v3-8 holds, with one block of Gemma 7B in bfloat16 on the mesh (2, 4), as the compiler says."""
    from kit.course.shared import tpu_step as tpu

    asked = Asked("one block of Gemma 7B", _blocks(1), (2, 4), 4, "bfloat16")
    found = _predicted(submission, asked)
    made = _plan(TOPOLOGY, asked.config, asked.mesh, tpu.right_parts(), (1,), rank=asked.rank, dtype=asked.dtype)
    if abs(found - made.arguments) > TOLERANCE * made.arguments:
        raise Failed(
            "PLANNING_WRONG_BYTES",
            f"The compiler has another number than argument_nbytes for {_described(asked)}.",
            ("", "bytes"),
            [("the compiler", f"{made.arguments:,}"), ("yours", f"{found:,}")],
        )


def all_reduces(submission: Submission) -> None:
    """What the all-reduces of a step give, for one to 28 blocks, beside what the TPU compiler made of them."""
    for layers, rank, batch_size, sequence_length in (
        *((layers, rank, 2, 128) for layers, rank in COMPILED),
        (28, 4, 2, 128),
        (28, 0, 2, 128),
        (2, 4, 6, 128),
        (2, 0, 2, 320),
    ):
        _expect_all_reduces(
            _predicted_all_reduces(submission, layers, rank, batch_size, sequence_length),
            _activations(layers, rank),
            layers,
            rank,
            batch_size * sequence_length,
        )


def compiled_all_reduces(submission: Submission) -> None:
    """What the all-reduces give of one block of Gemma 7B with LoRA and 4 x 192 tokens, as the compiler says."""
    from kit.course.shared import tpu_step as tpu

    layers, rank, batch_size, sequence_length = 1, 4, 4, 192
    found = _predicted_all_reduces(submission, layers, rank, batch_size, sequence_length)
    made = _plan(
        TOPOLOGY,
        _blocks(layers),
        (1, 8),
        tpu.right_parts(),
        (layers,),
        rank=rank,
        batch_size=batch_size,
        sequence_length=sequence_length,
    )
    _, nbytes = made.by_kind()["all-reduce"]
    tokens = batch_size * sequence_length
    _expect_all_reduces(found, nbytes / _activation_nbytes(tokens), layers, rank, tokens)


def settings(submission: Submission) -> None:
    """Settings that make a step of enough tokens for a v3-8, whose state has room on a core, and that moves the weights."""
    chosen = _settings(submission)
    tokens = chosen["batch_size"] * SEQUENCE_LENGTH
    if tokens < TOKENS:
        raise Failed(
            "PLANNING_TOO_FEW_TOKENS",
            f"A step of {chosen['batch_size']} examples has {tokens:,} tokens.",
            ("expected at least", "yours"),
            [(f"{TOKENS:,}", f"{tokens:,}")],
        )
    state = expected_nbytes(Asked("Gemma 7B", GEMMA_7B, chosen["mesh"], 0, chosen["dtype"]))
    if state > USABLE:
        raise Failed(
            "PLANNING_DOES_NOT_FIT",
            f"With these settings the weights and moments alone take {as_bytes(state)} on a core.",
            (f"on a core of a {TOPOLOGY}", "bytes"),
            [("weights and moments", as_bytes(state)), ("room for a program", as_bytes(USABLE))],
        )
    moved = {dtype: _moved(dtype) for dtype in ("float32", chosen["dtype"])}
    assert moved["float32"] == 1.0, "AdamW moves all weights in float32"
    if moved[chosen["dtype"]] < moved["float32"]:
        raise Failed(
            "PLANNING_DOES_NOT_LEARN",
            f"With these settings weights and moments have room, and AdamW leaves weights of {chosen['dtype']} where they are.",
            ("of 1,000 weights, each with a gradient", "moved by ten steps at 0.01"),
            [(dtype, f"{share:.0%}") for dtype, share in moved.items()],
        )


def _moved(dtype: str) -> float:
    """The share of weights that ten steps of Keras' AdamW change, in a model that is made with this dtype."""
    import keras
    import numpy as np

    policy = keras.DTypePolicy(dtype)
    before = np.random.default_rng(0).normal(0, 0.02, 1000)
    weights = keras.Variable(before, dtype=policy.variable_dtype)
    held = np.asarray(weights.value, "float32")
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.build([weights])
    for _ in range(10):
        optimizer.apply([keras.ops.ones(before.shape, policy.variable_dtype)], [weights])
    return float(np.mean(np.asarray(weights.value, "float32") != held))


def v3_8(submission: Submission) -> None:
    """Compiled for a TPU v3-8 with these settings, a step that trains all of Gemma 7B fits."""
    from kit.course.shared import tpu_step as tpu

    chosen = _settings(submission)
    mesh = chosen.pop("mesh")
    # All blocks: of few, a straight line tells temporaries badly. With 16 examples in bfloat16 and no remat, on a v2-8, two and
    # three blocks would come to 6.98 GB, and the whole program needs 8.30.
    made = _plan(TOPOLOGY, GEMMA_7B, mesh, tpu.right_parts(), (), rank=0, **chosen)
    if not made.fits:
        raise Failed(
            "PLANNING_DOES_NOT_FIT",
            f"With these settings a core needs {as_bytes(made.peak)} at a time, and has {as_bytes(made.usable)}.",
            (f"on a core of a {TOPOLOGY}", "bytes"),
            [
                ("weights and moments", as_bytes(made.counted_arguments)),
                ("what is needed beside them", as_bytes(made.peak - made.arguments)),
                ("room for a program", as_bytes(made.usable)),
            ],
        )


def _plan(
    topology: str, config: Mapping[str, Any], mesh: tuple[int, int], parts: Any, layers: Any, **chosen: Any
) -> Any:
    from kit.tpu.plan import make_plan
    from kit.tpu.step import StepSettings
    from kit.tpu.topologies import find_topology

    return make_plan(config, find_topology(topology), StepSettings(mesh, **chosen), parts, layers)


def _blocks(layers: int) -> dict[str, Any]:
    return gemma_config(**{**GEMMA_7B["config"], "num_layers": layers})


# Bytes.


def expected_nbytes(asked: Asked) -> int:
    """Bytes of weights, adapters and moments on one device: Keras' own variables, counted one by one."""
    return _held(_variables(asked), asked)


def _variables(asked: Asked) -> list[VariableInfo]:
    return weightless_variables(asked.config, asked.rank, dtype=asked.dtype)


def _predicted(submission: Submission, asked: Asked) -> int:
    sizes = dict(asked.config["config"])
    return _as_number(
        submission, "argument_nbytes", submission.call("argument_nbytes", sizes, asked.mesh, asked.rank, asked.dtype)
    )


def _as_number(submission: Submission, function: str, value: Any) -> int:
    if not hasattr(value, "__index__") or isinstance(value, bool):
        submission.expect_type(function, value, int)
    return int(value)


def _held(
    variables: Sequence[VariableInfo],
    asked: Asked,
    moments: Callable[[VariableInfo], int] = lambda variable: 2 * variable.trainable,
    itemsize: Callable[[VariableInfo], int] = lambda variable: variable.nbytes // variable.size,
    parts: Callable[[VariableInfo, int], int] = lambda variable, model: model if oracle.kind_of(variable.path) else 1,
    moment_itemsize: Callable[[VariableInfo], int] | None = None,
) -> int:
    """Bytes on one device, variable by variable: each with its dtype, its split, and its moments.

    The functions are those of the right count; others give what a usual mistake comes to.
    """
    found = 0
    for variable in variables:
        held = variable.size // parts(variable, asked.mesh[1])
        found += held * itemsize(variable) + held * moments(variable) * (moment_itemsize or itemsize)(variable)
    assert found, "a model without variables"
    return found


def _usual_mistakes(variables: Sequence[VariableInfo], asked: Asked) -> list[tuple[str, str, int]]:
    """(code, what was done, the bytes that this comes to)."""
    devices = asked.mesh[0] * asked.mesh[1]
    own = 2 if asked.dtype == "bfloat16" else 4

    def split(variable: VariableInfo, by: int) -> int:
        return by if oracle.kind_of(variable.path) else 1

    def is_adapter(variable: VariableInfo) -> bool:
        return "/lora_" in variable.path

    found: list[tuple[str, str, dict[str, Any]]] = [
        ("PLANNING_WRONG_MOMENTS", "without moments", {"moments": lambda variable: 0}),
        ("PLANNING_WRONG_MOMENTS", "one moment", {"moments": lambda variable: 1 * variable.trainable}),
        ("PLANNING_WRONG_MOMENTS", "moments of what is frozen too", {"moments": lambda variable: 2}),
        ("PLANNING_WRONG_DTYPE", "adapters in the model's dtype", {"itemsize": lambda variable: own}),
        ("PLANNING_WRONG_DTYPE", "everything in float32", {"itemsize": lambda variable: 4}),
        (
            "PLANNING_WRONG_DTYPE",
            "bfloat16 for mixed_bfloat16",
            {"itemsize": lambda variable: 4 if is_adapter(variable) or asked.dtype == "float32" else 2},
        ),
        ("PLANNING_WRONG_DTYPE", "moments in float32", {"moment_itemsize": lambda variable: 4}),
        ("PLANNING_WRONG_SPLIT", "nothing split", {"parts": lambda variable, model: 1}),
        ("PLANNING_WRONG_SPLIT", "matrices split over all devices", {"parts": lambda v, model: split(v, devices)}),
        (
            "PLANNING_WRONG_SPLIT",
            "scales split too",
            {"parts": lambda v, model: 1 if is_adapter(v) else model},
        ),
        (
            "PLANNING_WRONG_SPLIT",
            "adapters split too",
            {"parts": lambda v, model: model if is_adapter(v) else split(v, model)},
        ),
        ("PLANNING_WRONG_SPLIT", "everything split", {"parts": lambda variable, model: model}),
    ]
    return [(code, what, _held(variables, asked, **options)) for code, what, options in found]


def _fail_for_bytes(found: int, expected: int, asked: Asked) -> None:
    rows: list[tuple[str, str]] = [("expected", f"{expected:,}"), ("yours", f"{found:,}")]
    for code, what, nbytes in _usual_mistakes(_variables(asked), asked):
        # A device's part of the whole, by floor division here and of each variable there: a few bytes at most.
        if nbytes != expected and abs(found - nbytes) <= 64:
            raise Failed(
                code,
                f"argument_nbytes gives for {_described(asked)} what a mistake comes to: {what}.",
                ("", "bytes"),
                [*rows, (what, f"{nbytes:,}")],
            )
    raise Failed(
        "PLANNING_WRONG_BYTES",
        f"argument_nbytes gives another number for {_described(asked)}.",
        ("", "bytes"),
        [*rows, ("yours, as a share of it", f"{found / expected:.4f}")],
    )


def _described(asked: Asked) -> str:
    tuned = f"LoRA of rank {asked.rank}" if asked.rank else "all parameters tuned"
    return f"{asked.what}, {tuned}, {asked.dtype}, mesh {asked.mesh}"


# All-reduces.


def _predicted_all_reduces(
    submission: Submission, layers: int, rank: int, batch_size: int, sequence_length: int
) -> int:
    sizes = dict(_blocks(layers)["config"])
    found = submission.call("all_reduce_nbytes", sizes, rank, batch_size, sequence_length)
    return _as_number(submission, "all_reduce_nbytes", found)


def _activation_nbytes(tokens: int) -> int:
    """Bytes of (batch, sequence, hidden) in float32."""
    hidden: int = GEMMA_7B["config"]["hidden_dim"]
    return tokens * hidden * 4


def _activations(layers: int, rank: int) -> int:
    """How many all-reduces of activations the compiler made; past three blocks each is as the third."""
    first, second = (round(COMPILED[number, rank] / _activation_nbytes(COMPILED_TOKENS)) for number in (1, 2))
    return first + (layers - 1) * (second - first)


def _expect_all_reduces(found: int, activations: float, layers: int, rank: int, tokens: int) -> None:
    expected = activations * _activation_nbytes(tokens)
    if abs(found - expected) > TOLERANCE * expected:
        tuned = f"LoRA of rank {rank}" if rank else "all parameters tuned"
        one = _activation_nbytes(tokens)
        raise Failed(
            "PLANNING_WRONG_COLLECTIVES",
            f"all_reduce_nbytes gives another number for Gemma 7B with {layers} blocks, {tokens:,} tokens, {tuned}.",
            ("", "bytes", "as so many activations"),
            [
                ("the compiler", f"{round(expected):,}", f"{activations:.1f}"),
                ("yours", f"{found:,}", f"{found / one:.1f}"),
                ("one activation", f"{one:,}", "1"),
            ],
        )


# Settings.


def _settings(submission: Submission) -> dict[str, Any]:
    """What make_it_fit returned, if a step can be made of it."""
    found = submission.call("make_it_fit", returns=dict)
    wanted = ("mesh", "dtype", "batch_size", "remat")
    if set(found) != set(wanted):
        raise Failed(
            "NOT_AS_EXPECTED",
            "make_it_fit returned other settings than those that were asked for.",
            ("expected", "yours"),
            [(", ".join(wanted), ", ".join(map(str, found)) or "none")],
        )
    mesh = found["mesh"]
    mistakes = [
        (
            "mesh",
            "a tuple of two sizes whose product is 8",
            isinstance(mesh, tuple)
            and len(mesh) == 2
            and all(type(size) is int and size > 0 for size in mesh)
            and mesh[0] * mesh[1] == 8,
        ),
        ("dtype", " or ".join(DTYPES), found["dtype"] in DTYPES),
        ("batch_size", "a number above 0", type(found["batch_size"]) is int and found["batch_size"] > 0),
        ("remat", "True or False", isinstance(found["remat"], bool)),
    ]
    wrong = [(name, text, repr(found[name])) for name, text, right in mistakes if not right]
    if not wrong and found["batch_size"] % mesh[0]:
        wrong = [("batch_size", f"a multiple of {mesh[0]}, the mesh's axis for the batch", repr(found["batch_size"]))]
    if wrong:
        raise Failed(
            "NOT_AS_EXPECTED",
            f"With these settings no step can be made for a {TOPOLOGY}.",
            ("setting", "expected", "yours"),
            wrong,
        )
    return dict(found)
