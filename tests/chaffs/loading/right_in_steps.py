"""PASSES: the backbone is built from the preset's configuration, and its weights are loaded after that."""

import itertools

import keras
import keras_hub


def load_distributed(preset, layout_map, **options):
    distribution = keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch")
    distribution.auto_shard_dataset = False
    keras.distribution.set_distribution(distribution)
    backbone = keras_hub.models.Backbone.from_preset(preset, load_weights=True, **options)
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(preset)
    return keras_hub.models.GemmaCausalLM(backbone, preprocessor)


def sharding_table(layer):
    rows = []
    for variable in layer.weights:
        spec = itertools.chain(getattr(variable.value.sharding, "spec", ()), itertools.repeat(None))
        rows.append((variable.path, variable.shape, tuple(itertools.islice(spec, len(variable.shape)))))
    return rows
