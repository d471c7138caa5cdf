"""LAYOUT_SPEC_DOES_NOT_FIT: three entries for two dimensions."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map["decoder_block.*ffw_linear/kernel"] = ("model", None, None)
    return layout_map
