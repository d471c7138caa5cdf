"""What `kit init` delivers: a folder in which pytest, VS Code and coding assistants work."""

import json
import re
import sys
from pathlib import Path

import click
import pytest

from kit.cli.main import cli
from kit.course.catalogue import catalogue
from kit.init.files import EXTRAS, content_of_tests, course_files, path_of_tests, tutor_files
from kit.judge.catalogue import WHOLE_RUN

ROOT = Path(__file__).parents[3]


def test_every_exercise_has_its_stub_and_its_tests() -> None:
    files = course_files()
    assert len(catalogue().names) >= 12
    for name in catalogue().names:
        assert files[f"exercises/{name}.py"] == catalogue().stub(name)
        assert f"def test_{name}(" in files[f"tests/exercises/test_{name}.py"]
    assert not [path for path, content in files.items() if "@" in re.sub("@AGENTS.md", "", content)]


@pytest.mark.parametrize("name", [*catalogue().names, WHOLE_RUN])
def test_the_repository_has_the_same_tests(name: str) -> None:
    """`kit dev build` writes them."""
    assert (ROOT / path_of_tests(name)).read_text(encoding="utf-8") == content_of_tests(name)


def test_vs_code_gets_the_kits_interpreter() -> None:
    settings = json.loads(course_files()[".vscode/settings.json"])
    assert settings["python.defaultInterpreterPath"] == sys.executable
    assert settings["python.testing.pytestEnabled"] is True


def test_vs_code_gets_no_interpreter_that_uvx_may_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/.cache/uv/archive-v0/sOmE-iD/bin/python")
    assert "python.defaultInterpreterPath" not in json.loads(course_files()[".vscode/settings.json"])


def test_assistants_are_tutors() -> None:
    files = tutor_files()
    assert files["CLAUDE.md"].startswith("@AGENTS.md\n")
    assert "Do not write, complete or correct the body of a function in `exercises/`" in files["AGENTS.md"]
    assert files.items() <= course_files().items()


@pytest.mark.parametrize("document", ["README.md", "AGENTS.md"])
def test_named_commands_exist(document: str) -> None:
    text = course_files()[document]
    commands = re.findall(r"(?:`|^)kit ([a-z]+)", text, re.M)
    assert document in EXTRAS
    assert len(commands) >= 3
    assert not [name for name in commands if cli.get_command(click.Context(cli), name) is None]
