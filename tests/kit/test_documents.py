"""Links, paths, commands, options, markers and exercises in the documents are right."""

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from kit.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

#: Where the options of a command are listed.
OPTIONS = {"run": "running", "export": "running", "plan": "planning", "grade": "course"}


def quick_start() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Quick start\n")[2]
    match = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1].splitlines()


def test_the_quick_start_is_two_lines() -> None:
    first, second = quick_start()
    assert first.endswith("kit run")
    assert second.endswith("pytest --impl=reference -n 2")


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes from headings."""
    headings = re.findall(r"^#+ (.*)", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    broken = []
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    """Each path that begins with a folder of the repository, placeholders aside."""
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"(?<=[ `])(?:kit|tests|docs|benchmarks|exercises)/[\w/.<>]*\w", text)
    assert not [path for path in paths if not re.search("NAME|[<>]", path) and not (ROOT / path).exists()]


def test_named_tests_exist() -> None:
    """The library notes name the tests that fail when a library changes."""
    names = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "library_notes.md").read_text(encoding="utf-8"))
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "kit").rglob("test_*.py"))
    assert len(names) >= 10
    assert not [name for name in names if f"def {name}(" not in tests]


def test_every_document_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "docs").iterdir()]
    assert len(names) >= 5
    assert not [name for name in names if f"](docs/{name}" not in readme]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_commands_exist(document: Path) -> None:
    """Each `kit …` in a text: the command, its options and its number of arguments."""
    text = " ".join(document.read_text(encoding="utf-8").split())
    for line in re.findall(r"`(?:\.venv/bin/)?kit ([^`]+)`", text):
        command, *arguments = shlex.split(line)
        if command == "--help":
            continue
        found = cli.get_command(click.Context(cli), command)
        assert found is not None, line
        # A command's name alone may lack its arguments.
        if arguments:
            found.make_context(command, arguments)


@pytest.mark.parametrize(("name", "at_least"), [("run", 15), ("plan", 10), ("export", 3), ("grade", 6)])
def test_every_option_is_in_a_document(name: str, at_least: int) -> None:
    command = importlib.import_module(f"kit.cli.{name}").command
    text = (ROOT / "docs" / f"{OPTIONS[name]}.md").read_text(encoding="utf-8")
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert len(options) >= at_least
    assert not [option for option in options if f"`{option}" not in text]


def test_every_marker_is_in_the_readme() -> None:
    from kit.judge.catalogue import LAYERS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(LAYERS) >= 6
    assert not [layer for layer in LAYERS if f"| `{layer}` |" not in readme]


def test_every_exercise_is_in_the_readme_with_its_minutes() -> None:
    from kit.course.catalogue import catalogue

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for number, exercise in enumerate(catalogue().exercises, 1):
        row = rf"^\| {number} \| `{exercise.name}` \| .* \| {exercise.minutes} \|$"
        assert re.search(row, readme, re.M), exercise.name


def test_constraints_name_no_address() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    pin = re.compile(r"[a-z0-9-]+==[0-9][\w.]*(; python_version [<>=]+ \"3\.1\d\")?")
    assert not [line for line in lines if not pin.fullmatch(line)]


def test_the_table_of_every_gemma_is_made_from_its_cells() -> None:
    """`benchmarks/every_gemma.py` writes the table from the lines that it has compiled."""
    file = ROOT / "benchmarks" / "every_gemma.py"
    spec = importlib.util.spec_from_file_location("every_gemma", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
    written = text.partition(module.BEGIN)[2].partition(module.END)[0].strip()
    assert written == module.table().strip()
    rows = {(cell.model, cell.dtype) for cell in module.finished()}
    assert rows
    assert all(f"| {model}, {dtype} | " in written for model, dtype in rows)
