"""`kit hint` shows one hint after the other, and remembers which were shown."""

import json
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence

from kit.course.catalogue import catalogue


def test_hints_come_one_after_the_other(exercises: Path, kit: Kit) -> None:
    hints = catalogue().find("lora").hints
    for number in (1, 2):
        code, output, _ = kit("hint", "lora")
        assert code == 0
        first, *rest = output.splitlines()
        assert first == f"lora, hint {number} of 3"
        assert " ".join(rest) == " ".join(hints[number - 1].split())
    # Each exercise has its own count, and --number changes none.
    assert kit("hint", "mesh")[1].startswith("mesh, hint 1 of 3\n")
    assert kit("hint", "lora", "--number", "1")[1].startswith("lora, hint 1 of 3\n")
    assert kit("hint", "lora")[1].startswith("lora, hint 3 of 3\n")
    for _ in range(2):
        code, output, _ = kit("hint", "lora")
        assert code == 0
        assert "All 3 hints for lora have been shown" in output
        assert "`kit hint lora --number 1`" in output
    assert json.loads((exercises.parent / ".kit" / "progress.json").read_text()) == {"hints": {"lora": 3, "mesh": 1}}
    assert [path.name for path in (exercises.parent / ".kit").iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"hints": {"mesh": "two"}}', '{"hints": {"mesh": true}}', '{"hints": 1}']
)
def test_progress_that_is_damaged(exercises: Path, kit: Kit, content: str) -> None:
    file = exercises.parent / ".kit" / "progress.json"
    file.parent.mkdir()
    file.write_text(content)
    code, output, message = kit("hint", "mesh")
    assert (code, output) == (2, "")
    assert message == f"kit: {file} is damaged: delete it to start over with the first hint.\n"
    assert file.read_text() == content
    assert kit("hint", "mesh", "--number", "2")[0] == 0


def test_progress_that_cannot_be_written(exercises: Path, kit: Kit) -> None:
    (exercises.parent / ".kit").write_text("a file")
    code, output, message = kit("hint", "mesh")
    assert (code, output) == (2, "")
    expect_one_sentence(message, "progress.json cannot be")
