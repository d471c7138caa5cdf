"""``kit report``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_run import made_run

from kit.cli.main import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_run(tmp_path / "run")


def test_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kit", "report", str(run)])
    main()
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert (run / "report.html").is_file()
    monkeypatch.setattr(sys, "argv", ["kit", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"kit: {tmp_path}: ")
    assert printed.err.count("\n") == 1


def test_it_opens_a_browser_and_imports_no_framework(run: Path, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    code = (
        "import sys; from kit.cli.main import cli; cli(['report', sys.argv[1], '--open'], standalone_mode=False); "
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'tensorflow', 'keras_hub', 'numpy', 'matplotlib'}))"
    )
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    finished = subprocess.run(
        [sys.executable, "-c", code, "run"], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert finished.stdout == f"{Path('run') / 'report.html'}\n[]\n"
    assert opened.read_text().strip() == (run / "report.html").as_uri()
    assert not finished.stderr
