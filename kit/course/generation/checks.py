"""Checks of the exercise ``generation``."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

from kit.course.shared import small_models as small
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission

PROMPT = "Best comedy movies in the 90s "
#: One that the model is less sure how to go on with, so that samplers differ.
OPEN_PROMPT = "I saw this film "
#: Nats a token of held-out reviews and of lists, before and after 300 steps on reviews, and on reviews with their words
#: shuffled: what `kit run --json` and `kit run --control --json` print under "log_likelihood", seed 0.
BEFORE = {"reviews": -3.8122, "lists": -0.7522}
AFTER_RUN = {"reviews": -3.7648, "lists": -1.3291}
AFTER_CONTROL = {"reviews": -4.4939, "lists": -2.9855}
#: As if it had been tuned on lists that have something of reviews.
AFTER_LISTS = {"reviews": -3.7122, "lists": -0.3522}


def shift(submission: Submission) -> None:
    """Each change, and a shift that is above 0 for a run and not for a control."""
    rows, found = [], {}
    for name, after in (("a run", AFTER_RUN), ("its control", AFTER_CONTROL), ("a run on lists", AFTER_LISTS)):
        result = submission.call("style_shift", dict(BEFORE), dict(after), returns=dict)
        change = {style: after[style] - BEFORE[style] for style in BEFORE}
        expected = {**change, "shift": min(change["reviews"], change["reviews"] - change["lists"])}
        missing = [key for key in expected if not isinstance(result.get(key), int | float | np.number)]
        if missing:
            raise Failed(
                "NOT_AS_EXPECTED",
                f"style_shift does not say {missing[0]!r}.",
                ("expected keys", "yours"),
                [(", ".join(expected), ", ".join(map(str, result)))],
                advice='Return the change under each name, and "shift".',
            )
        rows += [(name, key, f"{expected[key]:+.4f}", f"{result[key]:+.4f}") for key in expected]
        found[name] = (expected, result)
    columns = ("scores of", "", "expected", "yours")
    for expected, result in found.values():
        if any(not math.isclose(expected[style], result[style], abs_tol=1e-9) for style in BEFORE):
            raise Failed("NOT_AS_EXPECTED", "A change is not the score after minus the score before.", columns, rows)
    if found["its control"][1]["shift"] > 0:
        raise Failed(
            "STYLE_CONTROL_SHIFTS_TOO",
            "By your measure the control shifts to reviews too: it was tuned on shuffled words, and reviews became less probable.",
            columns,
            rows,
        )
    if any(not math.isclose(expected["shift"], result["shift"], abs_tol=1e-9) for expected, result in found.values()):
        raise Failed("NOT_AS_EXPECTED", "The shift is another number.", columns, rows)


def completes(submission: Submission) -> None:
    """The prompt and its most probable continuation, on a mesh with a batch axis, max_length tokens in all."""
    small.set_distribution(*mesh_with_batch_axis())
    model = small.bundled_model()
    tokenizer = model.preprocessor.tokenizer
    prompt_length = len(_ids(tokenizer(PROMPT))) + 1  # and the start token
    for max_length in (prompt_length + 9, prompt_length + 4):
        expected = _greedy(model, PROMPT, max_length)
        assert expected.startswith(PROMPT)
        assert len(expected) > len(PROMPT), "the oracle generated nothing"
        found = _complete(submission, model, PROMPT, max_length)
        rows = [("expected", expected, max_length), ("yours", found, len(_ids(tokenizer(found))) + 1)]
        columns = ("", "text", "tokens, the start token included")
        if found == expected:
            continue
        if found.strip() == PROMPT.strip():
            raise Failed("GENERATION_PROMPT_ONLY", "complete returned the prompt, and nothing after it.", columns, rows)
        if not found.startswith(PROMPT):
            raise Failed(
                "GENERATION_PROMPT_MISSING", "What complete returned does not begin with the prompt.", columns, rows
            )
        if expected.startswith(found) or found.startswith(expected):
            raise Failed(
                "GENERATION_LENGTH_IGNORED", f"complete(…, max_length={max_length}) has another length.", columns, rows
            )
        if _complete(submission, model, PROMPT, max_length) != found:
            raise Failed("GENERATION_NOT_DETERMINISTIC", "The same call gave two texts.", columns, rows)
        raise Failed("NOT_AS_EXPECTED", "This is not the most probable continuation.", columns, rows)


def same_each_time(submission: Submission) -> None:
    """Greedy whatever the model was compiled with, and its compile state stays."""
    small.set_distribution(*mesh_shapes()[0])
    model = small.bundled_model()
    keras.utils.set_random_seed(1)
    length = len(_ids(model.preprocessor.tokenizer(OPEN_PROMPT))) + 9
    expected = _greedy(model, OPEN_PROMPT, length)
    # One that draws at random, and one whose program takes the same arguments as the greedy one's.
    for sampler in (keras_hub.samplers.TopKSampler(k=50, temperature=3.0), keras_hub.samplers.BeamSampler(num_beams=3)):
        name = type(sampler).__name__
        model.compile(sampler=sampler, optimizer=keras.optimizers.SGD(0.1), loss="mse")
        optimizer = model.optimizer
        before = None
        if isinstance(sampler, keras_hub.samplers.BeamSampler):
            before = model.generate([OPEN_PROMPT], max_length=length)[0]
            assert before != expected, "the two samplers cannot be told apart here"
        texts = [_complete(submission, model, OPEN_PROMPT, length)]
        # After one call and before another: two wrong exchanges would undo each other.
        left = (model.sampler, model.optimizer)
        texts.append(_complete(submission, model, OPEN_PROMPT, length))
        if texts != [expected] * 2:
            raise Failed(
                "GENERATION_NOT_DETERMINISTIC",
                f"The model was compiled with a {name}, and complete used it.",
                ("", "text"),
                [("most probable", expected), *((f"call {number}", text) for number, text in enumerate(texts, 1))],
            )
        rows = [
            ("sampler", name, type(left[0]).__name__),
            ("optimizer", type(optimizer).__name__, type(left[1]).__name__),
        ]
        if left[0] is not sampler or left[1] is not optimizer:
            raise Failed(
                "GENERATION_STATE_CHANGED",
                "After complete the model is compiled otherwise.",
                ("", "before", "after"),
                rows,
            )
        if before is not None and (after := model.generate([OPEN_PROMPT], max_length=length)[0]) != before:
            raise Failed(
                "GENERATION_STATE_CHANGED",
                "After complete, `generate` uses the program that was compiled for the greedy sampler.",
                (f"generate with {name}", "text"),
                [("before complete", before), ("after", after)],
            )


def likelihood(submission: Submission) -> None:
    """Nats a token, without padding, for any number of texts."""
    batch_axis, model_axis = mesh_with_batch_axis()
    small.set_distribution(batch_axis, model_axis)
    model = small.bundled_model()
    model.preprocessor.sequence_length = small.SEQUENCE_LENGTH
    for number in (5, 18):
        texts = small.texts(number, seed=3)
        x, y, weight = twin.tokenized(model, texts)
        assert 0.3 < weight.mean() < 0.95, "the texts have no padding, or nothing else"
        logits = _logits(model, x)
        chosen = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), y[..., None], axis=-1)[..., 0]
        # Each chunk's first text fills it up: it counts once more for each text that is missing.
        filled, chunk = weight.astype("float64"), 8 * batch_axis
        filled[number // chunk * chunk] *= 1 + -number % chunk
        candidates = {
            "right": float((chosen * weight).sum() / weight.sum()),
            "with padding": float(chosen.mean()),
            "without padding, over all positions": float((chosen * weight).sum() / weight.size),
            "mean of each text's mean": float(((chosen * weight).sum(1) / weight.sum(1)).mean()),
            "in bits": float((chosen * weight).sum() / weight.sum() / math.log(2)),
            "with the fillers of the last chunk": float((chosen * filled).sum() / filled.sum()),
        }
        found = submission.attempt("mean_log_likelihood", model, texts, expects=Exception)
        if isinstance(found, Exception):
            _not_divisible(found, f"mean_log_likelihood of {number} texts")
            raise submission.crashed(found, "mean_log_likelihood", f"{number} texts")
        # A number of JAX's or NumPy's own is a number too.
        if np.ndim(found) == 0 and isinstance(found, np.ndarray | jax.Array):
            found = float(found)
        if not isinstance(found, int | float | np.number):
            submission.expect_type("mean_log_likelihood", found, float)
        # float32 sums over some hundred tokens, in another order.
        if math.isclose(float(found), candidates["right"], rel_tol=1e-5):
            continue
        rows = [("yours", f"{float(found):.6f}"), *((name, f"{value:.6f}") for name, value in candidates.items())]
        padding = ("with padding", "without padding, over all positions")
        counts_padding = any(math.isclose(float(found), candidates[name], rel_tol=1e-4) for name in padding)
        raise Failed(
            "LIKELIHOOD_COUNTS_PADDING" if counts_padding else "LIKELIHOOD_WRONG",
            f"mean_log_likelihood of {number} texts is not the mean over their tokens"
            + (": padding has a part in it." if counts_padding else "."),
            ("", "nats a token"),
            rows,
        )


def _complete(submission: Submission, model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
    found = submission.attempt("complete", model, prompt, max_length, expects=Exception)
    if isinstance(found, Exception):
        _not_divisible(found, "complete")
        raise submission.crashed(found, "complete", f"the bundled model, {prompt!r}, {max_length}")
    submission.expect_type("complete", found, str)
    return str(found)


def _not_divisible(error: Exception, what: str) -> None:
    if "divisible" in str(error) or type(error).__name__ == "IndivisibleError":
        distribution = keras.distribution.distribution()
        shape = tuple(map(int, distribution.device_mesh.shape)) if distribution else ()
        raise Failed(
            "GENERATION_BATCH_NOT_DIVISIBLE",
            f"{what} gave the model a batch that the mesh does not divide.",
            ("mesh (batch, model)", "error"),
            [(shape, str(error))],
        )


def _ids(tokens: Any) -> list[int]:
    return [int(token) for token in np.asarray(tokens).ravel() if token]


def _logits(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray]) -> jax.Array:
    """The network's logits on one device."""
    with twin.on_one_device(model) as values:
        return jax.jit(lambda values, x: model.stateless_call(*values, x)[0])(values, x)


def _greedy(model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
    """The most probable continuation, each token by a whole forward pass on one device, without a cache."""
    tokenizer = model.preprocessor.tokenizer
    ids: Sequence[int] = [tokenizer.start_token_id, *_ids(tokenizer(prompt))]
    with twin.on_one_device(model) as values:
        forward = jax.jit(lambda x: model.stateless_call(*values, x)[0])
        while len(ids) < max_length:
            padded = np.zeros((1, max_length), "int32")
            padded[0, : len(ids)] = ids
            logits = forward({"token_ids": padded, "padding_mask": padded != 0})
            ids = [*ids, int(np.asarray(logits)[0, len(ids) - 1].argmax())]
            if ids[-1] == tokenizer.end_token_id:
                break
    return str(tokenizer.detokenize(np.asarray(ids[1:])))
