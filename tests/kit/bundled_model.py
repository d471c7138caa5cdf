"""The bundled model, loaded by the reference parts or by KerasHub."""

from typing import Any

import keras
import keras_hub

from kit.models.presets import BUNDLED_FOLDER
from kit.reference import layout, loading


def load(device_mesh: Any, **options: Any) -> Any:
    model = loading.load_distributed(str(BUNDLED_FOLDER), layout.gemma_layout_map(device_mesh), **options)
    model.preprocessor.sequence_length = 32
    return model


def load_plain() -> Any:
    """Without a distribution, as KerasHub loads it."""
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    model.preprocessor.sequence_length = 32
    return model
