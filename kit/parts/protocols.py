"""The contract of the parts: a Protocol for each, which every implementation fulfils.

A part is a module: mypy takes a module for a Protocol whose methods it has as functions, without
``self``. Imports no
framework: the annotations are for mypy and for readers.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import jax
    import keras
    import keras_hub

#: The model's variables as ``make_train_step`` hands them on: trainable, non-trainable and the
#: optimizer's.
TrainState: TypeAlias = "tuple[list[jax.Array], list[jax.Array], list[jax.Array]]"
#: Inputs, targets of shape (batch, length), and weights of that shape, which are 0 at padding.
TrainBatch: TypeAlias = "tuple[Mapping[str, jax.Array], jax.Array, jax.Array]"
TrainStep: TypeAlias = "Callable[[TrainState, TrainBatch], tuple[TrainState, jax.Array]]"


class MeshPart(Protocol):
    """The device mesh."""

    def make_device_mesh(
        self, batch: int, model: int, devices: list[str] | None = None
    ) -> keras.distribution.DeviceMesh:
        """Arrange devices row by row in a grid (batch, model) with axes "batch" and "model".

        Raises ValueError unless ``batch * model`` is the number of devices; the message names both
        numbers.
        """


class LayoutPart(Protocol):
    """The layout map."""

    def gemma_layout_map(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """Return tensor-parallel rules for Gemma over a mesh with axes "batch" and "model"."""


class LoadingPart(Protocol):
    """Distributed loading."""

    def load_distributed(
        self, preset: str, layout_map: keras.distribution.LayoutMap, **from_preset_options: Any
    ) -> keras_hub.models.CausalLM:
        """Set the ModelParallel distribution of ``layout_map``, and load the preset under it.

        The distribution stays set.
        """

    def sharding_table(self, layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...], tuple]]:
        """Return path, shape and spec of each variable.

        A spec has a mesh axis or None for each dimension.
        """


class ReviewsPart(Protocol):
    """The data pipeline."""

    def prepare_reviews(
        self, examples: Iterable[tuple[str, int]], batch_size: int, num_batches: int, seed: int
    ) -> list[list[str]]:
        """Return ``num_batches`` full batches of ``batch_size`` texts, shuffled with ``seed``.

        The shuffle is over all examples.
        Raises ValueError for fewer than ``batch_size * num_batches`` examples; the message names
        both numbers.
        """


class LoraPart(Protocol):
    """LoRA."""

    def enable_lora(self, model: keras_hub.models.CausalLM, rank: int) -> None:
        """Freeze the model and add adapters of ``rank`` to each query and value projection."""

    def count_parameters(self, model: keras_hub.models.CausalLM) -> tuple[int, int]:
        """Return the number of elements of the trainable weights, and of all weights."""

    def expected_lora_parameters(self, architecture: Mapping[str, Any], rank: int) -> int:
        """Return how many parameters LoRA adds, from a backbone's ``get_config()`` alone."""


class TrainingPart(Protocol):
    """The training loop."""

    def compile_for_finetuning(
        self, model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float
    ) -> None:
        """Compile with next-token cross-entropy, AdamW and an accuracy.

        Loss and accuracy are weighted by the preprocessor's weights.
        """

    def finetune(
        self,
        model: keras_hub.models.CausalLM,
        batches: Iterable[list[str]],
        *,
        epochs: int = 1,
        callbacks: Iterable[keras.callbacks.Callback] = (),
    ) -> keras.callbacks.History:
        """Train on the batches in order, for ``epochs`` passes, with the callbacks of ``fit``."""

    def make_train_step(self, model: keras_hub.models.CausalLM) -> TrainStep:
        """Return the compiled step ``step(state, batch) -> (state, loss)`` of a compiled model.

        The step donates its state.
        """


class GenerationPart(Protocol):
    """Generation and the measure of style."""

    def complete(self, model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
        """Return the prompt and its greedy continuation, ``max_length`` tokens in total.

        The model's compile state is restored.
        """

    def mean_log_likelihood(self, model: keras_hub.models.CausalLM, texts: Sequence[str]) -> float:
        """Return the mean log-likelihood of the texts, in nats per token without padding."""

    def style_shift(self, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
        """Return the change of each score ("reviews", "lists") in nats per token, and "shift"."""


class CheckpointPart(Protocol):
    """Checkpoints."""

    def save_training(self, model: keras_hub.models.CausalLM, path: str | Path) -> None:
        """Save the trainable variables and the optimizer state in ``path``, a folder to create."""

    def resume_training(self, model: keras_hub.models.CausalLM, path: str | Path) -> None:
        """Restore what ``save_training`` saved into a freshly built and compiled model, exactly."""

    def merge_adapters(self, model: keras_hub.models.CausalLM) -> None:
        """Add each adapter to its kernel in place; outputs are unchanged, nothing is trainable."""


#: The parts of ``kit run`` by the names of their modules.
PARTS: dict[str, type] = {
    "mesh": MeshPart,
    "layout": LayoutPart,
    "loading": LoadingPart,
    "reviews": ReviewsPart,
    "lora": LoraPart,
    "training": TrainingPart,
    "generation": GenerationPart,
    "checkpoint": CheckpointPart,
}


def functions_of(protocol: type) -> dict[str, Callable[..., Any]]:
    """The methods that a Protocol asks for, by name, in their order; each begins with ``self``."""
    return {
        name: value
        for name, value in vars(protocol).items()
        if isinstance(value, types.FunctionType) and not name.startswith("_")
    }
