"""Published sizes of Gemma models, from their configurations on Kaggle."""

from pathlib import Path
from typing import Any

from kit.errors import UserError

_BACKBONE = {
    "module": "keras_hub.src.models.gemma.gemma_backbone",
    "class_name": "GemmaBackbone",
    "registered_name": "keras_hub>GemmaBackbone",
}


def gemma_config(**sizes: Any) -> dict[str, Any]:
    """The content of a ``config.json`` for a GemmaBackbone of these sizes."""
    return {**_BACKBONE, "config": {"name": "gemma_backbone", "trainable": True, "dropout": 0, **sizes}}


def _sizes(layers: int, query_heads: int, key_value_heads: int, hidden: int, intermediate: int) -> dict[str, int]:
    return {
        "num_layers": layers,
        "num_query_heads": query_heads,
        "num_key_value_heads": key_value_heads,
        "hidden_dim": hidden,
        "intermediate_dim": intermediate,
        "head_dim": 256,
    }


GEMMA_2B = gemma_config(vocabulary_size=256_000, **_sizes(18, 8, 1, 2048, 32_768))
GEMMA_7B = gemma_config(vocabulary_size=256_000, **_sizes(28, 16, 16, 3072, 49_152))


def gemma3_config(**sizes: Any) -> dict[str, Any]:
    """The content of a ``config.json`` for the text model of a Gemma 3 of these sizes."""
    config = {
        "name": "gemma3_backbone",
        "trainable": True,
        "vocabulary_size": 262_144,
        # Without the vision tower.
        "image_size": None,
        "vision_encoder": None,
        "query_head_dim_normalize": True,
        "use_query_key_norm": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "use_sliding_window_attention": True,
        "dropout": 0,
        **sizes,
    }
    return {
        "module": "keras_hub.src.models.gemma3.gemma3_backbone",
        "class_name": "Gemma3Backbone",
        "registered_name": "keras_hub>Gemma3Backbone",
        "config": config,
    }


def _gemma2_config(**sizes: Any) -> dict[str, Any]:
    return gemma_config(
        vocabulary_size=256_000,
        query_head_dim_normalize=True,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        attention_logit_soft_cap=50,
        final_logit_soft_cap=30,
        use_sliding_window_attention=True,
        sliding_window_size=4096,
        **sizes,
    )


#: By the preset's name on Kaggle. A test compares their parameters with those that KerasHub states.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gemma_2b_en": GEMMA_2B,
    "gemma_7b_en": GEMMA_7B,
    "gemma2_2b_en": _gemma2_config(**_sizes(26, 8, 4, 2304, 18_432)),
    "gemma2_9b_en": _gemma2_config(**_sizes(42, 16, 8, 3584, 28_672)),
    "gemma3_270m": gemma3_config(**_sizes(18, 4, 1, 640, 2048), sliding_window_size=512),
    "gemma3_1b": gemma3_config(**_sizes(26, 4, 1, 1152, 6912), sliding_window_size=512),
    "gemma3_4b_text": gemma3_config(
        **_sizes(34, 8, 4, 2560, 10_240), sliding_window_size=1024, global_rope_scaling_factor=8.0
    ),
}


def find_architecture(name: str) -> dict[str, Any]:
    """The ``config.json`` of a known model, "bundled", or a folder. Raises UserError for others."""
    from kit.models.presets import BUNDLED, BUNDLED_FOLDER, read_config

    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    folder = BUNDLED_FOLDER if name == BUNDLED else Path(name)
    if not folder.is_dir():
        raise UserError(
            f"{name}: neither a folder nor a known model. Choose one of {BUNDLED}, {', '.join(ARCHITECTURES)}, or a "
            "folder with the config.json of another preset."
        )
    return read_config(name, folder / "config.json")
