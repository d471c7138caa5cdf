"""PASSES: Keras' own counting, and an arithmetic that factors the rank out."""

import keras
from keras.src.utils.summary_utils import count_params

TARGETS = {"query": "num_query_heads", "value": "num_key_value_heads"}


def enable_lora(model, rank):
    model.backbone.enable_lora(rank=rank, target_layer_names=list(TARGETS))
    assert model.trainable_variables, keras.__version__


def count_parameters(model):
    return int(count_params(model.trainable_weights)), int(count_params(model.weights))


def expected_lora_parameters(architecture, rank):
    heads = sum(architecture[key] for key in TARGETS.values())
    for_each_rank = heads * architecture["hidden_dim"] + len(TARGETS) * architecture["head_dim"]
    return rank * architecture["num_layers"] * for_each_rank
