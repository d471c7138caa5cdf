"""Completions of a run."""

from types import SimpleNamespace
from typing import Any

import pytest

from kit.data.films import list_prompts
from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER
from kit.run.generation import complete, complete_all


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


@pytest.mark.parametrize("mesh", [None, (2, 4)])
def test_prompts_in_one_batch_have_the_completions_of_each_alone(mesh: tuple[int, int] | None) -> None:
    """Also if the batch axis does not divide their number; the sampler is unchanged afterwards."""
    import keras
    import keras_hub

    from kit.reference import generation, layout, loading
    from kit.reference import mesh as meshes

    if mesh:
        layout_map = layout.gemma_layout_map(meshes.make_device_mesh(*mesh))
        model = loading.load_distributed(str(BUNDLED_FOLDER), layout_map)
    else:
        model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    model.compile(sampler="top_k", weighted_metrics=[])
    sampler, prompts = model.sampler, [*list_prompts()[:2], "A movie "]
    try:
        counted: list[tuple[int, int]] = []
        together = complete_all(model, prompts, 24, lambda *count: counted.append(count))
        assert together == [generation.complete(model, prompt, 24) for prompt in prompts]
        # Of the tokens after the shortest prompt, "A movie ".
        assert counted == [(8, 21), (16, 21), (21, 21)]
        assert model.sampler is sampler
        assert model.generate_function is None
    finally:
        keras.distribution.set_distribution(None)
