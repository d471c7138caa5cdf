"""Fixtures for tests of commands."""

import sys
from pathlib import Path

import pytest
from command_line import Kit
from exercise_folder import write_exercises

from kit.cli.main import main


@pytest.fixture
def exercises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stubs, in the current folder of the commands."""
    folder = write_exercises(tmp_path / "exercises")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kit:
    """Runs a command in this process; returns exit code, standard output and messages."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kit", *arguments])
        capsys.readouterr()
        code: int = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call
