"""LoRA steps with this kit, for `against_peft.py`: its `fit` or its bare compiled step.

The job is JSON in the first argument. For each number of steps on standard input it trains them and
prints their seconds.
"""

import json
import resource
import sys
import time

from kit.runtime.platform import prepare_environment, start

JOB = json.loads(sys.argv[1])
if JOB["mode"] == "deterministic":
    prepare_environment(JOB["platform"], 1, deterministic=True)
RUNTIME = start(JOB["platform"], 1 if JOB["platform"] == "cpu" else None, 0)

# jax must start on the devices of the job, so these follow.
import jax  # noqa: E402
import keras  # noqa: E402
import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
from timing import Clock  # noqa: E402

from kit.models.preprocessor import preprocess_one_at_a_time  # noqa: E402
from kit.models.presets import BUNDLED_FOLDER  # noqa: E402
from kit.narrator import Narrator  # noqa: E402
from kit.parts.implementation import find_parts  # noqa: E402
from kit.reference import checkpoint, layout, lora, mesh, training  # noqa: E402
from kit.run.cpu_operations import compute_faster, faster_loss  # noqa: E402
from kit.run.recorder import Schedule, StepRecorder, prepare_for_recording  # noqa: E402
from kit.run.small_updates import keep_small_updates  # noqa: E402

#: More than one step per epoch, and no checkpoint: those are timed elsewhere.
MANY = 1_000_000


def build():
    """A Gemma with random weights and LoRA of rank 4, compiled as in a run."""
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout.gemma_layout_map(mesh.make_device_mesh(1, RUNTIME.device_count)),
            batch_dim_name="batch",
            auto_shard_dataset=False,
        )
    )
    # KerasHub's intermediate_dim counts both gates.
    sizes = JOB["sizes"] | {"intermediate_dim": 2 * JOB["sizes"]["intermediate_dim"]}
    backbone = keras_hub.models.GemmaBackbone(**sizes, dtype=JOB["dtype"])
    # Its vocabulary may be smaller than the model's.
    tokenizer = keras_hub.models.GemmaTokenizer.from_preset(str(BUNDLED_FOLDER))
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor(tokenizer, sequence_length=JOB["length"])
    model = keras_hub.models.GemmaCausalLM(backbone=backbone, preprocessor=preprocessor)
    lora.enable_lora(model, 4)
    keep_small_updates(model, find_parts("reference"), JOB["dtype"], 4)
    training.compile_for_finetuning(model, 1e-3, 0.01)
    model.optimizer.build(model.trainable_variables)
    prepare_for_recording(model, late=True)
    preprocess_one_at_a_time(model)
    if RUNTIME.simulated:
        compute_faster(model)
    return model


def texts(steps: int) -> list[list[str]]:
    """Batches of texts longer than the sequence length."""
    rows = range(JOB["batch"])
    sentence = "This is film number {}, and I liked {} of its scenes. "
    return [[sentence.format(step, row) * (JOB["length"] // 8) for row in rows] for step in range(steps)]


class Clocks(Clock):
    """Also records the CPU time that this process had used when each step ended."""

    def on_train_begin(self, logs=None):
        """Start new lists."""
        super().on_train_begin(logs)
        self.cpu_times = []

    def on_train_batch_end(self, batch, logs=None):
        """Record the end of a step."""
        super().on_train_batch_end(batch, logs)
        self.cpu_times.append(time.process_time())


def fit_steps(model):
    """A function that trains steps with `finetune`, recorded as in a run: seconds of each."""

    def train(steps: int) -> tuple[list[float], list[float]]:
        clock = Clocks()
        recorder = StepRecorder(None, checkpoint, Schedule(MANY, 1, MANY), Narrator(), time.perf_counter())
        # The first step of a `fit` starts its threads.
        training.finetune(model, texts(steps + 1), callbacks=[recorder, clock])
        return np.diff(clock.times).tolist(), np.diff(clock.cpu_times).tolist()

    return train


def bare_steps(model):
    """A function that trains steps with the compiled step over a batch on the device."""
    step = training.make_train_step(model)
    if RUNTIME.simulated:
        step = faster_loss(step)
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    state = tuple([variable.value for variable in variables] for variables in groups)
    sharding = keras.distribution.distribution().get_data_layout((JOB["batch"], JOB["length"])).backend_layout
    batch = jax.device_put(jax.tree.map(np.asarray, model.preprocessor(texts(1)[0])), sharding)

    def train(steps: int) -> tuple[list[float], list[float]]:
        nonlocal state
        times = [(time.perf_counter(), time.process_time())]
        for _ in range(steps):
            state, loss = step(state, batch)
            float(loss)
            times.append((time.perf_counter(), time.process_time()))
        seconds, cpu_seconds = np.diff(times, axis=0).T.tolist()
        return seconds, cpu_seconds

    return train


def main() -> None:
    """Build the model, then train as asked."""
    keras.config.disable_interactive_logging()
    model = build()
    versions = {module.__name__: module.__version__ for module in (jax, keras, keras_hub)}
    trained = lora.count_parameters(model)[0]
    device = RUNTIME.device_kind if RUNTIME.platform == "gpu" else "CPU, 1 device"
    print(json.dumps({"device": device, "versions": versions, "trained": trained}), flush=True)
    train = fit_steps(model) if JOB["mode"] == "fit" else bare_steps(model)
    for line in sys.stdin:
        seconds, cpu_seconds = train(int(line))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if RUNTIME.platform == "gpu":
            peak = jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
