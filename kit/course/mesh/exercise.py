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
        "Draw the devices as a grid on paper: a row for each group that gets its own part of the "
        "batch, a column for each slice of the weights. Which two sizes cannot be drawn with the "
        "devices that are there? These are to be refused first.",
        "The class is keras.distribution.DeviceMesh; it takes a shape, the names of the axes and "
        "the devices. Do not leave the refusal to it: it speaks of shapes, and not of how many "
        "devices are wanted and how many there are. How many there are is the length of the list, "
        "whoever gave it.",
        "An if with three reasons to refuse (one size below 1, the other below 1, a product that "
        "is not the number of devices), and in it a ValueError with a formatted text that has "
        "both numbers. After it one return: the two sizes in the order of the parameters, the two "
        "names in the same order, and the list of devices untouched.",
    ),
    checks=(
        Check(
            "refuses",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="Sizes that do not fit the devices are a ValueError with both numbers.",
        ),
        Check(
            "shape",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="The grid has the sizes asked for, and axes named batch and model.",
        ),
        Check(
            "devices",
            "spec",
            "make_device_mesh",
            limit=15,
            asks="The devices given are used, in their order; all of them by default.",
        ),
    ),
    codes={
        "MESH_WRONG_SHAPE": Code(
            "The first axis has the size `batch`, the second the size `model`.",
            "The grid",
        ),
        "MESH_WRONG_AXIS_NAMES": Code(
            'Name the axes "batch" and "model", in this order.',
            "The grid",
        ),
        "MESH_DEVICES_IGNORED": Code(
            "Use the devices that were given, in their order.",
            "Which devices",
        ),
        "MESH_TRUNCATES_DEVICES": Code(
            "Raise a ValueError unless batch x model is the number of devices: idle devices are paid for.",
            "Sizes that do not fit",
        ),
        "MESH_ERROR_WITHOUT_NUMBERS": Code(
            "Say in an error of your own how many devices the mesh takes and how many there are; a text that is not yours means that these sizes went past your check.",
            "Sizes that do not fit",
        ),
    },
)
