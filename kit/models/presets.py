"""Presets: the bundled one, a folder in KerasHub's format, or a Gemma by its name, from Kaggle.

A preset is looked at before a model is built from it, so that what is wrong with it is one sentence and not a traceback
from three libraries down.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings, settings_of_folder
from kit.runtime.platform import gpu_is_attached, tpu_is_attached

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"

CREDENTIALS_REMEDY = (
    "set KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json into ~/.kaggle (kaggle.com, Settings, API, "
    "Create New Token), or call kagglehub.login()"
)


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
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config["config"], dict) or not isinstance(config["class_name"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"--preset {name}: its config.json is damaged or not KerasHub's; write the preset again with save_to_preset, "
            "or download it again."
        ) from None
    if "Gemma" not in config["class_name"]:
        raise UserError(f"--preset {name}: it is a {config['class_name']}, and this program tunes Gemma models.")
    return config


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
    import h5py

    files = sorted(folder.glob("model*.weights.h5")) or sorted(folder.glob("model*.h5"))
    if not files:
        raise UserError(f"--preset {name}: its weights, model.weights.h5, are missing.")
    for file in files:
        try:
            with h5py.File(file, "r") as weights:
                # Reads all of the structure and none of the values; a truncated file fails when it is opened.
                weights.visititems(lambda _path, item: getattr(item, "shape", None) and None)
        except OSError:
            raise UserError(
                f"--preset {name}: its weights, {file.name}, are damaged or cut off ({file.stat().st_size:,} bytes); "
                "write or download the preset again."
            ) from None


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
    file = download(name, entry["kaggle_handle"], "config.json", entry.get("metadata", {}).get("params"))
    return Preset(name, name, read_config(name, file), TUTORIAL_SETTINGS)


def has_kaggle_credentials() -> bool:
    """Whether Kaggle's client finds credentials, in whichever of its ways.

    Raises:
        UserError: if it finds a file of credentials that it cannot read.

    """
    from kagglehub.config import get_kaggle_credentials

    try:
        # In a notebook on Kaggle, the notebook itself is authorized.
        return get_kaggle_credentials() is not None or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    except ValueError as error:
        raise UserError(f"{error}: download it again from kaggle.com, Settings, API, Create New Token.") from None


def download(name: str, handle: str, path: str, parameters: int | None = None) -> Path:
    """Fetch one file of a Kaggle preset, or find it in the cache.

    Args:
        name: The preset's name, for messages.
        handle: ``kaggle://owner/model/keras/variant[/version]``.
        path: The file in the preset.
        parameters: How many it has, for messages, if known.

    Raises:
        UserError: without credentials, without the licence accepted, without a network, or if it does not exist.

    """
    import kagglehub
    import requests
    from kagglehub.cache import Cache
    from kagglehub.exceptions import KaggleApiHTTPError, UnauthenticatedError
    from kagglehub.handle import parse_model_handle

    bare = handle.removeprefix("kaggle://")
    try:
        parsed = parse_model_handle(bare)
    except ValueError:
        raise UserError(f"--preset {name}: a Kaggle handle is kaggle://owner/model/keras/variant/version.") from None
    page = f"https://www.kaggle.com/models/{parsed.owner}/{parsed.model}"
    cached = Cache().load_from_cache(parsed, path) if parsed.is_versioned() else None
    if cached:
        return Path(cached)
    if not has_kaggle_credentials():
        size = f", and for its {parameters * 4 / 1e9:.1f} GB of float32 weights an accelerator" if parameters else ""
        attached = "" if tpu_is_attached() or gpu_is_attached() or not parameters else " (none is attached here)"
        raise UserError(
            f"{name} needs a Kaggle account with Gemma's licence accepted{size}{attached}, and no Kaggle credentials were "
            f"found: accept the licence at {page}, then {CREDENTIALS_REMEDY}."
        )
    try:
        return Path(kagglehub.model_download(bare, path))
    except (KaggleApiHTTPError, UnauthenticatedError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 401)
        if status == 401:
            raise UserError(f"Kaggle refused the credentials that were found: {CREDENTIALS_REMEDY}.") from None
        if status == 403:
            raise UserError(
                f"Kaggle does not give {name} to this account: accept the licence at {page} and run again."
            ) from None
        if status == 404:
            raise UserError(f"Kaggle has no {path} of {name} ({handle}): check the name and the version.") from None
        raise UserError(f"Kaggle answered with status {status} for {name}: run again later.") from None
    except requests.exceptions.RequestException as error:
        raise UserError(
            f"Kaggle could not be reached for {name} ({type(error).__name__}): check the network, or give a folder that "
            f"has the preset. `--preset {BUNDLED}` needs no network."
        ) from None


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
