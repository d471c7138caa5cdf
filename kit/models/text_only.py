"""The text part of a preset whose model also takes images, video or audio.

KerasHub numbers the layers of a backbone in its file of weights class by class. Without the
encoders, the layers for texts keep their names there. So a text-only backbone loads from the
weights of the complete model, and reads only its own variables.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ENCODERS = ("vision_encoder", "audio_encoder")
#: Entries of a configuration, by KerasHub or transformers -> what they are to a user.
_NAMES = dict.fromkeys(("vision_encoder", "vision_config"), "vision encoder") | dict.fromkeys(
    ("audio_encoder", "audio_config"), "audio encoder"
)
#: Entries that say what the encoders take or return; a text-only backbone has None there.
_OF_ENCODERS = ("image_size", "num_audio_tokens_per_clip")
#: Entries of a preprocessor's configuration, and the methods with ``load_`` that make them.
_CONVERTERS = ("image_converter", "audio_converter", "video_converter")


def encoders(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The encoders in a ``config.json`` of KerasHub or transformers; a text-only model has none."""
    content = config.get("config", config)
    return tuple(name for key, name in _NAMES.items() if content.get(key) is not None)


def text_only_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a ``config.json`` without encoders; unchanged if it has none."""
    return _without(config, (*_ENCODERS, *_OF_ENCODERS)) if encoders(config) else dict(config)


@contextlib.contextmanager
def text_only_presets() -> Iterator[None]:
    """Make ``from_preset`` load the text part of a preset that KerasHub wrote.

    The weights of the encoders are not read. Other presets load as always.
    """
    from keras_hub.src.utils import preset_utils

    loader = preset_utils.KerasPresetLoader
    changed: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        preset_utils.CONFIG_FILE: text_only_config,
        preset_utils.PREPROCESSOR_CONFIG_FILE: _text_only_preprocessor,
        preset_utils.TASK_CONFIG_FILE: _text_only_task,
    }
    load_json = preset_utils.load_json

    def load_text_only_json(preset: str, config_file: str = preset_utils.CONFIG_FILE) -> dict[str, Any]:
        content = load_json(preset, config_file)
        # A config.json that transformers wrote has no class.
        return changed[config_file](content) if config_file in changed and "class_name" in content else content

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(preset_utils, "load_json", load_text_only_json))
        # A preset without a preprocessor.json: KerasHub makes the preprocessor from its converters.
        for converter in _CONVERTERS:
            stack.enter_context(replaced(loader, f"load_{converter}", lambda self, cls, **kwargs: None))
        yield


def _text_only_preprocessor(content: Mapping[str, Any]) -> dict[str, Any]:
    return _without(content, _CONVERTERS)


def _text_only_task(content: Mapping[str, Any]) -> dict[str, Any]:
    parts = {"backbone": text_only_config, "preprocessor": _text_only_preprocessor}
    config = content["config"]
    texts = {name: change(config[name]) for name, change in parts.items() if isinstance(config.get(name), dict)}
    return {**content, "config": {**config, **texts}}


def _without(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A serialized object with None for these entries of its configuration, where it has them."""
    # Deserialization changes what it is given.
    found = copy.deepcopy(dict(content))
    found["config"].update({name: None for name in names if name in found["config"]})
    return found


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute has another value in this context."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
