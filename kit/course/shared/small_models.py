"""Small models with known values, and the texts that they are trained on."""

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import numpy as np

from kit.course.shared import tensor_parallel as oracle
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import BUNDLED_FOLDER
from kit.models.weightless import build_backbone, no_weights

SEQUENCE_LENGTH = 24

_SUBJECTS = ("film", "plot", "cast", "music", "script", "ending", "camera", "humour")


def seed() -> int:
    """The seed of the texts: 0, or the value of ``KIT_CHECK_SEED`` where margins are measured."""
    return int(os.environ.get("KIT_CHECK_SEED", "0"))


def texts(number: int, seed: int = 0) -> list[str]:
    """Sentences of different lengths, some shorter and some longer than :data:`SEQUENCE_LENGTH`."""
    random = np.random.default_rng(seed)
    found = []
    for position in range(number):
        subject = _SUBJECTS[position % len(_SUBJECTS)]
        tail = "".join(f", the {_SUBJECTS[random.integers(len(_SUBJECTS))]}" for _ in range(int(random.integers(0, 6))))
        found.append(f"The {subject} {position} was {'dull' if random.integers(2) else 'great'}{tail}.")
    return found


def batches(number: int) -> list[list[str]]:
    """Batches of eight sentences each, made with :func:`seed`."""
    sentences = texts(8 * number, seed())
    return [sentences[start : start + 8] for start in range(0, 8 * number, 8)]


def set_distribution(batch: int, model: int) -> keras.distribution.ModelParallel:
    """Set tensor parallelism on a mesh over all devices, for a Gemma of at most 8 blocks."""
    layout_map = oracle.tensor_parallel_map(oracle.device_mesh(batch, model), oracle.split_paths(8))
    distribution = oracle.model_parallel(layout_map)
    keras.distribution.set_distribution(distribution)
    return distribution


def small_model(rank: int, dtype: str = "float32", **sizes: Any) -> keras_hub.models.CausalLM:
    """A small Gemma under the distribution that is set, whose values depend on its paths alone.

    LoRA of this rank is on query and value; with 0 all parameters are trainable. ``sizes`` replace
    those of :data:`kit.course.shared.tensor_parallel.SMALL_SIZES`.
    """
    # Without values first: Keras' random initializers are compiled for each shape, which takes
    # seconds.
    with no_weights():
        backbone = build_backbone(oracle.small_config(**sizes), dtype=dtype)
        if rank:
            backbone.enable_lora(rank, target_layer_names=["query", "value"])
    for variable in backbone.variables:
        variable._initialize(keras.ops.convert_to_tensor(_value(variable), dtype=variable.dtype))
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor.from_preset(
        str(BUNDLED_FOLDER), sequence_length=SEQUENCE_LENGTH
    )
    model = keras_hub.models.GemmaCausalLM(backbone, preprocessor)
    preprocess_one_at_a_time(model)
    return model


def _value(variable: keras.Variable) -> np.ndarray:
    """Normal numbers with the path as seed and the usual standard deviation, 1 / sqrt(inputs)."""
    shape = tuple(variable.shape)
    if not keras.backend.is_float_dtype(variable.dtype):
        return np.zeros(shape, "int32")
    seed = int.from_bytes(hashlib.sha256(variable.path.encode()).digest()[:8], "little")
    # Keras' initial zeros would hide mistakes: scales of 0 do not decay, and A has no gradient
    # while B is 0.
    width = 0.3 if len(shape) < 2 else 1 / math.sqrt(shape[-2])
    return np.random.default_rng(seed).normal(0, width, shape).astype("float32")


def compile_model(
    model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float, name: str = "adamw", built: bool = True
) -> None:
    """Compile with the tutorial's loss, optimizer and metric; biases and scales do not decay.

    The paths of the optimizer's variables begin with ``name``. ``built`` creates these variables,
    which needs memory for them.
    """
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay, name=name)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    if built:
        optimizer.build(model.trainable_variables)


def values(variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
    """The values of variables by path, as float32."""
    return {variable.path: np.asarray(variable.value, dtype="float32") for variable in variables}


def bundled_model() -> keras_hub.models.CausalLM:
    """The bundled model under the distribution that is set."""
    model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    preprocess_one_at_a_time(model)
    return model
