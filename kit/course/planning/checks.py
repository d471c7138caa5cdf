"""Checks of ``planning``: predictions are compared with closed forms and the TPU compiler."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kit.checks.diagnosis import Failed
from kit.course.planning import prices
from kit.course.planning.ask import Answer, Question, ask
from kit.course.planning.cases import ACTIVATIONS, ARGUMENTS, CACHE, SENT, Case, with_layers
from kit.course.planning.chosen_run import ChosenRun, Setting, chosen_run, read_settings
from kit.course.planning.mistakes import (
    TOLERANCE,
    activations_table,
    arguments_table,
    cache_table,
    label,
    sent_table,
)
from kit.formatting import format_bytes
from kit.judge.mistakes import MistakeTable
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission

#: The step of which the compiler is asked for the arguments and for what is kept.
COMPILED_MEMORY = Question("v5e-8", (2, 4), "bfloat16", 4, 16, 512, remat=True, layers=1)
#: The compiler keeps other things as well, most of all within the block that is being computed.
MOST_OF_PAPER = 1.5
#: The step whose all-reduces are compared.
COMPILED_SENT = Case("one block", with_layers(1)["config"], (1, 8), "float32", 4, batch_size=4, length=192)


def observe_arguments(submission: Submission) -> list[Outcome[int]]:
    """The bytes predicted for each configuration."""
    return [_arguments(submission, case) for case in ARGUMENTS]


def _arguments(submission: Submission, case: Case) -> Outcome[int]:
    return _observe_number(
        submission, "argument_nbytes", dict(case.sizes), case.mesh, case.rank, case.dtype, case.layout
    )


def judge_arguments(predictions: list[Outcome[int]]) -> None:
    """They are those of Keras' variables."""
    _judge(predictions, ARGUMENTS, arguments_table, "argument_nbytes", "PLANNING_WRONG_BYTES")


def observe_activations(submission: Submission) -> list[Outcome[int]]:
    """The bytes predicted for each step."""
    return [_activations(submission, case) for case in ACTIVATIONS]


def _activations(submission: Submission, case: Case) -> Outcome[int]:
    arguments = (dict(case.sizes), case.mesh, case.batch_size, case.length, case.dtype)
    return _observe_number(submission, "activation_nbytes", *arguments)


def judge_activations(predictions: list[Outcome[int]]) -> None:
    """They are the inputs of the blocks and the logits."""
    _judge(predictions, ACTIVATIONS, activations_table, "activation_nbytes", "PLANNING_WRONG_ACTIVATIONS")


def observe_cache(submission: Submission) -> list[Outcome[int]]:
    """The bytes predicted for each cache."""
    return [
        _observe_number(
            submission, "cache_nbytes", dict(case.sizes), case.mesh, case.batch_size, case.length, case.dtype
        )
        for case in CACHE
    ]


def judge_cache(predictions: list[Outcome[int]]) -> None:
    """They are the keys and values of all tokens."""
    _judge(predictions, CACHE, cache_table, "cache_nbytes", "PLANNING_WRONG_CACHE")


def observe_sent(submission: Submission) -> list[Outcome[dict[str, float]]]:
    """The bytes predicted for each step, by axis."""
    return [_sent(submission, case) for case in SENT]


def _sent(submission: Submission, case: Case) -> Outcome[dict[str, float]]:
    def read(result: dict[Any, Any]) -> dict[str, float]:
        if set(result) != {"model", "batch"}:
            rows = [("model, batch", ", ".join(map(str, result)) or "none")]
            raise Failed("NOT_AS_EXPECTED", "The result of sent_nbytes has other keys.", ("expected", "yours"), rows)
        return {str(axis): _number(submission, "sent_nbytes", value) for axis, value in result.items()}

    arguments = (dict(case.sizes), case.mesh, case.rank, case.batch_size, case.length)
    return submission.observe("sent_nbytes", *arguments, reads=read, returns=dict)


def judge_sent(predictions: list[Outcome[dict[str, float]]]) -> None:
    """They are what a ring sends of the activations and of the gradients."""
    found = {
        label(case, axis): value
        for case, prediction in zip(SENT, predictions, strict=True)
        for axis, value in returned(prediction).items()
    }
    if not sent_table().is_right(found):
        cause = "`sent_nbytes` returns other bytes than a ring sends."
        raise sent_table().failure(found, "PLANNING_WRONG_COLLECTIVES", cause)


def _judge(
    predictions: Sequence[Outcome[int]],
    cases: Sequence[Case],
    table: Callable[[], MistakeTable],
    function: str,
    code: str,
) -> None:
    found = {label(case): returned(prediction) for case, prediction in zip(cases, predictions, strict=True)}
    if not table().is_right(found):
        wrong = sum(found[name] != value for name, value in table().right.items())
        cause = f"`{function}` returns the wrong number in {wrong} of {len(cases)} cases."
        raise table().failure(found, code, cause)


def _observe_number(submission: Submission, function: str, *args: Any) -> Outcome[int]:
    def read(value: Any) -> int:
        if not hasattr(value, "__index__") or isinstance(value, bool):
            submission.expect_type(function, value, int)
        return int(value)

    return submission.observe(function, *args, reads=read)


def _number(submission: Submission, function: str, value: Any) -> float:
    if isinstance(value, bool) or not (hasattr(value, "__index__") or isinstance(value, float)):
        submission.expect_type(f"A value of the dictionary of {function}", value, int)
    return float(value) if isinstance(value, float) else int(value)


def observe_compiled_arguments(submission: Submission) -> Outcome[int]:
    """The bytes of arguments of the step that is compiled."""
    return _arguments(submission, _case_of(COMPILED_MEMORY))


def judge_compiled_arguments(prediction: Outcome[int]) -> None:
    """They are those of the compiled program."""
    found, nbytes = returned(prediction), ask(COMPILED_MEMORY).arguments
    if abs(found - nbytes) > TOLERANCE * nbytes:
        cause = "`argument_nbytes` and the compiler disagree about one block of Gemma 7B in bfloat16."
        rows = [("the compiler", f"{nbytes:,}"), ("yours", f"{found:,}")]
        raise Failed("PLANNING_WRONG_BYTES", cause, ("", "bytes"), rows)


def observe_compiled_activations(submission: Submission) -> Outcome[int]:
    """The bytes kept by the step that is compiled."""
    return _activations(submission, _case_of(COMPILED_MEMORY))


def judge_compiled_activations(prediction: Outcome[int]) -> None:
    """The compiled program keeps no less, and not much more."""
    found, nbytes = returned(prediction), ask(COMPILED_MEMORY).temporaries
    if not found <= nbytes <= MOST_OF_PAPER * found:
        cause = "`activation_nbytes` and the compiler disagree about one block of Gemma 7B in bfloat16."
        rows = [
            ("temporaries of the compiled step", f"{nbytes:,}"),
            ("yours", f"{found:,}"),
            ("temporaries / yours, from 1 to 1.5", f"{nbytes / found:.2f}" if found else "-"),
        ]
        raise Failed("PLANNING_WRONG_ACTIVATIONS", cause, ("", "bytes"), rows)


def _case_of(question: Question) -> Case:
    return Case(
        "",
        with_layers(question.layers)["config"],
        question.mesh,
        question.dtype,
        question.rank,
        batch_size=question.batch_size,
        length=question.sequence_length,
    )


def observe_compiled_sent(submission: Submission) -> Outcome[dict[str, float]]:
    """The bytes predicted for the step that is compiled."""
    return _sent(submission, COMPILED_SENT)


def judge_compiled_sent(prediction: Outcome[dict[str, float]]) -> None:
    """They are those of the compiled program's all-reduces."""
    from kit.course.shared import tpu_step
    from kit.tpu.plan import make_plan
    from kit.tpu.step import StepSettings
    from kit.tpu.topologies import find_topology

    found, case = returned(prediction)["model"], COMPILED_SENT
    settings = StepSettings(case.mesh, case.rank, case.batch_size, case.length)
    plan = make_plan(with_layers(1), find_topology("v3-8"), settings, tpu_step.right_parts(), (1,))
    devices = case.mesh[1]
    nbytes = plan.by_kind()["all-reduce"][1] * 2 * (devices - 1) / devices
    if abs(found - nbytes) > TOLERANCE * nbytes:
        cause = f"`sent_nbytes` and the compiler disagree about one block of Gemma 7B, {case.tokens} tokens."
        rows = [("the compiler's all-reduces, sent by a ring", f"{nbytes:,.0f}"), ('your "model"', f"{found:,}")]
        raise Failed("PLANNING_WRONG_COLLECTIVES", cause, ("", "bytes"), rows)


def observe_run(submission: Submission) -> Outcome[dict[str, Setting]]:
    """The settings that were chosen."""
    return submission.observe("choose_run", reads=read_settings, returns=dict)


def judge_run(outcome: Outcome[dict[str, Setting]]) -> None:
    """On paper, they fit, learn, and cost no more than the budget."""
    run = chosen_run(returned(outcome))
    for name, least, found in (
        ("texts in a step", prices.LEAST_BATCH, run.batch_size),
        ("rank", prices.LEAST_RANK, run.rank or prices.LEAST_RANK),
    ):
        if found < least:
            raise Failed("PLANNING_TOO_LITTLE", f"The {name} is below {least}.", ("", "yours"), [(name, found)])
    _judge_memory_on_paper(run)
    _judge_learning(run)
    compute, links = prices.least_seconds(run)
    least_price = prices.dollars(run.topology, compute + links, run.batch_size)
    rows = _rows_of_price(run, {"compute, at least": compute, "links, at least": links}, least_price)
    if least_price > prices.BUDGET:
        cause = f"On paper this run costs at least {least_price:.2f} dollars ({run})."
        raise Failed("PLANNING_TOO_EXPENSIVE", cause, ("", "yours"), rows)
    if run.dollars > prices.BUDGET or run.dollars * (1 + prices.PRICE_TOLERANCE) < least_price:
        cause = f"You state {run.dollars:.2f} dollars; the run costs at least {least_price:.2f}, and may cost "
        raise Failed("PLANNING_WRONG_PRICE", f"{cause}{prices.BUDGET:.2f}.", ("", "yours"), rows)


def _judge_memory_on_paper(run: ChosenRun) -> None:
    arguments, kept = prices.held_nbytes(run)
    usable = prices.USABLE[run.topology]
    if arguments + kept > usable:
        too_large = "weights and moments alone are" if arguments > usable else "weights, moments and activations are"
        raise Failed(
            "PLANNING_DOES_NOT_FIT",
            f"On a device of {run.topology}, {too_large} more than there is ({run}).",
            ("on one device", "bytes"),
            [
                ("weights, adapters and moments", format_bytes(arguments)),
                ("inputs of blocks and logits, at least", format_bytes(kept)),
                ("usable", format_bytes(int(usable))),
            ],
        )


def _judge_learning(run: ChosenRun) -> None:
    """What is trained is stored in a dtype in which AdamW changes it: adapters are float32."""
    stored = "float32" if run.rank else run.dtype
    changed = {dtype: share_changed(dtype) for dtype in ("float32", stored)}
    assert changed["float32"] == 1.0, "AdamW changes all weights in float32"
    if changed[stored] < changed["float32"]:
        raise Failed(
            "PLANNING_DOES_NOT_LEARN",
            f"All parameters are trained and stored in {stored}, in which AdamW does not change them.",
            ("dtype", "of 1,000 weights with gradients, changed by 10 steps at 0.01"),
            [(dtype, f"{share:.0%}") for dtype, share in changed.items()],
        )


def _rows_of_price(run: ChosenRun, seconds: Mapping[str, float], dollars: float) -> list[tuple[str, str]]:
    return [
        *((f"{name}, seconds per step", f"{value:.4f}") for name, value in seconds.items()),
        ("steps", f"{prices.TEXTS / run.batch_size:,.0f}"),
        ("dollars for an hour of a chip", f"{prices.CHIP_HOUR[run.topology]:.2f}"),
        ("dollars of the run", f"{dollars:.2f}"),
        ("dollars, stated", f"{run.dollars:.2f}"),
        ("budget", f"{prices.BUDGET:.2f}"),
    ]


def share_changed(dtype: str) -> float:
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


def observe_compiled_run(submission: Submission) -> Outcome[dict[str, Setting]]:
    """The settings that were chosen."""
    return observe_run(submission)


def judge_compiled_run(outcome: Outcome[dict[str, Setting]]) -> None:
    """By the compiler the step fits, and the run costs what was stated."""
    run = chosen_run(returned(outcome))
    answer = ask(Question(run.topology, run.mesh, run.dtype, run.rank, run.batch_size, prices.LENGTH, run.remat))
    judge_answer(run, answer)


def judge_answer(run: ChosenRun, answer: Answer) -> None:
    """Compare a run with what the compiler says of it."""
    if not answer.fits:
        rows = [
            ("weights, adapters and moments", format_bytes(answer.arguments)),
            ("everything else", format_bytes(answer.peak - answer.arguments)),
            ("usable", format_bytes(answer.usable)),
        ]
        cause = f"By the compiler, a device needs {format_bytes(answer.peak)} at its peak ({run})."
        raise Failed("PLANNING_DOES_NOT_FIT", cause, (f"on a device of {run.topology}", "bytes"), rows)
    price = prices.dollars(run.topology, answer.seconds, run.batch_size)
    seconds = {"compute": answer.compute or 0, "HBM": answer.hbm or 0, "links": answer.links or 0}
    rows_of_price = _rows_of_price(run, seconds, price)
    if price > prices.BUDGET:
        cause = f"By the compiler's figures this run costs {price:.2f} dollars ({run})."
        raise Failed("PLANNING_TOO_EXPENSIVE", cause, ("", "yours"), rows_of_price)
    if abs(run.dollars - price) > prices.PRICE_TOLERANCE * price:
        cause = f"You state {run.dollars:.2f} dollars, and by the compiler's figures the run costs {price:.2f}."
        raise Failed("PLANNING_WRONG_PRICE", cause, ("", "yours"), rows_of_price)
