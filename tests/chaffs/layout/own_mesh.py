"""NOT_AS_EXPECTED: a mesh of its own instead of the one given."""

import keras


def gemma_layout_map(device_mesh):
    device_mesh = keras.distribution.DeviceMesh((1, 8), ["batch", "model"], keras.distribution.list_devices())
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map["decoder_block.*attention.*(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block.*attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map["decoder_block.*ffw_linear/kernel"] = ("model", None)
    return layout_map
