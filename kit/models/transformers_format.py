"""Gemma models in the format of Hugging Face's transformers: configuration, tokenizer and weights.

KerasHub's own converters map the names; this module adds what they lack. They take a vision model
as a whole, and this kit trains its text part. They need keys that transformers does not write if
the value is its default. They read each tensor as a whole.
"""

import contextlib
import json
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kit.errors import UserError
from kit.models.text_only import replaced

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"

#: Model type of the text model -> the module of KerasHub that converts it.
_CONVERTERS = {
    "gemma": "convert_gemma",
    "gemma2": "convert_gemma",
    "gemma3_text": "convert_gemma3",
    "gemma4_text": "convert_gemma4",
}
#: Model type of a model of texts and images -> that of its text model.
_TEXT_MODELS = {"gemma3": "gemma3_text", "gemma4": "gemma4_text"}

#: Why a Gemma 3n, and an assistant of a Gemma 4, cannot be tuned.
GEMMA_3N = (
    "it is a Gemma 3n, whose layers have other names and shapes: neither LoRA on query and value nor the layouts match "
    "any. Choose its successor, gemma4_2b or gemma4_4b."
)
ASSISTANT = "it is an assistant, which drafts text for a Gemma 4 and has no keys of its own: tune that Gemma 4."
_NOT_TUNED = {"gemma3n": GEMMA_3N, "gemma3n_text": GEMMA_3N, "gemma4_assistant": ASSISTANT}

#: Defaults of transformers 5 (``Gemma3TextConfig``, ``Gemma4TextConfig``) for keys that KerasHub's
#: converters require, or for which they have another default.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    },
    "gemma4_text": {
        "vocab_size": 262_144,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "global_head_dim": 512,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262_144,
        "sliding_window": 512,
        "rope_parameters": {
            "sliding_attention": {"rope_theta": 10_000.0},
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
        },
    },
}

#: What each text model has.
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)

#: Type of a tensor in a file -> its NumPy type.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def is_transformers_config(content: Any) -> bool:
    """Whether the content of a ``config.json`` is one that transformers wrote."""
    return isinstance(content, dict) and isinstance(content.get("model_type"), str) and "class_name" not in content


def is_json(file: Path) -> bool:
    """Whether a file has JSON."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def has_transformers_config(folder: Path) -> bool:
    """Whether a folder has a ``config.json`` that transformers wrote."""
    file = folder / "config.json"
    try:
        return file.is_file() and is_transformers_config(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        return False


def text_config(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the text model, with all keys that KerasHub's converter needs.

    Raises UserError if the model is not a Gemma that generates text, or if it is quantized.
    """
    kind = content["model_type"]
    if "gemma" not in kind:
        raise UserError(f"--preset {name}: it is a {kind}; this program tunes Gemma models only.")
    if kind in _NOT_TUNED:
        raise UserError(f"--preset {name}: {_NOT_TUNED[kind]}")
    text, text_kind = dict(content), kind
    if kind in _TEXT_MODELS:
        text_kind = _TEXT_MODELS[kind]
        text = {"architectures": content.get("architectures"), **(content.get("text_config") or {})}
    if text_kind not in _CONVERTERS:
        raise UserError(
            f"--preset {name}: it is a {kind}, which KerasHub cannot convert to a text model; use a model of type "
            f"{', '.join([*_CONVERTERS, *_TEXT_MODELS])}."
        )
    if content.get("quantization_config") or text.get("quantization_config"):
        raise UserError(
            f"--preset {name}: its weights are quantized, and KerasHub's converters take none of those; use the model "
            "that was quantized."
        )
    if text.get("use_bidirectional_attention") not in (None, False, "vision"):
        raise UserError(f"--preset {name}: it makes embeddings, and does not generate text; use another Gemma.")
    text = {**_DEFAULTS.get(text_kind, {}), **text, "model_type": text_kind}
    text["architectures"] = text.get("architectures") or [text_kind]
    if text_kind == "gemma4_text":
        _complete_gemma4(text)
    return text


def _complete_gemma4(text: dict[str, Any]) -> None:
    """Add what transformers derives from other keys of a Gemma 4."""
    layers = text.get("num_hidden_layers", 0)
    text["layer_types"] = text.get("layer_types") or [
        "sliding_attention" if (block + 1) % 6 else "full_attention" for block in range(layers)
    ]
    # A newer form: the values of single blocks, by their number.
    for block, values in (text.get("per_layer_config") or {}).items():
        if text["layer_types"][int(block)] == "full_attention":
            text["global_head_dim"] = values.get("head_dim", text["head_dim"])
            text["num_global_key_value_heads"] = values.get("num_key_value_heads")
    if not text.get("attention_k_eq_v"):
        text["num_global_key_value_heads"] = None


def kerashub_config(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of KerasHub's ``config.json`` for the text model.

    Raises UserError as :func:`text_config`, and if a size is missing.
    """
    text = text_config(name, content)
    for key in _SIZES:
        size = text.get(key)
        if not isinstance(size, int) or size < 1:
            found = "missing" if key not in text else repr(size)
            raise UserError(
                f"--preset {name}: {key} in its config.json is {found}, and must be a positive whole number: download "
                "it again."
            )
    converter = _converter(text["model_type"])
    try:
        sizes = converter.convert_backbone_config(text)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--preset {name}: its config.json is not complete ({type(error).__name__}: {error}): download it again."
        ) from None
    cls = converter.backbone_cls
    return {
        "module": cls.__module__,
        "class_name": cls.__name__,
        "registered_name": f"keras_hub>{cls.__name__}",
        "config": {"name": cls.__name__.replace("Backbone", "_backbone").lower(), "trainable": True, **sizes},
    }


def _converter(kind: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"keras_hub.src.utils.transformers.{_CONVERTERS[kind]}")


def check_folder(name: str, folder: Path) -> None:
    """Raise UserError if the tokenizer or weights of a model are missing or damaged."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = text_config(name, content)
    _check_tokenizer(name, folder, text["model_type"])
    tensors = _Tensors(name, folder)
    tensors.close()
    is_tied = content.get("tie_word_embeddings", text.get("tie_word_embeddings", True))
    if not is_tied and any(tensor.endswith("lm_head.weight") for tensor in tensors.files):
        raise UserError(
            f"--preset {name}: it has an lm_head of its own, and KerasHub's Gemmas use their embeddings there: use a "
            "model with tied embeddings."
        )


#: Model type of a text model -> the files that KerasHub makes a tokenizer from: one is enough.
_TOKENIZERS = {
    "gemma": ("tokenizer.model",),
    "gemma2": ("tokenizer.model",),
    "gemma3_text": ("tokenizer.model", "tokenizer.json"),
    "gemma4_text": ("tokenizer.json",),
}


def is_vocabulary(file: Path) -> bool:
    """Whether a file has a SentencePiece model, in either format."""
    import sentencepiece

    try:
        sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes())
    except RuntimeError:
        return False
    return True


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder in transformers' format has a tokenizer that KerasHub takes."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    return any((folder / file).is_file() for file in _TOKENIZERS.get(_TEXT_MODELS.get(kind, kind), ()))


def _check_tokenizer(name: str, folder: Path, kind: str) -> None:
    if not has_tokenizer(folder):
        raise UserError(
            f"--preset {name}: it has no {' and no '.join(_TOKENIZERS[kind])}, which KerasHub needs for a {kind}: copy "
            "it from the model that this one was made from."
        )
    model, fast = folder / "tokenizer.model", folder / "tokenizer.json"
    if kind != "gemma4_text" and model.is_file():
        if not is_vocabulary(model):
            raise UserError(f"--preset {name}: its vocabulary, tokenizer.model, is damaged: download it again.")
        return
    try:
        vocabulary = json.loads(fast.read_text(encoding="utf-8"))["model"]
        whole = isinstance(vocabulary["vocab"], dict) and isinstance(vocabulary["merges"], list)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(
            f"--preset {name}: its tokenizer.json is damaged, or not a Gemma's (a vocabulary with merges): download it "
            "again."
        )


def files_of_index(index: Path) -> list[str]:
    """The names of the files that an index lists. Raises ValueError if it is damaged."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        # KerasHub's index has lists of names.
        return sorted({name for each in named for name in ([each] if isinstance(each, str) else each)})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no weight_map: {error}") from error


def weights_files(folder: Path) -> list[str]:
    """The names of the files with weights. Raises ValueError if their index is damaged."""
    return files_of_index(folder / INDEX) if (folder / INDEX).is_file() else [WEIGHTS]


def damaged_file(folder: Path) -> str | None:
    """The name of a damaged file with weights, or None. Reads the heads of the files."""
    import safetensors

    try:
        files = weights_files(folder)
    except ValueError:
        return INDEX
    for file in files:
        if (folder / file).is_file():
            try:
                with safetensors.safe_open(folder / file, framework="np"):
                    pass
            except safetensors.SafetensorError:
                return file
    return None


class _Tensors:
    """The tensors of a model as arrays whose values are read from the files when they are used."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        #: Tensor -> its file, type, shape, and first byte.
        self.files: dict[str, tuple[Path, str, tuple[int, ...], int]] = {}
        self._maps: dict[Path, mmap.mmap] = {}
        if damaged := damaged_file(folder):
            size = (folder / damaged).stat().st_size
            raise UserError(f"--preset {name}: {damaged} is damaged or truncated ({size:,} bytes): download it again.")
        for file in weights_files(folder):
            if not (folder / file).is_file():
                raise UserError(f"--preset {name}: its weights, {file}, are missing: download them again.")
            self._read_head(folder / file)

    def _read_head(self, file: Path) -> None:
        # `safe_open` has checked the file; it does not give a tensor's position.
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(length))
        for tensor, entry in head.items():
            if tensor != "__metadata__":
                self.files[tensor] = file, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]

    def array(self, tensor: str) -> np.ndarray:
        """A view of a tensor in its file. Raises KeyError if there is none."""
        import ml_dtypes  # noqa: F401  # gives NumPy the type bfloat16

        file, dtype, shape, first = self.files[tensor]
        if dtype not in _DTYPES:
            raise ValueError(f"{tensor} has the type {dtype}; only {', '.join(_DTYPES)} can be trained")
        return np.frombuffer(self._map(file), _DTYPES[dtype], math.prod(shape), first).reshape(shape)

    def _map(self, file: Path) -> mmap.mmap:
        if file not in self._maps:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                self._maps[file] = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)
        return self._maps[file]

    def forget(self, file: Path) -> None:
        """Let the system take back the memory into which it has read a file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map(file).madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Forget the files. Arrays that are still used keep them open."""
        self._maps.clear()


class _Slices:
    """An array of which a variable takes slices, each a copy in memory."""

    def __init__(self, array: np.ndarray, forget: Callable[[], None]) -> None:
        self.array = array
        self._forget = forget
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        found = np.array(self.array[index], order="C")
        self._forget()
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, order="C")


def _sliced_loader(base: type) -> type:
    """KerasHub's loader of safetensors, reading slices and finding tensors by their exact names."""
    from keras_hub.src.utils.preset_utils import get_file

    class SlicedLoader(base):
        def __init__(self, preset: str, prefix: str | None = None, fname: str | None = None) -> None:
            super().__init__(preset, prefix, fname)
            self.prefix: str | None = prefix
            # The preset may be hf://owner/model: KerasHub's own way then downloads each file.
            files = set(self.safetensor_config["weight_map"].values()) if self.safetensor_config else {WEIGHTS}
            (folder,) = {Path(get_file(preset, file)).parent for file in files}
            self.tensors = _Tensors(preset, folder)
            self.callback(self.tensors.close)

        def get_prefixed_key(self, hf_weight_key: str, dict_like: Mapping[str, Any]) -> str:
            """Only the embeddings may have a prefix that is not known yet; KerasHub's takes any."""
            for name in (hf_weight_key, (self.prefix or "") + hf_weight_key):
                if name in dict_like:
                    return name
            embeddings = [name for name in dict_like if name.endswith(f".{hf_weight_key}")]
            if hf_weight_key.endswith("embed_tokens.weight") and len(embeddings) == 1:
                self.prefix = embeddings[0].removesuffix(hf_weight_key)
                return embeddings[0]
            raise KeyError(f"{hf_weight_key} is not among the weights")

        def get_tensor(self, hf_weight_key: str) -> np.ndarray:
            return self.tensors.array(self.get_prefixed_key(hf_weight_key, self.tensors.files))

        def port_weight(self, keras_variable: Any, hf_weight_key: str, hook_fn: Callable | None = None) -> None:
            tensor = self.get_tensor(hf_weight_key)
            if hook_fn:
                # Transposes, reshapes and cuts: views, which read nothing.
                tensor = hook_fn(tensor, list(keras_variable.shape))
            file = self.tensors.files[self.get_prefixed_key(hf_weight_key, self.tensors.files)][0]
            keras_variable.assign(_Slices(tensor, lambda: self.tensors.forget(file)))

    return SlicedLoader


@contextlib.contextmanager
def text_models() -> Iterator[None]:
    """Make ``from_preset`` load the text part of a folder in transformers' format, by slices.

    With :func:`kit.models.sharded_loading.load_slice_by_slice`, each device reads its own slices
    from the files.
    """
    from keras_hub.src.utils.transformers import preset_loader

    loader = preset_loader.TransformersPresetLoader
    initialize = loader.__init__

    def initialize_text_model(self: Any, preset: str, config: dict[str, Any]) -> None:
        kind = config["model_type"]
        initialize(self, preset, text_config(preset, config) if kind in {*_CONVERTERS, *_TEXT_MODELS} else config)

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(loader, "__init__", initialize_text_model))
        stack.enter_context(replaced(preset_loader, "SafetensorLoader", _sliced_loader(preset_loader.SafetensorLoader)))
        # KerasHub's read the processor_config.json of images and videos, also for a text model.
        stack.enter_context(replaced(loader, "load_preprocessor", preset_loader.PresetLoader.load_preprocessor))
        for kind in ("image", "audio", "video"):
            stack.enter_context(replaced(loader, f"load_{kind}_converter", lambda self, cls, **kwargs: None))
        yield
