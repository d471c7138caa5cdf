"""The layout map: rules that shard the variables of Gemma over the axes of a device mesh."""

import keras


def _split(dimension: int, dimensions: int) -> keras.distribution.TensorLayout:
    """Return a layout that splits one dimension over "model"."""
    axes: list[str | None] = [None] * dimensions
    axes[dimension] = "model"
    return keras.distribution.TensorLayout(axes)


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
    rules = {"token_embedding/embeddings": _split(0, dimensions=2)}
    rules["[^/]+/attention/(?:query|value)/(?:kernel|lora_kernel_a)"] = _split(0, dimensions=3)
    rules["[^/]+/attention/(?:key|attention_output)/kernel"] = _split(0, dimensions=3)
    rules["[^/]+/ffw_gating(?:_2)?/kernel"] = _split(-1, dimensions=2)
    rules["[^/]+/ffw_linear/kernel"] = _split(0, dimensions=2)
    layout_map.update(rules)
    return layout_map
