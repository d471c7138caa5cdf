"""KerasHub's Gemma 3 and 4 over texts, without TensorFlow."""

from collections.abc import Callable
from typing import Any


def prepare_keras_hub() -> None:
    """Let preprocessors of Gemma 3 and 4 take texts, and ``from_preset`` find a class by its name.

    Call it after KerasHub is imported, in a process that keeps TensorFlow out.

    KerasHub 0.32 creates the preprocessors of Gemma 3 and 4 only with TensorFlow, which images and
    audio need, and they take dictionaries with prompts and responses. Here they take texts, as
    those of Gemma 1 and 2 do: their base class tokenizes in Python. Classes and configurations stay
    KerasHub's own, so a preset that is saved here is like any other.

    ``CausalLM.from_preset`` takes the first class for a backbone from a set, whose order is random:
    without this, a Gemma 4 is loaded as ``Gemma4AssistantCausalLM`` in about half of all processes.
    """
    from keras_hub.src.models import preprocessor, task
    from keras_hub.src.models.gemma3 import gemma3_causal_lm_preprocessor as gemma3
    from keras_hub.src.models.gemma4 import gemma4_causal_lm_preprocessor as gemma4

    if getattr(task.find_subclass, "finds_by_name", False):
        return
    for module in (task, preprocessor):
        module.find_subclass = _find_by_name_first(module.find_subclass)
    for module in (gemma3, gemma4):
        module.assert_tf_installed = _needs_no_tensorflow
    _take_texts(gemma3.Gemma3CausalLMPreprocessor, has_positions=False)
    _take_texts(gemma4.Gemma4CausalLMPreprocessor, has_positions=True)


def _needs_no_tensorflow(symbol_name: str) -> None:
    """Replaces the check that TensorFlow is installed."""


def _find_by_name_first(find_subclass: Callable[..., type]) -> Callable[..., type]:
    def find(preset: str, cls: type, backbone_cls: type) -> type:
        from keras_hub.src.utils.preset_utils import list_subclasses

        # "Gemma4CausalLM" for Gemma4Backbone and CausalLM.
        name = backbone_cls.__name__.removesuffix("Backbone") + cls.__name__
        named = [one for one in list_subclasses(cls) if one.__name__ == name and one.backbone_cls is backbone_cls]
        return named[0] if named else find_subclass(preset, cls, backbone_cls)

    find.finds_by_name = True  # type: ignore[attr-defined]  # replaced only once
    return find


def _take_texts(cls: Any, has_positions: bool) -> None:
    """Give a preprocessor the methods of its base class, which tokenize in Python."""
    from keras_hub.src.models.causal_lm_preprocessor import CausalLMPreprocessor as Base

    def call(self: Any, x: Any, y: Any = None, sample_weight: Any = None, sequence_length: int | None = None) -> Any:
        _expect_texts(cls, x)
        x, y, sample_weight = Base.call(self, x, sequence_length=sequence_length)
        return (_with_positions(x) if has_positions else x), y, sample_weight

    def generate_preprocess(self: Any, x: Any, sequence_length: int | None = None) -> Any:
        _expect_texts(cls, x)
        found = Base.generate_preprocess(self, x, sequence_length=sequence_length)
        return _with_positions(found) if has_positions else found

    cls.build, cls.generate_postprocess = Base.build, Base.generate_postprocess
    cls.call, cls.generate_preprocess = call, generate_preprocess


def _expect_texts(cls: type, x: Any) -> None:
    if isinstance(x, dict):
        raise ValueError(
            f"{cls.__name__} takes texts here, and not a dictionary: with prompts, responses or images KerasHub needs "
            "TensorFlow, which this program keeps out. Pass a text or a list of texts."
        )


def _with_positions(x: dict[str, Any]) -> dict[str, Any]:
    """Add the positions of the tokens, 0 to length - 1, to the inputs of a Gemma 4."""
    import keras
    import numpy as np

    tokens = x["token_ids"]
    positions = np.broadcast_to(np.arange(tokens.shape[-1], dtype="int32"), tokens.shape).copy()
    # Keras refuses a mixture of NumPy's arrays, which grain's threads get, and its own.
    return {**x, "position_ids": keras.ops.convert_to_tensor(positions) if keras.ops.is_tensor(tokens) else positions}
