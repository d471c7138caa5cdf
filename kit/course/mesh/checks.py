"""Checks of the exercise ``mesh``."""

import re

import keras

from kit.course.shared.meshes import all_devices, mesh_shapes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission

FUNCTION = "make_device_mesh"


def refuses(submission: Submission) -> None:
    """Sizes that do not fit the devices are a ValueError that names both numbers."""
    devices = all_devices()
    count = len(devices)
    cases = [
        (1, count // 2, devices),
        (3, count, devices),
        (2, count, devices),
        (count, 1, devices[:-1]),
        (0, count, devices),
    ]
    for batch, model, given in [*((b, m, g) for b, m, g in cases if b * m != len(g)), (-1, -count, devices)]:
        result = submission.attempt(FUNCTION, batch, model, given, expects=ValueError)
        call = f"{FUNCTION}({batch}, {model}, {len(given)} devices)"
        if not isinstance(result, ValueError):
            submission.expect_type(FUNCTION, result, keras.distribution.DeviceMesh)
            raise Failed(
                "MESH_TRUNCATES_DEVICES",
                f"{call} returned a mesh of {result.devices.size} devices and raised no error.",
                ("asked for", "devices given", "devices in the mesh"),
                [(f"{batch} x {model} = {batch * model}", len(given), result.devices.size)],
            )
        numbers = re.findall(r"-?\d+", str(result))
        if not {str(batch * model), str(len(given))} <= set(numbers):
            raise Failed(
                "MESH_ERROR_WITHOUT_NUMBERS",
                f"The error of {call} does not say how many devices were wanted and how many there are.",
                ("wanted", "there are", "your text"),
                [(batch * model, len(given), str(result))],
            )


def shape(submission: Submission) -> None:
    """The grid has the sizes asked for, and axes named batch and model."""
    for batch, model in mesh_shapes():
        mesh = submission.call(FUNCTION, batch, model, returns=keras.distribution.DeviceMesh)
        names = [str(name) for name in mesh.axis_names]
        evidence = (
            ("", "asked for", "yours"),
            [("shape", (batch, model), tuple(map(int, mesh.shape))), ("axis names", ["batch", "model"], names)],
        )
        if tuple(mesh.shape) != (batch, model):
            raise Failed(
                "MESH_WRONG_SHAPE",
                f"{FUNCTION}({batch}, {model}) made a mesh of shape {tuple(map(int, mesh.shape))}.",
                *evidence,
            )
        if names != ["batch", "model"]:
            raise Failed("MESH_WRONG_AXIS_NAMES", f"The axes of the mesh are named {', '.join(names)}.", *evidence)


def devices(submission: Submission) -> None:
    """The devices given are used, in their order; all of them by default."""
    names = all_devices()
    cases: list[tuple[str, list[str] | None, list[str]]] = [
        ("no devices given", None, names),
        ("the devices in reverse order", names[::-1], names[::-1]),
        ("the devices in another order", names[1::2] + names[::2], names[1::2] + names[::2]),
    ]
    if len(names) > 1:
        cases.append(("half of the devices", names[len(names) // 2 :], names[len(names) // 2 :]))
    for case, given, expected in cases:
        shapes = {(1, len(expected))} | ({(2, len(expected) // 2)} if len(expected) % 2 == 0 else set())
        for batch, model in sorted(shapes):
            mesh = submission.attempt(FUNCTION, batch, model, given, expects=ValueError)
            found = str(mesh)
            if not isinstance(mesh, ValueError):
                submission.expect_type(FUNCTION, mesh, keras.distribution.DeviceMesh)
                found = ", ".join(map(str, mesh.devices.flatten()))
            if found != ", ".join(expected):
                raise Failed(
                    "MESH_DEVICES_IGNORED",
                    f"With {case}, {FUNCTION}({batch}, {model}) does not have the expected ones row by row.",
                    ("expected", "yours"),
                    [(", ".join(expected), found)],
                )
