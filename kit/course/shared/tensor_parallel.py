"""The layout that checks compare with: tensor parallelism for Gemma, by exact paths."""

from collections.abc import Mapping
from typing import Any

import keras

from kit.models.architectures import gemma_config

#: The last part of a variable's path -> the mesh axis of each of its dimensions. The first of two
#: matrices is split along its outputs, the second along its inputs (Megatron-LM; Shoeybi et al.
#: 2019, section 3).
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
#: Names of the dimensions, for diagnostics.
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

#: A Gemma whose dimensions are pairwise different, so that checks see a transposition. It has the
#: vocabulary size of the bundled model.
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
    """The key of the tables above for a variable's path; None if it is to be replicated."""
    kinds = [kind for kind in TENSOR_PARALLEL if path.endswith("/" + kind) or path == kind]
    return kinds[0] if kinds else None


def expected_layout(sizes: Mapping[str, Any], model_axis: int) -> dict[str, tuple[str | None, ...]]:
    """The table :data:`TENSOR_PARALLEL` for a backbone's ``get_config()`` and the size of "model".

    If the axis does not divide the number of key and value heads, both kernels are replicated. The
    TPU compiler shows that no other layout of Gemma 2B exchanges fewer bytes
    (``kit/models/layouts.json``).
    """
    table = dict(TENSOR_PARALLEL)
    if sizes["num_key_value_heads"] % model_axis:
        table |= dict.fromkeys(("attention/key/kernel", "attention/value/kernel"), (None, None, None))
    return table


def split_paths(blocks: int) -> list[str]:
    """The paths of all matrices of a Gemma with that number of blocks."""
    kinds = [kind for kind in TENSOR_PARALLEL if kind != "token_embedding/embeddings"]
    return [
        "token_embedding/embeddings",
        *(f"decoder_block_{block}/{kind}" for block in range(blocks) for kind in kinds),
    ]


def tensor_parallel_map(device_mesh: keras.distribution.DeviceMesh, paths: list[str]) -> keras.distribution.LayoutMap:
    """The expected layout of these variables, with one rule per path and no regular expression."""
    layout_map = keras.distribution.LayoutMap(device_mesh)
    for path in paths:
        kind = kind_of(path)
        if kind is not None:
            layout_map[path] = TENSOR_PARALLEL[kind]
    return layout_map


def small_config(**sizes: Any) -> dict[str, Any]:
    """The configuration of the small Gemma, as in a preset's ``config.json``, with other sizes."""
    return gemma_config(**{**SMALL_SIZES, **sizes})


def device_mesh(batch: int, model: int) -> keras.distribution.DeviceMesh:
    """A mesh with axes "batch" and "model": over all devices, or over the first ones."""
    names = keras.distribution.list_devices()[: batch * model]
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], names)


def model_parallel(layout_map: keras.distribution.LayoutMap) -> keras.distribution.ModelParallel:
    """The distribution that the course uses."""
    return keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)
