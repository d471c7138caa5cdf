"""Cuts the stubs from the reference, and writes the test files of the exercises."""

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.course.regions import cut
from kit.course.workspace import Workspace
from kit.init.files import content_of_tests, path_of_tests
from kit.judge.catalogue import WHOLE_RUN
from kit.parts.implementation import EXERCISES, KIT_FOLDER


def build_stubs() -> list[str]:
    """Write each stub to the folder of its exercise and to ``exercises/``, and its test file.

    Returns lines to print: the backups of files that were replaced, and the number of stubs.
    """
    workspace = Workspace(KIT_FOLDER.parent / EXERCISES)
    workspace.folder.mkdir(exist_ok=True)
    lines = []
    for exercise in catalogue().names:
        stub = cut((REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8"), exercise)
        file = catalogue().stub_file(exercise)
        # Compare before the stub changes: an untouched exercise needs no backup. A new exercise has
        # no stub yet.
        untouched = file.is_file() and workspace.is_stub(exercise)
        file.write_text(stub, encoding="utf-8")
        if untouched:
            workspace.file_of(exercise).write_text(stub, encoding="utf-8")
        elif (backup := workspace.reset(exercise)) is not None:
            lines.append(f"saved the previous {workspace.file_of(exercise).name} as {backup}")
    for name in (*catalogue().names, WHOLE_RUN):
        tests = KIT_FOLDER.parent / path_of_tests(name)
        tests.parent.mkdir(parents=True, exist_ok=True)
        tests.write_text(content_of_tests(name), encoding="utf-8")
    return [*lines, f"{len(catalogue().names)} stubs in {workspace.folder} and {catalogue().folder}"]
