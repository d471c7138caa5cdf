"""The exercise ``mesh`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import MeshPart

EXERCISE = Exercise(
    number=1,
    name="mesh",
    title="The device mesh",
    difficulty=1,
    minutes=5,
    prerequisites=(),
    contract=MeshPart,
    hints=(
        "Draw the devices as a grid on paper. Each row is a group that gets its own part of the batch. "
        "Each column holds its own slice of the weights. Which sizes can you not draw with the devices "
        "that are available? Raise an error for those first.",
        "Use the class keras.distribution.DeviceMesh. It takes a shape, the names of the axes, and the "
        "devices. Do not rely on its own errors: they are about shapes and do not say how many devices "
        "the mesh takes and how many are available. The number of available devices is the length of "
        "the list, whether the caller passed it or not.",
        "Write one `if` with three conditions: the first size is below 1, the second size is below 1, or "
        "their product is not the number of devices. In it, raise a ValueError whose message contains "
        "both numbers. After it, write one `return`: pass the two sizes in the order of the parameters, "
        "the two names in the same order, and the unchanged list of devices.",
    ),
    checks=(
        Check(
            "refuses",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="Sizes that do not fit the devices raise a ValueError that names both numbers.",
        ),
        Check(
            "shape",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="The mesh has the requested sizes, and its axes are named batch and model.",
        ),
        Check(
            "devices",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="The mesh uses the given devices in their order, and all devices by default.",
        ),
    ),
    codes={
        "MESH_WRONG_SHAPE": Code(
            "Give the first axis the size `batch` and the second axis the size `model`.", "The grid"
        ),
        "MESH_WRONG_AXIS_NAMES": Code('Name the axes "batch" and "model", in this order.', "The grid"),
        "MESH_DEVICES_IGNORED": Code("Use the devices that are passed, in their order.", "Which devices"),
        "MESH_TRUNCATES_DEVICES": Code(
            "Raise a ValueError unless batch x model is the number of devices: you also pay for idle devices.",
            "Sizes that do not fit",
        ),
        "MESH_ERROR_WITHOUT_NUMBERS": Code(
            "Raise your own error that says how many devices the mesh takes and how many are available. "
            "If the message is not yours, your condition let these sizes pass.",
            "Sizes that do not fit",
        ),
    },
)
