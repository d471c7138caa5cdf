"""The command line as a whole: it starts fast, and an error in its use is one sentence."""

import re
from pathlib import Path

import pytest
from command_line import expect_one_sentence, kit, run_python

from kit.cli.main import COMMANDS as COMMANDS_WITH_MODULES
from kit.cli.main import GROUPS

FRAMEWORKS = {"jax", "keras", "tensorflow", "keras_hub", "numpy"}
COMMANDS = "init run plan export report bundle lesson check watch hint reset solution grade doctor dev"


@pytest.mark.parametrize(
    "code",
    [
        "import kit",
        "import kit.cli.main",
        "import kit.runtime.platform",
        "from kit.cli.main import cli; cli(['--help'], standalone_mode=False)",
    ],
)
def test_no_framework_is_imported(code: str) -> None:
    report = f"{code}\nimport sys; print(sorted(set(sys.modules) & {FRAMEWORKS!r}))"
    assert run_python(report).stdout.splitlines()[-1] == "[]"


def test_help_names_all_commands(tmp_path: Path) -> None:
    finished = kit("--help", cwd=tmp_path)
    assert finished.returncode == 0
    for name in COMMANDS.split():
        assert f"  {name} " in finished.stdout
    assert re.findall(r"^(\w+):$", finished.stdout, re.M) == ["Options", *GROUPS]


def test_each_command_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS_WITH_MODULES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["report"], "kit: Which run? Give the folder of a run, or `kit report --course` for your course."),
        (["bundle"], "kit: Missing argument 'FOLDER' (`kit bundle --help`)."),
        (["run", "--batch"], "kit: No such option '--batch'. (Did you mean one of: "),
        (["rum"], "kit: There is no command 'rum': did you mean `kit run`?"),
    ],
)
def test_a_usage_error_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    finished = kit(*arguments, cwd=tmp_path)
    assert finished.returncode == 2
    expect_one_sentence(finished.stderr, sentence)
    assert not list(tmp_path.iterdir())
