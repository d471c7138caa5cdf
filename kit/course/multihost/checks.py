"""Checks of ``multihost``: functions on simulated devices, and a training of two processes."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.multihost import process_pair, reading
from kit.course.multihost import shared_training as training
from kit.course.multihost.process_report import Report, RowsSeen, StepSeen, TwoProcesses, judge_end
from kit.course.shared.meshes import all_devices, mesh_shapes
from kit.evidence import unsharded_twin
from kit.judge.observation import Outcome, Raised, returned
from kit.judge.submission import Submission

observe_two_processes = process_pair.observe_two_processes

ADDRESSES, COUNT, NUMBER = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
#: A loss is a sum over eight rows, which four devices add in another order than one does. In
#: float32, over five seeds of the texts, losses differed by up to 5e-7. A missing or repeated row
#: changes them by a hundredth.
LOSS_TOLERANCE = 5e-6
#: AdamW divides by a root that is near 0 in the first steps, which amplifies rounding. Over five
#: seeds: up to 2e-6.
ADAPTER_TOLERANCE = 5e-5


VALID_SETTINGS = (
    ("10.0.0.1:1234", 2, 1),
    ("a:1,b:2,c:3", 3, 0),
    ("a:1, b:2,", 2, 0),
    ("host:80", 1, 0),
    ("host:80", 16, 2),
)
#: The variable that is wrong, its value (None if it is missing), and what is wrong with it.
INVALID_SETTINGS = (
    (ADDRESSES, None, "it is missing"),
    (NUMBER, None, "it is missing"),
    (COUNT, None, "it is missing"),
    (ADDRESSES, "", "it is empty"),
    (COUNT, "", "it is empty"),
    (NUMBER, "", "it is empty"),
    (COUNT, "two", "it is not an integer"),
    (NUMBER, "0.5", "it is not an integer"),
    (COUNT, "1_0", "it does not consist of digits, and `int` reads it as 10"),
    (NUMBER, "0_1", "it does not consist of digits, and `int` reads it as 1"),
    (NUMBER, "2", "there are 2 processes, with the numbers 0 and 1"),
    (NUMBER, "10", "there are 2 processes, with the numbers 0 and 1"),
    (NUMBER, "-1", "it does not consist of digits, and no process has it"),
)


def observe_settings(submission: Submission) -> tuple[list[Outcome[tuple[Any, ...]]], list[Outcome[str]]]:
    """What ``process_settings`` makes of valid and invalid environments; of these as ``repr``."""
    valid = [
        submission.observe(
            "process_settings",
            _environment(*case),
            reads=reading.read_settings,
            returns=(tuple, list),
            expects=ValueError,
        )
        for case in VALID_SETTINGS
    ]
    invalid = []
    for name, value, _ in INVALID_SETTINGS:
        environment = _environment("10.0.0.1:1234", 2, 1)
        del environment[name]
        if value is not None:
            environment[name] = value
        invalid.append(submission.observe("process_settings", environment, reads=repr, expects=ValueError))
    return valid, invalid


def _environment(addresses: str, count: int, number: int) -> dict[str, str]:
    return {"HOME": "/", ADDRESSES: addresses, COUNT: str(count), NUMBER: str(number)}


def judge_settings(outcomes: tuple[list[Outcome[tuple[Any, ...]]], list[Outcome[str]]]) -> None:
    """Valid settings are returned; for invalid ones, the error names the variable."""
    valid, invalid = outcomes
    for expected, outcome in zip(VALID_SETTINGS, valid, strict=True):
        if isinstance(outcome, Raised):
            _, count, number = expected
            as_text = str(number) > str(count)
            cause = f"`process_settings` refuses process {number} of {count}, which is valid"
            cause += f': compared as text, "{number}" is not below "{count}".' if as_text else "."
            remedy = "Turn both into integers before you compare them." if as_text else ""
            raise Failed(
                "MULTIHOST_WRONG_SETTINGS",
                cause,
                ("valid settings", "your error"),
                [(repr(expected), outcome.text)],
                remedy,
            )
        if returned(outcome) != expected:
            cause = "`process_settings` returned other settings than the environment has."
            if returned(outcome)[1:] == expected[1:]:
                cause = "`process_settings` changes the addresses: it is to return them as the environment has them."
            rows = [("addresses, processes, this process", repr(expected), repr(returned(outcome)))]
            raise Failed("MULTIHOST_WRONG_SETTINGS", cause, ("", "expected", "yours"), rows)
    for (name, value, reason), refusal in zip(INVALID_SETTINGS, invalid, strict=True):
        shown = f"no {name}" if value is None else f'{name}="{value}"'
        if not isinstance(refusal, Raised):
            cause = f"`process_settings` accepts an environment with {shown}: {reason}."
            raise Failed(
                "MULTIHOST_SETTINGS_NOT_REFUSED", cause, ("expected", "returned"), [("ValueError", returned(refusal))]
            )
        if name not in refusal.text:
            cause = f"The error about {shown} does not name the variable."
            raise Failed(
                "MULTIHOST_ERROR_WITHOUT_NAME", cause, ("expected in the message", "yours"), [(name, refusal.text)]
            )


@dataclass(frozen=True)
class ProcessMesh:
    """A mesh, and which process has which device."""

    description: str
    #: The process of each device, of shape (batch, model).
    process_of_device: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes of the axes "batch" and "model"."""
        batch, model = self.process_of_device.shape
        return batch, model

    @property
    def processes(self) -> list[int]:
        """The numbers of the processes."""
        return sorted({int(number) for number in self.process_of_device.ravel()})


def _process_meshes() -> Iterator[ProcessMesh]:
    """Each grid of all devices, divided among processes in different ways."""
    for batch, model in mesh_shapes():
        count = batch * model
        positions = np.arange(count)
        half = max(1, count // 2)
        for division, numbers in (
            ("one half per process", positions // half),
            ("alternating devices", positions % 2),
            ("one half per process, in reverse order", (count - 1 - positions) // half),
            ("alternating pairs", positions // 2 % 2),
            ("three processes", positions * 3 // count),
            ("a single process", positions * 0),
        ):
            if numbers.max() < count:
                yield ProcessMesh(f"({batch}, {model}), {division}", numbers.reshape(batch, model))


def _batches_to_feed() -> Iterator[tuple[ProcessMesh, int, int]]:
    """Mesh, rows of the batch, and process."""
    for mesh in _process_meshes():
        for batch_size in (mesh.shape[0], 3 * mesh.shape[0]):
            for process in mesh.processes:
                yield mesh, batch_size, process


def observe_rows(submission: Submission) -> tuple[list[Outcome[list[int]]], Outcome[str]]:
    """The rows that each process feeds, and what 6 rows on a mesh of 4 rows give, as text."""
    rows = [
        submission.observe(
            "own_rows",
            mesh.process_of_device.copy(),
            batch_size,
            process,
            reads=lambda found: reading.read_rows(submission, found),
        )
        for mesh, batch_size, process in _batches_to_feed()
    ]
    four_rows = np.array([[0], [0], [1], [1]])
    return rows, submission.observe("own_rows", four_rows, 6, 1, reads=str, expects=ValueError)


def judge_rows(outcomes: tuple[list[Outcome[list[int]]], Outcome[str]]) -> None:
    """The rows are those that JAX places on the devices of the process."""
    assert len(all_devices()) == len(jax.devices()), "Keras and JAX see different devices"
    for (mesh, batch_size, process), outcome in zip(_batches_to_feed(), outcomes[0], strict=True):
        _judge_rows(mesh, batch_size, process, returned(outcome))
    indivisible = outcomes[1]
    refused = isinstance(indivisible, Raised)
    found = indivisible.text if isinstance(indivisible, Raised) else returned(indivisible)
    if not (refused and "6" in found and "4" in found):
        raise Failed(
            "MULTIHOST_BATCH_NOT_REFUSED",
            "`own_rows` "
            + ("raises an error without both numbers for" if refused else "accepts")
            + " a batch of 6 rows on a mesh of 4 rows.",
            ("expected", "yours"),
            [("ValueError with 6 and 4", found)],
        )


def _judge_rows(mesh: ProcessMesh, batch_size: int, process: int, rows: list[int]) -> None:
    expected = _rows_held(mesh, batch_size, process)
    if rows == expected:
        return
    same = set(rows) == set(expected)
    raise Failed(
        "MULTIHOST_WRONG_ROW_ORDER" if same else "MULTIHOST_WRONG_ROWS",
        f"On the mesh {mesh.description}, process {process} feeds "
        + ("its rows in another order, or more than once." if same else "other rows than its devices hold."),
        ("", "expected", "yours"),
        [
            ("processes of the devices", str(mesh.process_of_device.tolist()), ""),
            (f"rows of {batch_size}", str(expected), str(rows)),
        ],
    )


def _rows_held(mesh: ProcessMesh, batch_size: int, process: int) -> list[int]:
    """The rows that JAX places on the devices of a process."""
    devices = np.array(jax.devices())
    jax_mesh = jax.sharding.Mesh(devices.reshape(mesh.shape), ("batch", "model"))
    sharding = jax.sharding.NamedSharding(jax_mesh, jax.sharding.PartitionSpec("batch"))
    indices = sharding.devices_indices_map((batch_size,))
    process_of = dict(zip(devices, mesh.process_of_device.ravel(), strict=True))
    held = [index[0] for device, index in indices.items() if process_of[device] == process]
    return sorted({row for rows in held for row in range(batch_size)[rows]})


def _rows_to_count() -> Iterator[tuple[ProcessMesh, int, int, int]]:
    """Mesh, process, the rows that it feeds, and those of the whole batch."""
    for mesh in _process_meshes():
        for process in mesh.processes:
            own_parts = len(np.unique(np.argwhere(mesh.process_of_device == process)[:, 0]))
            for rows_per_part in (1, 4):
                yield mesh, process, rows_per_part * own_parts, rows_per_part * mesh.shape[0]


def observe_counts(submission: Submission) -> list[Outcome[float | str]]:
    """The size of the whole batch, from the rows that one process feeds."""
    return [
        submission.observe(
            "rows_of_whole_batch", mesh.process_of_device.copy(), fed, process, reads=reading.read_number
        )
        for mesh, process, fed, _ in _rows_to_count()
    ]


def judge_counts(outcomes: list[Outcome[float | str]]) -> None:
    """All parts of the batch are as large as those that the process feeds."""
    for (mesh, process, fed, expected), outcome in zip(_rows_to_count(), outcomes, strict=True):
        found = returned(outcome)
        if found != expected:
            cause = f"On the mesh {mesh.description}, `rows_of_whole_batch` is wrong for process {process}."
            rows = [
                ("processes of the devices", str(mesh.process_of_device.tolist()), ""),
                ("rows that it feeds", fed, ""),
                ("rows of the whole batch", expected, found),
            ]
            raise Failed("MULTIHOST_WRONG_COUNT", cause, ("", "expected", "yours"), rows)


KNOWN = np.arange(16 * 24, dtype="float32").reshape(16, 24)


def _shardings() -> Iterator[tuple[str, Any]]:
    """Descriptions of shardings of a matrix in one process, and the shardings."""
    for shape in mesh_shapes():
        mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(shape), ("batch", "model"))
        for axes in (("batch", "model"), ("model", "batch"), (None, "model"), ("batch", None), ()):
            spec = jax.sharding.PartitionSpec(*axes)
            yield f"on the mesh {shape}, sharded by {axes}", jax.sharding.NamedSharding(mesh, spec)
    yield "on one device", jax.devices()[0]


def observe_whole(submission: Submission) -> list[Outcome[np.ndarray]]:
    """An array of each sharding as a whole."""
    return [
        submission.observe("whole_value", jax.device_put(KNOWN, sharding), reads=reading.read_array, returns=np.ndarray)
        for _, sharding in _shardings()
    ]


def judge_whole(outcomes: list[Outcome[np.ndarray]]) -> None:
    """All entries are there."""
    for (description, _), outcome in zip(_shardings(), outcomes, strict=True):
        found = returned(outcome)
        if not np.array_equal(found, KNOWN):
            right = f"{np.mean(found == KNOWN):.0%}" if found.shape == KNOWN.shape else "-"
            cause = f"`whole_value` does not return the whole of an array {description}."
            rows = [("shape", KNOWN.shape, found.shape), ("entries that are right", "100%", right)]
            raise Failed("MULTIHOST_NOT_WHOLE", cause, ("", "expected", "yours"), rows)


@dataclass(frozen=True)
class Save:
    """A call of ``save_once``, as one of two processes."""

    outcome: Outcome[None]
    #: Names of the arrays that it gathered, in order.
    gathered: tuple[str, ...]
    #: Names of the files that it wrote.
    files: tuple[str, ...]
    saved: reading.SavedFile


def _arrays_to_save() -> dict[str, np.ndarray]:
    """Arrays under the names of a large model's adapters, which any sorting puts in another order.

    The order of a set of these names depends on the order in which they are added: some of the
    names collide in its hash table, whatever the seed of the hashes is.
    """
    random = np.random.default_rng(0)
    names = ["scale", "embeddings"]
    for block in reversed(range(28)):
        for layer in ("value", "query"):
            names += [f"decoder_block_{block}/attention/{layer}/lora_kernel_{matrix}" for matrix in "ba"]
    other_way = names[::-1]
    assert list(set(names)) != list(set(other_way)), "a set of these names has one order"
    return {name: random.normal(size=(2, 3)).astype("float32") for name in names}


def observe_saves(submission: Submission) -> list[Save]:
    """What process 0 and process 1 gather and write. They have the arrays in opposite orders."""
    arrays = {name: jax.device_put(value, jax.devices()[0]) for name, value in _arrays_to_save().items()}
    return [_save(submission, arrays, 0), _save(submission, dict(reversed(arrays.items())), 1)]


def _save(submission: Submission, arrays: dict[str, jax.Array], process: int) -> Save:
    names = {id(array): name for name, array in arrays.items()}
    gathered: list[str] = []

    def gather(array: jax.Array) -> np.ndarray:
        gathered.append(names.get(id(array), "an unknown array"))
        return np.asarray(array)

    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        file = Path(folder, "values.npz")
        outcome = submission.observe("save_once", arrays, file, process, gather=gather, reads=lambda value: None)
        files = tuple(sorted(path.name for path in Path(folder).iterdir()))
        return Save(outcome, tuple(gathered), files, reading.read_saved(file))


def judge_saves(saves: list[Save]) -> None:
    """Both gather the same arrays in the same order, and only process 0 writes them."""
    for save in saves:
        returned(save.outcome)
    _judge_collectives(saves[0].gathered, saves[1].gathered)
    if saves[1].files:
        cause = "Process 1 writes files too."
        rows = [(number, ", ".join(save.files)) for number, save in enumerate(saves)]
        raise Failed("MULTIHOST_WRITTEN_TWICE", cause, ("process", "files that it wrote"), rows)
    reading.judge_saved(saves[0].saved, _arrays_to_save())


def _judge_collectives(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    if first == second and sorted(first) == sorted(_arrays_to_save()):
        return
    length = max(len(first), len(second), 1)
    columns = [(*gathered, *["nothing"] * (length - len(gathered))) for gathered in (first, second)]
    rows = list(zip(range(1, length + 1), *columns, strict=True))
    different = [row for row in rows if row[1] != row[2]]
    raise Failed(
        "MULTIHOST_COLLECTIVES_DIFFER",
        "The processes gather different arrays, or in different orders: they would wait for each other."
        if first != second
        else "The processes do not gather each array once.",
        ("gathered", "by process 0", "by process 1"),
        (different or rows)[:6],
    )


def judge_two_processes(observation: TwoProcesses) -> dict[str, float]:
    """They finish, losses and adapters are those of the unsharded twin, and one file is written."""
    judge_end(observation)
    for report in observation.reports:
        for seen in report.seen:
            seen.judge()
    # The processes are on the CPU, whatever this process uses.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        twin = unsharded_twin.train(
            training.model_to_train(), training.batches(), training.LEARNING_RATE, training.WEIGHT_DECAY
        )
    differences = [_judge_losses(observation.reports, number, twin.losses) for number in range(training.PROCESSES)]
    if observation.sizes[1] is not None:
        cause = "Process 1 writes a file too."
        rows = [(number, size) for number, size in enumerate(observation.sizes) if size is not None]
        raise Failed("MULTIHOST_WRITTEN_TWICE", cause, ("process", "bytes of its file"), rows)
    assert observation.saved, "the file of process 0 was not read"
    expected = twin.trainable | {training.PROGRESS: training.progress()}
    reading.judge_saved(observation.saved, expected, ADAPTER_TOLERANCE)
    adapters = observation.saved.arrays
    return {
        "loss against the twin": max(differences),
        "adapters against the twin": max(
            reading.relative_difference(adapters[path], value) for path, value in twin.trainable.items()
        ),
    }


def _judge_losses(reports: tuple[Report, ...], process: int, expected: tuple[float, ...]) -> float:
    """Compare a process's losses with the twin's; the relative difference."""
    losses = [seen.loss for seen in reports[process].seen if isinstance(seen, StepSeen)]
    if not np.allclose(losses, expected, rtol=LOSS_TOLERANCE):
        steps = enumerate(zip(expected, losses, strict=True), start=1)
        fed = [seen for report in reports for seen in report.seen if isinstance(seen, RowsSeen)]
        cause = f"The losses of process {process} of two are not those of the same training on one device."
        rows = [
            *((f"loss of step {step}", f"{right:.6f}", f"{mine:.6f}") for step, (right, mine) in steps),
            *((f"rows of {training.BATCH} of process {seen.process}", "", returned(seen.outcome)) for seen in fed),
        ]
        raise Failed("MULTIHOST_WRONG_ROWS", cause, ("", "one device", "two processes"), rows)
    return reading.relative_difference(np.array(losses), np.array(expected))
