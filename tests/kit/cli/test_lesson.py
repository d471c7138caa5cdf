"""`kit lesson` lists the exercises and shows lessons."""

import re
import sys
from pathlib import Path

import pytest
from command_line import Kit
from exercise_folder import reference_source

from kit.course.catalogue import catalogue
from kit.course.lessons import lesson, section, sections

NAMES = catalogue().names


def test_the_list(exercises: Path, kit: Kit) -> None:
    (exercises / "lora.py").write_text(reference_source("lora"))
    (exercises / "mesh.py").unlink()
    code, output, _ = kit("lesson")
    assert code == 0
    rows = [line.split() for line in output.splitlines()[1 : len(NAMES) + 1]]
    assert [(row[0], row[1]) for row in rows] == [(str(number), name) for number, name in enumerate(NAMES, 1)]
    states = {row[1]: line.rstrip() for row, line in zip(rows, output.splitlines()[1:], strict=False)}
    assert states["mesh"].split()[-3:] == ["*", "5", "missing"]
    assert states["lora"].endswith("not checked")
    assert states["training"].endswith("not started")


def test_a_lesson_and_a_section_of_it(exercises: Path, kit: Kit) -> None:
    assert kit("lesson", "training") == (0, lesson("training"), "")
    heading = next(heading for heading in sections("training") if heading.endswith("?"))
    assert kit("lesson", "training", heading) == (0, section("training", heading), "")
    assert kit("lesson", "mesh", "the", "GRID")[1].startswith("## The grid\n")


def test_a_lesson_on_a_terminal(exercises: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name in NAMES:
        code, output, _ = kit("lesson", name)
        assert code == 0
        output = re.sub(r"\x1b\[[0-9;]*m", "", output)
        assert "##" not in output
        assert all(heading in output for heading in sections(name))
        # A command can be copied from the terminal: it has no margin, and no line is broken.
        for block in re.findall(r"```sh\n(.*?)```", lesson(name), re.DOTALL):
            assert block in "\n".join(line.rstrip() for line in output.splitlines()) + "\n"
