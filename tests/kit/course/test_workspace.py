"""The state of an exercise is found by reading its file."""

from pathlib import Path

import pytest
from exercise_folder import reference_source, write_exercises

from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace

LORA = catalogue().stub("lora")
ONE_TASK_LEFT = catalogue().stub("layout").replace('    raise NotImplementedError("layout, task 1")\n', "")


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        ("lora", LORA.encode(), "to do"),
        ("lora", LORA.replace("import math", "import math, os").encode(), "to do"),
        ("lora", LORA.replace('raise NotImplementedError("lora, task 2")', "return 1, 2").encode(), "begun"),
        ("layout", ONE_TASK_LEFT.encode(), "begun"),
        ("lora", reference_source("lora").encode(), "written"),
        ("lora", b"", "written"),
        ("lora", b"def enable_lora(:\n", "not Python"),
        ("lora", b"NAME = '\xff'\n", "not Python"),
        ("lora", None, "missing"),
    ],
)
def test_the_state_of_an_exercise(tmp_path: Path, name: str, content: bytes | None, state: str) -> None:
    folder = write_exercises(tmp_path / "exercises")
    if content is None:
        (folder / f"{name}.py").unlink()
    else:
        (folder / f"{name}.py").write_bytes(content)
    assert Workspace(folder).state(name) == state
