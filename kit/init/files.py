"""The files of a learner's folder. The exercises are the stubs; the rest is made of templates."""

import json
import sys
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.installation import is_temporary
from kit.judge.catalogue import WHOLE_RUN
from kit.parts.implementation import EXERCISES

TEMPLATES = Path(__file__).parent / "templates"

#: File -> its template. The course works without them, so a learner may change or delete them.
EXTRAS = {
    "README.md": "README.md",
    "AGENTS.md": "AGENTS.md",
    "CLAUDE.md": "CLAUDE.md",
    ".gitignore": "gitignore",
    ".vscode/settings.json": "settings.json",
}
#: File -> its template. Without them pytest does not check the exercises.
SETTINGS = {"conftest.py": "conftest.py.txt", "pytest.ini": "pytest.ini"}


def course_files() -> dict[str, str]:
    """The content of each file of a new folder, by its path there."""
    files = {f"{EXERCISES}/{name}.py": catalogue().stub(name) for name in catalogue().names}
    files |= {path_of_tests(name): content_of_tests(name) for name in (*catalogue().names, WHOLE_RUN)}
    files |= {path: _template(template) for path, template in (SETTINGS | EXTRAS).items()}
    files[".vscode/settings.json"] = _with_interpreter(files[".vscode/settings.json"])
    return files


def tutor_files() -> dict[str, str]:
    """The instructions for coding assistants, by their path in the folder."""
    return {path: _template(EXTRAS[path]) for path in ("AGENTS.md", "CLAUDE.md")}


def is_exercise(path: str) -> bool:
    """Whether a file is a module that the learner writes."""
    return path.startswith(f"{EXERCISES}/")


def path_of_tests(exercise: str) -> str:
    """The path of the file that checks an exercise, or the whole run."""
    return f"tests/exercises/test_{exercise}.py"


def content_of_tests(exercise: str) -> str:
    """The content of that file."""
    title = (
        "All parts together: the tutorial end to end, its control, and the tutorial on a TPU."
        if exercise == WHOLE_RUN
        else f"Checks of the exercise `{exercise}`; `kit lesson {exercise}` says what they ask."
    )
    return _template("test_exercise.py.txt").replace("@TITLE@", title).replace("@EXERCISE@", exercise)


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _with_interpreter(settings: str) -> str:
    """The settings of VS Code, with the Python that runs the kit as the default interpreter."""
    if is_temporary():
        return settings
    content = json.loads(settings) | {"python.defaultInterpreterPath": sys.executable}
    return json.dumps(content, indent=2) + "\n"
