"""The layout map: rules that shard the variables of Gemma over the axes of a device mesh."""

import keras


def gemma_layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return rules for tensor parallelism: attention split by heads, feed-forward by hidden units.

    The first of two matrices is split along its outputs, the second along its inputs. So a block
    needs one all-reduce after the attention and one after the feed-forward, and two more in the
    backward pass. Variables that no rule matches are replicated: the normalization scales and
    LoRA's B are small.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # The key of a rule is a regular expression that matches the whole path of a variable. Its value
    # has a mesh axis or None for each dimension.
    layout_map["token_embedding/embeddings"] = ("model", None)
    attention = r"decoder_block_\d+/attention"
    layout_map[f"{attention}/(query|value)/kernel"] = ("model", None, None)
    # Keys enter the scores transposed.
    layout_map[f"{attention}/key/kernel"] = (None, None, "model")
    layout_map[f"{attention}/attention_output/kernel"] = ("model", None, None)
    layout_map["decoder_block_[0-9]+/ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map["decoder_block_[0-9]+/ffw_linear/kernel"] = ("model", None)
    return layout_map
