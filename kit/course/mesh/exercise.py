"""The exercise ``mesh`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import MeshPart

EXERCISE = Exercise(
    number=1,
    name="mesh",
    title="The device mesh",
    difficulty=1,
    minutes=5,
    prerequisites=(),
    contract=MeshPart,
    learned="A device mesh is a grid with named axes: the batch is split over one of them, the weights over the other.",
    hints=(
        "Draw the devices as a grid on paper. Each row is a group that gets its own part of the batch. Each column "
        "holds its own slice of the weights. Which sizes can you not draw with the devices that are available? Raise "
        "an error for those first.",
        "Use the class keras.distribution.DeviceMesh. It takes a shape, the names of the axes, and the devices. Do "
        "not rely on its own errors: they are about shapes and do not say how many devices the mesh takes and how "
        "many are available. The number of available devices is the length of the list, whether the caller passed it "
        "or not.",
        "Write one `if` with three conditions: the first size is below 1, the second size is below 1, or their "
        "product is not the number of devices. In it, raise a ValueError whose message contains both numbers. After "
        "it, write one `return`: pass the two sizes in the order of the parameters, the two names in the same order, "
        "and the unchanged list of devices.",
    ),
    questions={
        ("spec", "make_device_mesh", 15): {
            "refuses": "Sizes that do not fit the devices must raise a ValueError that names both numbers.",
            "shape": "The mesh must have the requested sizes, and axes named batch and model.",
            "devices": "The mesh must use the given devices in their order, and all devices by default.",
        }
    },
    remedies={
        "The grid": {
            "MESH_WRONG_SHAPE": "Give the first axis the size `batch` and the second axis the size `model`.",
            "MESH_WRONG_AXIS_NAMES": 'Name the axes "batch" and "model", in this order.',
        },
        "Which devices": {
            "MESH_DEVICES_IGNORED": "Use the devices that are passed, row by row, in their order.",
            "MESH_CHANGES_DEVICES": "Leave the list unchanged: make a new list if you need another.",
        },
        "Sizes that do not fit": {
            "MESH_TRUNCATES_DEVICES": "Raise a ValueError unless batch x model is the number of devices: you also pay "
            "for idle devices.",
            "MESH_ERROR_WITHOUT_NUMBERS": "Raise your own error that says how many devices the mesh takes and how "
            "many are available. If the message is not yours, your condition let these sizes pass.",
        },
    },
)
