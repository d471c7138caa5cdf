"""Tiny presets of each family of Gemma, written by KerasHub's own ``save_to_preset``.

``python tests/kit/tiny_presets.py FAMILY FOLDER`` writes one, for example to try `kit run --preset
FOLDER`. Sizes within a model are pairwise different. Head counts are in the proportions of real
models: one or few key and value heads, so that a mesh axis of 8 does not always divide them.
"""

import functools
import hashlib
import math
import sys
from pathlib import Path
from typing import Any

VOCABULARY_SIZE = 640
_GEMMA4_KINDS = ["sliding_attention", "sliding_attention", "full_attention"]

#: Family -> Arguments of its backbone.
SIZES: dict[str, dict[str, Any]] = {
    # As gemma_2b: one key and value head.
    "gemma": {
        "num_layers": 2,
        "num_query_heads": 8,
        "num_key_value_heads": 1,
        "hidden_dim": 48,
        "intermediate_dim": 160,
        "head_dim": 12,
    },
    # As gemma2_2b: every other block has a sliding window, logits have soft caps.
    "gemma2": {
        "num_layers": 3,
        "num_query_heads": 8,
        "num_key_value_heads": 4,
        "hidden_dim": 56,
        "intermediate_dim": 192,
        "head_dim": 12,
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "attention_logit_soft_cap": 50,
        "final_logit_soft_cap": 30,
        "use_sliding_window_attention": True,
        "sliding_window_size": 20,
    },
    # As gemma3_270m and gemma3_1b: the sixth block is global.
    "gemma3": {
        "num_layers": 6,
        "num_query_heads": 4,
        "num_key_value_heads": 1,
        "hidden_dim": 40,
        "intermediate_dim": 88,
        "head_dim": 20,
        "query_head_dim_normalize": True,
        "use_query_key_norm": True,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "use_sliding_window_attention": True,
        "sliding_window_size": 16,
    },
    # As gemma4_31b: global blocks have wider heads, fewer for key and value, and key = value.
    "gemma4": {
        "num_layers": 3,
        "num_query_heads": 8,
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 2,
        "hidden_dim": 48,
        "intermediate_dim": 104,
        "head_dim": 12,
        "global_head_dim": 20,
        "global_rope_partial_rotary_factor": 0.2,
        "final_logit_soft_cap": 30.0,
        "sliding_window_size": 16,
        "layer_types": _GEMMA4_KINDS,
    },
    # As gemma4_26b_a4b: each block has a mixture of experts beside its feed-forward.
    "gemma4_moe": {
        "num_layers": 3,
        "num_query_heads": 8,
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 2,
        "hidden_dim": 56,
        "intermediate_dim": 72,
        "head_dim": 12,
        "global_head_dim": 20,
        "global_rope_partial_rotary_factor": 0.2,
        "final_logit_soft_cap": 30.0,
        "sliding_window_size": 16,
        "layer_types": _GEMMA4_KINDS,
        "enable_moe_block": True,
        "num_experts": 16,
        "expert_intermediate_dim": 24,
        "num_experts_per_token": 2,
    },
    # As gemma4_2b (E2B): embeddings for each block; the last blocks share others' keys and values.
    "gemma4_e2b": {
        "num_layers": 4,
        "num_query_heads": 8,
        "num_key_value_heads": 1,
        "hidden_dim": 40,
        "intermediate_dim": 80,
        "head_dim": 12,
        "global_head_dim": 20,
        "global_rope_partial_rotary_factor": 0.2,
        "final_logit_soft_cap": 30.0,
        "sliding_window_size": 16,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": VOCABULARY_SIZE,
        "use_double_wide_mlp": True,
    },
}
#: Family with a vision tower (and audio, in the last) -> the family of its text model.
WITH_VISION = {"gemma3_vision": "gemma3", "gemma4_vision": "gemma4", "gemma4_e2b_audio": "gemma4_e2b"}
FAMILIES = (*SIZES, *WITH_VISION)

_VISION = {
    "image_size": 16,
    "patch_size": 4,
    "num_heads": 2,
    "hidden_dim": 16,
    "num_layers": 2,
    "intermediate_dim": 28,
    "pool_size": 2,
}
_AUDIO = {
    "input_feat_size": 32,
    "hidden_size": 24,
    "num_heads": 4,
    "num_layers": 1,
    "output_proj_dims": 36,
    "sscp_conv_channels": (8, 4),
}
_TURNS = ["<start_of_turn>", "<end_of_turn>"]
#: The user-defined pieces of a generation's vocabulary.
_PIECES = {
    "gemma": _TURNS,
    "gemma2": _TURNS,
    "gemma3": [*_TURNS, "<start_of_image>", "<end_of_image>", "<img>"],
    "gemma4": [
        *("<|turn>", "<turn|>"),
        *("<|image>", "<|image|>", "<image|>"),
        *("<|audio>", "<|audio|>", "<audio|>"),
        "<|video|>",
    ],
}


def write_tiny_preset(family: str, folder: Path) -> Path:
    """Write a tiny preset in float32, with values that depend on the paths of variables alone."""
    import keras
    import keras_hub

    from kit.models.weightless import no_weights

    generation = family.partition("_")[0]
    # KerasHub's names of classes: Gemma 2 has those of Gemma 1.
    prefix = {"gemma3": "Gemma3", "gemma4": "Gemma4"}.get(generation, "Gemma")
    classes = keras_hub.models
    # Keras' random initial values are compiled for each shape, which takes seconds.
    with no_weights():
        backbone = getattr(classes, f"{prefix}Backbone")(**_backbone_arguments(family))
    for variable in backbone.variables:
        variable._initialize(keras.ops.convert_to_tensor(_value(variable), dtype=variable.dtype))
    tokens = {}
    if prefix != "Gemma":
        tokens = {"has_vision_tokens": family in WITH_VISION}
    if prefix == "Gemma4":
        tokens |= {"has_video_tokens": family in WITH_VISION, "has_audio_tokens": family.endswith("audio")}
    tokenizer = getattr(classes, f"{prefix}Tokenizer")(proto=_vocabulary(generation), **tokens)
    preprocessor = getattr(classes, f"{prefix}CausalLMPreprocessor")(
        tokenizer=tokenizer, sequence_length=1024, **_converters(family)
    )
    model = getattr(classes, f"{prefix}CausalLM")(backbone=backbone, preprocessor=preprocessor)
    model.save_to_preset(str(folder))
    keras.backend.clear_session()
    return folder


def _backbone_arguments(family: str) -> dict[str, Any]:
    import keras_hub

    text = SIZES[WITH_VISION.get(family, family)]
    arguments = {"vocabulary_size": VOCABULARY_SIZE, **text}
    if family.startswith(("gemma3", "gemma4")):
        arguments |= {"image_size": None, "vision_encoder": None}
    if family in WITH_VISION:
        vision = {**_VISION, "output_dim": text["hidden_dim"]}
        if family.startswith("gemma3"):
            encoder = keras_hub.models.Gemma3VisionEncoder(**vision)
        else:
            encoder = keras_hub.models.Gemma4VisionEncoder(**vision, head_dim=8, position_embedding_size=20)
        arguments |= {"image_size": vision["image_size"], "vision_encoder": encoder}
    if family.endswith("audio"):
        from keras_hub.src.models.gemma4.gemma4_audio_encoder import Gemma4AudioEncoder

        arguments["audio_encoder"] = Gemma4AudioEncoder(**_AUDIO, output_dim=text["hidden_dim"])
    return arguments


def _converters(family: str) -> dict[str, Any]:
    """Arguments of the preprocessor for images, video and audio."""
    import keras_hub

    if family not in WITH_VISION:
        return {}
    layers, size = keras_hub.layers, (_VISION["image_size"],) * 2
    if family == "gemma3_vision":
        return {
            "image_converter": layers.Gemma3ImageConverter(image_size=size),
            "num_vision_tokens_per_image": 4,
        }
    patches = {"patch_size": _VISION["patch_size"], "max_soft_tokens": 4, "pooling_kernel_size": 2}
    found = {
        "image_converter": layers.Gemma4ImageConverter(image_size=size, **patches),
        "video_converter": layers.Gemma4VideoConverter(num_frames=2, **patches),
        "num_vision_tokens_per_image": 4,
    }
    if family.endswith("audio"):
        features = _AUDIO["input_feat_size"]
        found |= {
            "audio_converter": layers.Gemma4AudioConverter(num_mels=features, max_audio_length=1),
            "audio_input_feat_size": features,
        }
    return found


def _value(variable: Any) -> Any:
    """The initial value plus noise for vectors; normal numbers of 1 / sqrt(inputs) for matrices.

    Initial zeros and ones would hide mistakes: KerasHub's experts are 0, so that no token needs
    them.
    """
    import numpy as np

    shape = tuple(variable.shape)
    seed = int.from_bytes(hashlib.sha256(variable.path.encode()).digest()[:8], "little")
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype("float32")
    if "moe_router" in variable.path and len(shape) > 1:
        # Its inputs are normalized and small. So experts are chosen with margins, as trained
        # routers choose.
        return 8 * noise
    if len(shape) > 1 and variable.dtype == "float32":
        return noise / math.sqrt(shape[-2])
    initial = np.asarray(variable._initializer(shape, dtype=variable.dtype))
    return initial + 0.2 * noise if variable.dtype == "float32" else initial


@functools.cache
def _vocabulary(generation: str) -> bytes:
    """A SentencePiece model with Gemma's ids, trained on reviews."""
    from kit.data.reviews import load_movie_reviews
    from kit.dev.pretraining import train_vocabulary

    texts = iter([text for text, _ in load_movie_reviews()[:200]])
    return train_vocabulary(
        texts, VOCABULARY_SIZE, treat_whitespace_as_suffix=False, user_defined_symbols=_PIECES[generation]
    )


if __name__ == "__main__":
    from kit.runtime.platform import prepare_environment

    if len(sys.argv) != 3 or sys.argv[1] not in FAMILIES:
        sys.exit(f"usage: python {sys.argv[0]} {'|'.join(FAMILIES)} FOLDER")
    prepare_environment("cpu", 1)
    print(write_tiny_preset(sys.argv[1], Path(sys.argv[2])))
