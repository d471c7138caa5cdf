"""Tiny Gemma models in the format of transformers, written from KerasHub's with random weights.

The names and shapes of tensors are those of transformers' checkpoints. The mapping here has the
other direction than that of KerasHub's converters, and does not use them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from kit.models.presets import BUNDLED_FOLDER
from kit.models.transformers_format import kerashub_config

VOCABULARY = BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm"
#: Tokens that Gemma 4's tokenizer looks up.
GEMMA4_TOKENS = (
    *(f"<{token}>" for kind in ("image", "audio", "video") for token in (f"|{kind}", f"|{kind}|", f"{kind}|")),
    # So that the tokenizer has as many tokens as the model.
    *(f"<unused{number}>" for number in range(23)),
)
_TEXT = {"vocab_size": 2048, "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 56, "head_dim": 12}
_GEMMA3 = {
    **_TEXT,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 12,
    "sliding_window": 16,
    "rms_norm_eps": 1e-6,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
}
_GEMMA4 = {
    **_TEXT,
    "model_type": "gemma4_text",
    "vocab_size": 2080,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "global_head_dim": 20,
    "sliding_window": 16,
    "final_logit_softcapping": 30.0,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
}
#: Family -> the content of its ``config.json``.
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma": {
        **_TEXT,
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "gemma2": {
        **_TEXT,
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "query_pre_attn_scalar": 12,
        "sliding_window": 16,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    },
    "gemma3_text": {**_GEMMA3, "architectures": ["Gemma3ForCausalLM"]},
    "gemma3": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": _GEMMA3,
        "vision_config": {"image_size": 28, "patch_size": 14, "model_type": "siglip_vision_model"},
    },
    # As E2B: embeddings of each layer, and keys and values that later blocks share.
    "gemma4": {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "text_config": {
            **_GEMMA4,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 2080,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
        },
        "vision_config": {"model_type": "gemma4_vision"},
        "audio_config": {"model_type": "gemma4_audio"},
    },
    # As 26B-A4B: experts, and values that are the keys.
    "gemma4_experts": {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "text_config": {
            **_GEMMA4,
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 24,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
        },
        "vision_config": {"model_type": "gemma4_vision"},
    },
}
#: What precedes the names of the text model's tensors, in the checkpoints of each family.
PREFIXES = {
    "gemma": "model.",
    "gemma2": "model.",
    "gemma3_text": "model.",
    "gemma3": "language_model.model.",
    "gemma4": "model.language_model.",
    "gemma4_experts": "model.language_model.",
}


def random_backbone(family: str, seed: int = 0) -> Any:
    """KerasHub's backbone of a family's text model, with random weights, also in its norms."""
    config = kerashub_config(family, CONFIGS[family])
    backbone = keras.saving.deserialize_keras_object(config)
    random = np.random.default_rng(seed)
    for variable in backbone.variables:
        variable.assign(0.2 * random.standard_normal(variable.shape) + ("scal" in variable.path))
    return backbone


def logits(backbone: Any) -> np.ndarray:
    """Logits of two sequences of 24 tokens, longer than the sliding window."""
    tokens = np.random.default_rng(1).integers(4, 2000, (2, 24))
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    if any(tensor.name == "position_ids" for tensor in backbone.inputs):
        inputs["position_ids"] = np.broadcast_to(np.arange(24), (2, 24))
    return np.asarray(backbone.token_embedding(backbone(inputs), reverse=True))


def write_model(folder: Path, family: str, backbone: Any = None, dtype: str = "float32", shards: int = 1) -> Any:
    """Write a model as transformers does; returns the backbone that it was written from."""
    backbone = backbone or random_backbone(family)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[family]))
    write_tokenizer(folder, family)
    tensors = tensors_of(family, backbone)
    if dtype != "float32":
        import ml_dtypes

        tensors = {name: tensor.astype(getattr(ml_dtypes, dtype)) for name, tensor in tensors.items()}
    write_weights(folder, tensors, shards)
    return backbone


def write_weights(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1) -> None:
    """One file, or several with their index."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    names, weight_map = sorted(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        mine = names[number::shards]
        save_file({name: tensors[name] for name in mine}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(mine, file)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return None


def tensors_of(family: str, backbone: Any) -> dict[str, np.ndarray]:
    """The backbone's weights under transformers' names, and some of a vision tower."""
    tensors = {"embed_tokens.weight": backbone.token_embedding.embeddings, "norm.weight": backbone.layer_norm.scale}
    if getattr(backbone, "hidden_size_per_layer_input", 0):
        tensors["embed_tokens_per_layer.weight"] = backbone.get_layer("per_layer_token_embedding").embeddings
        tensors["per_layer_model_projection.weight"] = _transposed(
            backbone.get_layer("per_layer_model_projection").kernel
        )
        tensors["per_layer_projection_norm.weight"] = backbone.get_layer("per_layer_projection_norm").scale
    for number in range(backbone.num_layers):
        block = backbone.get_layer(f"decoder_block_{number}")
        tensors |= {f"layers.{number}.{name}": tensor for name, tensor in _block(family, block).items()}
    found = {PREFIXES[family] + name: np.asarray(tensor) for name, tensor in tensors.items()}
    if "vision_config" in CONFIGS[family]:
        # Names that end as those of the text model do.
        found["model.vision_tower.encoder.layers.0.mlp.up_proj.weight"] = np.ones((3, 5), "float32")
        found["vision_tower.vision_model.embeddings.patch_embedding.weight"] = np.ones((3, 5), "float32")
    return found


def _transposed(kernel: Any) -> np.ndarray:
    return np.asarray(kernel).swapaxes(-1, -2)


def _block(family: str, block: Any) -> dict[str, Any]:
    attention = block.attention
    tensors: dict[str, Any] = {
        "input_layernorm.weight": block.pre_attention_norm.scale,
        "mlp.gate_proj.weight": _transposed(block.gating_ffw.kernel),
        "mlp.up_proj.weight": _transposed(block.gating_ffw_2.kernel),
        "mlp.down_proj.weight": _transposed(block.ffw_linear.kernel),
    }
    for name, layer in (("q", attention.query_dense), ("k", attention.key_dense), ("v", attention.value_dense)):
        if layer is not None:
            # (heads, hidden, head size) -> (heads x head size, hidden)
            kernel = _transposed(layer.kernel)
            tensors[f"self_attn.{name}_proj.weight"] = kernel.reshape(-1, kernel.shape[-1])
    kernel = np.asarray(attention.output_dense.kernel)
    tensors["self_attn.o_proj.weight"] = kernel.reshape(-1, kernel.shape[-1]).T
    if family == "gemma":
        return tensors | {"post_attention_layernorm.weight": block.pre_ffw_norm.scale}
    tensors["post_attention_layernorm.weight"] = block.post_attention_norm.scale
    tensors["pre_feedforward_layernorm.weight"] = block.pre_ffw_norm.scale
    tensors["post_feedforward_layernorm.weight"] = block.post_ffw_norm.scale
    if family == "gemma2":
        return tensors
    for name, layer in (("q", attention.query_norm), ("k", attention.key_norm)):
        if layer is not None:
            tensors[f"self_attn.{name}_norm.weight"] = layer.scale
    return tensors if family.startswith("gemma3") else tensors | _gemma4_block(block)


def _gemma4_block(block: Any) -> dict[str, Any]:
    tensors: dict[str, Any] = {"layer_scalar": np.asarray(block.layer_scalar).reshape(1)}
    if block.hidden_size_per_layer_input:
        tensors["per_layer_input_gate.weight"] = _transposed(block.per_layer_input_gate.kernel)
        tensors["per_layer_projection.weight"] = _transposed(block.per_layer_up_proj.kernel)
        tensors["post_per_layer_input_norm.weight"] = block.post_per_layer_input_norm.scale
    if block.enable_moe_block:
        bank, router = block.moe_expert_bank, block.moe_router
        gate_and_up = np.concatenate([_transposed(bank.gate_proj), _transposed(bank.up_proj)], axis=1)
        tensors |= {
            "post_feedforward_layernorm_1.weight": block.post_ffw_norm_dense.scale,
            "pre_feedforward_layernorm_2.weight": block.pre_ffw_norm_moe.scale,
            "post_feedforward_layernorm_2.weight": block.post_ffw_norm_moe_path.scale,
            "router.scale": router.per_dim_scale,
            "router.proj.weight": _transposed(router.proj.kernel),
            "router.per_expert_scale": bank.per_expert_scale,
            "experts.gate_up_proj": gate_and_up,
            "experts.down_proj": _transposed(bank.down_proj),
        }
    return tensors


def write_tokenizer(folder: Path, family: str) -> None:
    """``tokenizer.json`` for a Gemma 4, ``tokenizer.model`` for others."""
    if family.startswith("gemma4"):
        (folder / "tokenizer.json").write_text(json.dumps(fast_tokenizer(GEMMA4_TOKENS)))
    else:
        shutil.copyfile(VOCABULARY, folder / "tokenizer.model")


def fast_tokenizer(more_tokens: tuple[str, ...] = ()) -> dict[str, Any]:
    """The bundled preset's vocabulary as the content of a ``tokenizer.json``."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(VOCABULARY))
    vocabulary = {pieces.IdToPiece(number): number for number in range(pieces.GetPieceSize())}
    merges = []
    for piece, number in vocabulary.items():
        if pieces.IsControl(number) or pieces.IsUnknown(number) or pieces.IsByte(number):
            continue
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        found = [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += [(-pieces.GetScore(number), vocabulary[a], vocabulary[b], [a, b]) for a, b in found]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *more_tokens]
    vocabulary |= {token: len(vocabulary) + number for number, token in enumerate(more_tokens)}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": vocabulary[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in special
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [pair for *_, pair in sorted(merges)],
        },
    }


def write_bundled_model(folder: Path) -> Path:
    """The bundled preset in transformers' format: a Gemma that really writes."""
    backbone = keras_hub.models.Backbone.from_preset(str(BUNDLED_FOLDER))
    sizes = json.loads((BUNDLED_FOLDER / "config.json").read_text())["config"]
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "vocab_size": sizes["vocabulary_size"],
        "num_hidden_layers": sizes["num_layers"],
        "num_attention_heads": sizes["num_query_heads"],
        "num_key_value_heads": sizes["num_key_value_heads"],
        "hidden_size": sizes["hidden_dim"],
        "intermediate_size": sizes["intermediate_dim"] // 2,
        "head_dim": sizes["head_dim"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, "gemma")
    write_weights(folder, tensors_of("gemma", backbone))
    return folder
