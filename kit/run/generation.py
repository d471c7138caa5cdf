"""The style of what a model writes, measured with the part ``generation``."""

from collections.abc import Sequence

import keras_hub

from kit.data.films import lists_of_known_films
from kit.data.reviews import held_out_reviews
from kit.errors import UserError
from kit.evidence.style import StyleClassifier
from kit.formatting import format_count
from kit.parts.protocols import GenerationPart
from kit.run.result import LogLikelihoods
from kit.run.style_evidence import StyleEvidence

#: Texts of each style that the log-likelihood is measured on.
HELD_OUT_TEXTS = 128
#: Tokens that these are cut to, whatever the run's sequence length: so runs can be compared.
HELD_OUT_LENGTH = 128


def measure_style(
    model: keras_hub.models.CausalLM,
    part: GenerationPart,
    classify: StyleClassifier,
    prompts: Sequence[str],
    own_prompt: str,
    max_length: int,
) -> StyleEvidence:
    """Complete prompts, classify the completions, and measure the log-likelihood of held-out texts.

    The classifier gets each completion without its prompt. ``own_prompt`` is the run's own;
    ``max_length`` counts the tokens of a completion, the prompt's included.
    """
    completions = tuple(complete(model, part, prompt, max_length) for prompt in prompts)
    verdicts = tuple(classify(text[len(prompt) :]) for text, prompt in zip(completions, prompts, strict=True))
    scores = _log_likelihoods(model, part)
    if own_prompt in prompts:
        completion = completions[prompts.index(own_prompt)]
    else:
        completion = complete(model, part, own_prompt, max_length)
    return StyleEvidence(completions, verdicts, scores, completion)


def _log_likelihoods(model: keras_hub.models.CausalLM, part: GenerationPart) -> LogLikelihoods:
    reviews, lists = held_out_reviews(HELD_OUT_TEXTS), lists_of_known_films(HELD_OUT_TEXTS, seed=0)
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, HELD_OUT_LENGTH
    try:
        return LogLikelihoods(
            reviews=float(part.mean_log_likelihood(model, reviews)), lists=float(part.mean_log_likelihood(model, lists))
        )
    finally:
        model.preprocessor.sequence_length = length


def complete(model: keras_hub.models.CausalLM, part: GenerationPart, prompt: str, max_length: int) -> str:
    """Complete a prompt. Raises UserError for a token that the tokenizer does not have."""
    try:
        return part.complete(model, prompt, max_length)
    except IndexError as error:
        pieces, rows = model.preprocessor.tokenizer.vocabulary_size(), model.backbone.vocabulary_size
        if pieces >= rows:
            raise
        raise UserError(
            f"The model generated a token that its tokenizer does not have: there are "
            f"{format_count(rows)} embeddings and "
            f"{format_count(pieces)} pieces; use a preset with the tokenizer that the model was trained with."
        ) from error
