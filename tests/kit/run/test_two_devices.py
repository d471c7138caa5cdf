"""A run on two devices, as on a machine with two T4s: both meshes have the losses of one device."""

import keras
import numpy as np

from kit.course.shared import small_models as small
from kit.narrator import Narrator
from kit.parts.implementation import find_parts
from kit.run.cpu_operations import compute_faster
from kit.run.metrics import StepRecord
from kit.run.recorder import Schedule, StepRecorder, prepare_for_recording
from kit.run.training import train_remaining_steps

PARTS = find_parts("reference")
STEPS = 3


def records_of(batch: int, model: int) -> tuple[list[StepRecord], int]:
    """What a run on this mesh records, and the bytes of the kernels on its first device."""
    devices = keras.distribution.list_devices()[: batch * model]
    layout_map = PARTS.layout.gemma_layout_map(PARTS.mesh.make_device_mesh(batch, model, devices))
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)
    )
    tuned = small.small_model(rank=3, num_layers=2)
    compute_faster(tuned)
    PARTS.training.compile_for_finetuning(tuned, 0.01, 0.01)
    tuned.optimizer.build(tuned.trainable_variables)
    prepare_for_recording(tuned, late=True)
    recorder = StepRecorder(None, PARTS.checkpoint, Schedule(STEPS, 1, STEPS), Narrator(), 0.0)
    texts = small.texts(4 * STEPS)
    batches = [texts[first : first + 4] for first in range(0, 4 * STEPS, 4)]
    train_remaining_steps(PARTS.training, tuned, batches, 1, recorder)
    kernels = [variable.value for variable in tuned.backbone.variables if variable.path.endswith("/kernel")]
    assert kernels
    return recorder.records, sum(kernel.addressable_shards[0].data.nbytes for kernel in kernels)


def test_losses_on_two_devices() -> None:
    keras.config.disable_interactive_logging()
    alone, nbytes = records_of(1, 1)
    expected = [record.loss for record in alone]
    assert expected[0] - expected[-1] > 0.01
    for mesh, share in (((1, 2), 2), ((2, 1), 1)):
        found, nbytes_each = records_of(*mesh)
        assert nbytes_each * share == nbytes
        np.testing.assert_allclose([record.loss for record in found], expected, rtol=2e-6)
