"""PASSES: TensorLayout objects from a table, one pattern for all of the attention."""

from keras.distribution import LayoutMap, TensorLayout

# Trailing Nones may be left out.
HEADS = ("model",)
TABLE = {
    r"token_embedding/embeddings": ("model", None),
    r".*/attention/(?!.*lora).*kernel": HEADS,
    r".*/ffw_gating(?:_\d)?/kernel": (None, "model"),
    r".*/ffw_linear/kernel": ("model", None),
}


def gemma_layout_map(device_mesh):
    layouts = LayoutMap(device_mesh)
    for pattern, axes in TABLE.items():
        layouts[pattern] = TensorLayout(axes, device_mesh)
    return layouts
