"""LAYOUT_RULE_MATCHES_NOTHING: a dot where the path has a slash... and the end of the path is not there."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map["decoder_block.*ffw_linear.kernels"] = ("model", None)
    return layout_map
