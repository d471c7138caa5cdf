"""The checks of the exercise ``generation``."""

import functools
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import keras
import keras_hub
import numpy as np
from hypothesis import strategies

from kit.checks.diagnosis import Failed
from kit.course.generation.mistakes import (
    AFTER,
    BEFORE,
    CONTROL,
    NUMBERS_OF_TEXTS,
    changed_likelihood,
    label,
    likelihood_failure,
    likelihood_table,
    not_finite,
    shift_table,
    style_shift,
)
from kit.course.generation.oracle import RAISED, change_weights, greedy_completion, raise_logits, sharpen, token_ids
from kit.course.generation.texts import OTHER_TEXT, Expectation, wrong_text
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis
from kit.judge.observation import Outcome, Stopped, returned
from kit.judge.properties import observe_property
from kit.judge.submission import Submission

PROMPT = "Best comedy movies in the 90s "
#: The model is less sure how this prompt continues, so different samplers give different texts.
OPEN_PROMPT = "I saw this film "
#: New tokens of a completion.
NEW_TOKENS = (9, 4)

Scores = dict[str, float]


@dataclass(frozen=True)
class ShiftCall:
    """A call of ``style_shift``: its arguments and its numbers, None for what is no number."""

    before: Scores
    after: Scores
    outcome: Outcome[dict[str, float | None]]
    #: Whether the arguments are the same after the call.
    arguments_kept: bool


@dataclass(frozen=True)
class CompletionSeen:
    """The texts of the same call, made twice or once."""

    mesh_shape: tuple[int, int]
    max_length: int
    #: Whether the weights were changed since the calls before.
    changed_weights: bool
    texts: tuple[Outcome[str], ...]
    #: Whether the tokenizer's end token is one that the model soon generates.
    ends: bool = False


@dataclass(frozen=True)
class CompiledSeen:
    """Two completions by a model compiled with a sampler, and its state after the first."""

    sampler: str
    texts: tuple[Outcome[str], ...]
    #: Class names after the first call.
    sampler_after: str
    optimizer_after: str
    #: Whether sampler and optimizer are still the same objects.
    sampler_kept: bool
    optimizer_kept: bool
    #: Whether a compiled function is left where the model had none.
    function_left: bool
    #: What ``generate`` returns before and after the calls, for a sampler whose program takes the
    #: same arguments as that of the greedy sampler; else None.
    generated_before: str | None
    generated_after: str | None
    #: Names of the compiled functions that are other ones after the first call.
    functions_changed: tuple[str, ...]
    #: Class of the sampler after a call in which generation fails, and the compiled functions that
    #: are other ones then.
    sampler_after_error: str
    functions_after_error: tuple[str, ...]


@dataclass(frozen=True)
class LikelihoodSeen:
    """Mean log-likelihoods of texts."""

    #: Number of texts -> their likelihood.
    numbers: dict[int, Outcome[float]]
    #: The fewest of them on another mesh; and, as a tuple, with other weights and large logits.
    other_mesh: Outcome[float]
    large: Outcome[float]
    #: Numbers of texts in a list before and after a call.
    lengths: tuple[int, int]


def observe_shift(submission: Submission) -> list[ShiftCall]:
    """The result of ``style_shift`` for each case, and for generated scores."""
    calls = [_shift(submission, BEFORE, after) for after in AFTER.values()]
    score = strategies.integers(-120_000, 0).map(lambda number: number / 10_000)
    scores = strategies.fixed_dictionaries({"reviews": score, "lists": score})
    generated = observe_property(
        strategies.tuples(scores, scores), lambda pair: _shift(submission, *pair), _judge_generated_shift
    )
    return calls + generated


def _shift(submission: Submission, before: Scores, after: Scores) -> ShiftCall:
    def read(result: dict) -> dict[str, float | None]:
        numbers = int | float | np.number
        return {str(key): float(value) if isinstance(value, numbers) else None for key, value in result.items()}

    # The second one is no dictionary: the stub promises a mapping.
    given = dict(before), dict(after)
    outcome = submission.observe("style_shift", given[0], MappingProxyType(given[1]), reads=read, returns=dict)
    return ShiftCall(before, after, outcome, given == (before, after))


def judge_shift(calls: list[ShiftCall]) -> None:
    """Changes are differences; a shift needs reviews to gain, also relative to lists."""
    cases, generated = calls[: len(AFTER)], calls[len(AFTER) :]
    assert generated, "no generated scores were tried"
    table = shift_table()
    found: Scores = {}
    for name, call in zip(AFTER, cases, strict=True):
        for key in (*BEFORE, "shift"):
            found[f"{name}: {key}"] = _number(call, key)
    if not table.is_right(found):
        control = found[f"{CONTROL}: shift"]
        if control > 0:
            cause = (
                f"By your measure the control has a shift of {control:.4f}: it was tuned on shuffled words, and "
                "reviews became less probable."
            )
            raise table.failure(found, "STYLE_CONTROL_SHIFTS_TOO", cause)
        raise table.failure(found, "NOT_AS_EXPECTED", "A change or the shift has another value.")
    for call in generated:
        _judge_generated_shift(call)


def _judge_generated_shift(call: ShiftCall) -> None:
    expected = style_shift(call.before, call.after)
    found = {key: _number(call, key) for key in expected}
    rows = [(key, f"{value:+.4f}", f"{found[key]:+.4f}") for key, value in expected.items()]
    if any(abs(found[key] - value) > 1e-9 for key, value in expected.items()):
        cause = f"The result is wrong for the scores {call.before} before and {call.after} after tuning."
        raise Failed("NOT_AS_EXPECTED", cause, ("", "expected", "yours"), rows)
    if not call.arguments_kept:
        cause = "style_shift changes the scores that it is given."
        remedy = "Make a dictionary of your own for the result."
        raise Failed("NOT_AS_EXPECTED", cause, ("", "expected", "yours"), rows, remedy)


def _number(call: ShiftCall, key: str) -> float:
    """A number of the result. Raises Failed if there is none."""
    result = returned(call.outcome)
    found = result.get(key)
    if found is None:
        raise Failed(
            "NOT_AS_EXPECTED",
            f"The result of style_shift has no number {key!r}.",
            ("expected keys", "yours"),
            [(", ".join((*BEFORE, "shift")), ", ".join(result))],
            remedy='Return the change under each name, and "shift".',
        )
    return found


def observe_completes(submission: Submission) -> list[CompletionSeen]:
    """Completions on a mesh with a batch axis, there with other weights, and on another mesh."""
    shape, other_shape = mesh_with_batch_axis(), mesh_shapes()[-1]
    small_models.set_distribution(*shape)
    model = small_models.bundled_model()
    lengths = [_length(model, PROMPT) + new for new in NEW_TOKENS]

    def seen(shape: tuple[int, int], length: int, changed: bool = False, times: int = 1) -> CompletionSeen:
        texts = tuple(_complete(submission, model, PROMPT, length) for _ in range(times))
        return CompletionSeen(shape, length, changed, texts)

    completions = [seen(shape, lengths[0], times=2), seen(shape, lengths[1])]
    model.predict_on_batch([PROMPT] * shape[0])
    change_weights(model)
    completions.append(seen(shape, lengths[0], changed=True))
    keras.distribution.set_distribution(None)
    small_models.set_distribution(*other_shape)
    model = small_models.bundled_model()
    completions.append(seen(other_shape, lengths[1]))
    tokens, end = _tokens_and_end(lengths[0])
    model.preprocessor.tokenizer.end_token_id = tokens[end]
    text = _complete(submission, model, PROMPT, lengths[0])
    return [*completions, CompletionSeen(other_shape, lengths[0], False, (text,), ends=True)]


def _tokens_and_end(max_length: int) -> tuple[list[int], int]:
    """The completion of the prompt, and the place of a token that it has only after new ones."""
    tokens = token_ids(_model().preprocessor.tokenizer(_expectation(PROMPT, max_length).text))
    new = range(_length(_model(), PROMPT) + 2, len(tokens))
    return tokens, next(place for place in new if tokens[place] not in tokens[:place])


def judge_completes(completions: list[CompletionSeen]) -> None:
    """Each text is the prompt with its most probable continuation, of the requested length."""
    *completions, ending = completions
    assert len(completions) == 4, "too few lengths and meshes were tried"
    assert ending.ends, "no text ended early"
    first, shorter, *_ = completions
    texts = [_text(seen.texts[0], seen.mesh_shape) for seen in (first, shorter)]
    for seen in completions:
        expectation = _expectation(PROMPT, seen.max_length, seen.changed_weights)
        found = [_text(text, seen.mesh_shape) for text in seen.texts]
        failed = wrong_text(found[0], expectation)
        if failed is None and len(set(found)) == 1:
            continue
        rows = [(f"call {number}", text) for number, text in enumerate(found, 1)]
        old = _expectation(PROMPT, seen.max_length).text
        if len(set(found)) > 1:
            cause = "The same call returned two different texts."
            raise Failed("GENERATION_NOT_DETERMINISTIC", cause, ("", "text"), rows)
        assert failed is not None
        if seen.changed_weights and found[0] == old:
            rows = [("with the old weights", old), ("expected", expectation.text), ("yours", found[0])]
            cause = "After the weights have changed, complete still returns the text of the old ones."
            remedy = "Generate at each call, and keep neither texts nor values of weights for the next one."
            raise Failed("NOT_AS_EXPECTED", cause, ("", "text"), rows, remedy)
        if failed.diagnosis.code == "GENERATION_LENGTH_IGNORED" and texts[0] == texts[1]:
            tokens = expectation.length(texts[0])
            lengths = [(f"max_length={each.max_length}", each.max_length, tokens) for each in (first, shorter)]
            cause = "complete returns the same text whatever max_length is."
            raise Failed("GENERATION_LENGTH_IGNORED", cause, ("call with", "tokens expected", "yours"), lengths)
        raise failed
    _judge_end(ending)


def _judge_end(seen: CompletionSeen) -> None:
    """A text ends where the model ends it, with the end token or without."""
    tokens, end = _tokens_and_end(seen.max_length)
    tokenizer = _model().preprocessor.tokenizer
    expected = [str(tokenizer.detokenize(np.asarray(tokens[:stop]))) for stop in (end, end + 1)]
    found = _text(seen.texts[0], seen.mesh_shape)
    if found.strip() not in [text.strip() for text in expected]:
        raise Failed(
            "GENERATION_LENGTH_IGNORED",
            "The model ends its text with the end token, and complete returns more than that.",
            ("", "text"),
            [("until the end token", expected[0]), ("yours", found)],
            "Let `generate` stop at the end token, as it does by default.",
        )


def observe_same_each_time(submission: Submission) -> list[CompiledSeen]:
    """Completions by a model that is compiled with other samplers, and its state afterwards."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = small_models.bundled_model()
    keras.utils.set_random_seed(1)
    seen: list[CompiledSeen] = []
    for sampler in _samplers():
        seen.append(_compiled_with(submission, model, sampler))
        if not (seen[-1].sampler_kept and seen[-1].optimizer_kept):
            break
    return seen


def judge_same_each_time(seen: list[CompiledSeen]) -> None:
    """The texts are greedy, and the model's compile state is unchanged."""
    expectation = _expectation(OPEN_PROMPT, _length(_model(), OPEN_PROMPT) + NEW_TOKENS[0])
    for compiled in seen:
        assert compiled.generated_before != expectation.text, "the two samplers give the same text here"
        texts = [_text(text, mesh_shapes()[0]) for text in compiled.texts]
        for text in texts:
            if failed := wrong_text(text, expectation):
                raise _not_greedy(compiled, texts, expectation.text, failed)
    # A wrong text says more than the state that causes it.
    for compiled in seen:
        _judge_state(compiled)
    assert len(seen) == len(_samplers()), "not all samplers were tried"


def _not_greedy(compiled: CompiledSeen, texts: list[str], expected: str, failed: Failed) -> Failed:
    """The diagnosis of texts by a model that is compiled with a sampler."""
    if failed.diagnosis.cause != OTHER_TEXT:
        return failed
    rows = [("most probable", expected), *((f"call {number}", text) for number, text in enumerate(texts, 1))]
    if texts[0] != texts[1]:
        cause = f"The model is compiled with a {compiled.sampler}, and the same call returned two different texts."
    elif texts[0] == compiled.generated_before:
        cause = f"The model is compiled with a {compiled.sampler}, and complete returns what this sampler gives."
    else:
        return failed
    return Failed("GENERATION_NOT_DETERMINISTIC", cause, ("", "text"), rows)


def _judge_state(compiled: CompiledSeen) -> None:
    """What the model is compiled with is the same after a call, also after one that fails."""
    if not (compiled.sampler_kept and compiled.optimizer_kept):
        raise Failed(
            "GENERATION_STATE_CHANGED",
            "complete changes what the model is compiled with.",
            ("", "before", "after"),
            [("sampler", compiled.sampler, compiled.sampler_after), ("optimizer", "SGD", compiled.optimizer_after)],
        )
    if compiled.function_left:
        raise Failed(
            "GENERATION_STATE_CHANGED",
            "complete leaves its compiled function where the model had none: the next `generate` would use it, with "
            "the greedy sampler.",
            ("", "before", "after"),
            [("generate_function", "None", "a function")],
            "Restore `generate_function` also if it was None.",
        )
    if compiled.generated_after != compiled.generated_before:
        raise Failed(
            "GENERATION_STATE_CHANGED",
            "After complete, `generate` uses the program that was compiled for the greedy sampler.",
            (f"generate with {compiled.sampler}", "text"),
            [("before complete", compiled.generated_before), ("after", compiled.generated_after)],
        )
    if compiled.functions_changed:
        names = " and ".join(compiled.functions_changed)
        raise Failed(
            "GENERATION_STATE_CHANGED",
            f"After complete, {names} of the model is another object than before, or None: what was compiled for the "
            "caller is lost, and its next call compiles it again.",
            ("", "before", "after"),
            [(name, "the caller's function", "another, or None") for name in compiled.functions_changed],
            "Keep the caller's `generate_function` in a variable, and assign it again in the `finally` of a `try`.",
        )
    if compiled.sampler_after_error != compiled.sampler:
        raise Failed(
            "GENERATION_STATE_CHANGED",
            "Where generation fails, complete does not restore the sampler.",
            ("", "before", "after a call that failed"),
            [("sampler", compiled.sampler, compiled.sampler_after_error)],
            remedy="Restore the sampler and the compiled function in the `finally` of a `try`.",
        )
    if compiled.functions_after_error:
        raise Failed(
            "GENERATION_STATE_CHANGED",
            f"Where generation fails, complete does not restore {' and '.join(compiled.functions_after_error)}.",
            ("", "before", "after a call that failed"),
            [(name, "the caller's", "another") for name in compiled.functions_after_error],
            remedy="Restore the sampler and the compiled function in the `finally` of a `try`.",
        )


def observe_likelihood(submission: Submission) -> LikelihoodSeen:
    """Likelihoods on a mesh with a batch axis, there with other weights, and on another mesh."""
    small_models.set_distribution(*mesh_with_batch_axis())
    model = _model_for_texts()

    def read(value: Any) -> float:
        # A scalar of JAX or NumPy is a number too.
        if np.ndim(value) == 0 and isinstance(value, np.ndarray | jax.Array):
            value = float(value)
        if not isinstance(value, int | float | np.number):
            submission.expect_type("mean_log_likelihood", value, float)
        return float(value)

    def call(texts: list[str] | tuple[str, ...]) -> Outcome[float]:
        return submission.observe("mean_log_likelihood", model, texts, reads=read)

    texts = {number: small_models.texts(number, seed=3) for number in NUMBERS_OF_TEXTS}
    numbers = {number: call(given) for number, given in texts.items()}
    lengths = sum(NUMBERS_OF_TEXTS), sum(map(len, texts.values()))
    change_weights(model)
    raise_logits(model)
    large = call(tuple(small_models.texts(NUMBERS_OF_TEXTS[0], seed=3)))
    keras.distribution.set_distribution(None)
    small_models.set_distribution(*mesh_shapes()[-1])
    model = _model_for_texts()
    return LikelihoodSeen(numbers, call(small_models.texts(NUMBERS_OF_TEXTS[0], seed=3)), large, lengths)


def judge_likelihood(seen: LikelihoodSeen) -> None:
    """Each is the mean over the tokens that are not padding."""
    assert tuple(seen.numbers) == NUMBERS_OF_TEXTS, "not all numbers of texts were tried"
    table = likelihood_table()
    found = {}
    for number, outcome in seen.numbers.items():
        _expect_divisible(outcome, mesh_with_batch_axis())
        found[label(number)] = returned(outcome)
    if not all(map(math.isfinite, found.values())):
        raise not_finite(found)
    if not table.is_right(found):
        raise likelihood_failure(found)
    if seen.lengths[0] != seen.lengths[1]:
        cause = "mean_log_likelihood changes the list of texts that it is given."
        remedy = "Append the fillers to a list of your own."
        raise Failed("NOT_AS_EXPECTED", cause, ("", "before", "after"), [("texts", *seen.lengths)], remedy)
    _judge_large_logits(seen.large, found[label(NUMBERS_OF_TEXTS[0])])
    _expect_divisible(seen.other_mesh, mesh_shapes()[-1])
    expected, other = table.right[label(NUMBERS_OF_TEXTS[0])], returned(seen.other_mesh)
    if not math.isclose(other, expected, rel_tol=table.relative):
        raise Failed(
            "LIKELIHOOD_WRONG",
            "The likelihood is right on one mesh, and another number on a second one.",
            ("mesh (batch, model)", "expected", "yours"),
            [(mesh_with_batch_axis(), f"{expected:.7g}", f"{expected:.7g}"), (mesh_shapes()[-1], expected, other)],
            remedy="Look for what you keep from an earlier call, and for sizes that do not come from the current mesh.",
        )


def _judge_large_logits(outcome: Outcome[float], ordinary: float) -> None:
    """The likelihood is also right where exp of a logit overflows."""
    found = returned(outcome)
    expected = changed_likelihood(NUMBERS_OF_TEXTS[0])
    # float32 distinguishes logits of this size by 8e-6.
    if math.isclose(found, expected, rel_tol=1e-4):
        return
    rows = [("expected", f"{expected:.7g}"), ("yours", f"{found:.7g}")]
    if found == ordinary:
        cause = "After the weights have changed, mean_log_likelihood still returns the number of the old ones."
        remedy = "Compute it at each call, and keep nothing for the next one."
        raise Failed("LIKELIHOOD_WRONG", cause, ("other weights", "nats per token"), rows, remedy)
    cause = (
        f"mean_log_likelihood is right for ordinary logits, and {found:.4g} instead of {expected:.4g} where all "
        f"logits are {RAISED:g} larger, which changes no probability: in float32 exp is infinite above 88.7."
    )
    raise Failed("LIKELIHOOD_OVERFLOWS", cause, (f"logits + {RAISED:g}", "nats per token"), rows)


def _compiled_with(
    submission: Submission, model: keras_hub.models.CausalLM, sampler: keras_hub.samplers.Sampler
) -> CompiledSeen:
    model.compile(sampler=sampler, optimizer=keras.optimizers.SGD(0.1), loss="mse")
    optimizer, length = model.optimizer, _length(model, OPEN_PROMPT) + NEW_TOKENS[0]
    generates = isinstance(sampler, keras_hub.samplers.BeamSampler)
    before = str(model.generate([OPEN_PROMPT], max_length=length)[0]) if generates else None
    had_none = model.generate_function is None
    model.make_predict_function()
    functions = {name: getattr(model, name) for name in ("generate_function", "predict_function")}
    first = _complete(submission, model, OPEN_PROMPT, length)
    # Between the two calls: two wrong exchanges would undo each other.
    left = (model.sampler, model.optimizer)
    function_left = had_none and model.generate_function is not None
    changed = _changed_functions(model, functions)
    second = _complete(submission, model, OPEN_PROMPT, length)
    return CompiledSeen(
        type(sampler).__name__,
        (first, second),
        type(left[0]).__name__,
        type(left[1]).__name__,
        left[0] is sampler,
        left[1] is optimizer,
        function_left,
        before,
        _generated_after(model, length) if generates else None,
        changed,
        _sampler_after_error(submission, model, length),
        _changed_functions(model, functions),
    )


def _changed_functions(model: keras_hub.models.CausalLM, before: dict[str, Any]) -> tuple[str, ...]:
    """Names of the compiled functions that are not these objects any more."""
    return tuple(name for name, function in before.items() if getattr(model, name) is not function)


def _samplers() -> list[keras_hub.samplers.Sampler]:
    """A random sampler, and one whose program takes the same arguments as the greedy one's."""
    return [keras_hub.samplers.TopKSampler(k=50, temperature=3.0), keras_hub.samplers.BeamSampler(num_beams=3)]


def _generated_after(model: keras_hub.models.CausalLM, max_length: int) -> str:
    """What ``generate`` returns, or the error that it raises with a program of another sampler."""
    try:
        return str(model.generate([OPEN_PROMPT], max_length=max_length)[0])
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _sampler_after_error(submission: Submission, model: keras_hub.models.CausalLM, max_length: int) -> str:
    """Class of the model's sampler after a call in which the generation of tokens fails."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("The check lets generation fail.")

    model.generate_step = fail
    try:
        _complete(submission, model, OPEN_PROMPT, max_length)
    finally:
        del model.generate_step
    return type(model.sampler).__name__


def _complete(submission: Submission, model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> Outcome[str]:
    return submission.observe("complete", model, prompt, max_length, reads=str, returns=str)


@functools.cache
def _model(changed_weights: bool = False) -> keras_hub.models.CausalLM:
    """The oracle's model, on one device."""
    model = small_models.bundled_model()
    if changed_weights:
        change_weights(model)
    return model


@functools.cache
def _expectation(prompt: str, max_length: int, changed_weights: bool = False) -> Expectation:
    model = _model(changed_weights)
    tokenizer = model.preprocessor.tokenizer
    return Expectation(
        prompt,
        max_length,
        functools.cache(lambda prompt, length: greedy_completion(model, prompt, length)),
        lambda text: _length(model, text),
        tuple(tokenizer.id_to_token(token) for token in (tokenizer.start_token_id, tokenizer.end_token_id, 0)),
    )


def _text(outcome: Outcome[str], mesh_shape: tuple[int, int]) -> str:
    _expect_divisible(outcome, mesh_shape)
    return returned(outcome)


def _expect_divisible(outcome: Outcome[Any], mesh_shape: tuple[int, int]) -> None:
    """Make sure that a call did not fail because of a batch that the mesh cannot split."""
    if isinstance(outcome, Stopped) and "divisible" in outcome.diagnosis.cause.lower():
        call, _, error = outcome.diagnosis.cause.partition(" failed: ")
        cause = f"{call} passes the model a batch that cannot be split over the mesh."
        raise Failed("GENERATION_BATCH_NOT_DIVISIBLE", cause, ("mesh (batch, model)", "error"), [(mesh_shape, error)])


def _model_for_texts() -> keras_hub.models.CausalLM:
    model = small_models.bundled_model()
    model.preprocessor.sequence_length = small_models.SEQUENCE_LENGTH
    sharpen(model)
    return model


def _length(model: keras_hub.models.CausalLM, text: str) -> int:
    """Number of tokens, including the start token."""
    return len(token_ids(model.preprocessor.tokenizer(text))) + 1
