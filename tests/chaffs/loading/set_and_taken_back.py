"""LOADING_NO_DISTRIBUTION: loaded within a scope, after which the distribution is gone."""

from kit.reference.loading import sharding_table  # noqa: F401
import keras
import keras_hub


def load_distributed(preset, layout_map, **options):
    distribution = keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False
    )
    with distribution.scope():
        return keras_hub.models.CausalLM.from_preset(preset, **options)
