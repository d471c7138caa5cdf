"""Lessons fit the checks and the commands, and give no solution away."""

import ast
import re
import shlex
import textwrap
from pathlib import Path

import click
import pytest
from command_line import run_python
from exercise_folder import ROOT, reference_source

from kit.cli.main import cli
from kit.course.catalogue import catalogue
from kit.course.lessons import lesson, section, sections
from kit.course.planning.ask import options_parser
from kit.course.regions import find_regions
from kit.errors import UserError

NAMES = catalogue().names
ANCHORS = sorted({code.anchor for code in catalogue().codes.values() if code.anchor})


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_is_complete(name: str) -> None:
    text = lesson(name)
    exercise = catalogue().find(name)
    assert text.startswith("# ")
    assert text.splitlines()[0].removeprefix("# ") == exercise.title
    assert list(sections(name))[:3] == ["What to write", "What the tests ask", "Predict"]
    assert f"pytest tests/exercises/test_{name}.py" in section(name, "What the tests ask")
    assert "```sh" in section(name, "Predict")
    functions = [function.name for function in exercise.functions]
    assert functions == [function for function in functions if f"`{function}" in section(name, "What to write")]


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_lesson_exist_and_fit_a_terminal(name: str) -> None:
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
        if block.startswith("python -m kit.course.planning.ask "):
            options_parser().parse_args(shlex.split(block.replace("\\\n", " "))[3:])
            continue
        match = re.fullmatch(r"python -c '(.*)'\n", block, re.DOTALL)
        assert match is not None
        # Within single quotes, a shell changes nothing but a single quote.
        assert "'" not in match[1]
        ast.parse(match[1])
    for block in re.findall(r"```\w+\n(.*?)```", lesson(name), re.DOTALL):
        # Rich breaks longer lines of code, and then a command cannot be copied.
        assert max(map(len, block.splitlines())) <= 78


@pytest.mark.parametrize("anchor", ANCHORS)
def test_an_anchor_is_a_heading(anchor: str) -> None:
    name, _, heading = anchor.partition("#")
    assert heading in sections(name)
    assert len(sections(name)[heading].splitlines()) > 2


def test_a_diagnosis_or_another_text_leads_to_each_heading() -> None:
    """Apart from the headings of every lesson; none is left from a renamed diagnosis."""
    texts = [lesson(name) for name in NAMES]
    texts += [hint for exercise in catalogue().exercises for hint in exercise.hints]
    named = {match for text in texts for match in re.findall(r'`kit lesson (\w+) "([^"]+)"`', " ".join(text.split()))}
    for name in NAMES:
        expected = {"What to write", "What the tests ask", "Predict"}
        expected |= {anchor.partition("#")[2] for anchor in ANCHORS if anchor.startswith(f"{name}#")}
        assert set(sections(name)) == expected | {heading for lesson_, heading in named if lesson_ == name}


def test_a_comment_in_an_example_is_no_heading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(catalogue()), "lesson_file", lambda self, exercise: tmp_path / f"{exercise}.md")
    (tmp_path / "mesh.md").write_text("# Title\n\n## One\n\n```sh\n## no heading\n```\n\n## Two\n\nText.\n")
    assert list(sections("mesh")) == ["One", "Two"]
    assert "no heading" in section("mesh", "One")
    assert section("mesh", "two?") == "## Two\n\nText.\n"


def test_unknown_names() -> None:
    with pytest.raises(
        UserError, match=r"no exercise 'meshes': did you mean mesh.* Choose one of mesh, layout, .*checkpoint"
    ):
        lesson("meshes")
    with pytest.raises(UserError, match=r"no heading 'Grids': did you mean The grid"):
        section("mesh", "Grids")
    with pytest.raises(UserError, match=r"no heading 'The gird': did you mean The grid\? Choose one of "):
        section("mesh", "The gird")


def plain(text: str) -> str:
    """The text without differences in spelling: white space and quotes."""
    return re.sub(r"\s+", " ", text).replace('"', "'")


def given_away(text: str, source: str) -> list[str]:
    """Statements and lines of a solution, longer than 20 characters, that a text contains."""
    wanted: set[str] = set()
    for region in find_regions(source):
        lines = source.splitlines()[region.start : region.stop]
        wanted |= {line.strip() for line in lines if not line.strip().startswith("#")}
        tree = ast.parse(textwrap.dedent("\n".join(lines)))
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt):
                wanted |= {ast.unparse(node), ast.unparse(node).splitlines()[0]}
    return sorted(code for code in wanted if len(code) > 20 and plain(code) in plain(text))


def test_given_away_statements_are_found() -> None:
    source = reference_source("lora")
    statement = "model.backbone.enable_lora(rank, target_layer_names=['query', 'value'])"
    assert given_away(f"Write\n{statement}\n", source) == [statement.replace("'", '"'), statement]
    assert given_away("Write `return trainable,\n    total`.", source) == ["return trainable, total"]
    assert given_away("Return the trainable ones, then the total.", source) == []
    assert given_away("total = sum(math.prod(weight.shape)\n  for weight in model.weights)", source)
    assert len(given_away(source, source)) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_no_hint_and_no_lesson_is_the_answer(name: str) -> None:
    source = reference_source(name)
    assert find_regions(source)
    for exercise in catalogue().exercises:
        assert given_away(lesson(exercise.name), source) == [], exercise.name
        file = catalogue().folder / exercise.name / "exercise.py"
        assert given_away(file.read_text(encoding="utf-8"), source) == [], exercise.name
        assert given_away(" ".join(exercise.hints), source) == [], exercise.name


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_no_solution(name: str) -> None:
    """A learner reads it before the first exercise."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = reference_source(name)
    assert given_away(readme, source) == []
    patterns = [
        node.value
        for region in find_regions(source)
        for node in ast.walk(ast.parse(textwrap.dedent("\n".join(source.splitlines()[region.start : region.stop]))))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[.\[(][*?|+]", node.value)
    ]
    assert patterns or name != "layout"
    assert not [pattern for pattern in patterns if pattern in readme]


COMMANDS = [
    pytest.param(block, id=f"{name}-{number}")
    for name in NAMES
    for number, block in enumerate(re.findall(r"```sh\npython -c '(.*?)'\n```", lesson(name), re.DOTALL), 1)
]


@pytest.mark.long
@pytest.mark.parametrize("code", COMMANDS)
def test_commands_of_lessons_print_results_and_nothing_else(code: str, tmp_path: Path) -> None:
    """They run in a copy that has only stubs, do not import TensorFlow, and print no warning."""
    own_rules = 'find_parts("exercises")'
    done = run_python(code.replace(own_rules, 'find_parts("reference")') + _WITHOUT_TENSORFLOW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


_WITHOUT_TENSORFLOW = "\nimport sys\nassert 'tensorflow' not in sys.modules\n"


def test_no_framework_and_no_solution_is_imported() -> None:
    code = (
        "import sys; from kit.course.catalogue import catalogue; from kit.course.lessons import lesson, solution\n"
        "catalogue(); lesson('mesh'); solution('mesh')\n"
        "import kit.course.workspace, kit.course.progress\n"
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'numpy', 'rich', 'kit.reference'}))"
    )
    assert run_python(code).stdout == "[]\n"
