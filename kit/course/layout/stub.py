"""The layout map: regular expressions over variable paths that say which dimension goes over which mesh axis."""

import keras


def gemma_layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Tensor parallelism for Gemma: attention split by heads, the feed-forward by its hidden units.

    A block needs one all-reduce after the attention and one after the feed-forward (and as many on the way back), since
    the matrices that come first are split along their outputs and those that follow along their inputs. What no rule
    matches, the normalization scales and LoRA's B, is replicated: it is small.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # A rule is a regular expression over the whole path of a variable, and a mesh axis or None for each of its dimensions.
    # Task 1: The embeddings: path token_embedding/embeddings, shape (vocabulary, hidden). Split the vocabulary over "model".
    raise NotImplementedError("layout, task 1")
    # Task 2: The attention's four kernels, for example decoder_block_0/attention/query/kernel. Query, key and value have shape
    # (heads, hidden, head_dim), attention_output has (heads, head_dim, hidden). A device has whole heads. LoRA adds to query
    # and value a lora_kernel_a, (heads, hidden, rank): it may have a rule too.
    raise NotImplementedError("layout, task 2")
    # Task 3: The feed-forward's three kernels, for example decoder_block_0/ffw_gating/kernel: ffw_gating and ffw_gating_2 have
    # shape (hidden, intermediate), ffw_linear has (intermediate, hidden). A device has some of the hidden units.
    raise NotImplementedError("layout, task 3")
    return layout_map
