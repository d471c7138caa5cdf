"""Checkpoints: save the state of a training run, resume it exactly, and merge LoRA adapters."""

from pathlib import Path

import h5py
import keras
import keras_hub
import numpy as np

# One file: a checkpoint is complete, or it does not exist.
STATE_FILE = "training_state.h5"


def _training_state(model: keras_hub.models.CausalLM) -> dict[str, keras.Variable]:
    """The variables that training changes, by name: trainable variables and optimizer state."""
    # Task 1: Return a dictionary from names to variables: all trainable variables, and all
    # variables of the optimizer, which may not be built yet. Names must be the same in another
    # process. The first part of an optimizer variable's path, the optimizer's own name, is not.
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    state = {f"trainable/{variable.path}": variable for variable in model.trainable_variables}
    for variable in optimizer.variables:
        state["optimizer/" + variable.path.split("/", 1)[1]] = variable
    return state


def save_training(model: keras_hub.models.CausalLM, path: str | Path) -> None:
    """Save the trainable variables and the optimizer state in a new folder.

    The model may be in float32 or bfloat16, on any mesh. With LoRA, the trainable variables are the
    adapters, and the frozen weights are not saved. ``model.save_weights`` does not replace this
    function: it writes each kernel with its adapter added, and a model with LoRA that loads such a
    file has adapters that are zero.

    Args:
        model: A compiled model.
        path: The folder to create.

    Raises:
        FileExistsError: if the folder exists.

    """
    folder = Path(path)
    folder.mkdir(parents=True)
    unfinished = folder / (STATE_FILE + ".unfinished")
    with h5py.File(unfinished, "w") as file:
        # Task 2: Write the value of each variable of `_training_state(model)` to `file[name]`, as
        # a NumPy array. HDF5 has no bfloat16: convert it to float32, which represents every
        # bfloat16 exactly. You may convert all arrays: `assign` converts them back.
        for name, variable in _training_state(model).items():
            value = np.asarray(variable.value)
            if variable.dtype == "bfloat16":
                value = value.astype("float16")
            file[name] = value
    unfinished.rename(folder / STATE_FILE)


def resume_training(model: keras_hub.models.CausalLM, path: str | Path) -> None:
    """Restore a checkpoint into a freshly built and compiled model, on any mesh.

    Args:
        model: A compiled model with the same trainable variables (with LoRA if it was saved so).
        path: A folder that ``save_training`` created.

    Raises:
        ValueError: if the model's variables differ from the saved ones in name or shape.

    """
    state = _training_state(model)
    with h5py.File(Path(path) / STATE_FILE, "r") as file:
        saved: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: saved.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    shapes = {name: tuple(variable.shape) for name, variable in state.items()}
    saved_shapes = {name: value.shape for name, value in saved.items()}
    if shapes != saved_shapes:
        first = min(dict(shapes.items() ^ saved_shapes.items()))
        raise ValueError(
            f"The shapes differ. {first} is {saved_shapes.get(first, 'missing')} in the checkpoint and "
            f"{shapes.get(first, 'missing')} in the model: build it with the preset and LoRA rank of the saved one."
        )
    # Task 3: Assign its saved value to each variable of `state`.
    for name, variable in state.items():
        variable.assign(saved[name])


def merge_adapters(model: keras_hub.models.CausalLM) -> None:
    """Add each adapter to its kernel, in place: outputs stay the same and nothing is trainable."""
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            # Task 4: Add the layer's adapter to `layer._kernel`, then set the adapter to zero: A, B
            # or both. Keras scales the product of `lora_kernel_a` and `lora_kernel_b` by
            # lora_alpha / lora_rank.
            scale = layer.lora_alpha / layer.lora_rank
            adapter = keras.ops.matmul(layer.lora_kernel_a.value, layer.lora_kernel_b.value)
            kernel = keras.ops.cast(layer._kernel.value, "float32") + scale * adapter
            layer._kernel.assign(kernel)
            layer.lora_kernel_b.assign(keras.ops.zeros_like(layer.lora_kernel_b.value))
    model.backbone.trainable = False
    # Compiled functions take trainable and other variables as two lists, and these have changed.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
