"""``kit report``."""

import os
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence, run_python


def test_the_command(run: Path, tmp_path: Path, kit: Kit) -> None:
    assert kit("report", str(run))[:2] == (0, f"{run / 'report.html'}\n")
    assert (run / "report.html").is_file()
    assert kit("report", str(run), "--section", "loss")[:2] == (0, f"{run / 'report-loss.html'}\n")
    code, output, error = kit("report", str(tmp_path))
    assert (code, output) == (2, "")
    expect_one_sentence(error, f"kit: {tmp_path}: ")


def test_the_course(run: Path, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exercises").mkdir()
    assert kit("report", "--course", str(run))[:2] == (0, f"{tmp_path / 'course_report.html'}\n")
    assert "Your course" in (tmp_path / "course_report.html").read_text()
    for arguments, sentence in (
        (["report"], "kit: Which run? "),
        (["report", str(run), "--folder", "mine"], "kit: --folder mine: "),
        (["report", "--course", "--folder", "mine"], "kit: --folder mine: there is no such folder here."),
    ):
        code, output, error = kit(*arguments)
        assert (code, output) == (2, "")
        expect_one_sentence(error, sentence)


def test_it_opens_a_browser_and_imports_no_framework(run: Path, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    code = (
        "import sys; from kit.cli.main import cli; cli(['report', sys.argv[1], '--open'], standalone_mode=False); "
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'tensorflow', 'keras_hub', 'numpy', 'matplotlib'}))"
    )
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    finished = run_python(code, "run", cwd=tmp_path, env=environment)
    assert finished.stdout == f"{Path('run') / 'report.html'}\n[]\n"
    assert opened.read_text().strip() == (run / "report.html").as_uri()
    assert not finished.stderr
