"""A folder is written completely or not at all, and an update keeps what a learner wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from exercise_folder import pytest_on

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.init import folder as init_folder
from kit.init.files import course_files
from kit.init.folder import Conflict, make_folder, update_folder
from kit.init.manifest import MANIFEST, Manifest

MESH, LORA, MESH_TESTS = "exercises/mesh.py", "exercises/lora.py", "tests/exercises/test_mesh.py"
MINE = "# mine\n"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "course"
    assert make_folder(folder) == len(course_files())
    return folder


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | None]], None]:
    """Have a newer kit deliver other files; None leaves a file out."""

    def deliver(changed: dict[str, str | None]) -> None:
        files = {path: content for path, content in {**course_files(), **changed}.items() if content is not None}
        monkeypatch.setattr(init_folder, "course_files", lambda: files)

    return deliver


def content_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_folder_has_the_files_and_nothing_else(course: Path) -> None:
    written = content_of(course)
    manifest = json.loads(written.pop(MANIFEST))
    assert {path: content.decode() for path, content in written.items()} == course_files()
    assert manifest["files"].keys() == written.keys()
    assert not [path for path in course.parent.iterdir() if path != course]


def test_pytest_checks_it(course: Path) -> None:
    """Without a clone: the tests, their markers and the exercises are those of the folder."""
    (course / MESH).write_text(catalogue().stub("mesh"))
    finished = pytest_on("exercises", "-m", "interface", cwd=course)
    count = sum(check.layer == "interface" for name in catalogue().names for check in catalogue().checks_of(name))
    assert f"{count} failed" in finished.stdout.splitlines()[-1]
    assert "NOT_IMPLEMENTED: exercises/mesh.py::make_device_mesh (line " in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr


def test_pytest_checks_it_from_another_folder(course: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"course/{MESH_TESTS}"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=course.parent, check=False)
    assert f"{len(catalogue().checks_of('mesh'))} failed" in finished.stdout, finished.stderr
    assert "mesh.py::make_device_mesh (line " in finished.stdout


def test_an_existing_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(MINE)
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "own.py").write_text(MINE)
    make_folder(tmp_path)
    written = content_of(tmp_path)
    assert written["notes.txt"] == written["exercises/own.py"] == MINE.encode()
    assert course_files().keys() <= written.keys()


@pytest.mark.parametrize(
    ("existing", "named"),
    [
        (["README.md"], "README.md would be overwritten"),
        ([".gitignore", "README.md", MESH, "pytest.ini"], "exercises/mesh.py, pytest.ini and 2 more would be"),
        (["exercises"], ": exercises would be overwritten"),
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, existing: list[str], named: str) -> None:
    for path in existing:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(MINE)
    before = content_of(tmp_path)
    with pytest.raises(UserError, match="choose an empty folder") as error:
        make_folder(tmp_path)
    assert named in str(error.value)
    assert content_of(tmp_path) == before


def test_a_link_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"CLAUDE\.md would be overwritten"):
        make_folder(tmp_path)


def test_a_folder_with_the_course_names_the_update(course: Path) -> None:
    with pytest.raises(UserError, match="--update` updates it"):
        make_folder(course)


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """Nothing is half-written, and the same command completes it later."""
    folder = tmp_path / "course"
    if exists:
        folder.mkdir()
    write = init_folder.write_text

    def write_until_full(file: Path, text: str) -> None:
        if file.name == "test_mesh.py":
            raise OSError(28, "No space left on device", str(file))
        write(file, text)

    monkeypatch.setattr(init_folder, "write_text", write_until_full)
    with pytest.raises(UserError, match=r"test_mesh\.py cannot be read or written \(No space left on device\)"):
        make_folder(folder)
    assert list(tmp_path.rglob("*")) == ([folder] if exists else [])
    monkeypatch.undo()
    make_folder(folder)
    assert course_files().keys() <= content_of(folder).keys()


def test_a_command_that_was_killed_is_completed(tmp_path: Path) -> None:
    """Some files are in place, and the others are still in the folder for incoming files."""
    make_folder(tmp_path)
    (tmp_path / init_folder.INCOMING).mkdir()
    (tmp_path / LORA).rename(tmp_path / init_folder.INCOMING / "lora.py")
    (tmp_path / MANIFEST).unlink()
    make_folder(tmp_path)
    assert content_of(tmp_path).keys() == course_files().keys() | {MANIFEST}


def test_an_update_replaces_what_is_untouched(course: Path, newer: Callable) -> None:
    (course / LORA).write_text(MINE)
    newer({MESH: "# newer\n", MESH_TESTS: "# newer tests\n", "exercises/more.py": "# more\n", "README.md": "# New\n"})
    update = update_folder(course)
    assert update.written.keys() == {MESH, MESH_TESTS, "exercises/more.py", "README.md"}
    assert (update.conflicts, update.deleted) == ([], [])
    written = content_of(course)
    assert written[MESH] == b"# newer\n"
    assert written[LORA] == MINE.encode()
    assert not update_folder(course).written


def test_an_update_without_news_changes_nothing(course: Path) -> None:
    (course / MESH).write_text(MINE)
    before = content_of(course)
    update = update_folder(course)
    assert (update.written, update.conflicts, update.deleted) == ({}, [], [])
    assert content_of(course) == before


def test_a_changed_stub_that_was_edited_is_a_conflict(course: Path, newer: Callable) -> None:
    stub = catalogue().stub("lora")
    mine = stub.replace('raise NotImplementedError("lora, task 2")', "return 1, 2")
    (course / LORA).write_text(mine)
    changed = stub.replace("# Task 1: ", "# Task 1, in other words: ")
    assert changed != stub
    newer({LORA: changed})
    assert update_folder(course).conflicts == [Conflict(LORA, ("enable_lora",))]
    assert (course / LORA).read_text() == mine
    assert (course / f"{LORA}.new").read_text() == changed
    # It is shown once, and a still newer version replaces the untouched one beside it.
    assert update_folder(course).conflicts == []
    newer({LORA: changed + "# The end.\n"})
    assert update_folder(course).conflicts == [Conflict(LORA, ())]
    assert (course / f"{LORA}.new").read_text() == changed + "# The end.\n"
    assert (course / LORA).read_text() == mine


def test_a_newer_version_that_was_edited_is_kept(course: Path, newer: Callable) -> None:
    for path in (MESH, f"{MESH}.new"):
        (course / path).write_text(MINE)
    newer({MESH: "# newer\n", LORA: "# newer\n"})
    before = content_of(course)
    with pytest.raises(UserError, match=r"mesh\.py\.new was changed.*: rename it, and run again\."):
        update_folder(course)
    assert content_of(course) == before


def test_tests_that_were_edited_are_a_conflict_and_other_texts_are_not(course: Path, newer: Callable) -> None:
    for path in (MESH_TESTS, "README.md", ".vscode/settings.json"):
        (course / path).write_text(MINE)
    newer({MESH_TESTS: "# newer\n", "README.md": "# newer\n", ".vscode/settings.json": "{}"})
    update = update_folder(course)
    assert update.conflicts == [Conflict(MESH_TESTS, ())]
    assert not update.written
    assert (course / "README.md").read_text() == MINE


def test_what_the_course_needs_is_restored(course: Path) -> None:
    for path in (MESH, "conftest.py", "CLAUDE.md"):
        (course / path).unlink()
    assert update_folder(course).written.keys() == {MESH, "conftest.py"}
    assert not (course / "CLAUDE.md").exists()


def test_what_is_not_part_of_the_course_any_more_is_deleted(course: Path, newer: Callable) -> None:
    (course / LORA).write_text(MINE)
    newer({MESH: None, LORA: None})
    assert update_folder(course).deleted == [MESH]
    assert not (course / MESH).exists()
    assert (course / LORA).read_text() == MINE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no .kit/init.json in this folder, so `kit init` did not make it"),
        ("{", "init.json is damaged"),
        ("[]", "init.json is damaged"),
        (json.dumps({"format": 1, "kit": "0.1.0", "files": {"../a": "0"}, "functions": {}}), "is damaged"),
        (json.dumps({"format": 1, "kit": "new", "files": {}, "functions": {}}), "is damaged"),
        (Manifest(kit="99.0").as_json(), "kit 99.0 made this folder, and this is kit "),
    ],
)
def test_a_manifest_that_cannot_be_used(course: Path, content: str | None, message: str) -> None:
    if content is None:
        (course / MANIFEST).unlink()
    else:
        (course / MANIFEST).write_text(content)
    before = content_of(course)
    with pytest.raises(UserError) as error:
        update_folder(course)
    assert message in str(error.value)
    assert content_of(course) == before


@pytest.mark.parametrize("path", ["notes.txt", "notes.txt/course"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, path: str) -> None:
    (tmp_path / "notes.txt").write_text(MINE)
    with pytest.raises(
        UserError, match=r"this is a file: choose a folder|cannot be read or written \(Not a directory\)"
    ):
        make_folder(tmp_path / path)
    assert content_of(tmp_path) == {"notes.txt": MINE.encode()}
