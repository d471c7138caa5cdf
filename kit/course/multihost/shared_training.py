"""The training that two processes do together, and that the unsharded twin repeats."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras_hub

BATCH, STEPS, RANK = 8, 3, 3
LEARNING_RATE, WEIGHT_DECAY = 5e-3, 0.01
PROCESSES, DEVICES_EACH = 2, 4
#: The mesh, as positions in JAX's list of devices. Each process has two of the four rows, and they
#: are not adjacent.
MESH_POSITIONS = ((0, 1), (4, 5), (2, 3), (6, 7))
#: A mesh that is not trained on: each of its rows has devices of both processes, so no column says
#: which rows a process feeds.
MIXED_POSITIONS = ((0, 4), (5, 1), (2, 6), (7, 3))
#: The name of an array that is saved with the adapters. Adapters are replicated, so each process
#: has them already. This one is sharded over the processes: no process can gather it alone.
PROGRESS = "progress/tokens_of_each_row"


def batches() -> list[list[str]]:
    """The texts of each step, the whole batch."""
    from kit.course.shared import small_models

    texts = small_models.texts(BATCH * STEPS, seed=small_models.seed())
    return [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]


def model_to_train() -> "keras_hub.models.CausalLM":
    """A small model of one block under the current distribution, the same in each process."""
    from kit.course.shared import small_models

    model = small_models.small_model(rank=RANK, num_layers=1)
    small_models.compile_model(model, LEARNING_RATE, WEIGHT_DECAY)
    return model


def progress() -> np.ndarray:
    """The array that no process has as a whole: one line for each row of the batch."""
    return np.arange(BATCH * 6, dtype="float32").reshape(BATCH, 6)
