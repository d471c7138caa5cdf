"""Published sizes of Gemma models: their text towers, as a preset's ``config.json`` has them.

Sources of the sizes, by family. A test compares the parameters with those that KerasHub states.

- Gemma 1 and 2: ``config.json`` of google/gemma-2b, gemma-7b, gemma-2-2b, gemma-2-9b and
  gemma-2-27b on Hugging Face, through ``keras_hub/src/utils/transformers/convert_gemma.py``, which
  doubles the intermediate dimension.
- Gemma 3: ``src/maxtext/configs/models/gemma3-*.yml`` of AI-Hypercomputer/maxtext, and
  ``config.json`` of google/gemma-3-270m, gemma-3-1b-pt, gemma-3-4b-pt, gemma-3-12b-pt and
  gemma-3-27b-pt, through ``convert_gemma3.py``.
- Gemma 4: ``gemma/gm/nn/gemma4/_gemma4.py`` of google-deepmind/gemma and
  ``src/maxtext/configs/models/gemma4-*.yml`` of AI-Hypercomputer/maxtext, which agree, through
  ``convert_gemma4.py``.
"""

from pathlib import Path
from typing import Any

from kit.errors import UserError


def gemma_config(**sizes: Any) -> dict[str, Any]:
    """The content of a ``config.json`` for a GemmaBackbone of these sizes."""
    return _config("gemma", "GemmaBackbone", {"dropout": 0, **sizes})


def gemma3_config(**sizes: Any) -> dict[str, Any]:
    """The content of a ``config.json`` for the text model of a Gemma 3 of these sizes."""
    config = {
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
    return _config("gemma3", "Gemma3Backbone", config)


def gemma4_config(*, period: int = 6, **sizes: Any) -> dict[str, Any]:
    """The content of a ``config.json`` for the text model of a Gemma 4 of these sizes.

    The last of ``period`` blocks has global attention, the others have a sliding window.
    """
    kinds = ["sliding_attention"] * (period - 1) + ["full_attention"]
    config = {
        "vocabulary_size": 262_144,
        # Without the vision and audio towers.
        "image_size": None,
        "vision_encoder": None,
        "audio_encoder": None,
        "final_logit_soft_cap": 30.0,
        "use_sliding_window_attention": True,
        "sliding_window_pattern": period,
        "layer_types": [kinds[block % period] for block in range(sizes["num_layers"])],
        "global_head_dim": 512,
        "global_rope_partial_rotary_factor": 0.25,
        "global_rope_wavelength": 1_000_000.0,
        "local_rope_wavelength": 10_000.0,
        "dropout": 0,
        **sizes,
    }
    return _config("gemma4", "Gemma4Backbone", config)


def _config(family: str, backbone: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "module": f"keras_hub.src.models.{family}.{family}_backbone",
        "class_name": backbone,
        "registered_name": f"keras_hub>{backbone}",
        "config": {"name": f"{family}_backbone", "trainable": True, **config},
    }


def _sizes(
    layers: int, query_heads: int, key_value_heads: int, hidden: int, intermediate: int, head_dim: int = 256
) -> dict[str, int]:
    return {
        "num_layers": layers,
        "num_query_heads": query_heads,
        "num_key_value_heads": key_value_heads,
        "hidden_dim": hidden,
        "intermediate_dim": intermediate,
        "head_dim": head_dim,
    }


def _gemma2_config(**sizes: Any) -> dict[str, Any]:
    config = {
        "vocabulary_size": 256_000,
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "attention_logit_soft_cap": 50,
        "final_logit_soft_cap": 30,
        "use_sliding_window_attention": True,
        "sliding_window_size": 4096,
        **sizes,
    }
    return gemma_config(**config)


GEMMA_2B = gemma_config(vocabulary_size=256_000, **_sizes(18, 8, 1, 2048, 32_768))
GEMMA_7B = gemma_config(vocabulary_size=256_000, **_sizes(28, 16, 16, 3072, 49_152))

#: For each token and block, E2B and E4B look up a vector of 256 numbers.
_PER_LAYER_INPUTS = {"hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262_144}
_EXPERTS = {"enable_moe_block": True, "num_experts": 128, "expert_intermediate_dim": 704, "num_experts_per_token": 8}
#: Of models with vision from 4B on: the window, and the scaling of positions.
_LONG_CONTEXT = {"sliding_window_size": 1024, "global_rope_scaling_factor": 8.0}
#: Global attention of the larger Gemma 4: the value is the key, and images attend both ways.
_LARGE_GEMMA4 = {"sliding_window_size": 1024, "use_vision_bidirectional_attention": True}

#: By the preset's name on Kaggle, without its vision and audio towers.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gemma_2b_en": GEMMA_2B,
    "gemma_7b_en": GEMMA_7B,
    "gemma2_2b_en": _gemma2_config(**_sizes(26, 8, 4, 2304, 18_432)),
    "gemma2_9b_en": _gemma2_config(**_sizes(42, 16, 8, 3584, 28_672)),
    # The query is scaled by the root of 4608 / 32 = 144, which is not the head dimension.
    "gemma2_27b_en": _gemma2_config(**_sizes(46, 32, 16, 4608, 73_728, 128), query_head_dim_normalize=False),
    "gemma3_270m": gemma3_config(**_sizes(18, 4, 1, 640, 2048), sliding_window_size=512),
    "gemma3_1b": gemma3_config(**_sizes(26, 4, 1, 1152, 6912), sliding_window_size=512),
    "gemma3_4b_text": gemma3_config(**_sizes(34, 8, 4, 2560, 10_240), **_LONG_CONTEXT),
    "gemma3_12b_text": gemma3_config(**_sizes(48, 16, 8, 3840, 15_360), **_LONG_CONTEXT),
    # Likewise 5376 / 32 = 168.
    "gemma3_27b_text": gemma3_config(
        **_sizes(62, 32, 16, 5376, 21_504, 128), **_LONG_CONTEXT, query_head_dim_normalize=False
    ),
    "gemma4_2b": gemma4_config(
        **_sizes(35, 8, 1, 1536, 6144),
        **_PER_LAYER_INPUTS,
        period=5,
        num_kv_shared_layers=20,
        use_double_wide_mlp=True,
    ),
    "gemma4_4b": gemma4_config(**_sizes(42, 8, 2, 2560, 10_240), **_PER_LAYER_INPUTS, num_kv_shared_layers=18),
    "gemma4_26b_a4b": gemma4_config(
        **_sizes(30, 16, 8, 2816, 2112), **_EXPERTS, **_LARGE_GEMMA4, num_global_key_value_heads=2
    ),
    "gemma4_31b": gemma4_config(**_sizes(60, 32, 16, 5376, 21_504), **_LARGE_GEMMA4, num_global_key_value_heads=4),
}


def architecture_name(preset: str) -> str | None:
    """The entry of :data:`ARCHITECTURES` with the sizes of a preset's text tower, if there is one.

    Instruction-tuned presets have the sizes of the others, and ``gemma3_4b`` has the text tower
    ``gemma3_4b_text``.
    """
    plain = preset.replace("instruct_", "").replace("gemma_1.1_", "gemma_")
    return next((name for name in (plain, f"{plain}_text") if name in ARCHITECTURES), None)


def find_architecture(name: str) -> dict[str, Any]:
    """The ``config.json`` of a known model, "bundled", a folder, or ``hf://owner/model``.

    Raises UserError for others.
    """
    from kit.models import huggingface
    from kit.models.presets import BUNDLED, BUNDLED_FOLDER, read_config
    from kit.models.text_only import text_only_config

    if known := architecture_name(name):
        return ARCHITECTURES[known]
    if name.startswith(huggingface.SCHEME):
        return read_config(name, huggingface.find_config(name)[0])
    folder = BUNDLED_FOLDER if name == BUNDLED else Path(name)
    if not folder.is_dir():
        raise UserError(
            f"{name}: neither a folder nor a known model. Choose one of {BUNDLED}, {', '.join(ARCHITECTURES)}, or a "
            "folder with the config.json of another preset."
        )
    return text_only_config(read_config(name, folder / "config.json"))
