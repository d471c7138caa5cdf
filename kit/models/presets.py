"""Presets: the bundled one, a folder in KerasHub's format, or a Gemma by its name, from Kaggle.

A preset is looked at before a model is built from it, so that what is wrong with it is one sentence and not a traceback
from three libraries down.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.models import kaggle
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings, settings_of_folder

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Preset:
    """A preset that was found and looked at."""

    #: As it was asked for.
    name: str
    #: What ``from_preset`` takes.
    location: str
    #: The content of its ``config.json``: the backbone's class and architecture.
    config: dict[str, Any]
    #: What it is tuned with unless told otherwise.
    settings: FinetuningSettings
    #: Where it is on Kaggle, with its version; None for a folder.
    handle: str | None = None
    #: Whether its training has seen the reviews that are set aside for that.
    trained_on_reviews: bool = False

    @property
    def architecture(self) -> dict[str, Any]:
        """The backbone's ``get_config()``."""
        return self.config["config"]


def find_preset(name: str) -> Preset:
    """Find a preset and read its configuration, over the network if need be.

    Args:
        name: ``bundled``, a folder, a name such as ``gemma_7b_en``, or a handle ``kaggle://…``.

    Raises:
        UserError: if it is unknown, out of reach or damaged.

    """
    if name == BUNDLED:
        preset = _from_folder(name, BUNDLED_FOLDER)
        return Preset(name, preset.location, preset.config, preset.settings, trained_on_reviews=True)
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    if Path(name).is_file():
        raise UserError(f"--preset {name}: this is a file, and a folder in KerasHub's preset format is needed.")
    if "/" in name and "://" not in name:
        raise UserError(f"--preset {name}: there is no such folder.")
    return _from_kaggle(name)


def _from_folder(name: str, folder: Path) -> Preset:
    config = read_config(name, folder / "config.json")
    _check_vocabulary(name, folder)
    _check_weights(name, folder)
    return Preset(name, str(folder), config, settings_of_folder(folder))


def read_config(name: str, file: Path) -> dict[str, Any]:
    """The content of a preset's ``config.json``.

    Raises:
        UserError: if it is not there, damaged, or not that of a Gemma.

    """
    if not file.is_file():
        raise UserError(
            f"--preset {name}: it has no config.json; a preset is a folder that save_to_preset wrote "
            "(config.json, model.weights.h5, tokenizer.json, assets)."
        )
    config = _parsed(file)
    if config is None:
        raise UserError(
            f"--preset {name}: its config.json is damaged or not KerasHub's; write the preset again with save_to_preset, "
            "or download it again."
        )
    if "Gemma" not in config["class_name"]:
        raise UserError(f"--preset {name}: it is a {config['class_name']}, and this program tunes Gemma models.")
    return config


def _parsed(file: Path) -> dict[str, Any] | None:
    """The content of a ``config.json``; None if it is damaged or not KerasHub's."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        whole = isinstance(config["config"], dict) and isinstance(config["class_name"], str)
    except (ValueError, KeyError, TypeError):
        return None
    return config if whole else None


def _check_vocabulary(name: str, folder: Path) -> None:
    import sentencepiece

    file = folder / "assets" / "tokenizer" / "vocabulary.spm"
    if not file.is_file():
        raise UserError(f"--preset {name}: its vocabulary, assets/tokenizer/vocabulary.spm, is missing.")
    try:
        sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes())
    except RuntimeError:
        raise UserError(
            f"--preset {name}: its vocabulary, assets/tokenizer/vocabulary.spm, is damaged; write or download it again."
        ) from None


def _check_weights(name: str, folder: Path) -> None:
    if not _weights_files(folder):
        raise UserError(f"--preset {name}: its weights, model.weights.h5, are missing.")
    for file in _damaged_weights(folder):
        raise UserError(
            f"--preset {name}: its weights, {file.name}, are damaged or cut off ({file.stat().st_size:,} bytes); "
            "write or download the preset again."
        )


def _weights_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.weights.h5")) or sorted(folder.glob("model*.h5"))


def _damaged_weights(folder: Path) -> Iterator[Path]:
    import h5py

    for file in _weights_files(folder):
        try:
            with h5py.File(file, "r") as weights:
                # Reads all of the structure and none of the values; a truncated file fails when it is opened.
                weights.visititems(lambda _path, item: getattr(item, "shape", None) and None)
        except OSError:
            yield file


def _from_kaggle(name: str) -> Preset:
    import keras_hub

    known = keras_hub.models.CausalLM.presets
    gemma_names = sorted(preset for preset in known if "gemma" in preset)
    if "://" not in name and name not in known:
        shown = ", ".join(preset for preset in gemma_names if preset.startswith(("gemma_", "gemma2_", "gemma3_")))
        raise UserError(
            f"--preset {name}: neither a folder nor a known name. There is {BUNDLED}, and from Kaggle {shown}."
        )
    entry = known.get(name, {"kaggle_handle": name})
    file = kaggle.download(name, entry["kaggle_handle"], "config.json", entry.get("metadata", {}).get("params"))
    handle = kaggle.versioned_handle(name, entry["kaggle_handle"], file)
    if _parsed(file) is None:
        raise _came_damaged(name, handle, "config.json")
    return Preset(name, name, read_config(name, file), TUTORIAL_SETTINGS, handle)


def download_all(preset: Preset, tell: Callable[[str], None] = lambda text: None) -> Preset:
    """Fetch the files of a preset that are not here yet, if it is one from Kaggle, and look at them.

    Args:
        preset: What :func:`find_preset` found.
        tell: Is told what is fetched, if anything is.

    Returns:
        The preset with a folder as its location, so that loading it asks Kaggle for nothing.

    Raises:
        UserError: if it does not arrive, or not whole; what is damaged is deleted, and the next run fetches it anew.

    """
    folder = kaggle.fetch(preset.name, preset.handle, tell) if preset.handle else None
    if preset.handle is None or folder is None:
        return preset
    for file in _damaged_weights(folder):
        raise _came_damaged(preset.name, preset.handle, file.name)
    return replace(preset, location=str(folder))


def _came_damaged(name: str, handle: str, path: str) -> UserError:
    kaggle.forget(name, handle, path)
    return UserError(
        f"{path} of {name} is damaged as it came from Kaggle, and was deleted: run again, which fetches it anew; a network that "
        "asks for a login first answers everything with its own page."
    )


def require_memory(preset: Preset, nbytes: int, available: int | None = None) -> None:
    """Refuse to load a preset that the host's memory cannot hold, which would end in a kill without a word.

    Args:
        preset: For the message.
        nbytes: Bytes of its weights.
        available: Bytes of the host's memory; asked of the system if None.

    Raises:
        UserError: if there is less memory than weights.

    """
    if available is None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if nbytes > available:
        raise UserError(
            f"{preset.name} has {nbytes / 1e9:.1f} GB of weights, and this machine has {available / 1e9:.1f} GB of memory and "
            f"no accelerator: run it on a TPU v3-8 (8 cores of 16 GB), or use `--preset {BUNDLED}` here."
        )
