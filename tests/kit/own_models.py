"""Models of somebody's own, as a user of `kit plan FILE.py:FUNCTION` would write them."""

from typing import Any

import keras
import numpy as np

from kit.models.user_functions import UserFunction
from kit.tpu.own_step import OwnModel

CROSS_ENTROPY = {"loss": "sparse_categorical_crossentropy"}


def functional() -> keras.Model:
    """Embeddings, two residual blocks of dense layers that Keras names, and logits."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    hidden = keras.layers.Embedding(64, 16, name="embed")(tokens)
    for _ in range(2):
        inner = keras.layers.Dense(40, activation="relu")(hidden)
        hidden = hidden + keras.layers.Dense(16)(inner)
    model = keras.Model(tokens, keras.layers.Dense(64, activation="softmax", name="probabilities")(hidden))
    model.compile("adam", **CROSS_ENTROPY, metrics=["accuracy"])
    return model


def layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Tensor parallelism for :func:`functional`, and a rule for an output."""
    made = keras.distribution.LayoutMap(device_mesh)
    made["embed/embeddings"] = ("model", None)
    made["dense(_2)?/kernel"] = (None, "model")
    made["dense_(1|3)/kernel"] = ("model", None)
    made["probabilities/kernel"] = (None, "model")
    made["embed/output"] = ("batch", None, None)
    return made


@keras.saving.register_keras_serializable("own")
class Block(keras.layers.Layer):
    """A block that is built when it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.up = keras.layers.Dense(40, name="up")
        self.down = keras.layers.Dense(16, name="down")
        self.dropout = keras.layers.Dropout(0.1)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs + self.dropout(self.down(self.up(inputs)), training=training)


class Subclassed(keras.Model):
    """A model without known inputs."""

    def __init__(self) -> None:
        super().__init__(name="own")
        self.embed = keras.layers.Embedding(64, 16, name="embed")
        self.blocks = [Block(name=f"block_{number}") for number in range(2)]
        self.logits = keras.layers.Dense(64, activation="softmax", name="logits")

    def call(self, inputs: Any, training: bool = False) -> Any:
        hidden = self.embed(inputs)
        for block in self.blocks:
            hidden = block(hidden, training=training)
        return self.logits(hidden)


def subclassed() -> keras.Model:
    """Compiled, and not built."""
    model = Subclassed()
    model.compile("adam", **CROSS_ENTROPY)
    return model


def subclassed_and_called() -> keras.Model:
    """Built by a call, as Keras' guides do it."""
    model = Subclassed()
    model(np.zeros((1, 4), "int32"))
    model.compile("adam", **CROSS_ENTROPY)
    return model


def sequential() -> keras.Model:
    """Without an input."""
    model = keras.Sequential([keras.layers.Dense(40), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def own_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """For :class:`Subclassed`."""
    made = keras.distribution.LayoutMap(device_mesh)
    made[".*/embed/embeddings"] = ("model", None)
    made[".*/up/kernel"] = (None, "model")
    made[".*/down/kernel"] = ("model", None)
    return made


def with_distribution() -> keras.Model:
    """Sets its own distribution, whose mesh has other names."""
    mesh = keras.distribution.DeviceMesh((2, 4), ["data", "tensor"], keras.distribution.list_devices())
    made = keras.distribution.LayoutMap(mesh)
    made["embed/embeddings"] = ("tensor", None)
    made["dense.*/kernel"] = (None, "tensor")
    distribution = keras.distribution.ModelParallel(layout_map=made, batch_dim_name="data")
    keras.distribution.set_distribution(distribution)
    return functional()


def data_parallel() -> keras.Model:
    """Replicates each variable, within a scope of the distribution."""
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        return functional()


def with_lora() -> keras.Model:
    """LoRA, enabled after it was compiled, and compiled again."""
    model = functional()
    model.get_layer("dense_1").enable_lora(4)
    model.get_layer("embed").trainable = False
    model.compile("adam", **CROSS_ENTROPY)
    return model


def function(made: Any) -> UserFunction:
    """As the command line finds it."""
    return UserFunction(f"own_models.py:{made.__name__}", made)


def own(make_model: Any, make_layout_map: Any = None, batch: Any = (4, 6), **others: Any) -> OwnModel:
    """An own model of functions in this module."""
    found = None if make_layout_map is None else function(make_layout_map)
    return OwnModel(function(make_model), batch if isinstance(batch, tuple) else function(batch), found, **others)
