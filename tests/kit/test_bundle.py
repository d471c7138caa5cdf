"""Bundles, with tiny wheels of the kit's requirements in a local folder, and the real pip without an index.

A bundle of the real packages is made and used without a network by tests/offline_room.py, which takes minutes.
"""

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kit.bundle import folder as bundle_folder
from kit.bundle import tree
from kit.bundle.folder import make_bundle, sha256
from kit.bundle.targets import Target, find_target
from kit.bundle.wheels import find_pip
from kit.course.regions import STUBS_FOLDER
from kit.errors import UserError

#: Not that of the kit's own environment, which is none that a learner begins from.
PYTHON = getattr(sys, "_base_executable", sys.executable)

HERE = find_target(None, None)
ELSEWHERE = Target("3.12" if HERE.python != "3.12" else "3.13", "macosx_14_0_arm64")

#: What `pip wheel` makes of a package without building anything: a wheel's files, written by hand.
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"


def write_wheel(
    folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", requires: tuple[str, ...] = ()
) -> Path:
    """A wheel with an empty module."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Requires-Dist: {line}" for line in requires]
    metadata = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": WHEEL.format(tag=tag),
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    file = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)
    return file


def write_pip(folder: Path) -> None:
    """The pip that is here, as a wheel: what is installed of it, packed."""
    code = "import pip, pathlib; print(pip.__version__, pathlib.Path(pip.__file__).parent)"
    version, place = subprocess.run(
        [find_pip()[0], "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(write_wheel(folder, "pip", version), "a") as archive:
        for path in Path(place).rglob("*.*"):
            if path.suffix != ".pyc" and path.is_file():
                archive.write(path, f"pip/{path.relative_to(place)}")


BACKEND = """
import pathlib, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as archive:
        info = "tiny-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\nRequires-Dist: alpha\\nRequires-Dist: omega; sys_platform != 'darwin'\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nkit = tiny_kit:main\\n")
        archive.writestr("tiny_kit.py", "def main():\\n    print('kit 1.0')\\n")
        archive.writestr(f"{info}/RECORD", "")
    return name
"""


@dataclass(frozen=True)
class Made:
    """A small tree in the kit's place, an index, and a bundle of them in two states."""

    index: Path
    root: Path
    unfinished: Path
    finished: Path


def write_index(folder: Path) -> None:
    """Wheels for this machine and another."""
    folder.mkdir()
    write_pip(folder)
    write_wheel(folder, "alpha", requires=("beta>=1", "gamma; python_version < '3.12'", 'delta; extra == "tpu"'))
    for name, version in (("beta", "1.0"), ("beta", "2.0"), ("gamma", "1.0"), ("delta", "1.0")):
        write_wheel(folder, name, version)
    for python in ("cp312", "cp313"):
        write_wheel(folder, "apples", tag=f"{python}-{python}-macosx_11_0_arm64")


def write_tree(root: Path) -> None:
    """A tree that builds without a wheel of setuptools."""
    for name in ("exercises", "tests", "kit", "kit/__pycache__", "runs", ".venv"):
        (root / name).mkdir(parents=True)
        (root / name / "file.py").touch()
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["kit"]\n'
        '[project]\nname = "tiny"\nversion = "1.0"\n'
        'dependencies = ["alpha", "omega; sys_platform != \'darwin\'", "apples; sys_platform == \'darwin\'"]\n'
        '[project.optional-dependencies]\ntpu = ["alpha[tpu]"]\n'
    )
    (root / "constraints.txt").write_text("# Pins.\nalpha==1.0\nbeta==1.0\n")
    (root / "kit" / "backend.py").write_text(BACKEND)
    (root / "exercises" / "mesh.py").write_text("mine")
    for name in ("conftest.py", "README.md"):
        (root / name).touch()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A bundle for this machine, made in two goes: at first the index lacks a package."""
    place = tmp_path_factory.mktemp("made")
    made = Made(*(place / name for name in ("index", "tree", "unfinished", "finished")))
    write_index(made.index)
    write_tree(made.root)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(made.index))
        patch.setenv("PIP_RETRIES", "1")
        patch.setattr("kit.bundle.wheels.INSTALLERS", ("pip",))
        patch.setattr(bundle_folder, "find_root", lambda: made.root)
        with pytest.raises(UserError, match=r"There is no wheel of omega for Python .* on ") as caught:
            make(made.finished)
        assert "\n" not in str(caught.value)
        shutil.copytree(made.finished, made.unfinished)
        write_wheel(made.index, "omega")
        make(made.finished)
        yield made


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    """A copy of the finished bundle."""
    return Path(shutil.copytree(made.finished, tmp_path / "a stick"))


@pytest.fixture
def root(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree, in the kit's place."""
    copy = Path(shutil.copytree(made.root, tmp_path / "tree"))
    monkeypatch.setattr(bundle_folder, "find_root", lambda: copy)
    return copy


def make(folder: Path, target: Target = HERE, extras: tuple[str, ...] = ()) -> list[str]:
    """Make a bundle, and give what was told."""
    told: list[str] = []
    make_bundle(folder, target, extras, told.append)
    return told


def names(folder: Path, label: str = HERE.label) -> list[str]:
    """Package and version of the wheels of a target."""
    lines = (folder / "for" / f"{label}.txt").read_text().split()
    assert all((folder / line).is_file() for line in lines)
    return sorted("-".join(Path(line).name.split("-")[:2]) for line in lines if "/pip-" not in line)


class TestMaking:
    def test_what_the_target_needs_by_its_own_markers(self, bundle: Path) -> None:
        assert names(bundle) == ["alpha-1.0", "beta-1.0", *["gamma-1.0"] * (HERE.python == "3.11"), "omega-1.0"]

    def test_sums_of_all_that_is_there(self, bundle: Path) -> None:
        lines = (bundle / "SHA256SUMS").read_text().splitlines()
        found = {line[66:]: line[:64] for line in lines}
        files = {str(path.relative_to(bundle)): sha256(path) for path in bundle.rglob("*") if path.is_file()}
        del files["SHA256SUMS"]
        assert found == files
        assert not (bundle / "UNFINISHED.txt").exists()

    def test_the_course_has_stubs_and_nothing_that_arises_by_working(self, bundle: Path) -> None:
        with tarfile.open(bundle / "course.tar.gz") as archive:
            members = archive.getnames()
            stub = archive.extractfile("gemma-course/exercises/mesh.py")
            assert stub is not None
            assert stub.read() == (STUBS_FOLDER / "mesh.py").read_bytes()
        assert "gemma-course/kit/file.py" in members
        assert not [name for name in members if "runs" in name or "__pycache__" in name or ".venv" in name]

    def test_another_machine_is_added_and_old_wheels_go(self, bundle: Path, root: Path) -> None:
        (root / "constraints.txt").write_text("alpha==1.0\nbeta==2.0\n")
        make(bundle, ELSEWHERE, ("tpu",))
        assert names(bundle, ELSEWHERE.label) == ["alpha-1.0", "apples-1.0", "beta-2.0", "delta-1.0"]
        assert "beta-1.0" in names(bundle)
        make(bundle)
        assert "beta-2.0" in names(bundle)
        assert not list(bundle.glob("wheels/beta-1.0*"))
        manifest = json.loads((bundle / "bundle.json").read_text())
        assert [entry["label"] for entry in manifest["targets"]] == sorted([HERE.label, ELSEWHERE.label])

    def test_what_is_damaged_comes_again_and_what_is_whole_does_not(self, bundle: Path) -> None:
        damaged = next(bundle.glob("wheels/alpha-*"))
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-9])
        told = make(bundle)
        assert damaged.read_bytes() == whole
        assert [line.split()[1] for line in told if line.startswith("  ")] == ["alpha"]

    def test_an_unfinished_one_does_not_look_finished(self, made: Made, tmp_path: Path) -> None:
        assert sorted(path.name for path in made.unfinished.iterdir()) == ["UNFINISHED.txt", "wheels"]
        copy = Path(shutil.copytree(made.unfinished, tmp_path / "copy"))
        (copy / "wheels" / ".incoming-left").mkdir()
        told = make(copy)
        assert [line.split()[1] for line in told if line.startswith("  ")] == ["omega"]
        assert sorted(path.name for path in copy.rglob("*")) == sorted(path.name for path in made.finished.rglob("*"))

    def test_without_a_network_what_was_finished_stays(
        self, bundle: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        monkeypatch.delenv("PIP_NO_INDEX")
        # Nothing listens at the port of discarded bytes.
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        (root / "constraints.txt").write_text("alpha==1.0\nbeta==3.0\n")
        with pytest.raises(UserError, match=r"beta==3\.0 did not come from the package index: check the network"):
            make(bundle)
        assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before

    def test_a_disk_that_fills_up(self, bundle: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(UserError, match=r"mend that and run again") as caught:
                make(bundle)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert (bundle / "UNFINISHED.txt").exists()
        assert not (bundle / "SHA256SUMS").exists()

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=r"no folder can be made there \(Not a directory\)"):
            make(tmp_path / "file" / "bundle")

    def test_a_folder_with_something_else(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter").touch()
        for name, words in (("thesis", "holds something else"), ("thesis/chapter", "this is a file")):
            with pytest.raises(UserError, match=words):
                make(tmp_path / name)
        assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter"]

    def test_a_damaged_manifest(self, bundle: Path) -> None:
        (bundle / "bundle.json").write_text("{")
        with pytest.raises(UserError, match=r"its bundle\.json is damaged; delete the folder and run again"):
            make(bundle)

    def test_too_little_room(self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
        with pytest.raises(
            UserError, match=r"it takes about .* for Python .*, of which 0 B are there, and 1\.0 MB are free"
        ):
            make(tmp_path / "bundle")

    @pytest.mark.parametrize(
        ("python", "platform", "words"),
        [
            ("3.10", None, "--python 3.10: the kit runs on Python 3.11, 3.12 and 3.13"),
            (None, "windows", "--platform windows: it is written as pip does"),
            (None, "manylinux_2_31_arm64", "it is written as pip does"),
        ],
    )
    def test_a_machine_that_there_is_not(self, python: str | None, platform: str | None, words: str) -> None:
        with pytest.raises(UserError, match=words):
            find_target(python, platform)

    def test_the_real_tree(self) -> None:
        files = {str(path) for path in tree.tracked_files(tree.find_root())}
        assert {"pyproject.toml", "constraints.txt", "conftest.py", "kit/models/bundled/model.weights.h5"} <= files
        assert not [name for name in files if "__pycache__" in name or name.startswith((".venv", "runs/", "packages/"))]


class TestInTheRoom:
    """install.sh and get.sh, run by sh with the Python that is here."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        home = tmp_path / "a home"
        home.mkdir()
        return home

    def sh(self, home: Path, script: Path, *arguments: str, python: str = PYTHON) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", str(script), *arguments],
            env={
                "HOME": str(home),
                "TMPDIR": str(home),
                "PATH": "/usr/bin:/bin",
                "PYTHON": python,
                "PIP_INDEX_URL": "http://127.0.0.1:9/",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda bundle, home: (bundle / "UNFINISHED.txt").touch(), "this bundle is not finished"),
            (lambda bundle, home: (bundle / "SHA256SUMS").unlink(), "this bundle is not finished"),
            (lambda bundle, home: _spoil(bundle, "wheels/alpha-*"), "alpha-1.0-py3-none-any.whl is damaged: copy"),
            (lambda bundle, home: _spoil(bundle, "course.tar.gz"), "course.tar.gz is damaged: copy the bundle again"),
            (lambda bundle, home: next(bundle.glob("wheels/beta-*")).unlink(), "is missing or cannot be read"),
            (lambda bundle, home: (bundle / "for" / f"{HERE.label}.txt").unlink(), "this bundle is for Python"),
            (lambda bundle, home: (home / "gemma-course").touch(), "is a file: give another folder"),
            (lambda bundle, home: _fill(home / "gemma-course"), "holds something else: give another folder"),
        ],
    )
    def test_what_is_wrong_is_one_sentence(self, bundle: Path, home: Path, damage: Any, words: str) -> None:
        damage(bundle, home)
        code, text = self.sh(home, bundle / "install.sh")
        assert code == 2
        assert words in text
        assert len([line for line in text.splitlines() if not line.startswith("1 of 3")]) == 1
        assert not (home / "gemma-course" / ".venv").exists()

    def test_no_python(self, bundle: Path, home: Path) -> None:
        code, text = self.sh(home, bundle / "install.sh", python="python-that-is-not-there")
        assert code == 2
        assert "and here is no Python: install such a Python" in text

    @pytest.fixture
    def served(self, bundle: Path) -> Iterator[str]:
        """The address of a bundle that is served in the room."""

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(bundle)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join()

    def test_installs_and_leaves_what_a_learner_wrote(self, bundle: Path, home: Path, served: str) -> None:
        """From a machine in the room, after an installation and a download that broke off."""
        (home / "python").write_text(f'#!/bin/sh\n[ "$2" != venv ] && exec {PYTHON} "$@"\n')
        (home / "python").chmod(0o755)
        code, text = self.sh(home, bundle / "install.sh", python=str(home / "python").replace(" ", "?"))
        assert code == 2
        assert "can make no environment: install its venv module" in text
        course = home / "gemma-course"
        assert (course / "exercises" / "mesh.py").read_bytes() == (STUBS_FOLDER / "mesh.py").read_bytes()
        (course / "exercises" / "mesh.py").write_text("mine")
        copy = home / f"gemma-course-bundle-{os.getuid()}"
        (copy / "wheels").mkdir(parents=True)
        shutil.copy(bundle / "SHA256SUMS", copy)
        # Python's own server cannot go on from there.
        (copy / "wheels" / "alpha-1.0-py3-none-any.whl.part").write_bytes(b"PK")
        code, text = self.sh(home, bundle / "get.sh", served)
        assert (code, text.splitlines()[-1]) == (0, f"Done. Next: cd {course} && . .venv/bin/activate && kit lesson")
        assert not copy.exists()
        assert list((course / ".venv").glob("lib/python*/site-packages/beta.py"))
        assert (course / "exercises" / "mesh.py").read_text() == "mine"
        assert self.sh(home, bundle / "install.sh")[1].startswith("It is installed already.")

    def test_no_such_machine_in_the_room(self, bundle: Path, home: Path) -> None:
        code, text = self.sh(home, bundle / "get.sh", "http://127.0.0.1:9")
        assert code == 2
        assert "cannot be reached, or its bundle is for another machine" in text


def _spoil(bundle: Path, pattern: str) -> None:
    file = next(bundle.glob(pattern))
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def _fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis").touch()
