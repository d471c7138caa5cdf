"""Checkpoints: what a training run has changed, saved so that it goes on exactly where it was."""

from pathlib import Path

import h5py
import keras
import keras_hub
import numpy as np

# One file, so that a save is complete or not there at all.
STATE_FILE = "training_state.h5"


def _training_state(model: keras_hub.models.CausalLM) -> dict[str, keras.Variable]:
    """The variables that training changes: the trainable ones, and the optimizer's step count and moments."""
    # Task 1: Return a name and a variable for each trainable variable and each variable of the optimizer, which may not be built
    # yet. Names must be the same in another process: an optimizer's own name, the first part of its variables' paths,
    # is not.
    raise NotImplementedError("checkpoint, task 1")


def save_training(model: keras_hub.models.CausalLM, path: str | Path) -> None:
    """Save the trainable variables and the optimizer's state in a new folder.

    In float32 or bfloat16, on whatever mesh. With LoRA these are the adapters, and the frozen weights are not saved again. ``model.save_weights`` would not do: it
    writes each kernel with its adapter added, and a model with LoRA that loads it starts from adapters that are zero.

    Args:
        model: A compiled model.
        path: The folder to create.

    Raises:
        FileExistsError: if the folder is there already.

    """
    folder = Path(path)
    folder.mkdir(parents=True)
    unfinished = folder / (STATE_FILE + ".unfinished")
    with h5py.File(unfinished, "w") as file:
        # Task 2: Write the value of each variable of `_training_state(model)` to `file[name]`, as a NumPy array. HDF5 has no bfloat16;
        # float32 holds every bfloat16 exactly.
        raise NotImplementedError("checkpoint, task 2")
    unfinished.rename(folder / STATE_FILE)


def resume_training(model: keras_hub.models.CausalLM, path: str | Path) -> None:
    """Put the saved state into a freshly built and compiled model, on whatever mesh it is.

    Args:
        model: A compiled model with the same trainable variables, so with LoRA enabled if it was.
        path: A folder that ``save_training`` made.

    Raises:
        ValueError: if the model's trainable variables are not the saved ones.

    """
    state = _training_state(model)
    with h5py.File(Path(path) / STATE_FILE, "r") as file:
        saved: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: saved.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    shapes = {name: tuple(variable.shape) for name, variable in state.items()}
    saved_shapes = {name: value.shape for name, value in saved.items()}
    if shapes != saved_shapes:
        differing = sorted(dict(shapes.items() ^ saved_shapes.items()))
        raise ValueError(
            f"The save has {len(saved)} variables and this model trains {len(state)}; the first that differs is "
            f"{differing[0]}: build the model as it was when it was saved (LoRA with the same rank, the same preset)."
        )
    # Task 3: Give each variable of `state` its saved value.
    raise NotImplementedError("checkpoint, task 3")


def merge_adapters(model: keras_hub.models.CausalLM) -> None:
    """Add each adapter to its kernel, in place: the outputs stay, and nothing is left to train."""
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            # Task 4: Add the layer's adapter to `layer._kernel`, and make the adapter zero. Keras scales the product of
            # `lora_kernel_a` and `lora_kernel_b` by lora_alpha / lora_rank.
            raise NotImplementedError("checkpoint, task 4")
    model.backbone.trainable = False
    # What Keras has compiled takes the variables in two lists, those to train and the rest, and these have changed.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
