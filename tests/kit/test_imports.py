"""Imports follow the order of the packages, and light modules import no framework."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run_python

import kit

KIT = Path(kit.__file__).parent
FRAMEWORKS = ("jax", "keras", "keras_hub", "tensorflow")
#: Folders of exercises, under kit/course.
EXERCISES = sorted(file.parent.name for file in KIT.glob("course/*/exercise.py"))
#: Packages and modules that import no framework until a function of theirs is called.
LIGHT = (
    "kit.cli",
    "kit.errors",
    "kit.files",
    "kit.narrator",
    "kit.parts",
    "kit.pytest_plugin",
    "kit.judge.catalogue",
    "kit.course.catalogue",
    *(f"kit.course.{name}.exercise" for name in EXERCISES),
)


def name_of(file: Path) -> str:
    parts = file.relative_to(KIT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(KIT.rglob("*.py"))}


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each import from kit, also within functions and for type checkers."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.startswith("kit."))


def package_of(name: str) -> str:
    """``models`` for ``kit.models.presets``."""
    return name.split(".")[1]


def imports_between_packages() -> list[tuple[str, str, str]]:
    """(place, package that imports, name that is imported)."""
    return [
        (f"{file.relative_to(KIT.parent)}:{line}", package_of(module), name)
        for module, file in MODULES.items()
        if module != "kit"
        for line, name in imports_of(file)
    ]


def test_the_table_names_all_packages() -> None:
    assert sorted(kit.PACKAGE_ORDER) == sorted({package_of(module) for module in MODULES if module != "kit"})
    assert len(imports_between_packages()) > 500


def test_imports_follow_the_order() -> None:
    rank = {package: number for number, package in enumerate(kit.PACKAGE_ORDER)}
    found = [edge for edge in imports_between_packages() if not edge[2].startswith("kit.__")]
    assert not [f"{place}: {name}" for place, package, name in found if rank[package_of(name)] > rank[package]]


def test_solutions_are_imported_by_author_tools_alone() -> None:
    """`kit.parts` finds them by the name that `--impl` gives."""
    found = [edge for edge in imports_between_packages() if edge[1] not in ("reference", "dev")]
    assert not [f"{place}: {name}" for place, _, name in found if package_of(name) == "reference"]


def test_exercises_do_not_import_each_other() -> None:
    assert len(EXERCISES) >= 12
    for exercise in EXERCISES:
        assert not {*EXERCISES} - {exercise} & course_modules_imported_by(exercise), exercise


def test_shared_oracles_import_no_exercise() -> None:
    assert course_modules_imported_by("shared") <= {"shared"}


def course_modules_imported_by(folder: str) -> set[str]:
    """The folders and modules of kit/course that a folder in it imports."""
    files = [file for module, file in MODULES.items() if module.startswith(f"kit.course.{folder}")]
    assert files
    names = [name.split(".") for file in files for _, name in imports_of(file)]
    return {name[2] for name in names if name[:2] == ["kit", "course"]}


def test_evidence_never_judges() -> None:
    imported = {package_of(name) for _, package, name in imports_between_packages() if package == "evidence"}
    assert "models" in imported
    assert not imported & {"checks", "judge", "course"}


@pytest.mark.parametrize("name", LIGHT)
def test_no_framework_is_imported(name: str) -> None:
    members = [module for module in MODULES if module == name or module.startswith(f"{name}.")]
    assert members
    code = (
        "import importlib, sys\n"
        f"for name in {members!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = {set(FRAMEWORKS)!r} & set(sys.modules)\n"
        "    assert not found, f'{name} imports {found}'\n"
    )
    run_python(code)


def test_no_test_imports_a_private_name() -> None:
    files = sorted((KIT.parent / "tests").rglob("*.py"))
    assert len(files) > 60
    imported = [
        f"{file.relative_to(KIT.parent)}: {alias.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kit")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert imported == []
