"""A user's own functions."""

import re
import sys
from pathlib import Path

import pytest

from kit.errors import UserError
from kit.models.user_functions import find_function, is_function_name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "own_helper.py").write_text("NUMBER = 7\n")
    (tmp_path / "own_functions.py").write_text(
        "import own_helper\n\ndef seven():\n    return own_helper.NUMBER\n\n"
        "def fails():\n    return 1 / 0\n\ndef takes(one, two, three=3):\n    return one + two + three\n"
    )
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "models.py").write_text("def eight():\n    return 8\n")
    (tmp_path / "stops.py").write_text("raise SystemExit('no')\n")
    (tmp_path / "needs.py").write_text("import not_installed_here\n")
    return tmp_path


def test_names() -> None:
    assert all(map(is_function_name, ("a.py:make", "folder/a.py:make", "package.module:make_2")))
    assert not any(map(is_function_name, ("gemma_7b_en", "folder", "hf://owner/model", "8x512", "a.py", "a.py:2x")))


def test_files_and_modules(folder: Path) -> None:
    function = find_function("own_functions.py:seven", folder)
    assert function() == 7
    assert find_function("own_functions.py:takes", folder)(1, 2) == 6
    # A file is imported once, whoever imports it.
    assert find_function("own_functions.py:seven", folder).function is function.function
    assert find_function("own_functions:seven", folder).function is function.function
    assert find_function("own_package.models:eight", folder)() == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.py:make", "nowhere.py:make: there is no file nowhere.py here."),
        ("nowhere.module:make", "nowhere.module:make: there is no module nowhere here; for a file write FILE.py:"),
        ("own_functions.py:sevne", "own_functions.py has no function sevne: did you mean seven?"),
        ("stops.py:make", "stops.py:make: failed at stops.py:1 (SystemExit: no)."),
        ("needs.py:make", "needs.py:make: failed at needs.py:1 (ModuleNotFoundError: No module named 'not_inst"),
        ("needs:make", "needs:make: failed (ModuleNotFoundError: No module named 'not_installed_here')."),
    ],
)
def test_a_name_that_cannot_be_imported(text: str, message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        find_function(text, folder)


def test_a_function_that_fails(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"fails: failed at own_functions.py:7 \(ZeroDivisionError: division by zero\)."
    ):
        find_function("own_functions.py:fails", folder)()
    with pytest.raises(UserError, match="takes 1 argument, but it requires 2; give the others a default"):
        find_function("own_functions.py:takes", folder)(1)
