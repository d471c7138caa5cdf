"""A student's copy has what a learner needs, and no statement of a solution."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kit.bundle.tree import contents_of, find_root, write_tree
from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.errors import UserError

#: Shorter statements, such as ``return model``, say nothing of a solution.
LEAST_CHARACTERS = 22
#: Where the kit itself must do for its own models what the exercise asks for: the beginning of each
#: such statement. Whoever adds a line here shows it to each student.
OF_THE_KIT = {
    "kit/course/shared/small_models.py": (
        "model.compile(loss=keras.losses.SparseCategoricalCrossentropy(",
        "optimizer.exclude_from_weight_decay(",
        "keras.distribution.set_distribution(distribution)",
    ),
    "kit/course/shared/tpu_step.py": ("model.backbone.enable_lora(rank,",),
    "kit/course/checkpoint/training_run.py": (
        "trainable, optimizer_variables = model.optimizer.stateless_apply(",
        "model.optimizer.build(model.trainable_variables)",
    ),
    "kit/course/precision/rounding.py": ("seen = after.astype('float64') - before",),
    "kit/course/multihost/process_pair.py": ("prefix = 'KERAS_DISTRIBUTION_'",),
    "kit/course/multihost/training_process.py": ("prefix = 'KERAS_DISTRIBUTION_'",),
    "kit/evidence/resumption.py": ("model.optimizer.build(model.trainable_variables)",),
    "kit/evidence/train_step.py": ("keras.distribution.set_distribution(distribution)", "return np.asarray(value)"),
    "kit/evidence/unsharded_twin.py": ("keras.distribution.set_distribution(distribution)",),
    "kit/run/multi_process.py": ("keras.distribution.set_distribution(distribution)", "return np.asarray(value)"),
    "kit/run/steps.py": ("model.optimizer.build(model.trainable_variables)",),
    "kit/tpu/own_step.py": ("model.optimizer.build(model.trainable_variables)",),
    "kit/tpu/step.py": ("model.optimizer.build(model.trainable_variables)",),
}


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """The copy of this repository."""
    return {path.as_posix(): content for path, content in contents_of(find_root(), students=True).items()}


def squeezed(text: str) -> str:
    """A text without spaces, with one kind of quotation marks and no superfluous commas."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"\s+", "", text).replace('"', "'"))


def statements(source: str) -> set[str]:
    """The statements of a module, those with a body by their first line."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and not isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
            if not text.startswith(("'", '"')):
                found.add(text.splitlines()[0] if hasattr(node, "body") else text)
    return found


def test_no_statement_of_a_solution_is_in_it(contents: dict[str, bytes]) -> None:
    texts = {path: squeezed(content.decode(errors="replace")) for path, content in contents.items()}
    looked_for, allowed, hits = 0, set(), []
    for name in catalogue().names:
        stub = statements(catalogue().stub(name))
        for statement in statements((REFERENCE_FOLDER / f"{name}.py").read_text(encoding="utf-8")) - stub:
            wanted = squeezed(statement)
            if len(wanted) < LEAST_CHARACTERS:
                continue
            looked_for += 1
            for path in [path for path, text in texts.items() if wanted in text]:
                beginnings = [begin for begin in OF_THE_KIT.get(path, ()) if wanted.startswith(squeezed(begin))]
                allowed.update((path, begin) for begin in beginnings)
                hits += [] if beginnings else [f"{path}: {statement}"]
    assert looked_for > 100
    assert not hits
    # No exception is left that nothing needs.
    assert allowed == {(path, begin) for path, begins in OF_THE_KIT.items() for begin in begins}


def test_it_is_an_allow_list(contents: dict[str, bytes]) -> None:
    paths = set(contents)
    for folder in ("kit/reference", "kit/dev", "tests/solutions", "tests/walk", "tests/kit", ".git", "notebooks"):
        assert not [path for path in paths if path.startswith(f"{folder}/")]
    needed = {
        "pyproject.toml",
        "conftest.py",
        "constraints.txt",
        "README.md",
        "AGENTS.md",
        "tests/exercises/test_mesh.py",
    }
    assert needed <= paths
    for name in catalogue().names:
        assert contents[f"exercises/{name}.py"] == catalogue().stub_file(name).read_bytes()
        assert f"kit/course/{name}/lesson.md" in paths
    assert contents["README.md"].startswith(b"# Distributed fine-tuning of Gemma with Keras: your copy")


def test_every_package_is_in_it_or_left_out_on_purpose(contents: dict[str, bytes]) -> None:
    packages = {path.name for path in (find_root() / "kit").iterdir() if (path / "__init__.py").is_file()}
    copied = {path.split("/")[1] for path in contents if path.startswith("kit/") and path.count("/") > 1}
    assert packages - copied == {"reference", "dev"}


def test_a_folder_with_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="it has other files; choose a new or an empty folder"):
        write_tree(find_root(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.long
def test_exercises_are_checked_in_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    write_tree(find_root(), copy)

    def check() -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises/test_mesh.py"]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False).stdout

    assert "NOT_IMPLEMENTED" in check()
    (copy / "exercises" / "mesh.py").write_bytes((REFERENCE_FOLDER / "mesh.py").read_bytes())
    assert " passed" in (printed := check()), printed
    assert "failed" not in printed
