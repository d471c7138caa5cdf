"""Checks of the exercise ``multihost``: what JAX holds where, by its own account, and two processes that train together."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import all_devices, mesh_shapes
from kit.checks.diagnosis import Diagnosis, Failed
from kit.course.multihost.training_process import BATCH, DECAY, PROCESSES, RATE, Request, batches, model_to_train
from kit.judge.submission import Submission
from kit.errors import UserError

ADDRESSES, COUNT, NUMBER = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)


# Settings.


def settings(submission: Submission) -> None:
    """The three settings as Keras takes them; each that makes no sense is refused, by its name."""
    for addresses, count, number in (("10.0.0.1:1234", 2, 1), ("a:1,b:2,c:3", 3, 0), ("host:80", 1, 0)):
        found = submission.call("process_settings", _environment(addresses, count, number), returns=(tuple, list))
        right = len(found) == 3 and tuple(found) == (addresses, count, number)
        if not right or any(isinstance(value, str) for value in found[1:]):
            raise Failed(
                "MULTIHOST_WRONG_SETTINGS",
                "process_settings gives other settings than the environment has.",
                ("", "expected", "yours"),
                [("addresses, processes, this one", repr((addresses, count, number)), repr(tuple(found)))],
            )
    usual = _environment("10.0.0.1:1234", 2, 1)
    _expect_refused(submission, ADDRESSES, {key: value for key, value in usual.items() if key != ADDRESSES})
    _expect_refused(submission, NUMBER, {key: value for key, value in usual.items() if key != NUMBER})
    for name, value in ((COUNT, ""), (COUNT, "two"), (NUMBER, "0.5"), (NUMBER, "2"), (NUMBER, "-1")):
        _expect_refused(submission, name, usual | {name: value})


def _environment(addresses: str, count: int, number: int) -> dict[str, str]:
    return {"HOME": "/", ADDRESSES: addresses, COUNT: str(count), NUMBER: str(number)}


def _expect_refused(submission: Submission, name: str, environment: dict[str, str]) -> None:
    shown = f"{name}={environment[name]}" if name in environment else f"no {name}"
    found = submission.attempt("process_settings", environment, expects=ValueError)
    if not isinstance(found, ValueError):
        raise Failed(
            "MULTIHOST_SETTINGS_NOT_REFUSED",
            f"process_settings takes what makes no sense: {shown}.",
            ("expected", "returned"),
            [("ValueError", repr(found))],
        )
    if name not in str(found):
        raise Failed(
            "MULTIHOST_ERROR_WITHOUT_NAME",
            f"The error about {shown} does not say which variable is to be mended.",
            ("expected in it", "yours"),
            [(name, str(found))],
        )


# Rows.


@dataclass(frozen=True)
class _Mesh:
    """A mesh whose devices are shared out to processes."""

    what: str
    process_of_device: np.ndarray

    @property
    def processes(self) -> list[int]:
        """Their numbers."""
        return sorted({int(number) for number in self.process_of_device.ravel()})


def _meshes() -> Iterator[_Mesh]:
    """Grids of the devices that are here, each shared out in several ways; and one of more devices."""
    for batch, model in mesh_shapes():
        count = batch * model
        places = np.arange(count)
        half = max(1, count // 2)
        for how, numbers in (
            ("one half after the other", places // half),
            ("in turn", places % 2),
            ("the other way round", (count - 1 - places) // half),
            ("pairs in turn", places // 2 % 2),
            ("of 3 processes", places * 3 // count),
            ("a single process", places * 0),
        ):
            if numbers.max() < count:
                yield _Mesh(f"({batch}, {model}), {how}", numbers.reshape(batch, model))


def rows(submission: Submission) -> None:
    """On each mesh, each process feeds what its devices hold, each row once, in ascending order."""
    devices = np.array([*jax.devices()])
    assert len(all_devices()) == len(devices), "Keras and JAX see other devices"
    for mesh in _meshes():
        parts = len(mesh.process_of_device)
        sharding = jax.sharding.NamedSharding(
            jax.sharding.Mesh(devices.reshape(mesh.process_of_device.shape), ("batch", "model")),
            jax.sharding.PartitionSpec("batch"),
        )
        for batch_size in (parts, 3 * parts):
            # JAX's own account of what each device holds.
            held = {device: index[0] for device, index in sharding.devices_indices_map((batch_size,)).items()}
            for process in mesh.processes:
                expected = {
                    row
                    for device, number in zip(devices, mesh.process_of_device.ravel(), strict=True)
                    if number == process
                    for row in range(batch_size)[held[device]]
                }
                found = submission.call("own_rows", mesh.process_of_device.copy(), batch_size, process)
                _expect_rows(submission, mesh, batch_size, process, sorted(expected), found)
    _expect_indivisible_refused(submission)


def _expect_rows(
    submission: Submission, mesh: _Mesh, batch_size: int, process: int, expected: list[int], found: Any
) -> None:
    if not isinstance(found, (list, tuple, range, np.ndarray)):
        submission.expect_type("own_rows", found, list)
    mine = [int(row) for row in found]
    if mine == expected:
        return
    same = set(mine) == set(expected)
    raise Failed(
        "MULTIHOST_WRONG_ROW_ORDER" if same else "MULTIHOST_WRONG_ROWS",
        f"On the mesh {mesh.what}, process {process} feeds "
        + ("its rows in another order, or more than once." if same else "other rows than its devices hold."),
        ("", "expected", "yours"),
        [
            ("processes of the devices", str(mesh.process_of_device.tolist()), ""),
            (f"rows of {batch_size}", str(expected), str(mine)),
        ],
    )


def _expect_indivisible_refused(submission: Submission) -> None:
    process_of_device = np.array([[0], [0], [1], [1]])
    found = submission.attempt("own_rows", process_of_device.copy(), 6, 1, expects=ValueError)
    if isinstance(found, ValueError) and all(number in str(found) for number in "64"):
        return
    refused = isinstance(found, ValueError)
    raise Failed(
        "MULTIHOST_BATCH_NOT_REFUSED",
        "own_rows shares out a batch of 6 rows on a mesh of 4 rows, "
        + ("with an error that does not have both numbers." if refused else "which JAX refuses."),
        ("expected", "yours"),
        [("ValueError with 6 and 4", str(found))],
    )


def counts(submission: Submission) -> None:
    """By what one process feeds, the number of rows that JAX takes the whole batch to have."""
    for mesh in _meshes():
        parts = len(mesh.process_of_device)
        for process in mesh.processes:
            own = len(np.unique(np.argwhere(mesh.process_of_device == process)[:, 0]))
            for part in (1, 4):
                expected = part * parts
                found = submission.call("rows_of_whole_batch", mesh.process_of_device.copy(), part * own, process)
                if isinstance(found, bool) or not isinstance(found, (int, float, np.number)) or found != expected:
                    raise Failed(
                        "MULTIHOST_WRONG_COUNT",
                        f"On the mesh {mesh.what}, process {process} feeds {part * own} rows.",
                        ("", "expected", "yours"),
                        [
                            ("processes of the devices", str(mesh.process_of_device.tolist()), ""),
                            ("rows of the whole batch", expected, found),
                        ],
                    )


# Whole values.


def whole(submission: Submission) -> None:
    """In one process: arrays that are split by either axis, by both, by none, and an array that has no mesh."""
    known = np.arange(16 * 24, dtype="float32").reshape(16, 24)
    for shape in mesh_shapes():
        mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(shape), ("batch", "model"))
        for axes in (("batch", "model"), ("model", "batch"), (None, "model"), ("batch", None), ()):
            sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
            _expect_whole(submission, f"on the mesh {shape}, split by {axes}", jax.device_put(known, sharding), known)
    _expect_whole(submission, "on one device", jax.device_put(known, jax.devices()[0]), known)


def _expect_whole(submission: Submission, what: str, value: jax.Array, expected: np.ndarray) -> None:
    found = submission.call("whole_value", value, returns=np.ndarray)
    if found.shape == expected.shape and np.array_equal(found, expected):
        return
    same = f"{np.mean(found == expected):.0%}" if found.shape == expected.shape else "-"
    raise Failed(
        "MULTIHOST_NOT_WHOLE",
        f"whole_value does not give the whole of an array {what}.",
        ("", "expected", "yours"),
        [("shape", expected.shape, found.shape), ("entries that are right", "100%", same)],
    )


# Saving.


def saves(submission: Submission) -> None:
    """All processes gather the same arrays in the same order, and process 0 alone writes them."""
    random = np.random.default_rng(0)
    # Names as a model has them, which no kind of order leaves as they are.
    names = ("decoder_block_1/kernel", "decoder_block_0/scale", "embeddings", "decoder_block_0/kernel")
    values = {name: random.normal(size=(4, 6)).astype("float32") for name in names}
    arrays = {name: jax.device_put(value, jax.devices()[0]) for name, value in values.items()}
    names_of = {id(array): name for name, array in arrays.items()}
    gathered: dict[int, list[str]] = {}
    written: dict[int, list[Path]] = {}
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        for process in (0, 1):
            room = Path(folder, str(process))
            room.mkdir()
            order: list[str] = []

            def gather(array: jax.Array, order: list[str] = order) -> np.ndarray:
                order.append(names_of.get(id(array), "an array that is none of those"))
                return np.asarray(array)

            given = arrays if process == 0 else dict(reversed(arrays.items()))
            submission.call("save_once", given, room / "values.npz", process, gather=gather)
            gathered[process], written[process] = order, sorted(room.iterdir())
        _expect_same_collectives(gathered, sorted(names))
        if written[1]:
            raise Failed(
                "MULTIHOST_WRITTEN_TWICE",
                "Process 1 writes too.",
                ("process", "files it wrote"),
                [(number, ", ".join(file.name for file in files)) for number, files in written.items()],
            )
        _expect_file(Path(folder, "0", "values.npz"), values)


def _expect_same_collectives(gathered: Mapping[int, list[str]], names: list[str]) -> None:
    first, second = gathered[0], gathered[1]
    if first == second and sorted(first) == names:
        return
    steps = max(len(first), len(second), 1)
    rows = [
        (number + 1, *(found[number] if number < len(found) else "nothing" for found in (first, second)))
        for number in range(steps)
    ]
    raise Failed(
        "MULTIHOST_COLLECTIVES_DIFFER",
        "The processes gather other arrays, or in another order: each would wait for the other."
        if first != second
        else "The processes do not gather each array once.",
        ("gathered", "by process 0", "by process 1"),
        rows[:6],
    )


def _expect_file(file: Path, values: Mapping[str, np.ndarray], tolerance: float = 0.0) -> dict[str, np.ndarray]:
    """A file of NumPy's has these arrays, by these names."""
    found: dict[str, np.ndarray] = {}
    reason = "" if file.is_file() else "is not there"
    if not reason:
        try:
            with np.load(file) as content:
                found = {name: np.asarray(content[name]) for name in content.files}
        except (OSError, ValueError) as error:
            reason = f"cannot be read ({error})"
    rows = [("names", ", ".join(sorted(values)), ", ".join(sorted(found)) or reason)]
    wrong = found.keys() != values.keys()
    for name in values.keys() & found.keys():
        distance = _distance(found[name], values[name])
        if not distance <= tolerance:
            wrong = True
            rows.append((f"largest difference of {name}", f"at most {tolerance:g}", f"{distance:.2g}"))
    if wrong:
        raise Failed(
            "MULTIHOST_WRONG_FILE",
            "The file of process 0 does not have the arrays that were to be saved, by their names.",
            ("", "expected", "yours"),
            rows[:5],
        )
    return found


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of an entry, in parts of the largest entry."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# Two processes.


#: Losses are sums over eight rows, which four parts add up in another order than one device does. In float32, over five seeds of
#: the texts, they were off by up to 5e-7. A row that is missing, or there twice, moves them by a hundredth.
LOSS_TOLERANCE = 5e-6
#: AdamW divides by a root that is near 0 at first, which enlarges what was rounded. Over five seeds: up to 2e-6.
ADAPTER_TOLERANCE = 5e-5
#: Seconds until both have imported the libraries; after that each says how many it may take for what it is at.
START = 100


def two_processes(submission: Submission) -> None:
    """Two processes train with these functions as an unsharded twin does, and one of them writes."""
    # The processes are on the CPU, wherever this is.
    with jax.default_device(jax.local_devices(backend="cpu")[0]), _started(submission) as processes:
        model = model_to_train()
        right = twin.train(model, batches(), RATE, DECAY)
        reports = processes.wait()
        for number, report in enumerate(reports):
            losses = report["losses"]
            submission.measure("loss against the twin", _distance(np.array(losses), np.array(right.losses)))
            if not np.allclose(losses, right.losses, rtol=LOSS_TOLERANCE):
                raise Failed(
                    "MULTIHOST_WRONG_ROWS",
                    f"Two processes train to other losses than one device (process {number} says so).",
                    ("", "one device", "two processes"),
                    [
                        *(
                            (f"loss of step {step}", f"{expected:.6f}", f"{mine:.6f}")
                            for step, (expected, mine) in enumerate(zip(right.losses, losses, strict=True), start=1)
                        ),
                        *(
                            (f"rows of {BATCH} that {at} feeds", "", str(said["rows"]))
                            for at, said in enumerate(reports)
                        ),
                    ],
                )
        first, second = (request.saved for request in processes.requests)
        if second.exists():
            raise Failed(
                "MULTIHOST_WRITTEN_TWICE",
                "Process 1 writes too.",
                ("file", "bytes"),
                [(file.name, file.stat().st_size) for file in (first, second) if file.exists()],
            )
        found = _expect_file(first, right.trainable, ADAPTER_TOLERANCE)
        submission.measure(
            "adapters against the twin", max(_distance(found[path], value) for path, value in right.trainable.items())
        )


@dataclass
class _Processes:
    """Processes that train together, in this process's group: what ends this ends them."""

    submission: Submission
    requests: list[Request]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def wait(self) -> list[dict[str, Any]]:
        """What each found.

        Raises:
            Failed: if one of them found something wrong, has ended, or if neither goes on.
            UserError: if the check could not be made.

        """
        begun = time.monotonic()
        # When each was last heard of, and how much it had said.
        heard = [(begun, 0)] * len(self.requests)
        while True:
            said = [self._said(request) for request in self.requests]
            now = time.monotonic()
            heard = [
                (now, len(lines)) if len(lines) > known else (at, known)
                for lines, (at, known) in zip(said, heard, strict=True)
            ]
            for number, lines in enumerate(said):
                self._expect_there(number, lines)
            for number, lines in enumerate(said):
                self._expect_well(number, lines)
            if all(lines and "result" in lines[-1] for lines in said):
                return [lines[-1]["result"] for lines in said]
            limit = max(lines[-1].get("limit", 0) if lines else START for lines in said)
            if now - max(at for at, _ in heard) > limit:
                raise Failed(
                    "MULTIHOST_PROCESSES_HANG",
                    f"The processes wait for each other: for {limit:g} s neither of them has gone on.",
                    ("process", "is at"),
                    [(number, self._last(lines)) for number, lines in enumerate(said)],
                )
            time.sleep(0.05)

    def _expect_there(self, number: int, lines: list[dict[str, Any]]) -> None:
        """A process has not ended. To be asked first: the others fail when they lose it."""
        exit_code = self.started[number].poll()
        # What it said last may have been read before it ended.
        if exit_code is not None and len(self._said(self.requests[number])) == len(lines):
            if not lines:
                raise UserError(
                    f"The check multihost: two_processes could not be made: process {number} ended with {exit_code} before "
                    f"it began ({self.printed(number)})."
                )
            raise Failed(
                "EXERCISE_ENDED_THE_PROCESS",
                f"Process {number} of {PROCESSES} ended with exit code {exit_code}, before its functions had returned.",
                ("it was at", "printed last"),
                [(self._last(lines), self.printed(number))],
            )

    def _expect_well(self, number: int, lines: list[dict[str, Any]]) -> None:
        """A process has found nothing wrong."""
        last = lines[-1] if lines else {}
        if "diagnosis" in last:
            found = Diagnosis.from_dict(last["diagnosis"])
            raise Failed(found.code, found.cause, found.headings, found.rows, found.advice)
        if "crashed" in last:
            raise Failed(
                "EXERCISE_CRASHED",
                f"Process {number} of {PROCESSES} failed, using what your functions returned: {last['crashed']}.",
                ("it was at",),
                [(self._last(lines[:-1]),)],
                advice="Look at what your functions return in several processes, and at the other diagnoses.",
            )
        if "error" in last:
            raise UserError(f"The check multihost: two_processes could not be made: {last['error']}.")

    def _said(self, request: Request) -> list[dict[str, Any]]:
        try:
            text = request.said.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _last(self, lines: list[dict[str, Any]]) -> str:
        if not lines:
            return "its imports"
        return str(lines[-1].get("doing", "its end"))

    def printed(self, number: int) -> str:
        """The last line that a process printed, of its own."""
        text = self.requests[number].printed.read_text(encoding="utf-8", errors="replace")
        # Gloo tells how many it is connected to.
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("[Gloo]")]
        return lines[-1] if lines else "nothing"

    def end(self) -> None:
        """Kill them: they stay until then, and may wait for each other."""
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()


@contextlib.contextmanager
def _started(submission: Submission) -> Iterator[_Processes]:
    """Two processes under way, which are at their end when this is left."""
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        requests = [Request(submission.parts.name, number, folder) for number in range(PROCESSES)]
        processes = _Processes(submission, requests)
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        try:
            for request in requests:
                with request.printed.open("wb") as output:
                    processes.started.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "kit.course.multihost.training_process", request.as_json()],
                            stdin=subprocess.PIPE,
                            stdout=output,
                            stderr=output,
                            # Each orders its sets in another way, as processes do.
                            env=os.environ
                            | {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": str(request.number + 1)}
                            | {ADDRESSES: address, COUNT: str(PROCESSES), NUMBER: str(request.number)},
                        )
                    )
            yield processes
        finally:
            processes.end()
