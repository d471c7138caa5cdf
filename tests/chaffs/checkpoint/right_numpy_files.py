"""PASSES: a NumPy file, the optimizer's variables by their number; merging with NumPy and A set to zero."""

import json
from pathlib import Path

import numpy as np


def numbered(model):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.optimizer.variables]


def save_training(model, path):
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=False)
    variables = numbered(model)
    shapes = [list(variable.shape) for variable in variables]
    (folder / "shapes.json").write_text(json.dumps(shapes))
    with (folder / "values.bin").open("wb") as file:
        for variable in variables:
            value = np.asarray(variable.value)
            # Two bytes as they are; a NumPy file would not say what they mean.
            np.save(file, value.view("uint16") if variable.dtype == "bfloat16" else value)


def resume_training(model, path):
    variables = numbered(model)
    assert [list(variable.shape) for variable in variables] == json.loads((Path(path) / "shapes.json").read_text())
    with (Path(path) / "values.bin").open("rb") as file:
        for variable in variables:
            value = np.load(file)
            variable.assign(value.view("bfloat16") if variable.dtype == "bfloat16" else value)


def merge_adapters(model):
    for block in (layer for layer in model.backbone.layers if hasattr(layer, "attention")):
        for dense in (block.attention.query_dense, block.attention.value_dense):
            a, b = (np.asarray(part.value, "float64") for part in (dense.lora_kernel_a, dense.lora_kernel_b))
            merged = np.asarray(dense._kernel.value, "float64") + dense.lora_alpha / dense.lora_rank * np.einsum(
                "...r,rd", a, b
            )
            dense._kernel.assign(merged.astype("float32"))
            dense.lora_kernel_a.assign(np.zeros(a.shape, "float32"))
    for variable in model.trainable_variables:
        variable.trainable = False
