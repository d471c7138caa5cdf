"""Results are kept beside the exercises, also if the file is damaged or many write it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exercise_folder import reference_source, write_exercises

from kit.checks.diagnosis import Failed
from kit.course.catalogue import catalogue
from kit.course.results import FORMAT, Recorder, Result, ResultsFile, current, module_hash
from kit.course.workspace import Workspace, workspace_of
from kit.judge.runner import Verdict

CHECKS = catalogue().checks_of("mesh")
PASSED = Verdict(CHECKS[0], None, seconds=0.25)
FAILED = Verdict(CHECKS[1], Failed("MESH_WRONG_SHAPE", "It is (8, 1).").diagnosis)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(write_exercises(tmp_path / "exercises"))


def record(workspace: Workspace, *verdicts: Verdict) -> Recorder:
    recorder = Recorder(workspace, ["mesh"])
    for verdict in verdicts:
        recorder.add(verdict)
    recorder.flush()
    return recorder


def test_verdicts_are_kept_with_the_hash_of_the_module(workspace: Workspace) -> None:
    assert ResultsFile(workspace).read() == ({}, "")
    assert record(workspace, PASSED, FAILED).problem == ""
    results, problem = ResultsFile(workspace).read()
    assert problem == ""
    first, second = results["mesh"][CHECKS[0].name], results["mesh"][CHECKS[1].name]
    assert (first.passed, first.code, first.seconds) == (True, "", 0.25)
    assert (second.state, second.code, second.cause) == ("failed", "MESH_WRONG_SHAPE", "It is (8, 1).")
    assert first.when.endswith("+00:00")
    assert first.module == module_hash(workspace.folder, "mesh")


def test_what_could_not_be_judged_is_not_kept(workspace: Workspace) -> None:
    not_judged = Verdict(CHECKS[1], Failed("COULD_NOT_BE_JUDGED", "This machine is at fault.").diagnosis)
    record(workspace, PASSED, not_judged)
    assert list(ResultsFile(workspace).read()[0]["mesh"]) == [CHECKS[0].name]


def test_the_file_is_as_documented(workspace: Workspace) -> None:
    record(workspace, FAILED)
    content = json.loads(ResultsFile(workspace).file.read_text())
    assert content["format"] == FORMAT == 1
    entry = content["folders"]["exercises"]["mesh"][CHECKS[1].name]
    assert list(entry) == ["state", "code", "cause", "seconds", "when", "module", "kit"]
    assert sorted(path.name for path in ResultsFile(workspace).file.parent.iterdir()) == [
        "results.json",
        "results.lock",
    ]


def test_a_result_of_another_version_is_not_current(workspace: Workspace) -> None:
    record(workspace, PASSED)
    results, _ = ResultsFile(workspace).read()
    assert current(results, CHECKS[0], module_hash(workspace.folder, "mesh"))
    assert current(results, CHECKS[1], module_hash(workspace.folder, "mesh")) is None
    workspace.file_of("mesh").write_text("x = 1\n")
    assert current(results, CHECKS[0], module_hash(workspace.folder, "mesh")) is None


def test_the_hash_depends_on_imported_neighbours_and_on_no_others(workspace: Workspace) -> None:
    folder = workspace.folder
    (folder / "tools").mkdir()
    (folder / "tools" / "__init__.py").write_text("")
    workspace.file_of("mesh").write_text("import tools.more\nfrom . import layout\n")
    hashes = [module_hash(folder, "mesh")]
    for name in ("layout.py", "tools/__init__.py"):
        (folder / name).write_text("import lora\n")
        hashes.append(module_hash(folder, "mesh"))
    # lora is imported by layout.
    (folder / "lora.py").write_text("y = 1\n")
    hashes.append(module_hash(folder, "mesh"))
    assert len(set(hashes)) == 4
    (folder / "reviews.py").write_text("y = 1\n")
    assert module_hash(folder, "mesh") == hashes[-1]
    assert module_hash(folder, "run") != module_hash(folder, "mesh")


def test_a_file_that_changes_while_it_is_checked_gives_no_result(workspace: Workspace) -> None:
    recorder = Recorder(workspace, ["mesh"])
    workspace.file_of("mesh").write_text(reference_source("mesh"))
    recorder.add(PASSED)
    recorder.flush()
    assert ResultsFile(workspace).read() == ({}, "")


def test_folders_beside_each_other_share_a_file(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(write_exercises(tmp_path / "other"))
    record(workspace, PASSED)
    record(other, FAILED)
    assert ResultsFile(workspace).file == ResultsFile(other).file
    assert set(ResultsFile(workspace).read()[0]["mesh"]) == {CHECKS[0].name}
    assert set(ResultsFile(other).read()[0]["mesh"]) == {CHECKS[1].name}


def test_unknown_keys_are_kept(workspace: Workspace) -> None:
    record(workspace, PASSED)
    file = ResultsFile(workspace).file
    file.write_text(json.dumps(json.loads(file.read_text()) | {"later": [1]}))
    record(workspace, FAILED)
    assert json.loads(file.read_text())["later"] == [1]
    assert len(ResultsFile(workspace).read()[0]["mesh"]) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"format": 1}', "is damaged"),
        (b'{"format": 1, "folders": {"exercises": {"mesh": {"shape": {"state": "passed"}}}}}', "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"format": 2, "folders": {}}', "was written by a newer kit"),
    ],
)
def test_an_unusable_file_is_moved_aside(workspace: Workspace, content: bytes, sentence: str) -> None:
    file = ResultsFile(workspace).file
    for number in (1, 2):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        results, problem = ResultsFile(workspace).read()
        assert results == {}
        assert sentence in problem
        assert file.read_bytes() == content
        problem = record(workspace, PASSED).problem
        assert sentence in problem
        assert f"results-{number}.json" in problem
        assert file.with_name(f"results-{number}.json").read_bytes() == content
        assert len(ResultsFile(workspace).read()[0]["mesh"]) == 1


@pytest.mark.parametrize("blocked", ["folder", "file"])
def test_a_place_that_cannot_be_written_is_one_sentence(workspace: Workspace, blocked: str) -> None:
    file = ResultsFile(workspace).file
    if blocked == "folder":
        file.parent.write_text("not a folder")
    else:
        file.mkdir(parents=True)
    problem = record(workspace, PASSED).problem
    assert problem.startswith("The results were not kept: ")
    assert "results.json cannot be written" in problem
    results, problem = ResultsFile(workspace).read()
    assert results == {}
    assert "cannot be read" in problem


def test_processes_that_write_at_the_same_time_lose_nothing(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from kit.course.results import Result, ResultsFile; from kit.course.workspace import Workspace\n"
        "file = ResultsFile(Workspace(Path(sys.argv[1])))\n"
        "for number in range(20):\n"
        "    result = Result('passed', '', '', 0.0, '', '', '')\n"
        "    file.write({'mesh': {f'{sys.argv[2]}-{number}': result}})\n"
        "    assert not file.read()[1]\n"
    )
    command = [sys.executable, "-c", code, str(workspace.folder)]
    processes = [subprocess.Popen([*command, str(number)], env=os.environ) for number in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    results, problem = ResultsFile(workspace).read()
    assert problem == ""
    assert len(results["mesh"]) == 60
    assert results["mesh"]["0-0"] == Result("passed", "", "", 0.0, "", "", "")


def test_nothing_is_kept_of_the_kit_itself(workspace: Workspace) -> None:
    assert workspace_of("reference") is None
    assert workspace_of(str(workspace.folder)) == Workspace(workspace.folder)
    recorder = Recorder(workspace_of("reference"), ["mesh"])
    recorder.add(PASSED)
    recorder.flush()
    assert recorder.problem == ""
