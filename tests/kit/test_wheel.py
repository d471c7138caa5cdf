"""The wheel has what an installed kit reads, and not the authors' tools."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kit.bundle.tree import find_root, tracked_files
from kit.course.catalogue import catalogue


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="the build needs setuptools, which TensorFlow brings")
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    root = find_root()
    for path in tracked_files(root):
        if path.parts[0] in ("kit", "exercises") or len(path.parts) == 1:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, source / path)
    build = f"from setuptools.build_meta import build_wheel; print(build_wheel({str(target)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def test_it_has_each_exercises_data_lesson_stub_and_checks(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert len(catalogue().names) >= 12
        for name in catalogue().names:
            for file in ("exercise.py", "lesson.md", "stub.py", "checks.py"):
                assert f"kit/course/{name}/{file}" in names
            assert archive.read(f"kit/course/{name}/stub.py").decode() == catalogue().stub(name)
            assert f"kit/reference/{name}.py" in names


def test_it_has_the_data_that_modules_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = [path for path in tracked_files(find_root()) if path.parts[0] == "kit" and path.suffix != ".py"]
    data = [path.as_posix() for path in shipped if path.parts[1] not in ("dev", "bundle")]
    assert any(name.endswith("model.weights.h5") for name in data)
    assert sorted(set(data) - names) == []


def test_it_has_no_author_tools_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.startswith(("kit/dev/", "tests/", "benchmarks/", "exercises/"))]
