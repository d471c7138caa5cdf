"""Vision and audio encoders of published Gemma presets, which KerasHub's parameter counts include.

This kit tunes text towers alone. The encoders are here so that their parameters can be
distinguished from those of the text tower. Sources: for Gemma 3
``src/maxtext/configs/models/gemma3-*.yml`` of AI-Hypercomputer/maxtext, for Gemma 4
``gemma/gm/nn/gemma4/_gemma4.py`` of google-deepmind/gemma and ``gemma4-*.yml`` of maxtext.
"""

from collections.abc import Mapping
from typing import Any

#: SigLIP with 27 layers, before the projection to the text's hidden dimension.
_GEMMA3_VISION = {
    "image_size": 896,
    "patch_size": 14,
    "num_heads": 16,
    "hidden_dim": 1152,
    "num_layers": 27,
    "intermediate_dim": 4304,
    "pool_size": 4,
}


def _gemma4_vision(layers: int, heads: int, head_dim: int, intermediate: int, large: bool) -> dict[str, Any]:
    return {
        "image_size": 896,
        "patch_size": 16,
        "num_heads": heads,
        "hidden_dim": heads * head_dim,
        "num_layers": layers,
        "intermediate_dim": intermediate,
        "head_dim": head_dim,
        "pool_size": 3,
        "position_embedding_size": 10_240,
        "use_clipped_linears": not large,
        "standardize": large,
    }


_SMALL_VISION = _gemma4_vision(16, 12, 64, 3072, large=False)
_LARGE_VISION = _gemma4_vision(27, 16, 72, 4304, large=True)

_GEMMA3 = {"Gemma3VisionEncoder": _GEMMA3_VISION}
# KerasHub's defaults are the sizes of the published audio encoder.
_SMALL_GEMMA4: dict[str, dict[str, Any]] = {"Gemma4VisionEncoder": _SMALL_VISION, "Gemma4AudioEncoder": {}}
_LARGE_GEMMA4 = {"Gemma4VisionEncoder": _LARGE_VISION}

#: Name in ``ARCHITECTURES`` -> class in ``keras_hub.models`` -> its arguments, without
#: ``output_dim``, which is the text's hidden dimension.
ENCODERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "gemma3_4b_text": _GEMMA3,
    "gemma3_12b_text": _GEMMA3,
    "gemma3_27b_text": _GEMMA3,
    "gemma4_2b": _SMALL_GEMMA4,
    "gemma4_4b": _SMALL_GEMMA4,
    "gemma4_26b_a4b": _LARGE_GEMMA4,
    "gemma4_31b": _LARGE_GEMMA4,
}


def encoder_parameters(name: str) -> dict[str, int]:
    """For each encoder of a preset, the number of its parameters. No weight is allocated.

    ``name`` is one of ``ARCHITECTURES``.
    """
    import keras_hub

    from kit.models.architectures import ARCHITECTURES
    from kit.models.weightless import describe, no_weights

    found = {}
    for encoder, sizes in ENCODERS.get(name, {}).items():
        with no_weights():
            made = getattr(keras_hub.models, encoder)(
                **sizes, output_dim=ARCHITECTURES[name]["config"]["hidden_dim"], dtype="float32"
            )
            if not made.built:
                made.build((None, None, None, 128))
            found[encoder] = sum(variable.size for variable in describe(made.variables))
    return found
