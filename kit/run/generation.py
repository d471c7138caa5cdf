"""The style of what a model writes, measured with the part ``generation``."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
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


class CountingSampler(keras_hub.samplers.GreedySampler):
    """Chooses the most probable token, and reports how many tokens each text of the batch has got.

    The program calls back for each token, from one of its devices.
    """

    def __init__(self, tokens: int, report: Callable[[int, int], None]) -> None:
        """``report`` gets the number of tokens so far, and ``tokens``, which is the most."""
        super().__init__()
        self._tokens, self._report, self.done = tokens, report, 0

    def __call__(self, next: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """KerasHub's loop, in which each token is counted."""

        def counted(*state: Any) -> Any:
            jax.debug.callback(self._count)
            return next(*state)

        return super().__call__(counted, *arguments, **options)

    def _count(self) -> None:
        self.done = min(self.done + 1, self._tokens)
        self._report(self.done, self._tokens)


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
            prepared = model.preprocessor.generate_preprocess(list(prompts), sequence_length=max_length)
            shortest = int(np.asarray(prepared["padding_mask"]).sum(axis=-1).min())
            model.sampler, model.generate_function = CountingSampler(max_length - shortest, report), None
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
