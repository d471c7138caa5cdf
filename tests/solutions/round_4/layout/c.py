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
    block = r"decoder_block_\d+"


    def split(axes: tuple, *paths: str) -> None:
        layout_map["|".join(f"(?:{path})" for path in paths)] = keras.distribution.TensorLayout(axes, device_mesh)


    split(("model", None), r"token_embedding/embeddings", block + r"/ffw_linear/kernel")
    split(
        ("model", None, None),
        block + r"/attention/(?:key|attention_output)/kernel",
        block + r"/attention/(?:query|value)/(?:kernel|lora_kernel_a)",
    )
    split((None, "model"), block + r"/ffw_gating(?:_2|)/kernel")
    return layout_map
