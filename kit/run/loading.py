"""Loading of a run's preset, by ``load_distributed`` of the part ``loading``."""

import keras
import keras_hub

from kit.errors import UserError
from kit.formatting import without_escapes
from kit.models.presets import Preset
from kit.models.text_only import text_only_presets
from kit.models.transformers_format import text_models
from kit.parts.protocols import LoadingPart


def load_model(
    part: LoadingPart, preset: Preset, layout_map: keras.distribution.LayoutMap, dtype: str
) -> keras_hub.models.CausalLM:
    """Load a preset's text model. Raises UserError if the weights do not fit the configuration."""
    try:
        with text_models(), text_only_presets():
            return part.load_distributed(preset.location, layout_map, dtype=dtype)
    except (OSError, KeyError, ValueError) as error:
        reason = without_escapes(str(error)).strip().splitlines()
        raise UserError(
            f"--preset {preset.name}: cannot load it ({type(error).__name__}: "
            f"{reason[0] if reason else 'no reason given'}); write the preset again with save_to_preset, or download "
            "it again."
        ) from error
