"""The course's tree in a bundle."""

import tarfile
from pathlib import Path

from kit.bundle.tree import find_root, tracked_files
from kit.course.catalogue import catalogue
from kit.init.files import tutor_files


def test_the_course_has_fresh_stubs_and_no_leftovers(bundle: Path) -> None:
    with tarfile.open(bundle / "course.tar.gz") as archive:
        members = archive.getnames()
        stub = archive.extractfile("gemma-course/exercises/mesh.py")
        assert stub is not None
        assert stub.read() == catalogue().stub_file("mesh").read_bytes()
    assert "gemma-course/kit/file.py" in members
    assert {f"gemma-course/{path}" for path in tutor_files()} <= set(members)
    assert not [name for name in members if "runs" in name or "__pycache__" in name or ".venv" in name]


def test_the_real_tree() -> None:
    files = {str(path) for path in tracked_files(find_root())}
    assert {"pyproject.toml", "constraints.txt", "conftest.py", "kit/models/bundled/model.weights.h5"} <= files
    assert not [name for name in files if "__pycache__" in name or name.startswith((".venv", "runs/", "packages/"))]
