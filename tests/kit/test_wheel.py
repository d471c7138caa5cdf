"""The wheel has what an installed kit reads, not the authors' tools, and works without a clone."""

import email.message
import email.parser
import os
import re
import subprocess
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from built_wheel import build_wheel

from kit.bundle.tree import find_root, tracked_files
from kit.course.catalogue import catalogue
from kit.installation import DISTRIBUTION

ROOT = find_root()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="the build needs setuptools, which TensorFlow brings")
    return build_wheel(*(tmp_path_factory.mktemp(name) for name in ("source", "target")))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


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


def test_an_index_can_show_it(metadata: email.message.Message) -> None:
    classifiers = metadata.get_all("Classifier", [])
    assert metadata["Name"] == DISTRIBUTION
    assert "Framework :: Pytest" in classifiers
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} < set(classifiers)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Keywords"]
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_readme_has_absolute_links(metadata: email.message.Message) -> None:
    """Also after it has been rendered: its tables and code blocks are not affected."""
    from markdown_it import MarkdownIt

    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    assert metadata.get_all("Project-URL") == [f"Repository, {repository}"]
    page = MarkdownIt("commonmark").enable("table").render(str(metadata.get_payload()))
    links = re.findall(r'href="([^"]*)"', page)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(links) + page.count("<img ") == len(re.findall(r"\]\(", readme)) > 20
    for link in links:
        if "/notebooks/" in link and not link.startswith(repository):  # the services that open a notebook
            assert f"{repository.removeprefix('https://github.com/')}/blob/main/" in link
            continue
        path, _, _ = link.removeprefix(f"{repository}/blob/HEAD/").partition("#")
        assert link.startswith(f"{repository}#") or (ROOT / path).exists(), link
    assert page.count("<table>") >= 5
    assert page.count("<pre>") == readme.count("\n```") / 2


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, and with the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=variables))
    # The packages only: what is installed here in editable mode is not on the path.
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = ["install", "-q", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([folder / "bin" / "python", "-m", "pip", *command], check=True, env=_variables(folder / "bin"))
    return folder / "bin"


def _variables(commands: Path) -> dict[str, str]:
    """The environment variables of a user who has activated an environment, and has no clone."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return variables | {"PATH": f"{commands}{os.pathsep}/usr/bin{os.pathsep}/bin"}


@pytest.mark.long
def test_it_works_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    """A learner's first steps: init, board, red, green, and an update that keeps what is written.

    `.ci/run` runs it, on one Python.
    """

    def run(command: str, exit_code: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=_variables(environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == exit_code, f"{command}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    where = run("python -c 'import kit; print(kit.__file__)'")
    assert Path(where.strip()).is_relative_to(environment.parent)
    assert "change to the folder that contains it, or write the course into this folder with `kit init`" in run(
        "kit lesson", 2
    )
    assert [line.strip() for line in run("kit init").splitlines()[1:]] == ["kit lesson mesh", "kit check mesh"]
    assert "# The device mesh" in run("kit lesson mesh")
    assert "kit lesson mesh" in run("kit")
    assert "Next: write make_device_mesh (exercises/mesh.py:" in run("kit check mesh", 1)
    # The environment has no program `pytest`, which is in the one with the packages.
    tests = "python -m pytest tests/exercises/test_mesh.py"
    checks = len(catalogue().checks_of("mesh"))
    red = run(tests, 1)
    assert f"{checks} failed" in red
    assert "NOT_IMPLEMENTED: exercises/mesh.py::make_device_mesh" in red
    run("kit solution mesh --give-up > exercises/mesh.py")
    assert f"{checks} passed" in run(tests)
    assert "kit lesson layout" in run("kit")
    assert "nothing to do" in run("kit init --update")
    assert "clone the repository" in run("kit bundle stick", 2)
