"""What files of weights hold for each variable of a model, read without Keras' own readers.

Keras says which entry belongs to which variable: its functions that load a model run with
``assign`` recorded instead of done. Which file an entry is in, and what it holds, is read here: a
reader that takes another file's entry raises no error (keras 22739).
"""

import contextlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import keras
import ml_dtypes
import numpy as np
from keras.src.backend.jax.core import JaxVariable
from keras.src.saving import saving_lib
from keras_hub.src.utils import preset_utils
from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

from kit.errors import UserError
from kit.models.presets import BUNDLED, BUNDLED_FOLDER

#: Entries that hold no weight of the model: those of an optimizer and of metrics, and buffers.
_NO_WEIGHTS = re.compile(r"(?:optimizer|_?metrics|_loss_tracker|_compile_metrics)/.*|.*rotary_emb\.inv_freq")
_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


class Sliceable(Protocol):
    """An array in a file, of which slices can be read."""

    shape: tuple[int, ...]

    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Entry:
    """An array in a file."""

    #: In the file, such as ``layers/dense/vars/0``.
    name: str
    file: str
    shape: tuple[int, ...]
    dtype: Any
    source: Any = field(repr=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        found = np.asarray(self.source[index])
        # HDF5 has no bfloat16: Keras writes its bits and notes the dtype.
        return found.view(self.dtype) if found.dtype.kind == "V" else found.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True)
class StoredWeight:
    """A variable, and the value that the files hold for it."""

    variable: keras.Variable
    #: The entries that it is made of.
    names: tuple[str, ...]
    value: Sliceable


@dataclass(frozen=True)
class StoredWeights:
    """What files hold for a model."""

    weights: tuple[StoredWeight, ...]
    #: Variables that no entry is for.
    missing: tuple[keras.Variable, ...]
    #: Entries that are for no variable.
    left_over: tuple[Entry, ...]
    entries: Mapping[str, Entry]
    #: Errors that Keras raises for a part of the model, such as another number of variables.
    errors: tuple[str, ...]


@contextlib.contextmanager
def stored_weights(model: keras.Model, source: str | Path) -> Iterator[StoredWeights]:
    """Open the files of weights, and find the entry of each variable of a built model.

    ``source`` is a file ``*.weights.h5`` or ``*.weights.json`` (with its shards), a folder with a
    preset of KerasHub or of transformers (safetensors), or a name that ``from_preset`` takes. The
    model does not change. LoRA's matrices, which such files do not have, are left out. Raises
    UserError if a file is missing or damaged.
    """
    with contextlib.ExitStack() as files:
        recorder = _Recorder()
        with recorder:
            for part, entries in _parts(model, source, files):
                recorder.entries.update(entries)
                if callable(part):
                    part(recorder)
                else:
                    _load(part, entries, recorder)
        adapters = _adapters(model)
        found = tuple(one for one in recorder.found.values() if id(one.variable) not in adapters)
        known = {id(one.variable) for one in found} | adapters
        read = {name for one in found for name in one.names}
        yield StoredWeights(
            found,
            tuple(weight for weight in model.weights if id(weight) not in known),
            tuple(_left_over(recorder.entries, read)),
            recorder.entries,
            tuple(recorder.errors),
        )


class _Recorder:
    """Records what is assigned to which variable, and what of the files it is made of."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.found: dict[int, StoredWeight] = {}
        self.errors: list[str] = []
        #: Names that were read since the last assignment.
        self.read: list[str] = []

    def __enter__(self) -> None:
        self._assign = JaxVariable.assign
        JaxVariable.assign = self._record

    def __exit__(self, *_: object) -> None:
        JaxVariable.assign = self._assign

    @property
    def _record(self) -> Any:
        def assign(variable: Any, value: Any) -> Any:
            names = tuple(dict.fromkeys([value.name] if isinstance(value, Entry) else self.read))
            self.read.clear()
            if tuple(value.shape) != tuple(variable.shape):
                raise ValueError(
                    f"{variable.path} has the shape {tuple(variable.shape)}, and {', '.join(names) or 'the value'} "
                    f"{tuple(value.shape)}"
                )
            self.found[id(variable)] = StoredWeight(variable, names, value)
            return value

        return assign


class _Store(saving_lib.H5IOStore):
    """What Keras reads a model from: the entries that were found here."""

    def __init__(self, entries: Mapping[str, Entry], recorder: _Recorder) -> None:
        self.entries, self.recorder, self.group = entries, recorder, ""

    def __bool__(self) -> bool:
        return True

    def get(self, path: str) -> "_Store":
        store = _Store(self.entries, self.recorder)
        store.group = f"{path}/vars/" if path else "vars/"
        return store

    def has_path(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self.entries)

    def keys(self) -> list[str]:
        return [name.removeprefix(self.group) for name in self.entries if name.startswith(self.group)]

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: object) -> bool:
        return f"{self.group}{key}" in self.entries

    def __getitem__(self, key: str) -> Entry:
        entry = self.entries[f"{self.group}{key}"]
        self.recorder.read.append(entry.name)
        return entry

    def close(self) -> None:
        pass


def _load(part: tuple[keras.Model, Sequence[Any]], entries: Mapping[str, Entry], recorder: _Recorder) -> None:
    """Let Keras walk over a model, with the entries of its file."""
    model, skipped = part
    failed: set[int] = set()
    messages: dict[int, Any] = {}
    saving_lib._load_state(
        model,
        weights_store=_Store(entries, recorder),
        assets_store=None,
        inner_path="",
        visited_saveables={id(one) for one in skipped},
        failed_saveables=failed,
        error_msgs=messages,
    )
    recorder.errors += [" ".join(str(error).split()) for saveable, error in messages.values() if id(saveable) in failed]


def _parts(
    model: keras.Model, source: str | Path, files: contextlib.ExitStack
) -> Iterator[tuple[Any, dict[str, Entry]]]:
    """Each part of the model with the entries that are for it."""
    own = [one for one in (getattr(model, "optimizer", None), getattr(model, "_compile_metrics", None)) if one]
    path = Path(source)
    if path.name.endswith((".weights.h5", ".weights.json")):
        yield (model, own), _h5_entries(path, files)
        return
    preset = str(BUNDLED_FOLDER if str(source) == BUNDLED else source)
    backbone = getattr(model, "backbone", model)
    try:
        preset_utils.check_file_exists(preset, "config.json")
    except ValueError as error:
        raise UserError(f"{source}: no preset that KerasHub knows ({str(error).splitlines()[0]})") from None
    if _has(preset, "model.safetensors") or _has(preset, "model.safetensors.index.json"):
        yield _converted(backbone, preset, files), _safetensors_entries(preset, files)
        return
    name = next((one for one in ("model.weights.h5", "model.weights.json") if _has(preset, one)), None)
    if name is None:
        raise UserError(
            f"{source}: it has neither model.weights.h5, model.weights.json nor model.safetensors: give a preset, or a "
            "file *.weights.h5 or *.weights.json."
        )
    yield (backbone, own), _h5_entries(_file(preset, name), files, preset)
    if backbone is not model and _has(preset, "task.weights.h5"):
        yield (model, [*own, *backbone._flatten_layers()]), _h5_entries(_file(preset, "task.weights.h5"), files)


def _has(preset: str, name: str) -> bool:
    return preset_utils.check_file_exists(preset, name)


def _file(preset: str, name: str) -> Path:
    try:
        return Path(preset_utils.get_file(preset, name))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{preset}: {name}, which its index names, cannot be read: {error}") from None


def _h5_entries(path: Path, files: contextlib.ExitStack, preset: str = "") -> dict[str, Entry]:
    """The entries of a file, or of the shards that an index names."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    if path.suffix != ".json":
        return _h5_file(path, files)
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    shards: dict[str, dict[str, Entry]] = {}
    found: dict[str, Entry] = {}
    for group, names in index.items():
        for shard in [names] if isinstance(names, str) else names:
            if shard not in shards:
                file = path.with_name(shard)
                shards[shard] = _h5_file(_file(preset, shard) if preset and not file.is_file() else file, files)
            inside = f"{group.strip('/')}/"
            # What another shard has under this name is not what the index means.
            found |= {name: entry for name, entry in shards[shard].items() if name.rpartition("/")[0] + "/" == inside}
    return found


def _h5_file(path: Path, files: contextlib.ExitStack) -> dict[str, Entry]:
    try:
        opened = files.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise UserError(f"{path}: it cannot be read as HDF5 ({error}): load the preset again.") from None
    found: dict[str, Entry] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            dtype = ml_dtypes.bfloat16 if item.attrs.get("dtype") == "bfloat16" else item.dtype
            found[name] = Entry(name, path.name, tuple(item.shape), np.dtype(dtype), item)

    opened.visititems(visit)
    return found


def _safetensors_entries(preset: str, files: contextlib.ExitStack) -> dict[str, Entry]:
    """The tensors of a file or of its shards, each from the shard that the index names."""
    name = "model.safetensors.index.json"
    if not _has(preset, name):
        return _safetensors_file(_file(preset, "model.safetensors"))
    index = json.loads(_file(preset, name).read_text(encoding="utf-8"))["weight_map"]
    shards = {shard: _safetensors_file(_file(preset, shard)) for shard in sorted(set(index.values()))}
    return {tensor: shards[shard][tensor] for tensor, shard in index.items() if tensor in shards[shard]}


def _safetensors_file(path: Path) -> dict[str, Entry]:
    """The format: the length of a header in JSON, the header, and the values."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    found = {}
    for name, described in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = np.dtype(_SAFETENSORS_DTYPES[described["dtype"]]), tuple(described["shape"])
        start = 8 + length + described["data_offsets"][0]
        values = (
            np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape) if all(shape) else np.zeros(shape, dtype)
        )
        found[name] = Entry(name, path.name, shape, dtype, values)
    return found


def _converted(backbone: keras.Model, preset: str, files: contextlib.ExitStack) -> Any:
    """A function that lets KerasHub's converter assign the tensors, which are read here."""
    loader = preset_utils.get_preset_loader(preset)

    def convert(recorder: _Recorder) -> None:
        tensors = files.enter_context(SafetensorLoader(preset))

        def get_tensor(key: str) -> np.ndarray:
            name = tensors.get_prefixed_key(key, recorder.entries)
            recorder.read.append(name)
            return recorder.entries[name][()]

        tensors.get_tensor = get_tensor
        loader.converter.convert_weights(backbone, tensors, loader.config)

    return convert


def _adapters(model: keras.Model) -> set[int]:
    names = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")
    layers = model._flatten_layers()
    return {id(getattr(layer, name)) for layer in layers for name in names if getattr(layer, name, None) is not None}


def _left_over(entries: Mapping[str, Entry], read: set[str]) -> Iterator[Entry]:
    for name, entry in entries.items():
        if name in read or _NO_WEIGHTS.fullmatch(name) or "seed_generator" in name:
            continue
        # transformers writes tied matrices twice.
        alike = (entries[one] for one in read if len(entry.shape) > 1 and entries[one].shape == entry.shape)
        if not any(np.array_equal(one[()], entry[()]) for one in alike):
            yield entry
