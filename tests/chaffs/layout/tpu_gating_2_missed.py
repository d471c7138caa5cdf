"""LAYOUT_MATRIX_REPLICATED in tpu_compile: it fits, and 7 GB of it need not be there."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block.*ffw_gating/kernel"] = (None, "model")
    layout_map["decoder_block.*ffw_linear/kernel"] = ("model", None)
    return layout_map
