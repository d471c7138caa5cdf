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
    layout_map["decoder_block_[0-9]+/attention/(query|key|value)/kernel"] = ("model", None, None)
    layout_map["decoder_block_[0-9]+/attention/attention_output/kernel"] = ("model", None, None)
    layout_map[r"decoder_block_\d+/ffw_gating(_2)?/kernel"] = ("batch", "model")
    layout_map[r"decoder_block_\d+/ffw_linear/kernel"] = ("model", "batch")
    return layout_map
