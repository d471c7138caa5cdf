"""LOADING_NO_DISTRIBUTION: a plain load."""

from kit.reference.loading import sharding_table  # noqa: F401
import keras_hub


def load_distributed(preset, layout_map, **options):
    return keras_hub.models.CausalLM.from_preset(preset, **options)
