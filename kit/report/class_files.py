"""The files about a class that `kit grade` writes. Imports no framework."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kit.course.credit import Grading
from kit.course.grading import ClassGrades
from kit.errors import UserError
from kit.files import write_text
from kit.report.class_report import render
from kit.report.gradebooks import Credits, canvas_csv, grades_csv, junit_xml, learner_page, mistakes_page, moodle_csv


@dataclass(frozen=True)
class ClassFiles:
    """Where they are written; None leaves one out. Each is named after its option."""

    report: Path | None = None
    csv: Path | None = None
    canvas: Path | None = None
    moodle: Path | None = None
    junit: Path | None = None
    mistakes: Path | None = None
    #: A folder.
    pages: Path | None = None

    def expect_writable(self) -> None:
        """Raise UserError for a place that cannot be written: judging takes a while."""
        for name, file in vars(self).items():
            if file is None:
                continue
            is_of_the_other_kind = file.exists() and file.is_dir() != (name == "pages")
            if is_of_the_other_kind or not os.access(file.absolute().parent, os.W_OK):
                what = "folder" if name == "pages" else "file"
                raise UserError(f"--{name} {file}: cannot be written; name a {what} in an existing folder.")

    def write(self, title: str, grades: ClassGrades, credits: Credits, grading: Grading, when: datetime) -> list[Path]:
        """Write them, and return what was written. Raises UserError if a file cannot be written."""
        contents: list[tuple[Path | None, Callable[[], str]]] = [
            (self.csv, lambda: grades_csv(grades)),
            (self.canvas, lambda: canvas_csv(credits, grading)),
            (self.moodle, lambda: moodle_csv(credits, grading, grades)),
            (self.junit, lambda: junit_xml(grades)),
            (self.mistakes, lambda: mistakes_page(grades)),
            (self.report, lambda: render(title, grades, when)),
        ]
        written = [file for file, _ in contents if file is not None]
        try:
            for file, content in contents:
                if file is not None:
                    write_text(file, content())
            if self.pages is not None:
                self.pages.mkdir(exist_ok=True)
                for name, learner in _file_names(grades).items():
                    write_text(self.pages / name, learner_page(learner, credits[learner], grades, grading))
                written.append(self.pages)
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be written ({error.strerror}).") from None
        return written


def _file_names(grades: ClassGrades) -> dict[str, str]:
    """File of each learner's page -> learner."""
    found: dict[str, str] = {}
    for learner in grades.grades:
        name = re.sub(r"[^\w.-]", "_", learner).lstrip(".") or "_"
        number = 2
        while f"{name}.md" in found:
            name, number = f"{name}-{number}", number + 1
        found[f"{name}.md"] = learner
    return found
