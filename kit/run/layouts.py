"""The layout of a run: the parts' own, or one that was found where the tutorial's does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.errors import UserError
from kit.models.known_layouts import LayoutMapFor, find_layout, fully_sharded_layout
from kit.parts.implementation import Parts
from kit.run.options import FULLY_SHARDED, TENSOR

#: The module of the function that has the tutorial's layout.
TUTORIAL = "kit.reference.layout"


@dataclass(frozen=True)
class ChosenLayout:
    """The layout of a run, an export or a plan."""

    make: LayoutMapFor
    #: For the user, if it is not the parts' own layout; else empty.
    sentence: str = ""


def choose_layout(parts: Parts, config: Mapping[str, Any], mesh: tuple[int, int], layout: str = TENSOR) -> ChosenLayout:
    """The parts' ``gemma_layout_map``, or another layout if the reference's does not fit.

    Only the reference's function is replaced, also where ``--fill-with-reference`` takes it. A
    user's own layout is used as it is: if the axis does not divide its dimensions, the run says so.
    ``config`` is the content of the preset's ``config.json``; ``layout`` is "tensor" or "fsdp".
    Raises UserError if it is "fsdp" and the layout is a user's own.
    """
    own = parts.layout.gemma_layout_map
    is_tutorial = getattr(own, "__module__", "") == TUTORIAL
    if layout == FULLY_SHARDED:
        if not is_tutorial:
            raise UserError(
                f"--layout {layout}: the layout comes from --impl {parts.name}; leave out one of the two options."
            )
        sharded = fully_sharded_layout(config, mesh)
        return ChosenLayout(sharded.make, sharded.sentence)
    if is_tutorial and (found := find_layout(config, mesh)):
        return ChosenLayout(found.make, found.sentence)
    return ChosenLayout(own)
