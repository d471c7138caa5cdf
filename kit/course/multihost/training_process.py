"""One of two processes that train together, started with ``-m`` and a request as JSON.

Keras connects processes before they start a backend, and the process of the check has started one,
for the twin. So this is a fresh process. It writes its report to a file, as JSON lines: what it is
doing and for how many seconds at most, what it observed, and how it ended. The process that
started it reads the file, and kills it at the end.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kit.checks.diagnosis import Failed
from kit.course.multihost import process_report
from kit.course.multihost import shared_training as training
from kit.course.multihost.reading import read_array, read_number, read_rows, read_settings
from kit.judge.observation import Outcome, returned

if TYPE_CHECKING:
    import jax
    import keras
    import keras_hub
    import numpy as np

Value = TypeVar("Value")


class Reporter:
    """Writes the report of this process."""

    def __init__(self, request: process_report.Request) -> None:
        self._file = request.report.open("a", encoding="utf-8")

    def write(self, **content: Any) -> None:
        """Append a line."""
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()

    def doing(self, what: str, function: Callable[[], Value], limit: float = 15) -> Value:
        """Report what comes next and its limit in seconds, on a busy machine, and do it."""
        self.write(doing=what, limit=limit)
        return function()

    def seen(self, seen: process_report.Seen) -> None:
        """Report an observation.

        Raises Failed if the judge will not accept it; to continue would block the other process.
        """
        self.write(seen=process_report.encode(seen))
        seen.judge()


class TrainingProcess:
    """The program: it calls each function of the exercise together with the other process."""

    def __init__(self, request: process_report.Request, reporter: Reporter) -> None:
        from kit.course.catalogue import catalogue
        from kit.judge.submission import Submission
        from kit.parts.implementation import find_parts

        self._number = request.number
        self._saved = request.saved
        self._report = reporter
        self._submission = Submission(find_parts(request.impl), catalogue().find("multihost"))

    def work(self) -> None:
        """Connect, gather arrays, train, and save."""
        import jax
        import numpy as np

        self._connect()
        assert (jax.process_count(), jax.process_index()) == (training.PROCESSES, self._number), (
            "a process has another number than its environment says"
        )
        assert jax.device_count() == training.PROCESSES * training.DEVICES_EACH, "the number of devices is wrong"
        devices = np.array(jax.devices())
        self._gather_known_arrays(devices)
        for positions in map(np.array, (training.MIXED_POSITIONS, training.MESH_POSITIONS)):
            process_of_device = np.vectorize(lambda device: device.process_index)(devices[positions])
            mesh = _device_mesh(positions)
            rows = self._share_of_batch(mesh, process_of_device)
        self._save(self._train(mesh, rows), mesh)

    def _connect(self) -> None:
        """Connect to the other process, with the settings of the solution."""
        import jax
        import keras

        prefix = "KERAS_DISTRIBUTION_"
        expected = (os.environ[f"{prefix}JOB_ADDRESSES"], int(os.environ[f"{prefix}NUM_PROCESSES"]), self._number)
        outcome = self._observe("process_settings", dict(os.environ), reads=read_settings, returns=(tuple, list))
        # With wrong settings, one of the processes would wait for minutes.
        self._report.seen(process_report.SettingsSeen(self._number, expected, outcome))
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            self._report.doing(
                "keras.distribution.initialize", lambda: keras.distribution.initialize(*expected), limit=90
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise AssertionError(f"the processes could not be connected ({reason})") from None

    def _observe(self, name: str, *args: Any, doing: str = "", **options: Any) -> Outcome[Any]:
        """Call a function of the solution, after a line in the report."""
        return self._report.doing(doing or name, lambda: self._submission.observe(name, *args, **options))

    def _whole_value(self, value: "jax.Array", array: str, expected: "np.ndarray | None" = None) -> "np.ndarray":
        import numpy as np

        self._report.write(gathers=array)
        local = value.is_fully_addressable
        options = {"reads": read_array, "returns": np.ndarray, "expects": Exception if local else RuntimeError}
        outcome = self._observe("whole_value", value, doing=f"whole_value of {array}", **options)
        shards = [shard.data.shape for shard in value.addressable_shards]
        self._report.seen(
            process_report.WholeSeen(
                self._number, array, value.shape, (len(shards), shards[0]), expected, outcome, local
            )
        )
        return returned(outcome)

    def _gather_known_arrays(self, devices: "np.ndarray") -> None:
        """Gather arrays over all devices, half of them in each process, and local arrays."""
        import jax
        import numpy as np

        mesh = jax.sharding.Mesh(devices.reshape(1, -1), ("batch", "model"))
        known = np.arange(16 * 24, dtype="float32").reshape(16, 24)
        for axes in (("model", None), (None, "model"), (None, None)):
            sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
            array = jax.make_array_from_callback(known.shape, sharding, known.__getitem__)
            self._whole_value(array, f"an array of shape {known.shape}, sharded by {axes}", known)
        # Each process has another array of its own, which is all there.
        own = known + self._number
        device = jax.local_devices()[0]
        self._whole_value(jax.device_put(own, device), "an array on one device of the process", own)
        local = jax.sharding.Mesh(np.array(jax.local_devices()), ("model",))
        sharding = jax.sharding.NamedSharding(local, jax.sharding.PartitionSpec("model"))
        self._whole_value(jax.device_put(own, sharding), "an array on all devices of the process", own)

    def _share_of_batch(self, mesh: "keras.distribution.DeviceMesh", process_of_device: "np.ndarray") -> list[int]:
        """The rows that this process feeds. With another number of rows, both would wait."""
        import jax
        import numpy as np

        sharding = jax.sharding.NamedSharding(mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
        indices = sharding.addressable_devices_indices_map((training.BATCH,)).values()
        held = sorted({row for index in indices if index for row in range(training.BATCH)[index[0]]})
        arguments = (process_of_device.copy(), training.BATCH, self._number)
        rows = self._observe("own_rows", *arguments, reads=lambda found: read_rows(self._submission, found))
        self._report.seen(process_report.RowsSeen(self._number, process_of_device.tolist(), held, rows))
        # Twice as many rows as it should feed.
        fed = 2 * len(held)
        whole = jax.make_array_from_process_local_data(sharding, np.zeros(fed)).shape[0]
        count = self._submission.observe(
            "rows_of_whole_batch", process_of_device.copy(), fed, self._number, reads=read_number
        )
        self._report.seen(process_report.CountSeen(self._number, fed, whole, count))
        return returned(rows)

    def _train(self, mesh: "keras.distribution.DeviceMesh", rows: list[int]) -> "keras_hub.models.CausalLM":
        """Train on this process's rows of each batch."""
        import keras

        from kit.course.shared import tensor_parallel

        layout_map = tensor_parallel.tensor_parallel_map(mesh, tensor_parallel.split_paths(1))
        keras.distribution.set_distribution(tensor_parallel.model_parallel(layout_map))
        model = self._report.doing("creating the model", training.model_to_train, limit=60)
        for step, batch in enumerate(training.batches(), start=1):
            own = [batch[row] for row in rows]
            loss, *_ = self._report.doing(f"step {step}", partial(model.train_on_batch, own), limit=60)
            self._report.seen(process_report.StepSeen(self._number, float(loss)))
        return model

    def _save(self, model: "keras_hub.models.CausalLM", mesh: "keras.distribution.DeviceMesh") -> None:
        """Save adapters and an array over all processes. The other has them in reverse order."""
        import jax

        values = {variable.path: variable.value for variable in model.trainable_variables}
        sharding = jax.sharding.NamedSharding(mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
        known = training.progress()
        values[training.PROGRESS] = jax.make_array_from_callback(known.shape, sharding, known.__getitem__)
        paths = {id(value): path for path, value in values.items()}
        ordered = dict(list(values.items())[:: 1 if self._number == 0 else -1])
        outcome = self._submission.observe(
            "save_once",
            ordered,
            self._saved,
            self._number,
            gather=lambda value: self._whole_value(value, paths.get(id(value), "an unknown array")),
            reads=lambda found: None,
        )
        self._report.seen(process_report.SaveSeen(self._number, outcome))


def _device_mesh(positions: "np.ndarray") -> "keras.distribution.DeviceMesh":
    import keras
    import numpy as np

    names = np.array(keras.distribution.list_devices())[positions]
    return keras.distribution.DeviceMesh(positions.shape, ["batch", "model"], list(names.ravel()))


def main() -> None:
    """Write the report, and stay for the other process until the standard input is closed."""
    request = process_report.Request(**json.loads(sys.argv[1]))
    reporter = Reporter(request)
    from kit.runtime.platform import prepare_environment

    prepare_environment("cpu", training.DEVICES_EACH)
    import keras

    from kit.judge.crashes import described

    keras.config.disable_interactive_logging()
    keras.utils.set_random_seed(0)
    try:
        TrainingProcess(request, reporter).work()
        reporter.write(end="finished")
    except Failed as failed:
        reporter.write(end="stopped", diagnosis=process_report.encode(failed.diagnosis))
    except BaseException as error:
        if os.environ.get("KIT_TRACEBACK"):
            import traceback

            traceback.print_exc()
        ours = isinstance(error, AssertionError)
        reporter.write(end="error" if ours else "crashed", text=described(error))
    # Exiting now would close the connections of a process that is not done.
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
