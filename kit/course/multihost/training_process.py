"""One of the processes that the exercise ``multihost`` is tried in: ``python -m kit.course.multihost.training_process REQUEST``.

It is started anew: Keras connects processes before they start a backend, and the check's own process has started one, for the
twin. What it does and what came of it goes to a file, one JSON object a line; who started it reads that file, and ends it.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

BATCH, STEPS, RANK = 8, 3, 3
RATE, DECAY = 5e-3, 0.01
PROCESSES, DEVICES_EACH = 2, 4
#: The mesh that is trained on, by the devices' places in JAX's list. Each process has two of its four rows, and not two that
#: are next to each other.
TRAINED_ON = ((0, 1), (4, 5), (2, 3), (6, 7))

Value = TypeVar("Value")


@dataclass(frozen=True)
class Request:
    """What a process is started with."""

    impl: str
    number: int
    folder: str

    @property
    def said(self) -> Path:
        """The file that it reports to."""
        return Path(self.folder) / f"said-{self.number}.jsonl"

    @property
    def saved(self) -> Path:
        """The file that it is told to write: one that no other process is told of."""
        return Path(self.folder) / f"saved-by-{self.number}.npz"

    @property
    def printed(self) -> Path:
        """The file that its output goes to."""
        return Path(self.folder) / f"printed-{self.number}"

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def batches() -> list[list[str]]:
    """The texts of each step, the whole batch."""
    from kit.course.shared import small_models as small

    texts = small.texts(BATCH * STEPS, seed=small.seed())
    return [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]


def model_to_train() -> Any:
    """A small model of one block under the distribution that is set, the same in each process."""
    from kit.course.shared import small_models as small

    model = small.small_model(rank=RANK, num_layers=1)
    small.compile_model(model, RATE, DECAY)
    return model


class _Process:
    """What the program is for: one of those that train together."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._file = request.said.open("a", encoding="utf-8")

    def say(self, **content: Any) -> None:
        """Tell who started this process."""
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()

    def doing(self, what: str, function: Callable[[], Value], limit: float = 15) -> Value:
        """Say what is done next, and how many seconds it may take on a machine that is busy, and do it."""
        self.say(doing=what, limit=limit)
        return function()

    def work(self) -> dict[str, Any]:
        """Join the others, and do with them all that the exercise is about."""
        import jax
        import keras
        import numpy as np

        from kit.checks.diagnosis import Failed
        from kit.judge.submission import Submission
        from kit.parts.implementation import find_parts

        submission = Submission(find_parts(self._request.impl), "multihost")
        number = self._join(submission)
        assert (jax.process_count(), jax.process_index()) == (PROCESSES, self._request.number), (
            "it is not who it should be"
        )
        assert jax.device_count() == PROCESSES * DEVICES_EACH, "there are other devices than were asked for"

        def gather(value: jax.Array, what: str, expected: np.ndarray | None = None) -> np.ndarray:
            call = lambda: submission.attempt("whole_value", value, expects=RuntimeError)  # noqa: E731
            found = self.doing(f"whole_value of {what}", call)
            shards = [shard.data.shape for shard in value.addressable_shards]
            rows = [("array", what), ("shards that this process has", f"{len(shards)} of shape {shards[0]}")]
            if isinstance(found, RuntimeError):
                rows.append(("error", " ".join(str(found).split())[:80]))
            elif isinstance(found, np.ndarray):
                rows += [("shape, whole", f"{value.shape}"), ("shape, yours", f"{found.shape}")]
                if found.shape == value.shape and expected is not None:
                    rows.append(("entries that are right", f"{np.mean(found == expected):.0%}"))
                if found.shape == value.shape and (expected is None or np.array_equal(found, expected)):
                    return found
            else:
                submission.expect_type("whole_value", found, np.ndarray)
            raise Failed(
                "MULTIHOST_NOT_WHOLE",
                f"In process {number} of {PROCESSES}, whole_value does not give the whole of an array that both hold.",
                ("", "yours"),
                rows,
            )

        devices = np.array(jax.devices())
        # Weights over all devices: no process has more than half of this.
        flat = jax.sharding.Mesh(devices.reshape(1, -1), ("batch", "model"))
        known = np.arange(16 * 24, dtype="float32").reshape(16, 24)
        for axes in (("model", None), (None, "model"), (None, None)):
            sharding = jax.sharding.NamedSharding(flat, jax.sharding.PartitionSpec(*axes))
            array = jax.make_array_from_callback(known.shape, sharding, known.__getitem__)
            gather(array, f"an array of shape {known.shape}, split by {axes}", known)

        places = np.array(TRAINED_ON)
        process_of_device = np.vectorize(lambda device: device.process_index)(devices[places])
        rows = self.doing(
            "own_rows", lambda: submission.call("own_rows", process_of_device.copy(), BATCH, self._request.number)
        )
        names = np.array(keras.distribution.list_devices())[places]
        mesh = keras.distribution.DeviceMesh(places.shape, ["batch", "model"], list(names.ravel()))
        held = self._expect_rows(mesh, rows)
        self._expect_count(submission, mesh, process_of_device, held)
        self._set_distribution(mesh)
        model = self.doing("making the model", model_to_train, limit=60)
        losses = []
        for step, batch in enumerate(batches(), start=1):
            own = [batch[int(row)] for row in rows]
            loss, *_ = self.doing(f"step {step}", lambda own=own: model.train_on_batch(own), limit=60)  # type: ignore[misc]
            losses.append(float(loss))

        values = {variable.path: variable.value for variable in model.trainable_variables}
        paths = {id(value): path for path, value in values.items()}
        # The other process has them in the other order.
        ordered = dict(list(values.items())[:: 1 if self._request.number == 0 else -1])
        submission.call(
            "save_once",
            ordered,
            self._request.saved,
            self._request.number,
            gather=lambda value: gather(value, paths.get(id(value), "an array that is none of those")),
        )
        return {"losses": losses, "rows": [int(row) for row in rows]}

    def _join(self, submission: Any) -> int:
        """Connect to the other process with the settings of the solution. The number of this process."""
        import jax
        import keras

        from kit.checks.diagnosis import Failed

        names = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES")
        expected = (os.environ[names[0]], int(os.environ[names[1]]), self._request.number)
        call = lambda: submission.call("process_settings", dict(os.environ), returns=(tuple, list))  # noqa: E731
        found = tuple(self.doing("process_settings", call))
        if found != expected:
            # With these one of them would wait for minutes.
            raise Failed(
                "MULTIHOST_WRONG_SETTINGS",
                f"process_settings gives process {self._request.number} other settings than its environment has.",
                ("", "expected", "yours"),
                [("addresses, processes, this one", repr(expected), repr(found))],
            )
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            self.doing("keras.distribution.initialize", lambda: keras.distribution.initialize(*expected), limit=90)
        except RuntimeError as error:
            raise AssertionError(
                f"the processes could not be connected ({' '.join(str(error).split())[:200]})"
            ) from None
        return self._request.number

    def _expect_rows(self, mesh: Any, rows: Any) -> int:
        """Hold the rows against what JAX says that this process holds: two that feed other numbers of rows would wait. How many."""
        import jax

        from kit.checks.diagnosis import Failed

        sharding = jax.sharding.NamedSharding(mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
        slices = [index[0] for index in sharding.addressable_devices_indices_map((BATCH,)).values() if index]
        expected = sorted({row for held in slices for row in range(BATCH)[held]})
        if sorted(int(row) for row in rows) != expected:
            raise Failed(
                "MULTIHOST_WRONG_ROWS",
                f"Process {self._request.number} of {PROCESSES} feeds other rows than its devices hold.",
                ("", "expected", "yours"),
                [(f"rows of {BATCH}", str(expected), str(list(rows)))],
            )
        return len(expected)

    def _expect_count(self, submission: Any, mesh: Any, process_of_device: Any, rows: int) -> None:
        """What JAX takes the whole of an array to be, when this process feeds twice as many rows as it should."""
        import jax
        import numpy as np

        from kit.checks.diagnosis import Failed

        sharding = jax.sharding.NamedSharding(mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
        expected = jax.make_array_from_process_local_data(sharding, np.zeros(2 * rows)).shape[0]
        found = submission.call("rows_of_whole_batch", process_of_device.copy(), 2 * rows, self._request.number)
        if found != expected:
            raise Failed(
                "MULTIHOST_WRONG_COUNT",
                f"Process {self._request.number} feeds {2 * rows} rows, and JAX takes the whole batch to have another number.",
                ("JAX", "yours"),
                [(expected, found)],
            )

    def _set_distribution(self, mesh: Any) -> None:
        import keras

        from kit.course.shared import tensor_parallel as oracle

        layout_map = oracle.tensor_parallel_map(mesh, oracle.split_paths(1))
        keras.distribution.set_distribution(oracle.model_parallel(layout_map))


def main() -> None:
    """Report what came of it, and stay for the others until the standard input is closed."""
    request = Request(**json.loads(sys.argv[1]))
    process = _Process(request)
    from kit.runtime.platform import prepare_environment

    prepare_environment("cpu", DEVICES_EACH)
    import keras

    from kit.checks.diagnosis import Failed
    from kit.judge.submission import described

    keras.config.disable_interactive_logging()
    keras.utils.set_random_seed(0)
    try:
        process.say(result=process.work())
    except Failed as failed:
        process.say(diagnosis=failed.diagnosis.as_dict())
    except BaseException as error:
        if os.environ.get("KIT_TRACEBACK"):
            import traceback

            traceback.print_exc()
        ours = isinstance(error, AssertionError)
        process.say(**{"error" if ours else "crashed": described(error)})
    # To leave now would break the connections of a process that is not done.
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
