"""The notebooks are those of their sources, and run from an empty folder."""

import html
import os
import re
import sysconfig
import venv
from pathlib import Path
from typing import Any

import nbformat
import pytest
from built_wheel import build_wheel
from exercise_folder import reference_source

from kit.course.catalogue import catalogue
from kit.dev.notebooks import NOTEBOOKS, ROOT, badges, notebook_as_text, repository, with_table

#: Seconds for a cell; the longest trains the bundled model.
SECONDS = 1500


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="the build needs setuptools, which TensorFlow brings")
    return build_wheel(*(tmp_path_factory.mktemp(name) for name in ("source", "target")))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages of this environment except the kit, which a notebook installs."""
    folder = tmp_path_factory.mktemp("packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "gemma_sharding_kit" not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_up_to_date(name: str) -> None:
    committed = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert committed == notebook_as_text(name), "run `kit dev build`"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_has_no_outputs_and_each_cell_its_own_id(name: str) -> None:
    notebook = nbformat.reads(notebook_as_text(name), as_version=4)
    assert len(notebook.cells) >= 8
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert not [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_own_python_imports_no_framework(name: str) -> None:
    """Other processes may import jax, and so may files that a cell writes."""
    cells = nbformat.reads(notebook_as_text(name), as_version=4).cells
    in_kernel = [cell.source for cell in cells if cell.cell_type == "code" and not cell.source.startswith("%%")]
    assert len(in_kernel) >= 3
    assert not [source for source in in_kernel if re.search(r"^\s*(import|from) (jax|keras|kit)\b", source, re.M)]


def execute(
    name: str, folder: Path, wheel: Path, packages: Path, monkeypatch: pytest.MonkeyPatch, **replaced: str
) -> dict[str, Any]:
    """Execute a notebook in a folder that is empty, and return its cells by their ids.

    The environment that the notebook makes finds the packages of this one, and installs the wheel.
    ``replaced`` are sources of cells, by their ids.
    """
    reason = "needs '.[dev]'"
    pytest.importorskip("ipykernel", reason=reason)
    client = pytest.importorskip("nbclient", reason=reason)
    home, start = folder / "home", folder / "start"
    start.mkdir(parents=True)
    venv.create(home / "kit-env", with_pip=False, symlinks=True)
    found = sysconfig.get_path("purelib", vars={"base": str(home / "kit-env"), "platbase": str(home / "kit-env")})
    (Path(found) / "packages.pth").write_text(f"{packages}\n")
    for variable in ("NO_COLOR", "PIP_CONSTRAINT", "XLA_FLAGS", "VIRTUAL_ENV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KIT_SOURCE", str(wheel))
    # The packages are all there: this must not ask an index.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    notebook = nbformat.reads(notebook_as_text(name), as_version=4)
    for cell in notebook.cells:
        cell.source = replaced.get(cell.id, cell.source)
    resources = {"metadata": {"path": str(start)}}
    try:
        client.NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources=resources, coalesce_streams=True
        ).execute()
    finally:
        if kept := os.environ.get("EXECUTED_NOTEBOOKS"):
            Path(kept).mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, Path(kept) / f"{name}.ipynb")
    return {cell.id: cell for cell in notebook.cells}


def text_of(cell: Any) -> str:
    """What a cell printed, without its colours."""
    assert cell.cell_type == "code"
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return re.sub(r"\x1b\[[0-9;]*m", "", printed)


def frames_of(cell: Any) -> list[str]:
    """The pages that a cell shows in frames."""
    pages = [output.data.get("text/html", "") for output in cell.outputs if output.output_type == "display_data"]
    return [page for page in pages if page.startswith("<div><iframe srcdoc=")]


@pytest.mark.long
def test_the_tutorial(tmp_path: Path, wheel: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("tutorial", tmp_path, wheel, packages, monkeypatch)
    assert set(os.listdir(tmp_path / "start")) == {"runs"}
    run = text_of(cells["run-2"])
    assert "8 simulated devices" in run
    assert "the style has shifted to reviews" in " ".join(run.split())
    # Nothing remains of the lines that were replaced.
    assert not {"\b", "\x1b", "\r", "…"} & set(run.replace("\r\n", "\n"))
    (page,) = frames_of(cells["the-mesh-and-the-shards-2"])
    assert page.count("&lt;svg") >= 5
    others = ("the-mesh-and-the-shards-4", "the-loss-2", "before-and-after-2", "the-whole-report-2")
    assert [len(frames_of(cells[cell_id])) for cell_id in others] == [1, 1, 1, 1]


@pytest.mark.long
def test_the_course(tmp_path: Path, wheel: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One exercise is solved, and the others are stubs."""
    solved = f"%%writefile exercises/mesh.py\n{reference_source('mesh')}"
    predicted = "!kit predict mesh --again --answer 3 --answer 2 --answer 4"
    replaced = {"write-the-device-mesh-2": solved, "predict-the-device-mesh-2": predicted}
    cells = execute("course", tmp_path, wheel, packages, monkeypatch, **replaced)
    measured = " ".join(text_of(cells["predict-the-device-mesh-2"]).split())
    assert "You counted from 1." in measured
    # Whoever answers nothing learns how.
    assert "'?' is no answer to" in text_of(cells["predict-the-layout-map-2"])
    exercises = catalogue().exercises
    assert len(exercises) >= 12
    checked = {exercise.name: cells[f"check-{heading_id(exercise.title)}-2"] for exercise in exercises}
    (page,) = frames_of(checked.pop("mesh"))
    assert f"<title>mesh: {len(catalogue().checks_of('mesh'))} passed</title>" in html.unescape(page)
    for name, cell in checked.items():
        (page,) = frames_of(cell)
        assert f"NOT_IMPLEMENTED</span>: exercises/{name}.py::" in html.unescape(page)
    assert frames_of(cells["see-the-device-mesh-2"])[0].count("&lt;svg") >= 5
    assert "(8, 1)" in text_of(cells["predict-the-device-mesh-9"])
    assert "659968 bytes on each device" in text_of(cells["predict-the-layout-map-5"])
    for cell_id, cell in cells.items():
        printed = text_of(cell) if cell.cell_type == "code" else ""
        assert not re.search(r"Traceback|\x08|\x1b", printed), cell_id
    course = tmp_path / "start" / "gemma-course"
    assert (course / "predictions" / "mesh-1.txt").read_text() == "My prediction:\n"
    assert text_of(cells["where-you-are-2"]).count("not started") == len(checked)


@pytest.mark.long
def test_own_model(tmp_path: Path, wheel: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("own_model", tmp_path, wheel, packages, monkeypatch)
    assert "4 passed" in text_of(cells["run-it-2"])
    failed = text_of(cells["a-failure-3"])
    assert "LAYOUT_RULE_MATCHES_NOTHING" in failed
    assert "2 failed, 2 passed" in failed


def heading_id(title: str) -> str:
    """A title in the ids of the cells below it."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


def test_the_readme_has_their_badges() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == with_table(readme), "run `kit dev build`"
    assert all(badges(name) in readme for name in NOTEBOOKS)


def test_badges_lead_to_the_repository() -> None:
    for name in NOTEBOOKS:
        on_colab, on_kaggle = re.findall(r"\]\((https://[^)]*ipynb)\)", badges(name))
        owner_and_name = repository().removeprefix("https://github.com/")
        path = f"blob/main/notebooks/{name}.ipynb"
        assert on_colab == f"https://colab.research.google.com/github/{owner_and_name}/{path}"
        assert on_kaggle == f"https://kaggle.com/kernels/welcome?src={repository()}/{path}"
