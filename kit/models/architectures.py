"""Published sizes of Gemma models, as their configurations on Kaggle give them."""

from typing import Any

_BACKBONE = {
    "module": "keras_hub.src.models.gemma.gemma_backbone",
    "class_name": "GemmaBackbone",
    "registered_name": "keras_hub>GemmaBackbone",
}


def gemma_config(**sizes: Any) -> dict[str, Any]:
    """The content of a preset's ``config.json`` for a GemmaBackbone of these sizes."""
    return {**_BACKBONE, "config": {"name": "gemma_backbone", "trainable": True, "dropout": 0, **sizes}}


GEMMA_2B = gemma_config(
    vocabulary_size=256_000,
    num_layers=18,
    num_query_heads=8,
    num_key_value_heads=1,
    hidden_dim=2048,
    intermediate_dim=32_768,
    head_dim=256,
)
GEMMA_7B = gemma_config(
    vocabulary_size=256_000,
    num_layers=28,
    num_query_heads=16,
    num_key_value_heads=16,
    hidden_dim=3072,
    intermediate_dim=49_152,
    head_dim=256,
)
