"""The checks: what each exercise is asked, in the order in which a learner meets it.

Imports no framework: whether a stub is untouched is answered from this table alone. The functions themselves are in
``kit.checks.<exercise>``, under the same names.
"""

from dataclasses import dataclass

from kit.parts import PARTS

#: Layers of checks, cheap ones first.
LAYERS = {
    "interface": "is it implemented, do names and signatures fit",
    "spec": "mesh, sharding specs, rule coverage, bytes per device, data",
    "params": "parameter counts in closed form, at 2B and 7B",
    "program": "collectives of the compiled step",
    "train": "losses step by step against an unsharded twin, adapters and base, resuming",
    "style": "the shift of what the model writes, and the control",
}


@dataclass(frozen=True)
class Check:
    """One question to a solution."""

    exercise: str
    #: The name of its function in ``kit.checks.<exercise>``.
    name: str
    layer: str
    #: The function of the exercise that it is about.
    function: str
    #: What it asks, in one sentence.
    asks: str
    #: Seconds after which it is given up; many times what the reference takes.
    limit: float

    @property
    def id(self) -> str:
        """As pytest shows it."""
        return self.name.replace("_", "-")


def _interface(exercise: str) -> list[Check]:
    return [
        Check(
            exercise,
            f"interface_of_{function}",
            "interface",
            function,
            f"{function} is there, and can be called as the stub says.",
            30,
        )
        for function in PARTS[exercise]
    ]


_CHECKS = [
    *_interface("mesh"),
    Check(
        "mesh",
        "refuses",
        "spec",
        "make_device_mesh",
        "Sizes that do not fit the devices are a ValueError with both numbers.",
        30,
    ),
    Check(
        "mesh",
        "shape",
        "spec",
        "make_device_mesh",
        "The grid has the sizes asked for, and axes named batch and model.",
        30,
    ),
    Check(
        "mesh",
        "devices",
        "spec",
        "make_device_mesh",
        "The devices given are used, in their order; all of them by default.",
        30,
    ),
]

CHECKS: dict[str, tuple[Check, ...]] = {
    exercise: tuple(check for check in _CHECKS if check.exercise == exercise) for exercise in PARTS
}


def checks_of(exercise: str) -> tuple[Check, ...]:
    """The checks of an exercise, cheap layers first."""
    return tuple(sorted(CHECKS[exercise], key=lambda check: list(LAYERS).index(check.layer)))


def find_check(exercise: str, name: str) -> Check:
    """The check of that name."""
    (found,) = [check for check in CHECKS[exercise] if check.name == name]
    return found
