"""The style of what a model writes, measured with the part ``generation``."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_hub
import numpy as np

from kit.data.films import list_prompts, lists_of_known_films
from kit.data.reviews import held_out_reviews
from kit.errors import UserError
from kit.evidence.style import StyleClassifier
from kit.formatting import format_count
from kit.narrator import Narrator
from kit.parts.protocols import GenerationPart
from kit.run.compilation import compilation_shown
from kit.run.evidence_size import EvidenceSize
from kit.run.result import LogLikelihoods
from kit.run.style_evidence import StyleEvidence

#: Tokens that held-out texts are cut to, whatever the run's sequence length: so runs can be
#: compared.
HELD_OUT_LENGTH = 128
#: Tokens that each text of a batch gets between two reports of the progress.
TOKENS_AT_ONCE = 8
#: Held-out texts for each row of the mesh that are scored between two reports of the progress.
TEXTS_AT_ONCE = 8


def measure_style(
    model: keras_hub.models.CausalLM,
    part: GenerationPart,
    classify: StyleClassifier,
    size: EvidenceSize,
    own_prompt: str,
    max_length: int,
    narrator: Narrator,
) -> StyleEvidence:
    """Complete prompts, classify the completions, and measure the log-likelihood of held-out texts.

    The part completes ``own_prompt``, which is the run's own, and scores the texts. The other
    prompts are completed in one batch. The classifier gets each completion without its prompt;
    ``max_length`` counts the tokens of a completion, the prompt's included.
    """
    prompts = size.of_prompts(list_prompts())
    with narrator.working("completing the prompt of the run") as work, compilation_shown(work):
        own = complete(model, part, own_prompt, max_length)
    with narrator.working(f"completing {len(prompts)} prompts at once") as work, compilation_shown(work):
        completions = complete_all(model, prompts, max_length, lambda done, tokens: work.count(done, tokens, "token"))
    if own_prompt in prompts:
        completions[prompts.index(own_prompt)] = own
    verdicts = tuple(classify(text[len(prompt) :]) for text, prompt in zip(completions, prompts, strict=True))
    return StyleEvidence(tuple(completions), verdicts, _log_likelihoods(model, part, size.texts, narrator), own)


def _log_likelihoods(
    model: keras_hub.models.CausalLM, part: GenerationPart, number: int, narrator: Narrator
) -> LogLikelihoods:
    styles = {"reviews": held_out_reviews(number), "lists": lists_of_known_films(number, seed=0)}
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, HELD_OUT_LENGTH
    try:
        with narrator.working("scoring held-out texts") as work, compilation_shown(work):

            def report(done: int, style: str) -> None:
                work.count(done + number * list(styles).index(style), len(styles) * number, style)

            return LogLikelihoods(
                **{style: _mean_log_likelihood(model, part, texts, style, report) for style, texts in styles.items()}
            )
    finally:
        model.preprocessor.sequence_length = length


def _mean_log_likelihood(
    model: keras_hub.models.CausalLM,
    part: GenerationPart,
    texts: Sequence[str],
    style: str,
    report: Callable[[int, str], None],
) -> float:
    """The part's ``mean_log_likelihood`` of all texts, from a few at a time."""
    total = tokens = 0.0
    at_once = TEXTS_AT_ONCE * batch_axis_size()
    for start in range(0, len(texts), at_once):
        chunk = list(texts[start : start + at_once])
        number = float(np.sum(model.preprocessor(chunk)[2]))
        total += number * float(part.mean_log_likelihood(model, chunk))
        tokens += number
        report(start + len(chunk), style)
    return total / tokens


def complete(model: keras_hub.models.CausalLM, part: GenerationPart, prompt: str, max_length: int) -> str:
    """Complete a prompt. Raises UserError for a token that the tokenizer does not have."""
    with _unknown_tokens(model):
        return part.complete(model, prompt, max_length)


class FewTokensSampler(keras_hub.samplers.GreedySampler):
    """Chooses the most probable token, at most ``TOKENS_AT_ONCE`` times in one call."""

    def run_loop(self, cond: Any, body: Any, maximum_iterations: Any = None, **options: Any) -> Any:
        """KerasHub's loop, which ends earlier."""
        fewer = keras.ops.minimum(maximum_iterations, TOKENS_AT_ONCE)
        return super().run_loop(cond, body, maximum_iterations=fewer, **options)


def _in_parts(generate: Callable[..., Any], report: Callable[[int, int], None]) -> Callable[..., Any]:
    """A function like ``generate``, which calls it for a few tokens of each text at a time.

    So what is done can be counted, and the program is compiled and cached like any other; a program
    that calls back would not be cached. Each call computes the cache of keys and values again.
    """

    def generate_in_parts(inputs: dict[str, Any], stop_token_ids: Sequence[int] | None = None) -> dict[str, Any]:
        tokens, given = np.asarray(inputs["token_ids"]), np.asarray(inputs["padding_mask"])
        is_given, positions = given.astype(bool), np.arange(tokens.shape[1])
        first = done = int(is_given.sum(axis=-1).min())
        ends = np.zeros_like(is_given)
        while done < len(positions) and not ends.any(axis=-1).all():
            mask = (is_given | (positions < done)).astype(given.dtype)
            tokens = np.asarray(
                generate({**inputs, "token_ids": tokens, "padding_mask": mask}, stop_token_ids)["token_ids"]
            )
            done = min(done + TOKENS_AT_ONCE, len(positions))
            if stop_token_ids is not None:
                ends = np.isin(tokens, stop_token_ids) & ~is_given & (positions < done)
            report(done - first, len(positions) - first)
        # As KerasHub does: what follows the first end is padding.
        return {"token_ids": tokens, "padding_mask": np.cumsum(ends, axis=-1) - ends == 0}

    return generate_in_parts


def complete_all(
    model: keras_hub.models.CausalLM,
    prompts: Sequence[str],
    max_length: int,
    report: Callable[[int, int], None] = lambda done, tokens: None,
) -> list[str]:
    """The most probable completion of each prompt, token by token, all in one batch.

    One program is compiled, for the batch's shape. ``report`` is called with the number of tokens
    that each text has got after the shortest prompt, and the most that they can get. Raises
    UserError for a token that the tokenizer does not have.
    """
    axis = batch_axis_size()
    fillers = [prompts[0]] * (-len(prompts) % axis)
    sampler, function = model.sampler, model.generate_function
    try:
        with _unknown_tokens(model):
            model.sampler, model.generate_function = FewTokensSampler(), None
            model.generate_function = _in_parts(model.make_generate_function(), report)
            texts = model.generate([*prompts, *fillers], max_length=max_length)
    finally:
        model.sampler, model.generate_function = sampler, function
    return list(texts[: len(prompts)])


def batch_axis_size() -> int:
    """Size of the axis "batch" of the current mesh, which must divide the size of a batch."""
    distribution = keras.distribution.distribution()
    mesh = distribution.device_mesh if distribution else None
    return dict(zip(mesh.axis_names, mesh.shape, strict=True)).get("batch", 1) if mesh else 1


@contextlib.contextmanager
def _unknown_tokens(model: keras_hub.models.CausalLM) -> Iterator[None]:
    """Explain the error of a tokenizer that does not have a token which the model generated."""
    try:
        yield
    except IndexError as error:
        pieces, rows = model.preprocessor.tokenizer.vocabulary_size(), model.backbone.vocabulary_size
        if pieces >= rows:
            raise
        raise UserError(
            f"The model generated a token that its tokenizer does not have: there are "
            f"{format_count(rows)} embeddings and "
            f"{format_count(pieces)} pieces; use a preset with the tokenizer that the model was trained with."
        ) from error
