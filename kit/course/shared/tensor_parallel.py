"""What checks compare with: the specs of tensor parallelism, small models, and their values. Not the reference."""

from collections.abc import Mapping
from typing import Any

import keras

from kit.models.architectures import gemma_config

#: The last part of a variable's path -> the mesh axis of each of its dimensions, in tensor parallelism as Megatron has it
#: (Shoeybi et al. 2019, section 3): what comes first is split along its outputs, what follows along its inputs.
TENSOR_PARALLEL: dict[str, tuple[str | None, ...]] = {
    "token_embedding/embeddings": ("model", None),
    "attention/query/kernel": ("model", None, None),
    "attention/key/kernel": ("model", None, None),
    "attention/value/kernel": ("model", None, None),
    "attention/attention_output/kernel": ("model", None, None),
    "ffw_gating/kernel": (None, "model"),
    "ffw_gating_2/kernel": (None, "model"),
    "ffw_linear/kernel": ("model", None),
}
#: What the dimensions are, for a person.
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "token_embedding/embeddings": ("vocabulary", "hidden"),
    "attention/query/kernel": ("heads", "hidden", "head_dim"),
    "attention/key/kernel": ("heads", "hidden", "head_dim"),
    "attention/value/kernel": ("heads", "hidden", "head_dim"),
    "attention/attention_output/kernel": ("heads", "head_dim", "hidden"),
    "ffw_gating/kernel": ("hidden", "intermediate"),
    "ffw_gating_2/kernel": ("hidden", "intermediate"),
    "ffw_linear/kernel": ("intermediate", "hidden"),
}

#: A Gemma whose dimensions are pairwise different, so that a transposition cannot hide. Its vocabulary is the bundled one.
SMALL_SIZES: Mapping[str, int] = {
    "vocabulary_size": 2048,
    "num_layers": 2,
    "num_query_heads": 16,
    "num_key_value_heads": 8,
    "hidden_dim": 40,
    "intermediate_dim": 112,
    "head_dim": 12,
}


def kind_of(path: str) -> str | None:
    """The key of the tables above for a variable's path; None for what is to be replicated."""
    kinds = [kind for kind in TENSOR_PARALLEL if path.endswith("/" + kind) or path == kind]
    return kinds[0] if kinds else None


def expected_layout(sizes: Mapping[str, Any], model_axis: int) -> dict[str, tuple[str | None, ...]]:
    """The table of :data:`TENSOR_PARALLEL` for a model of these sizes, whose heads the axis may not divide.

    Where the axis has more devices than there are key and value heads, both kernels are held whole. Of the layouts that there
    are for Gemma 2B that one sends least, by the TPU compiler (``kit/models/layouts.json``).
    """
    table = dict(TENSOR_PARALLEL)
    if sizes["num_key_value_heads"] % model_axis:
        table |= dict.fromkeys(("attention/key/kernel", "attention/value/kernel"), (None, None, None))
    return table


def split_paths(blocks: int) -> list[str]:
    """The paths of all matrices of a Gemma with so many blocks."""
    kinds = [kind for kind in TENSOR_PARALLEL if kind != "token_embedding/embeddings"]
    return [
        "token_embedding/embeddings",
        *(f"decoder_block_{block}/{kind}" for block in range(blocks) for kind in kinds),
    ]


def tensor_parallel_map(device_mesh: keras.distribution.DeviceMesh, paths: list[str]) -> keras.distribution.LayoutMap:
    """The expected layout of these variables, path by path, without a pattern."""
    layout_map = keras.distribution.LayoutMap(device_mesh)
    for path in paths:
        kind = kind_of(path)
        if kind is not None:
            layout_map[path] = TENSOR_PARALLEL[kind]
    return layout_map


def small_config(**sizes: Any) -> dict[str, Any]:
    """The configuration of the small Gemma."""
    return gemma_config(**{**SMALL_SIZES, **sizes})


def device_mesh(batch: int, model: int) -> keras.distribution.DeviceMesh:
    """A mesh over all devices."""
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], keras.distribution.list_devices())


def model_parallel(layout_map: keras.distribution.LayoutMap) -> keras.distribution.ModelParallel:
    """The distribution that the course uses."""
    return keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)
