"""Writes the notebooks from their sources, without outputs and with the same cell ids each time.

The sources are Markdown files in ``notebook_sources``. Lessons, stubs and files of documents come
from where they are, and the address of the repository comes from pyproject.toml.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jupytext
import nbformat

from kit.course import predictions
from kit.course.catalogue import catalogue
from kit.course.lessons import lesson, sections
from kit.judge.catalogue import Exercise
from kit.parts.implementation import KIT_FOLDER

ROOT = KIT_FOLDER.parent
SOURCES = Path(__file__).parent / "notebook_sources"
#: Name of a notebook -> its title in the README.
NOTEBOOKS = {
    "tutorial": "the tutorial, on the accelerator of the session",
    "course": "the course, an exercise in each section",
    "own_model": "checks of your own model",
}
#: Around the table in the README.
TABLE_BEGINS, TABLE_ENDS = "<!-- notebooks, by `kit dev build` -->", "<!-- end of notebooks -->"
#: Exercise -> the section of a run's report that shows what it is about.
SECTION_OF_REPORT = {
    "mesh": "sharding",
    "layout": "sharding",
    "loading": "bytes",
    "reviews": "loss",
    "lora": "parameters",
    "training": "loss",
    "generation": "style",
    "checkpoint": "loss",
}


@dataclass(frozen=True)
class Question:
    """A question of a lesson, and the program that answers it."""

    text: str
    code: str
    #: Whether the program uses the parts of an implementation.
    uses_parts: bool


@dataclass(frozen=True)
class Section:
    """What the notebook of the course has of an exercise."""

    number: int
    name: str
    title: str
    minutes: int
    #: The lesson up to the questions, and after them.
    lesson: str
    more: str
    #: What `kit predict` asks; empty if it asks nothing, and the lesson's own questions are shown.
    measured: tuple[str, ...]
    questions: tuple[Question, ...]
    after_questions: str
    stub: str
    #: The section of a run's report; empty if the exercise is no part of a run.
    section: str


def write_notebooks() -> list[str]:
    """Write all notebooks, and return lines to print."""
    folder = ROOT / "notebooks"
    folder.mkdir(exist_ok=True)
    for name in NOTEBOOKS:
        (folder / f"{name}.ipynb").write_text(notebook_as_text(name), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return [f"{len(NOTEBOOKS)} notebooks in {folder}, and their badges in {readme.name}"]


def with_table(readme: str) -> str:
    """The README with a table of the notebooks, which open on Colab and Kaggle."""
    before, _, rest = readme.partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    rows = [f"| [{title}](notebooks/{name}.ipynb) | {badges(name)} |" for name, title in NOTEBOOKS.items()]
    table = "\n".join(["| notebook | open it |", "|---|---|", *rows])
    return f"{before}{TABLE_BEGINS}\n\n{table}\n\n{TABLE_ENDS}{after}"


def notebook_as_text(name: str) -> str:
    """The content of a notebook's file."""
    notebook = jupytext.reads(_source(name), fmt="md")
    # What jupytext writes here depends on its version.
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell, cell_id in zip(notebook.cells, _cell_ids(notebook.cells), strict=True):
        cell.id = cell_id
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def badges(name: str) -> str:
    """Links that open a notebook on Colab and on Kaggle, as Markdown."""
    address = repository()
    file = f"blob/main/notebooks/{name}.ipynb"
    on_colab = f"https://colab.research.google.com/github/{address.removeprefix('https://github.com/')}/{file}"
    on_kaggle = f"https://kaggle.com/kernels/welcome?src={address}/{file}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({on_colab}) "
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({on_kaggle})"
    )


def repository() -> str:
    """The address of the repository, which its owner writes into pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["urls"]["Repository"]).rstrip("/")


def _source(name: str) -> str:
    """A notebook as Markdown, with what comes from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    content: dict[str, Any] = {"setup": _setup_cell(), "badges": badges(name)}
    if name == "course":
        content["exercises"] = [section_of(exercise) for exercise in catalogue().exercises]
    if name == "own_model":
        document = (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8")
        content |= {"files": files_of(document), "checks": _chapter(document, "The checks")}
    return environment.get_template(f"{name}.md").render(content)


def section_of(exercise: Exercise) -> Section:
    """What the notebook has of an exercise, from its lesson and its stub."""
    beginning, _, _ = lesson(exercise.name).partition("\n## ")
    before = [beginning.partition("\n")[2].strip()]
    after: list[str] = []
    questions: tuple[Question, ...] = ()
    after_questions = ""
    found: list[str] = before
    for heading, text in sections(exercise.name).items():
        if heading == "Predict":
            questions, after_questions = _questions(text.partition("\n")[2])
            found = after
        else:
            found.append(_demoted(text))
    return Section(
        exercise.number,
        exercise.name,
        exercise.title,
        exercise.minutes,
        "\n\n".join(part.strip() for part in before),
        "\n\n".join(part.strip() for part in after),
        tuple(map(_asked, predictions.questions(exercise.name))),
        questions,
        after_questions,
        catalogue().stub(exercise.name).rstrip(),
        SECTION_OF_REPORT.get(exercise.name, ""),
    )


def _asked(question: predictions.Question) -> str:
    """What `kit predict` asks, with the possible answers if they are no numbers."""
    return question.asks + (f" Choose {' or '.join(question.choices)}." if question.choices else "")


def _questions(text: str) -> tuple[tuple[Question, ...], str]:
    """The questions of a lesson, and the text after the last program."""
    parts = re.split(r"^```sh\n(.*?)^```\n", text + "\n", flags=re.MULTILINE | re.DOTALL)
    questions = []
    for question, code in zip(parts[0::2], parts[1::2], strict=False):
        # The exercise is not written yet when the question is asked.
        with_reference = code.rstrip().replace('find_parts("exercises")', 'find_parts("reference")')
        questions.append(Question(question.strip(), with_reference, with_reference != code.rstrip()))
    return tuple(questions), parts[-1].strip()


def _demoted(text: str) -> str:
    """A section of a lesson with a smaller heading: an exercise is a section of the notebook."""
    return f"##{text}" if text.startswith("## ") else text


def files_of(document: str) -> dict[str, str]:
    """The files of a document: each is named at the beginning of the paragraph above its code."""
    found = re.findall(r"^`([\w.]+)`[^\n]*(?:\n[^\n]+)*\n\n```\w+\n(.*?)\n```$", document, re.MULTILINE | re.DOTALL)
    return dict(found)


def _chapter(document: str, heading: str) -> str:
    """A chapter of a document, with its heading."""
    text = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return f"## {heading}\n{text.rstrip()}"


def _setup_cell() -> str:
    source = (SOURCES / "setup_cell.py").read_text(encoding="utf-8")
    _, _, code = source.partition('\n"""\n\n')
    return code.rstrip().replace("@REPOSITORY@", repository())


def _cell_ids(cells: list[Any]) -> Iterator[str]:
    """An id for each cell: the heading above it, and the number of the cell below that heading.

    So an edit changes no id outside of its section.
    """
    heading, number = "top", 0
    seen: set[str] = set()
    for cell in cells:
        found = re.match(r"#+ +(.+)", cell.source) if cell.cell_type == "markdown" else None
        if found:
            heading, number = re.sub(r"[^a-z0-9]+", "-", found[1].lower()).strip("-")[:48], 0
            while heading in seen:
                heading += "-again"
            seen.add(heading)
        number += 1
        yield f"{heading}-{number}"
