"""The layout map: rules that shard the variables of Gemma over the axes of a device mesh."""

import keras
import numpy as np


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
    # The axis over which the weights are split.
    axis = device_mesh.axis_names[int(np.argmax(device_mesh.shape))]
    layout_map["token_embedding/embeddings"] = (axis, None)
    layout_map["decoder_block_[0-9]+/attention/(query|key|value)/kernel"] = (axis, None, None)
    layout_map["decoder_block_[0-9]+/attention/attention_output/kernel"] = (axis, None, None)
    layout_map["decoder_block_[0-9]+/ffw_gating(_2)?/kernel"] = (None, axis)
    layout_map["decoder_block_[0-9]+/ffw_linear/kernel"] = (axis, None)
    return layout_map
