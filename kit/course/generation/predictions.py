"""Questions about generation, and their measurements. Imports no framework."""

from typing import Any

from kit.course.predictions import Question

PROMPT = "Best comedy movies in the 90s "
MAX_LENGTH = 24


def _tokenizer() -> Any:
    import keras_hub

    from kit.models.presets import BUNDLED_FOLDER

    return keras_hub.models.GemmaTokenizer.from_preset(str(BUNDLED_FOLDER))


def measure_prompt() -> float:
    """Tokens of the prompt."""
    return float(len(_tokenizer()(PROMPT)))


def measure_new() -> float:
    """Tokens that the bundled model adds with max_length 24."""
    import keras_hub

    from kit.models.presets import BUNDLED_FOLDER

    model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    # The tokens themselves, since a text that is tokenized again may have another number of them.
    x = model.preprocessor.generate_preprocess([PROMPT], sequence_length=MAX_LENGTH)
    given = int(x["padding_mask"].sum())
    model.compile(sampler="greedy")
    found = model.make_generate_function()(x, stop_token_ids=None)
    return float(int(found["padding_mask"].sum()) - given)


def measure_uniform() -> float:
    """The mean log-likelihood of three tokens if all 2,048 are equally probable."""
    import keras
    import numpy as np

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return -float(loss(np.array([[1, 20, 300]]), np.zeros((1, 3, 2048), np.float32)))


QUESTIONS = (
    Question(
        "prompt",
        f'How many tokens has the prompt "{PROMPT.strip()}", with the vocabulary of 2,048 and without the start '
        "token? A word that is rare in reviews has several.",
        measure_prompt,
        "`kit lesson generation Predict` has a command that prints them.",
        "tokens",
        within=0.15,
        mistakes={"6": "Those are its words: a small vocabulary splits some of them."},
    ),
    Question(
        "new",
        f"With `max_length={MAX_LENGTH}`, how many tokens of the result are new, if the model does not end the text? "
        "Use the number that you know now.",
        measure_new,
        "max_length counts all tokens: the start token, those of the prompt, and the new ones.",
        "tokens",
        mistakes={str(MAX_LENGTH): "max_length counts the prompt as well."},
    ),
    Question(
        "uniform",
        "What is the mean log-likelihood per token of any text under a model that gives the same probability to each "
        "of 2,048 tokens?",
        measure_uniform,
        "It is -ln 2048. A model that is worse than that has learned something wrong.",
        within=0.002,
        mistakes={
            "7.6246": "A log-likelihood is at most 0; its negative is the loss.",
            "-11": "You took the logarithm to the base 2; log-likelihoods are in nats.",
        },
    ),
)
