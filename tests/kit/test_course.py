"""The course: lessons, hints and stubs that fit the checks and give nothing away, and the commands that show them."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from kit.checks.codes import CODES
from kit.cli.main import cli, main
from kit.course import lessons as course_module
from kit.course.lessons import COURSE_FILE, LESSONS_FOLDER, course, lesson, section, sections
from kit.dev.mutants import equivalent_mutants, make_mutants
from kit.dev.proof import CHAFFS_FOLDER
from kit.course.workspace import Room, stub
from kit.course.regions import REFERENCE_FOLDER, STUBS_FOLDER, cut, find_regions, functions_in
from kit.errors import UserError
from kit.parts.implementation import EXERCISE_FUNCTIONS

ROOT = Path(__file__).parents[2]
NAMES = tuple(EXERCISE_FUNCTIONS)
ANCHORS = sorted({code.anchor for code in CODES.values() if code.anchor})

Kit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with fresh exercises, in the folder that commands are called in."""
    shutil.copytree(STUBS_FOLDER, tmp_path / "exercises")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "exercises"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kit:
    """The command line in this process: exit code, standard output, messages."""

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


# What the course says.


def test_the_exercises_are_those_of_the_kit_in_their_order() -> None:
    assert tuple(exercise.name for exercise in course()) == NAMES


@pytest.mark.parametrize("exercise", course(), ids=lambda exercise: exercise.name)
def test_an_exercise_is_described(exercise: course_module.Exercise) -> None:
    assert exercise.title
    assert exercise.difficulty in (1, 2, 3)
    assert exercise.minutes > 0
    assert set(exercise.prerequisites) <= set(NAMES[: NAMES.index(exercise.name)])
    assert len(exercise.hints) == 3
    assert len(set(exercise.hints)) == 3
    assert all(len(hint) > 60 for hint in exercise.hints)


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_is_whole(name: str) -> None:
    text = lesson(name)
    assert text.startswith("# ")
    assert text.splitlines()[0].removeprefix("# ") == next(e.title for e in course() if e.name == name)
    assert list(sections(name))[:3] == ["What to write", "What the tests ask", "Predict"]
    assert f"pytest tests/exercises/test_{name}.py" in section(name, "What the tests ask")
    assert "```sh" in section(name, "Predict")
    functions = [function for function in EXERCISE_FUNCTIONS[name] if f"`{function}" in section(name, "What to write")]
    assert functions == list(EXERCISE_FUNCTIONS[name])


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_lesson_are_those_of_the_kit_or_python_that_fits_a_terminal(name: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", lesson(name), re.DOTALL)
    assert blocks
    for block in blocks:
        if block.startswith("kit "):
            (_, command, *arguments) = shlex.split(block)
            found = cli.get_command(click.Context(cli), command)
            assert found is not None
            # Raises for an option or a number of arguments that the command does not have.
            found.make_context(command, arguments)
            continue
        match = re.fullmatch(r"python -c '(.*)'\n", block, re.DOTALL)
        assert match is not None
        # Within single quotes a shell takes everything as it is, but for a single quote.
        assert "'" not in match[1]
        ast.parse(match[1])
    for block in re.findall(r"```\w+\n(.*?)```", lesson(name), re.DOTALL):
        # Rich breaks longer lines of code, and a command that is copied must be as it was.
        assert max(map(len, block.splitlines())) <= 78


@pytest.mark.parametrize("anchor", ANCHORS)
def test_an_anchor_is_a_heading(anchor: str) -> None:
    name, _, heading = anchor.partition("#")
    assert heading in sections(name)
    assert len(sections(name)[heading].splitlines()) > 2


def test_each_heading_is_led_to_or_in_every_lesson() -> None:
    """By a diagnosis, or by another text of the course; no heading is left over from a diagnosis that was renamed."""
    texts = [lesson(name) for name in NAMES] + [hint for exercise in course() for hint in exercise.hints]
    named = {match for text in texts for match in re.findall(r'`kit lesson (\w+) "([^"]+)"`', " ".join(text.split()))}
    for name in NAMES:
        expected = {"What to write", "What the tests ask", "Predict"}
        expected |= {anchor.partition("#")[2] for anchor in ANCHORS if anchor.startswith(f"{name}#")}
        assert set(sections(name)) == expected | {heading for lesson_, heading in named if lesson_ == name}


def test_a_comment_in_an_example_is_no_heading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(course_module, "LESSONS_FOLDER", tmp_path)
    (tmp_path / "mesh.md").write_text("# Title\n\n## One\n\n```sh\n## no heading\n```\n\n## Two\n\nText.\n")
    assert list(sections("mesh")) == ["One", "Two"]
    assert "no heading" in section("mesh", "One")
    assert section("mesh", "two?") == "## Two\n\nText.\n"


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"no exercise 'meshes': there is mesh, layout, .*checkpoint"):
        lesson("meshes")
    with pytest.raises(UserError, match=r"no heading 'Grids': it has .*The grid"):
        section("mesh", "Grids")


# Nothing is given away.


def plain(text: str) -> str:
    """Without what two spellings of the same code differ by."""
    return re.sub(r"\s+", " ", text).replace('"', "'")


def given_away(text: str, source: str) -> list[str]:
    """Statements and lines of more than 20 characters of a solution's regions that stand in a text."""
    wanted: set[str] = set()
    for region in find_regions(source):
        lines = source.splitlines()[region.start : region.stop]
        wanted |= {line.strip() for line in lines if not line.strip().startswith("#")}
        tree = ast.parse(textwrap.dedent("\n".join(lines)))
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt):
                wanted |= {ast.unparse(node), ast.unparse(node).splitlines()[0]}
    return sorted(code for code in wanted if len(code) > 20 and plain(code) in plain(text))


def test_what_is_given_away_is_seen() -> None:
    source = (REFERENCE_FOLDER / "lora.py").read_text(encoding="utf-8")
    statement = "model.backbone.enable_lora(rank, target_layer_names=['query', 'value'])"
    assert given_away(f"Write\n{statement}\n", source) == [statement.replace("'", '"'), statement]
    assert given_away("Write `return trainable,\n    total`.", source) == ["return trainable, total"]
    assert given_away("Return the trainable ones, then the total.", source) == []
    assert given_away("total = sum(math.prod(weight.shape)\n  for weight in model.weights)", source)
    assert len(given_away(source, source)) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_no_hint_and_no_lesson_is_the_answer(name: str) -> None:
    source = (REFERENCE_FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert find_regions(source)
    for file in (COURSE_FILE, *sorted(LESSONS_FOLDER.glob("*.md"))):
        assert given_away(file.read_text(encoding="utf-8"), source) == [], file.name
    for exercise in course():
        assert given_away(" ".join(exercise.hints), source) == []


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_cut_from_the_reference(name: str) -> None:
    expected = cut((REFERENCE_FOLDER / f"{name}.py").read_text(encoding="utf-8"), name)
    assert (STUBS_FOLDER / f"{name}.py").read_text(encoding="utf-8") == expected, "run `kit dev build`"


#: Function of the exercise clinic -> the chaff that is its patient as it came.
PATIENTS = {
    "too_much_on_each_core": "notebook_unmended",
    "twice_the_collectives": "printed_unmended",
    "nothing_is_split": "search_era_unmended",
    "one_head_on_eight_cores": "one_head_unmended",
    "moments_on_every_core": "moments_unmended",
}


@pytest.mark.parametrize("function", EXERCISE_FUNCTIONS["clinic"])
def test_a_patient_that_is_put_back_is_a_chaff(function: str) -> None:
    """What the stub shows as it came is, line by line, what `kit dev check` proves to get the patient's own diagnosis."""
    source = stub("clinic")
    lines = source.splitlines()
    node = functions_in(source)[function]
    shown = [line.removeprefix("    #     ") for line in lines[node.lineno : node.end_lineno] if "    #     " in line]
    assert len(shown) >= 4
    chaff = (CHAFFS_FOLDER / "clinic" / f"{PATIENTS[function]}.py").read_text(encoding="utf-8")
    assert textwrap.indent("\n".join(shown), "    ") in chaff


def test_no_framework_and_no_solution_is_imported() -> None:
    code = (
        "import sys; from kit.course.lessons import course, lesson, solution; course(); lesson('mesh'); solution('mesh')\n"
        "import kit.course.workspace, kit.course.progress\n"
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'numpy', 'rich', 'kit.reference'}))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"


# How far an exercise is.

SOLVED_LORA = (REFERENCE_FOLDER / "lora.py").read_text(encoding="utf-8")
ONE_TASK_LEFT = stub("layout").replace('    raise NotImplementedError("layout, task 1")\n', "")


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        ("lora", stub("lora").encode(), "to do"),
        ("lora", stub("lora").replace("import math", "import math, os").encode(), "to do"),
        ("lora", stub("lora").replace('raise NotImplementedError("lora, task 2")', "return 1, 2").encode(), "begun"),
        ("layout", ONE_TASK_LEFT.encode(), "begun"),
        ("lora", SOLVED_LORA.encode(), "written"),
        ("lora", b"", "written"),
        ("lora", b"def enable_lora(:\n", "not Python"),
        ("lora", b"# \xff\n", "not Python"),
        ("lora", None, "missing"),
    ],
)
def test_how_far_an_exercise_is(room: Path, name: str, content: bytes | None, state: str) -> None:
    if content is None:
        (room / f"{name}.py").unlink()
    else:
        (room / f"{name}.py").write_bytes(content)
    assert Room(room).state(name) == state


def test_the_list(room: Path, kit: Kit) -> None:
    (room / "lora.py").write_text(SOLVED_LORA)
    (room / "mesh.py").unlink()
    code, output, _ = kit("lesson")
    assert code == 0
    rows = [line.split() for line in output.splitlines()[1 : len(NAMES) + 1]]
    assert [(row[0], row[1]) for row in rows] == [(str(number), name) for number, name in enumerate(NAMES, 1)]
    states = {row[1]: line.rstrip() for row, line in zip(rows, output.splitlines()[1:], strict=False)}
    assert states["mesh"].split()[-3:] == ["*", "5", "missing"]
    assert states["lora"].endswith("written")
    assert states["training"].endswith("to do")


def test_a_lesson_and_a_section_of_it(room: Path, kit: Kit) -> None:
    assert kit("lesson", "training") == (0, lesson("training"), "")
    assert kit("lesson", "training", "Is it learning?") == (0, section("training", "Is it learning?"), "")
    assert kit("lesson", "training", "the", "TWIN")[1].startswith("## The twin\n")


def test_a_lesson_on_a_terminal(room: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name in NAMES:
        code, output, _ = kit("lesson", name)
        assert code == 0
        output = re.sub(r"\x1b\[[0-9;]*m", "", output)
        assert "##" not in output
        assert all(heading in output for heading in sections(name))
        # A command can be copied from the terminal and run: it has no margin, and no line is broken.
        for block in re.findall(r"```sh\n(.*?)```", lesson(name), re.DOTALL):
            assert block in "\n".join(line.rstrip() for line in output.splitlines()) + "\n"


# Hints.


def test_hints_come_one_after_the_other(room: Path, kit: Kit) -> None:
    hints = {exercise.name: exercise.hints for exercise in course()}
    for number in (1, 2):
        code, output, _ = kit("hint", "lora")
        assert code == 0
        first, *rest = output.splitlines()
        assert first == f"lora, hint {number} of 3"
        assert " ".join(rest) == " ".join(hints["lora"][number - 1].split())
    # Another exercise has a count of its own, and a number of one's own choice changes none.
    assert kit("hint", "mesh")[1].startswith("mesh, hint 1 of 3\n")
    assert kit("hint", "lora", "--number", "1")[1].startswith("lora, hint 1 of 3\n")
    assert kit("hint", "lora")[1].startswith("lora, hint 3 of 3\n")
    for _ in range(2):
        code, output, _ = kit("hint", "lora")
        assert code == 0
        assert "All 3 hints for lora have been shown" in output
        assert "`kit hint lora --number 1`" in output
    assert json.loads((room.parent / ".kit" / "progress.json").read_text()) == {"hints": {"lora": 3, "mesh": 1}}
    assert [path.name for path in (room.parent / ".kit").iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"hints": {"mesh": "two"}}', '{"hints": {"mesh": true}}', '{"hints": 1}']
)
def test_progress_that_is_damaged(room: Path, kit: Kit, content: str) -> None:
    file = room.parent / ".kit" / "progress.json"
    file.parent.mkdir()
    file.write_text(content)
    code, output, message = kit("hint", "mesh")
    assert (code, output) == (2, "")
    assert message == f"kit: {file} is damaged: delete it, and the hints begin anew.\n"
    assert file.read_text() == content
    assert kit("hint", "mesh", "--number", "2")[0] == 0


def test_progress_that_cannot_be_kept(room: Path, kit: Kit) -> None:
    (room.parent / ".kit").write_text("a file")
    code, output, message = kit("hint", "mesh")
    assert (code, output) == (2, "")
    assert message.count("\n") == 1
    assert "progress.json cannot be" in message


# Beginning anew.


def test_a_reset_keeps_each_version(room: Path, kit: Kit) -> None:
    versions = [b"first = 1\n", b"second = \xff\n", b"third = 3\n"]
    for number, content in enumerate(versions, 1):
        (room / "mesh.py").write_bytes(content)
        code, output, _ = kit("reset", "mesh")
        assert code == 0
        assert f"exercises/.backups/mesh-{number}.py" in output
        assert (room / "mesh.py").read_text() == stub("mesh")
    kept = {path.name: path.read_bytes() for path in (room / ".backups").iterdir()}
    assert kept == {f"mesh-{number}.py": content for number, content in enumerate(versions, 1)}
    # A number that has become free is not used again, nor is one that another exercise has.
    (room / ".backups" / "mesh-1.py").unlink()
    (room / ".backups" / "mesh-12.py").write_text("")
    (room / ".backups" / "layout-40.py").write_text("")
    (room / "mesh.py").write_text("fourth = 4\n")
    kit("reset", "mesh")
    assert (room / ".backups" / "mesh-13.py").read_text() == "fourth = 4\n"
    # None of it is taken for an exercise.
    assert sorted(path.stem for path in room.glob("*.py")) == sorted(NAMES)


def test_a_stub_is_left_alone(room: Path, kit: Kit) -> None:
    assert kit("reset", "mesh") == (0, "exercises/mesh.py is the stub already: nothing was done.\n", "")
    assert not (room / ".backups").exists()


def test_a_missing_exercise_comes_back(room: Path, kit: Kit) -> None:
    (room / "mesh.py").unlink()
    assert kit("reset", "mesh") == (0, "exercises/mesh.py is the stub again.\n", "")
    assert (room / "mesh.py").read_text() == stub("mesh")
    assert not (room / ".backups").exists()


def test_a_reset_that_cannot_keep_a_copy_changes_nothing(room: Path, kit: Kit) -> None:
    (room / "mesh.py").write_text("mine = 1\n")
    (room / ".backups").write_text("a file")
    code, _, message = kit("reset", "mesh")
    assert code == 2
    assert message.startswith("kit: exercises/mesh.py was left as it is")
    assert (room / "mesh.py").read_text() == "mine = 1\n"
    assert sorted(path.name for path in room.iterdir() if path.suffix != ".py") == [".backups"]


def test_another_folder(room: Path, kit: Kit) -> None:
    room.rename(room.parent / "mine")
    (room.parent / "mine" / "mesh.py").write_text("mine = 1\n")
    assert kit("reset", "mesh", "--folder", "mine")[0] == 0
    assert (room.parent / "mine" / ".backups" / "mesh-1.py").read_text() == "mine = 1\n"


# Solutions.


@pytest.mark.parametrize("name", NAMES)
def test_a_solution_is_shown_to_who_gives_up(kit: Kit, name: str) -> None:
    code, output, message = kit("solution", name, "--give-up")
    assert (code, message) == (0, "")
    assert "# region" not in output
    assert "NotImplementedError" not in output
    source = (REFERENCE_FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert ast.dump(ast.parse(output)) == ast.dump(ast.parse(source))


def test_a_stub_is_no_reason_to_show_the_solution(room: Path, kit: Kit) -> None:
    code, output, message = kit("solution", "mesh")
    assert (code, output) == (2, "")
    *checks, last = message.splitlines()
    assert len(checks) == 1
    assert checks[0].startswith("FAILED")
    assert last.startswith("kit: mesh does not pass yet (NOT_IMPLEMENTED")
    assert "--give-up` shows the solution anyway" in last


def test_a_solution_is_shown_to_who_has_solved_it(room: Path, kit: Kit) -> None:
    from kit.judge.catalogue import checks_of

    shutil.copy(REFERENCE_FOLDER / "mesh.py", room / "mesh.py")
    code, output, message = kit("solution", "mesh")
    assert code == 0
    assert [line.partition("  ") for line in message.splitlines()] == [
        ("passed", "  ", check.asks) for check in checks_of("mesh")
    ]
    assert output == kit("solution", "mesh", "--give-up")[1]


def test_a_copy_without_solutions(room: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(course_module, "REFERENCE_FOLDER", tmp_path / "nowhere")
    for options in ([], ["--give-up"]):
        code, output, message = kit("solution", "mesh", *options)
        assert (code, output) == (2, "")
        assert message.startswith("kit: This copy of the kit has no solutions")
        assert message.count("\n") == 1


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lesson", "meshes"], "There is no exercise 'meshes': there is mesh, layout"),
        (["lesson", "mesh", "Grids"], "The lesson mesh has no heading 'Grids': it has What to write"),
        (["lesson", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["hint"], "Which exercise? There is mesh, layout"),
        (["hint", "meshes"], "There is no exercise 'meshes'"),
        (["hint", "mesh", "--number", "4"], "--number 4: mesh has hints 1 to 3"),
        (["hint", "mesh", "--number", "0"], "--number 0: mesh has hints 1 to 3"),
        (["hint", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["reset"], "Which exercise?"),
        (["reset", "meshes"], "There is no exercise 'meshes'"),
        (["reset", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["reset", "mesh", "--folder", "reference"], "that is the kit's own folder"),
        (["reset", "mesh", "--folder", str(STUBS_FOLDER)], "that is the kit's own folder"),
        (["solution"], "Which exercise?"),
        (["solution", "meshes", "--give-up"], "There is no exercise 'meshes'"),
        (["solution", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(room: Path, kit: Kit, arguments: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in room.parent.rglob("*") if path.is_file()}
    code, output, said = kit(*arguments)
    assert (code, output) == (2, "")
    assert said.startswith("kit: ")
    assert said.count("\n") == 1
    assert message in said
    assert {path: path.read_bytes() for path in room.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", [["lesson"], ["reset", "mesh"]], ids=" ".join)
def test_an_exercise_that_cannot_be_read(room: Path, kit: Kit, command: list[str]) -> None:
    (room / "mesh.py").unlink()
    (room / "mesh.py").mkdir()
    code, _, message = kit(*command)
    assert code == 2
    assert message.startswith("kit: exercises/mesh.py cannot be read (")
    assert message.count("\n") == 1


def test_what_computes_the_same_is_still_a_mutant() -> None:
    """No entry is left over from a solution that was written anew."""
    made = {mutant.key for exercise in EXERCISE_FUNCTIONS for mutant in make_mutants(exercise)}
    assert len(equivalent_mutants()) > 20
    assert not equivalent_mutants().keys() - made
