"""The options of a run, checked before jax starts."""

import os
from pathlib import Path

import pytest
from full_disk import small_disk

from kit.errors import UserError
from kit.run.options import check_layout, check_writable, fitting_mesh

REFUSAL = "--runs there: cannot create a folder there"


def test_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", REFUSAL)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"{REFUSAL} \(.*/file is a file\): free some space, or choose"):
        check_writable(tmp_path / "file" / "runs", REFUSAL)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a file system that nobody can write to")
def test_a_place_that_even_root_cannot_write_to() -> None:
    with pytest.raises(UserError, match=REFUSAL):
        check_writable(Path("/proc/runs"), REFUSAL)


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8_192) as disk:
        (disk / "filler").write_bytes(bytes(8_192))
        with pytest.raises(UserError, match=r"\(No space left on device\)"):
            check_writable(disk / "runs", REFUSAL)
        assert [path.name for path in disk.iterdir()] == ["filler"]


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
