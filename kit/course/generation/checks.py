"""The checks of the exercise ``generation``."""

from dataclasses import dataclass
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.generation.mistakes import NUMBERS_OF_TEXTS, label, likelihood_table
from kit.course.generation.oracle import greedy_completion, token_ids
from kit.course.shared import small_models
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis
from kit.judge.observation import Outcome, Stopped, returned
from kit.judge.submission import Submission

PROMPT = "Best comedy movies in the 90s "
#: The model is less sure how this prompt continues, so different samplers give different texts.
OPEN_PROMPT = "I saw this film "
#: Log-likelihoods per token of held-out reviews and of lists, before and after 300 steps on
#: reviews, and on reviews with shuffled words: "log_likelihood" in the output of `kit run --json`
#: and
#: `kit run --control --json` with seed 0.
BEFORE = {"reviews": -3.8122, "lists": -0.7522}
AFTER = {
    "a run": {"reviews": -3.7648, "lists": -1.3291},
    "its control": {"reviews": -4.4939, "lists": -2.9855},
    # As if the model were tuned on lists that resemble reviews.
    "a run on lists": {"reviews": -3.7122, "lists": -0.3522},
}


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
    #: What ``generate`` returns before and after the calls, for a sampler whose program takes the
    #: same arguments as that of the greedy sampler; else None.
    generated_before: str | None
    generated_after: str | None


def observe_shift(submission: Submission) -> dict[str, Outcome[dict[str, float | None]]]:
    """The result of ``style_shift`` for each case; None for a value that is not a number."""

    def read(result: dict) -> dict[str, float | None]:
        numbers = int | float | np.number
        return {str(key): float(value) if isinstance(value, numbers) else None for key, value in result.items()}

    return {
        name: submission.observe("style_shift", dict(BEFORE), dict(after), reads=read, returns=dict)
        for name, after in AFTER.items()
    }


def judge_shift(outcomes: dict[str, Outcome[dict[str, float | None]]]) -> None:
    """Changes are differences; a shift needs reviews to gain, also relative to lists."""
    assert outcomes.keys() == AFTER.keys(), "not all cases were tried"
    rows, differences = [], {}
    for name, after in AFTER.items():
        result = returned(outcomes[name])
        change = {style: after[style] - BEFORE[style] for style in BEFORE}
        expected = {**change, "shift": min(change["reviews"], change["reviews"] - change["lists"])}
        for key, value in expected.items():
            found = result.get(key)
            if found is None:
                raise Failed(
                    "NOT_AS_EXPECTED",
                    f"The result of style_shift has no number {key!r}.",
                    ("expected keys", "yours"),
                    [(", ".join(expected), ", ".join(result))],
                    remedy='Return the change under each name, and "shift".',
                )
            rows.append((name, key, f"{value:+.4f}", f"{found:+.4f}"))
            differences[name, key] = abs(found - value)
    columns = ("scores of", "", "expected", "yours")
    if any(difference > 1e-9 for (_, key), difference in differences.items() if key != "shift"):
        cause = "A change is not the score after tuning minus the score before it."
        raise Failed("NOT_AS_EXPECTED", cause, columns, rows)
    if (returned(outcomes["its control"])["shift"] or 0) > 0:
        raise Failed(
            "STYLE_CONTROL_SHIFTS_TOO",
            "By your measure the control also shifts to reviews. It was tuned on shuffled words, and reviews became "
            "less probable.",
            columns,
            rows,
        )
    if any(difference > 1e-9 for difference in differences.values()):
        raise Failed("NOT_AS_EXPECTED", "The shift has another value.", columns, rows)


def observe_completes(submission: Submission) -> dict[int, tuple[Outcome[str], ...]]:
    """Length -> completions on a mesh with a batch axis; the first length twice."""
    small_models.set_distribution(*mesh_with_batch_axis())
    model = small_models.bundled_model()
    prompt_length = _length(model, PROMPT)
    return {
        length: tuple(_complete(submission, model, PROMPT, length) for _ in range(times))
        for length, times in ((prompt_length + 9, 2), (prompt_length + 4, 1))
    }


def judge_completes(completions: dict[int, tuple[Outcome[str], ...]]) -> None:
    """Each text is the prompt with its most probable continuation, of the requested length."""
    assert len(completions) > 1, "too few lengths were tried"
    model = small_models.bundled_model()
    for max_length, texts in completions.items():
        expected = greedy_completion(model, PROMPT, max_length)
        assert expected.startswith(PROMPT)
        assert len(expected) > len(PROMPT), "the oracle generated nothing"
        found = _text(texts[0], mesh_with_batch_axis())
        if found == expected:
            continue
        code, cause = "NOT_AS_EXPECTED", "This is not the most probable continuation."
        if found.strip() == PROMPT.strip():
            code, cause = "GENERATION_PROMPT_ONLY", "complete returned only the prompt."
        elif not found.startswith(PROMPT):
            code, cause = "GENERATION_PROMPT_MISSING", "The text that complete returned does not begin with the prompt."
        elif expected.startswith(found) or found.startswith(expected):
            cause = f"complete(…, max_length={max_length}) returned a text of another length."
            code = "GENERATION_LENGTH_IGNORED"
        elif any(_text(text, mesh_with_batch_axis()) != found for text in texts):
            code, cause = "GENERATION_NOT_DETERMINISTIC", "The same call returned two different texts."
        rows = [("expected", expected, max_length), ("yours", found, _length(model, found))]
        raise Failed(code, cause, ("", "text", "tokens, including the start token"), rows)


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
    model = small_models.bundled_model()
    expected = greedy_completion(model, OPEN_PROMPT, _length(model, OPEN_PROMPT) + 9)
    for compiled in seen:
        assert compiled.generated_before != expected, "the two samplers give the same text here"
        texts = [_text(text, mesh_shapes()[0]) for text in compiled.texts]
        if texts != [expected] * 2:
            cause = f"The model is compiled with a {compiled.sampler}, and complete used it."
            rows = [("most probable", expected), *((f"call {number}", text) for number, text in enumerate(texts, 1))]
            raise Failed("GENERATION_NOT_DETERMINISTIC", cause, ("", "text"), rows)
        if not (compiled.sampler_kept and compiled.optimizer_kept):
            raise Failed(
                "GENERATION_STATE_CHANGED",
                "complete changes what the model is compiled with.",
                ("", "before", "after"),
                [("sampler", compiled.sampler, compiled.sampler_after), ("optimizer", "SGD", compiled.optimizer_after)],
            )
        if compiled.generated_after != compiled.generated_before:
            raise Failed(
                "GENERATION_STATE_CHANGED",
                "After complete, `generate` uses the program that was compiled for the greedy sampler.",
                (f"generate with {compiled.sampler}", "text"),
                [("before complete", compiled.generated_before), ("after", compiled.generated_after)],
            )
    assert len(seen) == len(_samplers()), "not all samplers were tried"


def observe_likelihood(submission: Submission) -> dict[int, Outcome[float]]:
    """Number of texts -> their mean log-likelihood."""
    small_models.set_distribution(*mesh_with_batch_axis())
    model = _model_for_texts()

    def read(value: Any) -> float:
        # A scalar of JAX or NumPy is a number too.
        if np.ndim(value) == 0 and isinstance(value, np.ndarray | jax.Array):
            value = float(value)
        if not isinstance(value, int | float | np.number):
            submission.expect_type("mean_log_likelihood", value, float)
        return float(value)

    return {
        number: submission.observe("mean_log_likelihood", model, small_models.texts(number, seed=3), reads=read)
        for number in NUMBERS_OF_TEXTS
    }


def judge_likelihood(outcomes: dict[int, Outcome[float]]) -> None:
    """Each is the mean over the tokens that are not padding."""
    assert tuple(outcomes) == NUMBERS_OF_TEXTS, "not all numbers of texts were tried"
    table = likelihood_table()
    found = {}
    for number, outcome in outcomes.items():
        _expect_divisible(outcome, mesh_with_batch_axis())
        found[label(number)] = returned(outcome)
    if not table.is_right(found):
        cause = "mean_log_likelihood is not the mean over the tokens of the texts."
        raise table.failure(found, "LIKELIHOOD_WRONG", cause)


def _compiled_with(
    submission: Submission, model: keras_hub.models.CausalLM, sampler: keras_hub.samplers.Sampler
) -> CompiledSeen:
    model.compile(sampler=sampler, optimizer=keras.optimizers.SGD(0.1), loss="mse")
    optimizer, length = model.optimizer, _length(model, OPEN_PROMPT) + 9
    generates = isinstance(sampler, keras_hub.samplers.BeamSampler)
    before = str(model.generate([OPEN_PROMPT], max_length=length)[0]) if generates else None
    first = _complete(submission, model, OPEN_PROMPT, length)
    # Between the two calls: two wrong exchanges would undo each other.
    left = (model.sampler, model.optimizer)
    second = _complete(submission, model, OPEN_PROMPT, length)
    return CompiledSeen(
        type(sampler).__name__,
        (first, second),
        type(left[0]).__name__,
        type(left[1]).__name__,
        left[0] is sampler,
        left[1] is optimizer,
        before,
        _generated_after(model, length) if generates else None,
    )


def _samplers() -> list[keras_hub.samplers.Sampler]:
    """A random sampler, and one whose program takes the same arguments as the greedy one's."""
    return [keras_hub.samplers.TopKSampler(k=50, temperature=3.0), keras_hub.samplers.BeamSampler(num_beams=3)]


def _generated_after(model: keras_hub.models.CausalLM, max_length: int) -> str:
    """What ``generate`` returns, or the error that it raises with a program of another sampler."""
    try:
        return str(model.generate([OPEN_PROMPT], max_length=max_length)[0])
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _complete(submission: Submission, model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> Outcome[str]:
    return submission.observe("complete", model, prompt, max_length, reads=str, returns=str)


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
    return model


def _length(model: keras_hub.models.CausalLM, text: str) -> int:
    """Number of tokens, including the start token."""
    return len(token_ids(model.preprocessor.tokenizer(text))) + 1
