"""``kit init``: what it prints, and the commands that it names."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence

from kit.init import folder as init_folder
from kit.init.files import course_files


def test_the_commands_that_it_prints_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kit: Kit) -> None:
    """As a user types them: from the folder in which `kit init` was called, one after the other."""
    monkeypatch.chdir(tmp_path)
    code, printed, message = kit("init", "my course")
    assert (code, message) == (0, "")
    first, *commands = printed.splitlines()
    assert (
        first
        == f"{len(course_files())} files in {tmp_path}/my course: the exercises, their tests, and README.md. Next:"
    )
    # `kit` is on the path of an activated environment; these tests may run in another.
    script = "; ".join(commands).replace("    kit ", f"    {shlex.quote(sys.executable)} -m kit ")
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "# The device mesh" in finished.stdout
    assert "Next: write make_device_mesh (exercises/mesh.py:" in finished.stdout, finished.stderr
    assert finished.stderr == ""
    assert finished.returncode == 1


def test_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kit: Kit) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, _ = kit("init")
    assert code == 0
    assert "cd " not in printed
    assert kit("lesson")[0] == 0
    code, _, message = kit("init")
    assert code == 2
    expect_one_sentence(message, "kit init .: this folder has the course already: `kit init --update` updates it.")
    assert kit("init", "--update")[1].endswith(": nothing to do.\n")


def test_an_update_shows_conflicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kit: Kit) -> None:
    monkeypatch.chdir(tmp_path)
    kit("init", "course")
    Path("course/exercises/mesh.py").write_text("mine = 1\n")
    files = course_files()
    stub = files["exercises/mesh.py"].replace("raise NotImplementedError", "# Newer.\n    raise NotImplementedError")
    monkeypatch.setattr(init_folder, "course_files", lambda: {**files, "exercises/mesh.py": stub, "pytest.ini": ""})
    code, printed, _ = kit("init", "course", "--update")
    assert code == 0
    assert printed.splitlines() == [
        "written: course/pytest.ini",
        "conflict: you changed course/exercises/mesh.py, and the kit changed it too in make_device_mesh. Yours is "
        "kept; compare:",
        "    diff course/exercises/mesh.py course/exercises/mesh.py.new",
    ]
    diff = subprocess.run(shlex.split(printed.splitlines()[-1]), capture_output=True, text=True, check=False)
    assert "< mine = 1" in diff.stdout


def test_an_update_of_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kit: Kit) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, message = kit("init", "--update")
    assert code == 2
    expect_one_sentence(message, "there is no .kit/init.json in this folder")
