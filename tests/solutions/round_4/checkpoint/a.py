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
    optimizer = model.optimizer
    trained = list(model.trainable_variables)
    if not optimizer.built:
        optimizer.build(trained)
    named = [("weights", variable.path, variable) for variable in trained]
    named += [("adamw", variable.path[variable.path.index("/") + 1 :], variable) for variable in optimizer.variables]
    return {f"{kind}/{path}": variable for kind, path, variable in named}


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
        for name, variable in sorted(_training_state(model).items()):
            value = keras.ops.convert_to_numpy(variable.value)
            exact = np.promote_types(value.dtype, np.float32) if keras.backend.is_float_dtype(str(variable.dtype)) else value.dtype
            file.create_dataset(name, shape=value.shape, dtype=exact, data=value.astype(exact))
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
        differing = sorted(dict(shapes.items() ^ saved_shapes.items()))
        raise ValueError(
            f"The checkpoint has {len(saved)} variables and this model has {len(state)}; the first that differs is "
            f"{differing[0]}: build the model with the same preset and the same LoRA rank as the saved one."
        )
    while state:
        name, variable = state.popitem()
        variable.assign(saved.pop(name))


def merge_adapters(model: keras_hub.models.CausalLM) -> None:
    """Add each adapter to its kernel, in place: outputs stay the same and nothing is trainable."""
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            a, b, kernel = (np.asarray(one.value).astype("float64") for one in (layer.lora_kernel_a, layer.lora_kernel_b, layer._kernel))
            a *= layer.lora_alpha
            layer._kernel.assign((kernel + np.tensordot(a, b, axes=1) / layer.lora_rank).astype("float32"))
            layer.lora_kernel_b.assign(np.zeros(b.shape, "float32"))
            layer.lora_kernel_a.assign(np.zeros(a.shape, "float32"))
    model.backbone.trainable = False
    # Compiled functions take trainable and other variables as two lists, and these have changed.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
