"""LOADING_WRONG_DISTRIBUTION: not the layout map that was given."""

from kit.reference.loading import sharding_table  # noqa: F401
import keras
import keras_hub

from kit.reference.layout import gemma_layout_map


def load_distributed(preset, layout_map, **options):
    own = gemma_layout_map(layout_map.device_mesh)
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=own, batch_dim_name="batch", auto_shard_dataset=False)
    )
    return keras_hub.models.CausalLM.from_preset(preset, **options)
