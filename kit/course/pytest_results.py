"""Lets pytest keep verdicts on exercises, show the learner's line, and say what to do next.

Imports no framework.

PYTEST_DONT_REWRITE: it is imported before pytest registers it, and asserts nothing.
"""

from collections.abc import Generator
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation

from kit.checks.codes import NOT_IMPLEMENTED
from kit.checks.diagnosis import Diagnosis
from kit.course.board import CheckRun
from kit.course.workspace import shown
from kit.judge.runner import Verdict
from kit.parts.implementation import find_parts

CHECK_RUN = pytest.StashKey[CheckRun]()
VERDICT = pytest.StashKey[Verdict]()
#: What workers of `-n` could not write, by the process that distributes the tests.
PROBLEMS = pytest.StashKey[list[str]]()
#: A worker's key for its sentence.
PROBLEM = "kit_problem"


def keep(item: pytest.Item, verdict: Verdict) -> None:
    """Keep the verdict of a test."""
    item.stash[VERDICT] = verdict
    item.config.stash[CHECK_RUN].add(verdict)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read what was passed before."""
    session.config.stash[PROBLEMS] = []
    if not session.config.getoption("collectonly"):
        session.config.stash[CHECK_RUN] = CheckRun(session.config.getoption("--impl"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results, before the summary reads them; with `-n`, each worker does."""
    check_run = session.config.stash.get(CHECK_RUN, None)
    if check_run is not None:
        check_run.close()
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[PROBLEM] = check_run.problem


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a worker of `-n` could not write."""
    node.config.stash[PROBLEMS].append(getattr(node, "workeroutput", {}).get(PROBLEM, ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a failed check the line of the learner, and the summary the code and the cause.

    With CI set in the environment, pytest would repeat the whole diagnostic.
    """
    report = yield
    verdict = item.stash.get(VERDICT, None)
    if verdict is not None:
        report.exercise = verdict.check.exercise  # type: ignore[attr-defined]  # also crosses to xdist's process
        if verdict.diagnosis is not None and isinstance(report.longrepr, ExceptionChainRepr):
            _locate(report.longrepr, verdict.diagnosis, item.config.getoption("--impl"))
    return report


# After pytest's own summary, so that what to do next is read last.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Generator[None]:
    """Say what was learned, and what to do next."""
    yield
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    judged = {report.exercise for report in reports if hasattr(report, "exercise")}
    check_run = config.stash.get(CHECK_RUN, None)
    if check_run is not None:
        for line in dict.fromkeys([*check_run.closing_lines(judged), check_run.problem, *config.stash[PROBLEMS]]):
            if line:
                terminalreporter.write_line(line)


def _locate(failure: ExceptionChainRepr, diagnosis: Diagnosis, impl: str) -> None:
    """Let a failure begin with the code, and be where the learner has to look."""
    crash = failure.reprcrash
    assert crash is not None
    crash.message = f"{diagnosis.code}: {diagnosis.cause}".partition("\n")[0]
    if diagnosis.location:
        file, _, line = diagnosis.location.rpartition(":")
        crash.path, crash.lineno = shown(find_parts(impl).folder / file), int(line)
        if diagnosis.code != NOT_IMPLEMENTED:
            (entry,) = failure.reprtraceback.reprentries
            entry.reprfileloc = ReprFileLocation(crash.path, crash.lineno, diagnosis.code)  # type: ignore[union-attr]
