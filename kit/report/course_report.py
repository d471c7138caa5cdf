"""The report of a learner: one page, from the results and a run. Imports no framework."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.course.board import option, read_board
from kit.course.catalogue import catalogue
from kit.course.prediction_record import rows
from kit.course.predictions import questions
from kit.course.results import Results, ResultsFile, current, module_hash
from kit.course.workspace import Workspace, shown
from kit.errors import UserError
from kit.judge.catalogue import Check, available
from kit.report.completions import own_completions
from kit.report.page import render_page, write_page
from kit.report.run_report import FILTERS, loss_and_sharding
from kit.report.training_tables import training_evidence
from kit.run.finished import FinishedRun, open_finished_run
from kit.run.metrics import METRICS_FILE, read_metrics
from kit.run.result import RESULT_FILE

COURSE_REPORT_FILE = "course_report.html"
#: Checks that compare with the unsharded twin: exercise and layer.
TWIN = ("training", "train")
#: Checks that compile the layout: exercise and layer.
COLLECTIVES = ("layout", "program")


@dataclass(frozen=True)
class CheckRow:
    """A check as the page shows it."""

    asks: str
    #: "passed", "failed", or empty if there is no result of this version of the module.
    state: str
    cause: str
    #: The command that checks it.
    command: str


def write_course_report(workspace: Workspace, impl: str, run: FinishedRun | None, when: datetime) -> Path:
    """Write ``course_report.html`` beside the exercises, over an earlier one; return it.

    ``impl`` is the folder as the user wrote it. Raises UserError if the page cannot be written, or
    if a file of the run is damaged.
    """
    file = workspace.folder.parent / COURSE_REPORT_FILE
    write_page(file, render(workspace, impl, run, when))
    return file


def newest_run(runs_folder: Path, impl: str) -> FinishedRun | None:
    """The newest finished run of these parts, except controls; None if there is none."""
    files = sorted(runs_folder.glob(f"*/{RESULT_FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        # A damaged run is another command's to report.
        with contextlib.suppress(UserError):
            found = open_finished_run(shown(file.parent))
            if found.result.implementation == impl and not found.result.control:
                return found
    return None


def render(workspace: Workspace, impl: str, run: FinishedRun | None, when: datetime) -> str:
    """The page as a text."""
    board = read_board(workspace, impl)
    results, predictions, _ = ResultsFile(workspace).read_all()
    about_run: dict[str, Any] = {"run": None}
    if run is not None:
        steps = read_metrics(run.folder / METRICS_FILE)
        about_run = loss_and_sharding(run.result, steps) | training_evidence(run.result, steps)
        about_run |= {"completions": own_completions(run.result), "run_folder": run.shown}
    return render_page(
        "course_report.html",
        FILTERS,
        title="Your course",
        when=when,
        folder=impl,
        board=board,
        predictions=rows(predictions),
        unasked=[
            name
            for name in catalogue().names
            if any(one.name not in predictions.get(name, {}) for one in questions(name))
        ],
        twin_checks=_check_rows(workspace, results, impl, *TWIN),
        collective_checks=_check_rows(workspace, results, impl, *COLLECTIVES),
        run_command=f"kit run --impl {impl}",
        plan_command=f"kit plan --impl {impl}",
        **about_run,
    )


def _check_rows(workspace: Workspace, results: Results, impl: str, exercise: str, layer: str) -> list[CheckRow]:
    module = module_hash(workspace.folder, exercise)
    checks = [check for check in available(catalogue().checks_of(exercise)) if check.layer == layer]

    def row(check: Check) -> CheckRow:
        found = current(results, check, module)
        command = f"kit check {exercise} --layer {layer}{option(impl)}"
        return CheckRow(check.asks, found.state if found else "", found.cause if found else "", command)

    return [row(check) for check in checks]
