"""LAYOUT_ONLY_FOR_FEW_LAYERS: holds for 4 layers, and for 10 of 28."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map[r"decoder_block_\d/.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map[r"decoder_block_\d/.*attention_output/kernel"] = ("model", None, None)
    layout_map[r"decoder_block_\d/.*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map[r"decoder_block_\d/.*ffw_linear/kernel"] = ("model", None)
    return layout_map
