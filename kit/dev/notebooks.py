"""Writes the notebooks from their sources, without outputs and with the same cell ids each time.

The sources are Markdown files in ``notebook_sources``. Lessons, stubs and files of documents come
from where they are, and the address of the repository comes from pyproject.toml.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jupytext
import nbformat

from kit.parts.implementation import KIT_FOLDER

ROOT = KIT_FOLDER.parent
SOURCES = Path(__file__).parent / "notebook_sources"
#: Name of a notebook -> its title in the README.
NOTEBOOKS = {
    "tutorial": "The tutorial on the accelerator of this session",
}


def write_notebooks() -> list[str]:
    """Write all notebooks, and return lines to print."""
    folder = ROOT / "notebooks"
    folder.mkdir(exist_ok=True)
    for name in NOTEBOOKS:
        (folder / f"{name}.ipynb").write_text(notebook_as_text(name), encoding="utf-8")
    return [f"{len(NOTEBOOKS)} notebooks in {folder}"]


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
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(SOURCES), undefined=jinja2.StrictUndefined)
    return environment.get_template(f"{name}.md").render(setup=_setup_cell(), badges=badges(name))


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
