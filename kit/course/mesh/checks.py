"""The checks of the exercise ``mesh``."""

import re
from dataclasses import dataclass

import keras
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared.meshes import MeshSeen, all_devices, mesh_shapes
from kit.judge.observation import Outcome, Raised, Returned, returned
from kit.judge.submission import Submission

FUNCTION = "make_device_mesh"
#: The beginning of Keras' own error for sizes that do not fit the devices.
KERAS_COUNTS = "Shape does not match the number of devices"
_REFUSED = ("requested", "devices passed", "devices in the mesh")


@dataclass(frozen=True)
class Call:
    """A call of ``make_device_mesh`` and its outcome."""

    batch: int
    model: int
    #: The devices that are passed; None if no devices are passed.
    devices: tuple[str, ...] | None
    outcome: Outcome[MeshSeen]
    #: The list that was passed, after the call.
    devices_after: tuple[str, ...] | None = None


def observe_refuses(submission: Submission) -> list[Call]:
    """Calls with sizes that do not fit the devices."""
    devices = all_devices()
    count = len(devices)
    cases = [
        (1, count // 2, devices),
        (3, count, devices),
        (2, count, devices),
        (count, 1, devices[:-1]),
        (0, count, devices),
    ]
    cases = [case for case in cases if case[0] * case[1] != len(case[2])]
    # Sizes below 1 whose product is the number of devices.
    cases += [(-1, -count, devices), (0, count, []), (count, 0, [])]
    # Without devices, the sizes that fit the machine are wrong, too.
    return [_call(submission, *case) for case in [*cases, (1, count, []), (2, count, [])]]


def judge_refuses(calls: list[Call]) -> None:
    """Each call raises a ValueError that names both numbers."""
    assert len(calls) > 2, "too few sizes were tried"
    for call in calls:
        given = call.devices or ()
        shown = f"{FUNCTION}({call.batch}, {call.model}, {len(given)} devices)"
        wanted = call.batch * call.model
        if not isinstance(call.outcome, Raised):
            mesh = returned(call.outcome)
            if call.devices == () and mesh.devices:
                raise Failed(
                    "MESH_DEVICES_IGNORED",
                    f"{shown} returned a mesh of {len(mesh.devices)} devices: an empty list is replaced by all devices "
                    "of the machine.",
                    _REFUSED,
                    [(f"{call.batch} x {call.model} = {wanted}", 0, len(mesh.devices))],
                    "Take all devices only if `devices` is None. An empty list, for which `not devices` is true as "
                    "well, has no device.",
                )
            cause = f"{shown} returned a mesh of {len(mesh.devices)} devices instead of raising an error."
            if wanted == len(given):
                cause += " The product is the number of devices, but a size is below 1."
            rows = [(f"{call.batch} x {call.model} = {wanted}", len(given), len(mesh.devices))]
            raise Failed("MESH_TRUNCATES_DEVICES", cause, _REFUSED, rows)
        numbers = re.findall(r"-?\d+", call.outcome.text)
        machine = str(len(all_devices()))
        if call.devices is not None and machine in numbers and str(len(given)) not in numbers:
            raise Failed(
                "MESH_DEVICES_IGNORED",
                f"The error of {shown} names the {machine} devices of the machine as those that are available.",
                ("the mesh takes", "available", "your message"),
                [(wanted, len(given), call.outcome.text)],
                "Compare the product with the number of devices that are passed, not with that of the machine.",
            )
        if not {str(wanted), str(len(given))} <= set(numbers):
            raise Failed(
                "MESH_ERROR_WITHOUT_NUMBERS",
                f"The error of {shown} does not say how many devices the mesh takes and how many are available.",
                ("the mesh takes", "available", "your message"),
                [(wanted, len(given), call.outcome.text)],
            )


def observe_shape(submission: Submission) -> list[Call]:
    """A mesh of each possible shape, over all devices."""
    return [_call(submission, batch, model, expects=()) for batch, model in mesh_shapes()]


def judge_shape(calls: list[Call]) -> None:
    """Shape and axis names are the requested ones."""
    assert calls, "no mesh was requested"
    for call in calls:
        mesh = returned(call.outcome)
        asked = (call.batch, call.model)
        evidence = (
            ("", "requested", "yours"),
            [("shape", asked, mesh.shape), ("axis names", ["batch", "model"], list(mesh.axis_names))],
        )
        if mesh.shape != asked:
            raise Failed("MESH_WRONG_SHAPE", f"{FUNCTION}{asked} returned a mesh of shape {mesh.shape}.", *evidence)
        if mesh.axis_names != ("batch", "model"):
            names = ", ".join(mesh.axis_names)
            raise Failed("MESH_WRONG_AXIS_NAMES", f"The axes of the mesh are named {names}.", *evidence)


def observe_devices(submission: Submission) -> list[Call]:
    """Meshes without passed devices, and with devices in different orders."""
    names = all_devices()
    # The second half, which is sorted, comes first: so ignored and sorted devices differ.
    orders: list[list[str] | None] = [None, names[len(names) // 2 :], names[::-1], names[1::2] + names[::2]]
    calls = []
    for given in orders:
        count = len(given or names)
        shapes = {(1, count)} | ({(2, count // 2)} if count % 2 == 0 else set())
        calls += [_call(submission, batch, model, given) for batch, model in sorted(shapes)]
    # Sizes that an earlier call had, with other devices.
    half = names[: len(names) // 2]
    return [*calls, _call(submission, 1, len(half), half[::-1])]


def judge_devices(calls: list[Call]) -> None:
    """Each mesh has the passed devices in their order, or all devices by default."""
    assert len({call.devices for call in calls}) > 3, "too few orders of devices were tried"
    names = tuple(all_devices())
    for call in calls:
        expected = names if call.devices is None else call.devices
        given = {None: "no devices passed", names[::-1]: "the devices in reverse order"}.get(
            call.devices, "half of the devices" if len(expected) < len(names) else "the devices in another order"
        )
        shown = f"With {given}, {FUNCTION}({call.batch}, {call.model})"
        if isinstance(call.outcome, Raised):
            by_keras = call.outcome.text.startswith(KERAS_COUNTS)
            raise Failed(
                "MESH_DEVICES_IGNORED",
                f"{shown} raised an error, although the mesh takes exactly these {len(expected)} devices"
                + (": DeviceMesh got others." if by_keras else "."),
                ("devices", "the message"),
                [(", ".join(expected), call.outcome.text)],
                "Pass the devices on to DeviceMesh: by default it takes all of the machine."
                if by_keras
                else "Compare the product with the number of devices that are passed, not with that of the machine.",
            )
        found = returned(call.outcome).devices
        if found != expected and (earlier := _call_with_same_result(calls, call)):
            with_what = "other devices" if earlier.devices else "no devices passed"
            raise Failed(
                "MESH_DEVICES_IGNORED",
                f"{shown} returns the devices of an earlier call with the same sizes and {with_what}.",
                ("expected, row by row", "yours"),
                [(", ".join(expected), ", ".join(found))],
                "Make a new mesh at each call. If you keep meshes, the devices belong to the key.",
            )
        if found != expected:
            columns = np.reshape(np.array(expected, dtype=object), (call.batch, call.model), order="F")
            raise Failed(
                "MESH_DEVICES_IGNORED",
                f"{shown} {_other_devices(found, expected, names, columns)}.",
                ("expected, row by row", "yours"),
                [(", ".join(expected), ", ".join(found))],
            )
        if call.devices is not None and call.devices_after != call.devices:
            raise Failed(
                "MESH_CHANGES_DEVICES",
                f"{shown} changes the list that is passed, which belongs to the caller.",
                ("before the call", "after it"),
                [(", ".join(call.devices), ", ".join(call.devices_after or ()))],
            )


def _call_with_same_result(calls: list[Call], call: Call) -> Call | None:
    """The first call with the sizes of this one, if all later ones returned its devices again."""
    first: dict[tuple[int, int], Call] = {}
    repeated = True
    for one in calls:
        if not isinstance(one.outcome, Returned):
            return None
        earlier = first.setdefault((one.batch, one.model), one)
        repeated &= isinstance(earlier.outcome, Returned) and earlier.outcome.data.devices == one.outcome.data.devices
    same_sizes = first[call.batch, call.model]
    return same_sizes if repeated and same_sizes is not call else None


def _other_devices(
    found: tuple[str, ...], expected: tuple[str, ...], names: tuple[str, ...], columns: np.ndarray
) -> str:
    """What a mesh has instead of the expected devices; ``columns`` has them column by column."""
    if found == tuple(columns.reshape(-1)):
        return "places the right devices column by column, and not row by row"
    if sorted(found) == sorted(expected):
        if found == tuple(sorted(expected)):
            return "sorts the devices instead of keeping their order"
        return "has the right devices in another order"
    if found == names[: len(found)]:
        return "takes the first devices of the machine, and not those that are passed"
    return "has other devices than those that are passed"


def _call(
    submission: Submission,
    batch: int,
    model: int,
    devices: list[str] | None = None,
    expects: type[Exception] | tuple[type[Exception], ...] = ValueError,
) -> Call:
    # A list of its own, so that a change of it is seen.
    passed = None if devices is None else list(devices)
    given = () if devices is None and expects == () else (passed,)
    outcome = submission.observe(
        FUNCTION, batch, model, *given, reads=MeshSeen.of, returns=keras.distribution.DeviceMesh, expects=expects
    )
    after = None if passed is None else tuple(map(str, passed))
    return Call(batch, model, None if devices is None else tuple(devices), outcome, after)
