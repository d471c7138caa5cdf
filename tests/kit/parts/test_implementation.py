"""User modules that cannot be used as parts."""

import re
import shutil
from pathlib import Path

import pytest

from kit.errors import UserError
from kit.parts.implementation import find_parts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "import nothing_of_this_name\n",
            "does not import (ModuleNotFoundError: No module named 'nothing_of_this_name')",
        ),
        ("", "missing functions: mesh.make_device_mesh"),
    ],
)
def test_modules_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    shutil.copytree(find_parts("reference").folder, tmp_path / "mine")
    (tmp_path / "mine" / "mesh.py").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        find_parts(str(tmp_path / "mine")).check()
