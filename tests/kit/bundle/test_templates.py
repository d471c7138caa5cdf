"""install.sh and get.sh of a bundle, run by sh with the Python of this machine.

tests/offline_machine.py makes a bundle of the real packages and uses it without a network, which
takes minutes.
"""

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import HERE, PYTHON

from kit.course.catalogue import catalogue


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "a home"
    home.mkdir()
    return home


def sh(home: Path, script: Path, *arguments: str, python: str = PYTHON) -> tuple[int, str]:
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin", "PYTHON": python}
    environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/"
    command = ["sh", str(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda bundle, home: (bundle / "UNFINISHED.txt").touch(), "this bundle is not finished"),
        (lambda bundle, home: (bundle / "SHA256SUMS").unlink(), "this bundle is not finished"),
        (lambda bundle, home: _spoil(bundle, "wheels/alpha-*"), "alpha-1.0-py3-none-any.whl is damaged: copy"),
        (lambda bundle, home: _spoil(bundle, "course.tar.gz"), "course.tar.gz is damaged: copy the bundle again"),
        (lambda bundle, home: next(bundle.glob("wheels/beta-*")).unlink(), "is missing or cannot be read"),
        (lambda bundle, home: (bundle / "for" / f"{HERE.label}.txt").unlink(), "this bundle is for Python"),
        (lambda bundle, home: (home / "gemma-course").touch(), "is a file: choose another folder"),
        (lambda bundle, home: _fill(home / "gemma-course"), "has other files: choose another folder"),
    ],
)
def test_an_error_is_one_sentence(bundle: Path, home: Path, damage: Any, message: str) -> None:
    damage(bundle, home)
    code, text = sh(home, bundle / "install.sh")
    assert code == 2
    assert message in text
    assert len([line for line in text.splitlines() if not line.startswith("1 of 3")]) == 1
    assert not (home / "gemma-course" / ".venv").exists()


def test_no_python(bundle: Path, home: Path) -> None:
    code, text = sh(home, bundle / "install.sh", python="python-that-is-not-there")
    assert code == 2
    assert "and this machine has no Python: install a Python from the list" in text


@pytest.fixture
def served(bundle: Path) -> Iterator[str]:
    """The address of a machine that serves the bundle."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(bundle)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_installs_and_keeps_what_a_learner_wrote(bundle: Path, home: Path, served: str) -> None:
    """From another machine, after an interrupted installation and an interrupted download."""
    (home / "python").write_text(f'#!/bin/sh\n[ "$2" != venv ] && exec {PYTHON} "$@"\n')
    (home / "python").chmod(0o755)
    code, text = sh(home, bundle / "install.sh", python=str(home / "python").replace(" ", "?"))
    assert code == 2
    assert "cannot make an environment: install its venv module" in text
    course = home / "gemma-course"
    assert (course / "exercises" / "mesh.py").read_bytes() == catalogue().stub_file("mesh").read_bytes()
    (course / "exercises" / "mesh.py").write_text("mine")
    copy = home / f"gemma-course-bundle-{os.getuid()}"
    (copy / "wheels").mkdir(parents=True)
    shutil.copy(bundle / "SHA256SUMS", copy)
    # Python's own server cannot continue a download.
    (copy / "wheels" / "alpha-1.0-py3-none-any.whl.part").write_bytes(b"PK")
    code, text = sh(home, bundle / "get.sh", served)
    assert (code, text.splitlines()[-1]) == (0, f"Done. Next: cd {course} && . .venv/bin/activate && kit lesson")
    assert not copy.exists()
    assert list((course / ".venv").glob("lib/python*/site-packages/beta.py"))
    assert (course / "exercises" / "mesh.py").read_text() == "mine"
    assert sh(home, bundle / "install.sh")[1].startswith("The course is already installed.")


def test_no_server_at_the_address(bundle: Path, home: Path) -> None:
    code, text = sh(home, bundle / "get.sh", "http://127.0.0.1:9")
    assert code == 2
    assert "cannot be reached, or its bundle is for other machines" in text


def _spoil(bundle: Path, pattern: str) -> None:
    file = next(bundle.glob(pattern))
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def _fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis").touch()
