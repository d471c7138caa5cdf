"""The options of a run."""

import pytest

from kit.errors import UserError
from kit.run.options import check_layout, fitting_mesh


def test_the_mesh_by_default() -> None:
    assert fitting_mesh(None, 8) == (1, 8)
    assert fitting_mesh(None, 8, "fsdp") == (8, 1)
    assert fitting_mesh((2, 4), 8, "fsdp") == (2, 4)


def test_an_unknown_layout() -> None:
    with pytest.raises(UserError, match="--layout zero: choose one of tensor, fsdp"):
        check_layout("zero", (1, 8))


def test_a_mesh_without_rows_for_fsdp() -> None:
    sentence = (
        'it splits matrices over the axis "batch", which has the size 1 in the mesh 1x8; choose a mesh such as 8x1'
    )
    with pytest.raises(UserError, match=sentence):
        fitting_mesh((1, 8), 8, "fsdp")
