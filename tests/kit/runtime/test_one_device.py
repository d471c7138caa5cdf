"""Keras on a mesh of one device."""

from command_line import run_python

ON_ONE_DEVICE = """
import warnings

from kit.runtime.platform import start

start("cpu", 1, 0)
warnings.filterwarnings("error", message="Detected a mix")

import jax
import keras

from kit.course.shared import small_models as small
from kit.course.shared.tensor_parallel import device_mesh
from kit.parts.implementation import find_parts

parts = find_parts("reference")
keras.config.disable_interactive_logging()
layout_map = parts.layout.gemma_layout_map(device_mesh(1, 1))
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch"))
model = small.small_model(4)
parts.training.compile_for_finetuning(model, 1e-3, 0.01)
jax.config.update("jax_log_compiles", True)
history = parts.training.finetune(model, [small.texts(2)] * 3, epochs=2)
assert len(history.history["loss"]) == 2
shardings = {type(variable.value.sharding).__name__ for variable in [*model.variables, *model.optimizer.variables]}
print("shardings:", *shardings)
"""


def test_one_device_has_one_program() -> None:
    """Keras alone compiles three: for the first step, after it, and after metrics are reset."""
    finished = run_python(ON_ONE_DEVICE)
    assert finished.stderr.count("Finished XLA compilation of jit(train_step)") == 1
    assert finished.stdout.endswith("shardings: NamedSharding\n")
