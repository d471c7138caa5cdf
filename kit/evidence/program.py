"""Collectives of a compiled training step."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras

from kit.evidence.hlo import instructions


@dataclass(frozen=True)
class Collective:
    """An operation in which devices exchange data."""

    #: XLA's name, for example "all-reduce".
    kind: str
    #: Bytes of its result on one device.
    nbytes: int


@dataclass(frozen=True)
class Collectives:
    """The collectives of a program."""

    operations: tuple[Collective, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all results on one device, for one execution of the program."""
        return sum(operation.nbytes for operation in self.operations)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Kind -> count and bytes."""
        sizes: dict[str, list[int]] = defaultdict(list)
        for operation in self.operations:
            sizes[operation.kind].append(operation.nbytes)
        return {kind: (len(nbytes), sum(nbytes)) for kind, nbytes in sorted(sizes.items())}


def collectives(program_text: str) -> Collectives:
    """The collectives of a compiled program, from the HLO of ``jax.stages.Compiled.as_text()``.

    A combined operation counts once, with the bytes of all of its results.
    """
    found = instructions(program_text)
    return Collectives(tuple(Collective(one.kind, one.nbytes) for one in found if one.kind is not None))


def compile_gradients(
    model: keras.Model, distribution: keras.distribution.ModelParallel, batch_size: int, sequence_length: int
) -> Any:
    """Compile loss and gradients of next-token prediction, to a ``jax.stages.Compiled``.

    The model takes token_ids and padding_mask and returns logits. Its variables need no values, and
    may have LoRA. The distribution, which must be set, has the layouts of variables and batch; its
    batch axis divides the batch size.
    """
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(trainable: list, non_trainable: list, x: dict[str, Any], y: Any, sample_weight: Any) -> Any:
        logits, _ = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss_function(y, logits, sample_weight=sample_weight)

    def place(variables: Iterable[keras.Variable]) -> list[jax.ShapeDtypeStruct]:
        layouts = [(variable, distribution.get_variable_layout(variable)) for variable in variables]
        return [jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=layout.backend_layout) for one, layout in layouts]

    shape = (batch_size, sequence_length)
    data_sharding = distribution.get_data_layout(shape).backend_layout

    def example(dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=data_sharding)

    trainable = place(model.trainable_variables)
    gradients = jax.value_and_grad(loss)
    return (
        # A gradient is sharded like its variable, as the optimizer needs it.
        jax.jit(gradients, out_shardings=(None, [variable.sharding for variable in trainable]))
        .lower(
            trainable,
            place(model.non_trainable_variables),
            {"token_ids": example(jnp.int32), "padding_mask": example(jnp.bool_)},
            example(jnp.int32),
            example(jnp.float32),
        )
        .compile()
    )
