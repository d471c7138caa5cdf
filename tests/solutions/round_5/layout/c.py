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
    # The key of a rule is a regular expression that matches the whole path of a variable. Its value
    # has a mesh axis or None for each dimension.
    # Task 1: Write a rule for the embeddings: path token_embedding/embeddings, shape
    # (vocabulary, hidden). Split the vocabulary over "model".
    layout_map["token_embedding/embeddings"] = ("model", None)
    # Task 2: Write rules for the four kernels of the attention, such as
    # decoder_block_0/attention/query/kernel. Query, key and value have shape
    # (heads, hidden, head_dim), attention_output has (heads, head_dim, hidden). Give each
    # device whole heads. LoRA adds a lora_kernel_a of shape (heads, hidden, rank) to query and
    # value; a rule for it is optional.
    block = "decoder_block_[0-9]+"
    layout_map[f"{block}/attention/(query|key|value)/kernel"] = ("model", None, None)
    layout_map[f"{block}/attention/attention_output/kernel"] = (None, "model", None)
    # Task 3: Write rules for the three kernels of the feed-forward, such as
    # decoder_block_0/ffw_gating/kernel. ffw_gating and ffw_gating_2 have shape
    # (hidden, intermediate), ffw_linear has (intermediate, hidden). Give each device some of
    # the hidden units.
    layout_map[f"{block}/ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map[f"{block}/ffw_linear/kernel"] = ("model", None)
    return layout_map
