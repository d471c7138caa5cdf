"""WRONG_RETURN_TYPE: a backbone, which generates nothing."""

from kit.reference.loading import sharding_table  # noqa: F401
import keras
import keras_hub


def load_distributed(preset, layout_map, **options):
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)
    )
    return keras_hub.models.Backbone.from_preset(preset, **options)
