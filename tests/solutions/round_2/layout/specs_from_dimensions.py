"""The layout map: rules that shard the variables of Gemma over the axes of a device mesh."""

import re

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
    def along(split: str, *dimensions: str) -> tuple[str | None, ...]:
        return tuple("model" if dimension == split else None for dimension in dimensions)

    layout_map[re.escape("token_embedding/embeddings")] = along("vocabulary", "vocabulary", "hidden")
    block = r"decoder_block_\d+"
    for layers, last in {"(?:query|value)": "(?:kernel|lora_kernel_a)", "(?:key|attention_output)": "kernel"}.items():
        layout_map[f"{block}/attention/{layers}/{last}"] = along("heads", "heads", "in", "out")
    for layer, dimensions in (
        ("ffw_gating", ("hidden", "units")),
        ("ffw_gating_2", ("hidden", "units")),
        ("ffw_linear", ("units", "hidden")),
    ):
        layout_map[f"{block}/{layer}/kernel"] = along("units", *dimensions)
    return layout_map
