"""Presets: the bundled one, a folder, or a Gemma from Kaggle or Hugging Face by its name.

A folder has KerasHub's format, or that of Hugging Face's transformers.

A preset is checked before a model is built from it: a mistake then is one sentence, and not a
traceback from inside the libraries.
"""

import ast
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.models import huggingface, kaggle, transformers_format
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings, settings_of_folder
from kit.models.text_only import encoders, text_only_config

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"

#: KerasHub's classes of Gemma 1 and 2, Gemma 3, and Gemma 4.
BACKBONES = ("GemmaBackbone", "Gemma3Backbone", "Gemma4Backbone")


@dataclass(frozen=True)
class Preset:
    """A preset that was found and checked."""

    #: As the user named it.
    name: str
    #: What ``from_preset`` takes.
    location: str
    #: The content of its ``config.json`` without encoders: the class and architecture of the text
    #: model.
    config: dict[str, Any]
    #: Default settings for tuning it.
    settings: FinetuningSettings
    #: Its handle on Kaggle with the version, or its name on Hugging Face with the commit; None for
    #: a folder.
    handle: str | None = None
    #: Whether it was trained on the reviews of the split "pretraining".
    trained_on_reviews: bool = False
    #: Its encoders, which are not loaded: "vision encoder", "audio encoder".
    left_out: tuple[str, ...] = ()


def find_preset(name: str) -> Preset:
    """Find a preset and read its configuration, from the network if necessary.

    The name is ``bundled``, a folder, a name such as ``gemma_7b_en``, a handle ``kaggle://…``, or
    ``hf://owner/model``; the preset's name then has the commit, so that it stays the same model.
    Raises UserError if it is unknown, cannot be downloaded or is damaged.
    """
    if name == BUNDLED:
        preset = _from_folder(name, BUNDLED_FOLDER)
        return Preset(name, preset.location, preset.config, preset.settings, trained_on_reviews=True)
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    if Path(name).is_file():
        raise UserError(f"--preset {name}: this is a file; give a folder in KerasHub's format or that of transformers.")
    if name.startswith(huggingface.SCHEME):
        file, pinned = huggingface.find_config(name)
        config, left_out = _text_model(name, file)
        return Preset(pinned, pinned, config, TUTORIAL_SETTINGS, pinned, left_out=left_out)
    if "/" in name and "://" not in name:
        raise UserError(f"--preset {name}: there is no such folder.")
    return _from_kaggle(name)


def _from_folder(name: str, folder: Path) -> Preset:
    config, left_out = _text_model(name, folder / "config.json")
    _check_files(name, folder)
    return Preset(name, str(folder), config, settings_of_folder(folder), left_out=left_out)


def _text_model(name: str, file: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The configuration of the text model, and the encoders in the file, which it leaves out."""
    config = text_only_config(read_config(name, file))
    return config, encoders(json.loads(file.read_text(encoding="utf-8")))


def _check_files(name: str, folder: Path) -> None:
    """Raise UserError if the vocabulary or weights of a preset are missing or damaged."""
    if transformers_format.has_transformers_config(folder):
        transformers_format.check_folder(name, folder)
    else:
        _check_vocabulary(name, folder)
        _check_weights(name, folder)


def read_config(name: str, file: Path) -> dict[str, Any]:
    """The content of a preset's ``config.json``, in KerasHub's form.

    That of transformers is converted to that of the text model.

    Raises UserError if it is missing, damaged, or not that of a Gemma.
    """
    if not file.is_file():
        raise UserError(
            f"--preset {name}: it has no config.json; a preset is a folder that save_to_preset wrote "
            "(config.json, model.weights.h5, tokenizer.json, assets), or of Hugging Face's transformers "
            "(config.json, model.safetensors, tokenizer.model or tokenizer.json)."
        )
    if transformers_format.has_transformers_config(file.parent):
        return transformers_format.kerashub_config(name, json.loads(file.read_text(encoding="utf-8")))
    config = _parsed(file)
    if config is None:
        raise UserError(
            f"--preset {name}: its config.json is damaged, or neither KerasHub's nor that of transformers: write the "
            "preset again with save_to_preset, or download it again."
        )
    if reason := _why_not_tuned(config):
        raise UserError(f"--preset {name}: {reason}")
    return config


def _why_not_tuned(config: dict[str, Any]) -> str:
    """Why this program cannot tune a model as a language model; empty if it can."""
    sizes, class_name = config["config"], config["class_name"]
    if class_name == "Gemma3nBackbone":
        return transformers_format.GEMMA_3N
    if class_name not in BACKBONES:
        return f"it is a {class_name}; this program tunes Gemma 1, 2, 3 and 4 ({', '.join(BACKBONES)})."
    if sizes.get("is_embedding_model"):
        return "it computes embeddings, and no text: choose a language model, such as gemma3_270m."
    if sizes.get("num_layers", 1) < 1:
        return f"num_layers in its config.json is {sizes['num_layers']}: a model needs at least one decoder block."
    if mode := _quantization(sizes.get("dtype")):
        return (
            f"its weights are quantized ({mode}), and those cannot be trained: give the preset with float weights that "
            "was quantized."
        )
    if 0 < sizes.get("num_layers", 0) <= (sizes.get("num_kv_shared_layers") or 0):
        return transformers_format.ASSISTANT
    return ""


def _quantization(policy: Any) -> str:
    """The mode of the first quantized dtype policy in a configuration, such as "int8"; or empty."""
    if isinstance(policy, str):
        return policy.partition("_from_")[0] if "_from_" in policy else ""
    if not isinstance(policy, dict):
        return ""
    found = policy.get("class_name", "")
    if found.startswith(("Quantized", "GPTQ", "AWQ", "Int4")):
        return str(policy.get("config", {}).get("mode", found))
    return next((mode for value in policy.values() if (mode := _quantization(value))), "")


def _parsed(file: Path) -> dict[str, Any] | None:
    """The content of a ``config.json``; None if it is damaged or not KerasHub's."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        whole = isinstance(config["config"], dict) and isinstance(config["class_name"], str)
    except (ValueError, KeyError, TypeError):
        return None
    return config if whole else None


def _check_vocabulary(name: str, folder: Path) -> None:
    file = folder / "assets" / "tokenizer" / "vocabulary.spm"
    if not file.is_file():
        raise UserError(f"--preset {name}: its vocabulary, assets/tokenizer/vocabulary.spm, is missing.")
    if not transformers_format.is_vocabulary(file):
        raise UserError(
            f"--preset {name}: its vocabulary, assets/tokenizer/vocabulary.spm, is damaged: write or download it again."
        )


def _check_weights(name: str, folder: Path) -> None:
    if not _weights_files(folder):
        raise UserError(f"--preset {name}: its weights, model.weights.h5, are missing.")
    for file in _damaged_weights(folder):
        raise UserError(
            f"--preset {name}: its weights, {file.name}, are damaged or truncated ({file.stat().st_size:,} bytes): "
            "write or download the preset again."
        )


def _weights_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.weights.h5")) or sorted(folder.glob("model*.h5"))


def _damaged_weights(folder: Path) -> Iterator[Path]:
    import h5py

    for file in _weights_files(folder):
        try:
            with h5py.File(file, "r") as weights:
                # Reads the whole structure and no values; opening a truncated file fails.
                weights.visititems(lambda _path, item: getattr(item, "shape", None) and None)
        except OSError:
            yield file


def _from_kaggle(name: str) -> Preset:
    # An unknown name is refused before KerasHub and JAX are imported, which takes seconds.
    if "://" not in name and (names := _names_in_kerashub()) and name not in names:
        raise _unknown(name, names)
    import keras_hub

    known = keras_hub.models.CausalLM.presets
    if "://" not in name and name not in known:
        raise _unknown(name, known)
    entry = known.get(name, {"kaggle_handle": name})
    file = kaggle.download(name, entry["kaggle_handle"], "config.json", entry.get("metadata", {}).get("params"))
    handle = kaggle.versioned_handle(name, entry["kaggle_handle"], file)
    if _parsed(file) is None:
        raise _damaged_download(name, handle, "config.json")
    config, left_out = _text_model(name, file)
    return Preset(name, name, config, TUTORIAL_SETTINGS, handle, left_out=left_out)


def _names_in_kerashub() -> set[str]:
    """The names of all models in KerasHub's source, which is read and not imported."""
    spec = importlib.util.find_spec("keras_hub")
    names: set[str] = set()
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in Path(folder).glob("src/models/*/*_presets.py"):
            for statement in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
                    names.update(str(key.value) for key in statement.value.keys if isinstance(key, ast.Constant))
    return names


def _unknown(name: str, known: Iterable[str]) -> UserError:
    families = ("gemma_", "gemma2_", "gemma3_", "gemma4_")
    shown = ", ".join(one for one in sorted(known) if one.startswith(families) and not one.endswith("_assistant"))
    return UserError(
        f"--preset {name}: neither a folder nor a known name. Choose {BUNDLED}, or from Kaggle one of {shown}."
    )


def download_all(preset: Preset, report: Callable[[str], None] = lambda text: None) -> Preset:
    """Download the missing files of a preset from Kaggle or Hugging Face, and check them.

    ``report`` is called with a sentence about what is downloaded, if anything is. Returns the
    preset with a folder as its location, so that loading needs no network. Raises UserError if the
    download fails, or a file is damaged; the file is deleted, so that the next run downloads it
    again.
    """
    if preset.handle and preset.handle.startswith(huggingface.SCHEME):
        return _download_from_huggingface(preset, preset.handle, report)
    folder = kaggle.download_preset(preset.name, preset.handle, report) if preset.handle else None
    if preset.handle is None or folder is None:
        return preset
    for file in _damaged_weights(folder):
        raise _damaged_download(preset.name, preset.handle, file.name)
    return replace(preset, location=str(folder))


def _download_from_huggingface(preset: Preset, handle: str, report: Callable[[str], None]) -> Preset:
    folder = huggingface.download_model(handle, report)
    damaged = [file.name for file in _damaged_weights(folder)]
    if transformers_format.has_transformers_config(folder):
        damaged = [file for file in [transformers_format.damaged_file(folder)] if file]
    for file in damaged:
        huggingface.delete_damaged(handle, file)
        raise _damaged(preset.name, file, "Hugging Face")
    _check_files(preset.name, folder)
    return replace(preset, location=str(folder))


def _damaged_download(name: str, handle: str, path: str) -> UserError:
    kaggle.delete_damaged(name, handle, path)
    return _damaged(name, path, "Kaggle")


def _damaged(name: str, path: str, source: str) -> UserError:
    return UserError(
        f"{path} of {name} from {source} is damaged, and was deleted: run again to download it. A network that asks "
        "for a login first answers each request with its own page."
    )


def require_memory(preset: Preset, nbytes: int, available: int | None = None) -> None:
    """Refuse a preset that does not fit into memory: the system would kill the process.

    ``nbytes`` are those of the weights. The bytes of the host's memory are read from the system
    unless they are given. Raises UserError if the weights do not fit.
    """
    if available is None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if nbytes > available:
        raise UserError(
            f"{preset.name} has {nbytes / 1e9:.1f} GB of weights, and this machine has {available / 1e9:.1f} GB of "
            f"memory and no accelerator: run it on a TPU v5e-8 (8 chips of 16 GB), or use `--preset {BUNDLED}` here."
        )
