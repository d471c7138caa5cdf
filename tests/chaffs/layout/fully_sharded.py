"""LAYOUT_WRONG_AXIS: KerasHub's own map: on (1, 8) the same, on (2, 4) every step gathers the weights."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", "batch")
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", "batch", None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, "batch")
    layout_map["decoder_block.*ffw_gating(_2)?/kernel"] = ("batch", "model")
    layout_map["decoder_block.*ffw_linear/kernel"] = ("model", "batch")
    return layout_map
