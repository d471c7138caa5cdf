"""Completions of a run."""

from types import SimpleNamespace
from typing import Any

import pytest

from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER
from kit.run.generation import complete


def test_a_token_that_the_tokenizer_does_not_have() -> None:
    """A model with more embeddings than its tokenizer has pieces may generate one."""
    import sentencepiece

    vocabulary = (BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm").read_bytes()
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    part: Any = SimpleNamespace(complete=lambda model, prompt, length: tokenizer.decode([length]))

    def model(rows: int) -> Any:
        preprocessor = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary_size=tokenizer.vocab_size))
        return SimpleNamespace(preprocessor=preprocessor, backbone=SimpleNamespace(vocabulary_size=rows))

    assert isinstance(complete(model(4096), part, "", 2047), str)
    with pytest.raises(UserError, match=r"there are 4,096 embeddings and 2,048 pieces"):
        complete(model(4096), part, "", 2048)
    # Any other error is passed on.
    with pytest.raises(IndexError):
        complete(model(2048), part, "", 2048)
