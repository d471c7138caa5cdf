"""The layout map: rules that shard the variables of Gemma over the axes of a device mesh."""

import keras


def gemma_layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return rules for tensor parallelism: attention split by heads, feed-forward by hidden units.

    The first of two matrices is split along its outputs, the second along its inputs. So a block
    needs one all-reduce after the attention and one after the feed-forward, and two more in the
    backward pass. Variables that no rule matches are replicated: the normalization scales and
    LoRA's B are small.

    Args:
        device_mesh: A mesh with axes "batch" and "model", over all devices or some of them.

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    block = "decoder_block_(1[0-7]|[0-9])/"
    layout_map[block + "attention/(query|key|value|attention_output)/kernel"] = ("model", None, None)
    layout_map[block + "(ffw_gating|ffw_gating_2)/kernel"] = (None, "model")
    layout_map[block + "ffw_linear/kernel"] = ("model", None)
    return layout_map
