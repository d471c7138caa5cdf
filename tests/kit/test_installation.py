"""The commands for installing packages work where they are printed."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import installation
from kit.installation import DISTRIBUTION, activation, clone, install_command, new_environment_command, program

ROOT = Path(__file__).parents[2]


@dataclass
class Distribution:
    """What pip and uv record of a wheel that they did not find in an index."""

    url: str

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return json.dumps({"url": self.url, "archive_info": {}}) if self.url else None


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bin folder of an environment with pip and kit, whose Python runs this process."""
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    for name in ("pip", "kit", "activate"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kit be installed in a folder without a repository."""
    monkeypatch.setattr(installation, "KIT_FOLDER", tmp_path / "site-packages" / "kit")


def test_this_copy_is_a_clone() -> None:
    assert clone() == ROOT


def test_in_an_activated_environment(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment), prepend=os.pathsep)
    monkeypatch.chdir(ROOT)
    assert program("pip") == "pip"
    assert activation() is None
    assert install_command() == "pip install -c constraints.txt -e ."
    assert install_command("tpu") == "pip install -c constraints.txt -e '.[tpu]'"


def test_a_program_on_the_path_that_is_another_environments(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pip").write_text("#!/bin/sh\n")
    (other / "pip").chmod(0o755)
    # As pipx does: one program of the environment is linked from a folder on the path.
    (other / "kit").symlink_to(environment / "kit")
    monkeypatch.setenv("PATH", str(other))
    assert program("pip") == f"'{environment}/python' -m pip"
    assert program("kit") == "kit"
    (other / "kit").unlink()
    assert activation() == f"source '{environment}/activate'"


@pytest.mark.usefixtures("wheel")
def test_uvx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is on the path of the command itself, and not on that of the next one."""
    monkeypatch.setattr(sys, "executable", "/home/me/.cache/uv/archive-v0/sOmE-iD/bin/python")
    monkeypatch.setattr(installation.metadata, "distribution", lambda name: Distribution("file:///tmp/kit.whl"))
    assert activation() == f"uv tool install '{DISTRIBUTION} @ file:///tmp/kit.whl'"


def test_the_command_works_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names files that exist from here, and a program that starts."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(install_command("tpu"))
    assert words[-4:] == ["-c", f"{ROOT}/constraints.txt", "-e", f"{ROOT}[tpu]"]
    start = words[: words.index("install")]
    version = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("pip ")


@pytest.mark.usefixtures("wheel")
def test_an_installed_wheel(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment))
    assert clone() is None
    assert install_command() == f"pip install {DISTRIBUTION}"
    assert install_command("tpu") == f"pip install '{DISTRIBUTION}[tpu]'"


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize("url", ["", "file:///tmp/kit.whl"])
def test_a_new_environment_gets_the_same_wheel(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.metadata, "distribution", lambda name: Distribution(url))
    kit = f"{DISTRIBUTION}[tpu]" + (" @ file:///tmp/kit.whl" if url else "")
    assert new_environment_command("~/env", "tpu") == (
        f"python3 -m venv --without-pip ~/env && python3 -m pip --python ~/env install '{kit}'"
    )


def test_a_new_environment_gets_the_clone() -> None:
    command = new_environment_command("~/env", "tpu")
    assert command.endswith(f"-c {ROOT}/constraints.txt -e '{ROOT}[tpu]'")


def test_no_module_names_a_command_for_installing_the_kit() -> None:
    """All get it from here: `constraints.txt` and `-e .` are only in a clone."""
    sources = {file: file.read_text(encoding="utf-8") for file in (ROOT / "kit").rglob("*.py")}
    assert len(sources) > 100
    named = {str(file.relative_to(ROOT / "kit")) for file, text in sources.items() if "pip install" in text}
    assert named == {"bundle/tree.py"}, "a clone is what that sentence asks for"
